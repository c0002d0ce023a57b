use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use latido_event_bus::{Identity, Mailbox};

use super::*;

fn test_user(id: u8, role: Role) -> GatewayUser {
    GatewayUser {
        id: id.to_string().into(),
        role,
    }
}

impl RoomService {
    /// Connects a socket with a mailbox.
    pub(crate) fn connect(
        self: &Arc<Self>,
        generation: ClientVersion,
        socket_id: &str,
    ) -> Option<(RoomMember, Mailbox)> {
        let mailbox = self.event_bus.connect(Identity::default(), &[]).ok()?;
        let member = self.admit(mailbox.id(), generation, socket_id);
        Some((member, mailbox))
    }
}

/// Drains a mailbox and returns the events by the names of the member's version. Stops when the
/// mailbox is empty or has ended.
fn drain_events(member: &RoomMember, mailbox: &mut Mailbox) -> Vec<(String, Value)> {
    let mut received = Vec::new();
    while let Some(Ok(event)) = mailbox.try_recv() {
        for emit in wire::encode_for(member.version, &event) {
            received.push((
                emit.name.to_string(),
                serde_json::from_str(&emit.payload).unwrap(),
            ));
        }
    }
    received
}

fn names(received: &[(String, Value)]) -> Vec<&str> {
    received.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn reservation_reaches_only_its_provider_in_version_1() {
    let service = RoomService::new(&Clock::system());
    let mut members: Vec<_> = [
        (ClientVersion::V1, Some(test_user(7, Role::Cliente))),
        (ClientVersion::V1, Some(test_user(9, Role::Proveedor))),
        (ClientVersion::V1, Some(test_user(9, Role::Proveedor))),
        (ClientVersion::V1, Some(test_user(8, Role::Proveedor))),
        (ClientVersion::V1, None),
        (ClientVersion::V2, Some(test_user(1, Role::Admin))),
        (ClientVersion::V2, Some(test_user(3, Role::Cliente))),
        (ClientVersion::V2, None),
    ]
    .into_iter()
    .map(|(generation, user)| {
        let (mut member, mut mailbox) = service.connect(generation, "s").unwrap();
        if let Some(user) = user {
            assert!(member.identify(user));
        }
        drain_events(&member, &mut mailbox);
        (member, mailbox)
    })
    .collect();
    let data = json!({"clienteId": 7, "proveedorId": 9});
    let kind = EventType::client_publishable("reservation_created").unwrap();
    assert_eq!(
        members[0].0.publish(kind, "reservation_created", &data),
        Ok(())
    );
    assert_eq!(
        members[1].0.publish(kind, "reservation_created", &data),
        Err(MemberError::Forbidden)
    );
    assert_eq!(
        members[4].0.publish(kind, "reservation_created", &data),
        Err(MemberError::NotAuthenticated)
    );
    let all: Vec<_> = members
        .iter_mut()
        .map(|(member, mailbox)| drain_events(member, mailbox))
        .collect();
    let first = ["event", "reservation_created"];
    let second = ["negocio:evento", "reserva:nueva", "reservation_created"];
    let names: Vec<_> = all.iter().map(|received| names(received)).collect();
    assert_eq!(names[..5], [&[][..], &first, &first, &[], &[]]);
    assert_eq!(names[5], [&second[..], &["reserva:notificacion"]].concat());
    assert_eq!(names[6..], [&second[..], &[]]);
}

#[test]
fn administrators_are_notified_of_connects_and_disconnects() {
    let service = RoomService::new(&Clock::system());
    let (mut admin, mut mailbox) = service.connect(ClientVersion::V1, "boss").unwrap();
    admin.identify(test_user(1, Role::Admin));
    drain_events(&admin, &mut mailbox);
    let (mut member, member_mailbox) = service.connect(ClientVersion::V2, "abc").unwrap();
    member.identify(test_user(7, Role::Cliente));
    drop(member);
    drop(member_mailbox);
    let received = drain_events(&admin, &mut mailbox);
    let kinds: Vec<_> = received
        .iter()
        .map(|(name, payload)| (name.as_str(), payload["type"].as_str().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("event", "client_connected"),
            ("event", "client_authenticated"),
            ("event", "client_disconnected")
        ]
    );
    assert_eq!(service.sockets().len(), 1);
    assert_eq!(service.event_bus.totals().connections, 1);
}

#[test]
fn notifications_reach_roles_and_users_of_both_versions() {
    let service = RoomService::new(&Clock::system());
    let connect = |generation, user| {
        let (mut member, mailbox) = service.connect(generation, "s").unwrap();
        member.identify(user);
        (member, mailbox)
    };
    let mut all = [
        connect(ClientVersion::V1, test_user(7, Role::Cliente)),
        connect(ClientVersion::V2, test_user(7, Role::Cliente)),
        connect(ClientVersion::V1, test_user(8, Role::Cliente)),
        connect(ClientVersion::V2, test_user(9, Role::Proveedor)),
    ];
    assert!(service.notify_user("7", "aviso", &json!({"a": 1})));
    assert!(service.notify_role(Role::Cliente, "promo", &json!(2)));
    assert!(service.notify_all(&json!({"message": "hola", "type": "info"})));
    let all: Vec<_> = all
        .iter_mut()
        .map(|(member, mailbox)| drain_events(member, mailbox))
        .collect();
    let names: Vec<_> = all.iter().map(|received| names(received)).collect();
    assert_eq!(
        names[0],
        [
            "event",
            "aviso",
            "event",
            "promo",
            "event",
            "system_notification"
        ]
    );
    assert_eq!(names[1], ["aviso", "promo", "system_notification"]);
    assert_eq!(names[2], ["event", "promo", "event", "system_notification"]);
    assert_eq!(names[3], ["system_notification"]);
    assert_eq!(all[0][1], ("aviso".to_owned(), json!({"a": 1})));
}

/// One step of a random sequence.
#[derive(Debug, Clone)]
enum RoomStep {
    Connect(bool),
    Identify(usize, u8, usize),
    Join(usize, usize),
    Leave(usize, usize),
    Disconnect(usize),
    PublishReservation(u8, u8),
    NotifyUser(u8),
    NotifyRole(usize),
}

const ROOMS: [&str; 10] = [
    "cliente_1",
    "cliente_2",
    "proveedor_1",
    "proveedor_2",
    "all_clientes",
    "admin_dashboard",
    "user:1",
    "service_5",
    "#second",
    "admin",
];

fn step() -> impl Strategy<Value = RoomStep> {
    prop_oneof![
        any::<bool>().prop_map(RoomStep::Connect),
        (0..8_usize, 1..4_u8, 0..3_usize)
            .prop_map(|(member, id, role)| RoomStep::Identify(member, id, role)),
        (0..8_usize, 0..ROOMS.len()).prop_map(|(member, room)| RoomStep::Join(member, room)),
        (0..8_usize, 0..ROOMS.len()).prop_map(|(member, room)| RoomStep::Leave(member, room)),
        (0..8_usize).prop_map(RoomStep::Disconnect),
        (1..4_u8, 1..4_u8)
            .prop_map(|(cliente, proveedor)| RoomStep::PublishReservation(cliente, proveedor)),
        (1..4_u8).prop_map(RoomStep::NotifyUser),
        (0..3_usize).prop_map(RoomStep::NotifyRole),
    ]
}

/// A member with the events it should have received, by marks in the payloads.
struct ObservedMember {
    member: RoomMember,
    mailbox: Mailbox,
    rooms: BTreeSet<String>,
    expected: Vec<u64>,
    received: Vec<u64>,
}

impl ObservedMember {
    fn is(&self, test: impl Fn(&GatewayUser) -> bool) -> bool {
        self.member.who().is_some_and(test)
    }

    /// Reads the pending events, so that no mailbox overflows.
    fn drain(&mut self) {
        for (_, payload) in drain_events(&self.member, &mut self.mailbox) {
            if let Some(mark) = payload
                .get("mark")
                .and_then(Value::as_u64)
                .filter(|mark| self.received.last() != Some(mark))
            {
                self.received.push(mark);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// After any sequence of connects, joins, leaves and events, each member has received exactly
    /// its own events, once and in order. An unauthenticated client has received none.
    #[test]
    fn members_receive_exactly_their_own_events(steps in prop::collection::vec(step(), 1..120)) {
        let service = RoomService::new(&Clock::system());
        let mut all: Vec<ObservedMember> = Vec::new();
        for (mark, step) in (0_u64..).zip(steps) {
            let count = all.len();
            let index = |n: usize| if count == 0 { None } else { Some(n % count) };
            match step {
                RoomStep::Connect(second) if count < 8 => {
                    let generation = if second { ClientVersion::V2 } else { ClientVersion::V1 };
                    let (member, mailbox) = service.connect(generation, "s").unwrap();
                    all.push(ObservedMember { member, mailbox, rooms: BTreeSet::new(), expected: Vec::new(), received: Vec::new() });
                }
                RoomStep::Connect(_) => {}
                RoomStep::Identify(member, id, role) => if let Some(n) = index(member) {
                    let user = test_user(id, Role::ALL[role]);
                    all[n].rooms = user.initial_rooms(all[n].member.version).iter().map(|join| join.topic.as_str().to_owned()).collect();
                    prop_assert!(all[n].member.identify(user));
                }
                RoomStep::Join(member, room) => if let Some(n) = index(member) {
                    let room = ROOMS[room];
                    let is_allowed = all[n].is(|user| user.can_join(room));
                    prop_assert_eq!(all[n].member.join(room).is_ok(), is_allowed);
                    if is_allowed { all[n].rooms.insert(room.to_owned()); }
                }
                RoomStep::Leave(member, room) => if let Some(n) = index(member) {
                    let room = ROOMS[room];
                    if all[n].member.leave(room).is_ok() { all[n].rooms.remove(room); }
                }
                RoomStep::Disconnect(member) => if let Some(n) = index(member) { drop(all.swap_remove(n)); }
                RoomStep::PublishReservation(cliente, proveedor) => {
                    let data = json!({"clienteId": cliente, "proveedor_id": proveedor.to_string(), "mark": mark});
                    service.publish_event("reservation_created", &data, None);
                    let room = format!("proveedor_{proveedor}");
                    // A version 2 member that joined a version 1 room receives the event once, in
                    // version 2 form.
                    for seen in all.iter_mut().filter(|seen| seen.rooms.contains("#second") || seen.rooms.contains(&room)) {
                        seen.expected.push(mark);
                    }
                }
                RoomStep::NotifyUser(id) => {
                    service.notify_user(&id.to_string(), "aviso", &json!({"mark": mark}));
                    let rooms: Vec<_> = Role::ALL.iter().map(|role| personal_room(*role, &id.to_string())).chain([user_room(&id.to_string())]).collect();
                    for seen in all.iter_mut().filter(|seen| rooms.iter().any(|room| seen.rooms.contains(room))) {
                        seen.expected.push(mark);
                        prop_assert!(seen.is(|user| *user.id == *id.to_string()), "a personal room is the user's alone");
                    }
                }
                RoomStep::NotifyRole(role) => {
                    let role = Role::ALL[role];
                    service.notify_role(role, "promo", &json!({"mark": mark}));
                    for seen in all.iter_mut().filter(|seen| seen.rooms.contains(&role_room(role)) || seen.rooms.contains(role.as_str())) {
                        seen.expected.push(mark);
                        prop_assert!(seen.is(|user| user.role == role), "a role's room is the role's alone");
                    }
                }
            }
            for seen in &mut all {
                seen.drain();
                prop_assert_eq!(&seen.received, &seen.expected);
                prop_assert!(seen.member.who().is_some() || seen.received.is_empty());
            }
        }
        prop_assert_eq!(service.event_bus.totals().connections, all.len());
        prop_assert_eq!(service.sockets().len(), all.len());
        drop(all);
        prop_assert_eq!(service.event_bus.totals().connections, 0);
        let left: Vec<_> = service.event_bus.topics().into_iter().map(|topic| topic.name.as_str().to_owned()).collect();
        prop_assert_eq!(left, [HISTORY_ROOM], "empty rooms are gone");
    }
}
