use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn test_user(id: u8, role: Role) -> Who {
    Who {
        id: id.to_string().into(),
        role,
    }
}

/// Drains a mailbox and returns the events by the names of the member's version. Stops when the
/// mailbox is empty or has ended.
fn received(member: &Member, mailbox: &mut Mailbox) -> Vec<(String, Value)> {
    let mut received = Vec::new();
    while let Some(Ok(event)) = mailbox.try_recv() {
        for emit in words::emits(member.generation, &event) {
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
    let service = Hall::new(&Clock::system());
    let mut members: Vec<_> = [
        (Generation::V1, Some(test_user(7, Role::Cliente))),
        (Generation::V1, Some(test_user(9, Role::Proveedor))),
        (Generation::V1, Some(test_user(9, Role::Proveedor))),
        (Generation::V1, Some(test_user(8, Role::Proveedor))),
        (Generation::V1, None),
        (Generation::V2, Some(test_user(1, Role::Admin))),
        (Generation::V2, Some(test_user(3, Role::Cliente))),
        (Generation::V2, None),
    ]
    .into_iter()
    .map(|(generation, user)| {
        let (mut member, mut mailbox) = service.enter(generation, "s").unwrap();
        if let Some(user) = user {
            assert!(member.identify(user));
        }
        received(&member, &mut mailbox);
        (member, mailbox)
    })
    .collect();
    let data = json!({"clienteId": 7, "proveedorId": 9});
    let kind = Kind::said("reservation_created").unwrap();
    assert_eq!(members[0].0.say(kind, "reservation_created", &data), Ok(()));
    assert_eq!(
        members[1].0.say(kind, "reservation_created", &data),
        Err("No autorizado")
    );
    assert_eq!(
        members[4].0.say(kind, "reservation_created", &data),
        Err("No autenticado")
    );
    let all: Vec<_> = members
        .iter_mut()
        .map(|(member, mailbox)| received(member, mailbox))
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
    let service = Hall::new(&Clock::system());
    let (mut admin, mut mailbox) = service.enter(Generation::V1, "boss").unwrap();
    admin.identify(test_user(1, Role::Admin));
    received(&admin, &mut mailbox);
    let (mut member, member_mailbox) = service.enter(Generation::V2, "abc").unwrap();
    member.identify(test_user(7, Role::Cliente));
    drop(member);
    drop(member_mailbox);
    let received = received(&admin, &mut mailbox);
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
    assert_eq!(service.everybody().len(), 1);
    assert_eq!(service.exchange.totals().connections, 1);
}

#[test]
fn notifications_reach_roles_and_users_of_both_versions() {
    let service = Hall::new(&Clock::system());
    let connect = |generation, user| {
        let (mut member, mailbox) = service.enter(generation, "s").unwrap();
        member.identify(user);
        (member, mailbox)
    };
    let mut all = [
        connect(Generation::V1, test_user(7, Role::Cliente)),
        connect(Generation::V2, test_user(7, Role::Cliente)),
        connect(Generation::V1, test_user(8, Role::Cliente)),
        connect(Generation::V2, test_user(9, Role::Proveedor)),
    ];
    assert!(service.notify_user("7", "aviso", &json!({"a": 1})));
    assert!(service.notify_role(Role::Cliente, "promo", &json!(2)));
    assert!(service.notify_all(&json!({"message": "hola", "type": "info"})));
    let all: Vec<_> = all
        .iter_mut()
        .map(|(member, mailbox)| received(member, mailbox))
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
enum Step {
    Enter(bool),
    Identify(usize, u8, usize),
    Join(usize, usize),
    Leave(usize, usize),
    Kill(usize),
    Created(u8, u8),
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

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::Enter),
        (0..8_usize, 1..4_u8, 0..3_usize)
            .prop_map(|(member, id, role)| Step::Identify(member, id, role)),
        (0..8_usize, 0..ROOMS.len()).prop_map(|(member, room)| Step::Join(member, room)),
        (0..8_usize, 0..ROOMS.len()).prop_map(|(member, room)| Step::Leave(member, room)),
        (0..8_usize).prop_map(Step::Kill),
        (1..4_u8, 1..4_u8).prop_map(|(cliente, proveedor)| Step::Created(cliente, proveedor)),
        (1..4_u8).prop_map(Step::NotifyUser),
        (0..3_usize).prop_map(Step::NotifyRole),
    ]
}

/// A member with the events it should have received, by marks in the payloads.
struct Seen {
    member: Member,
    mailbox: Mailbox,
    rooms: BTreeSet<String>,
    due: Vec<u64>,
    got: Vec<u64>,
}

impl Seen {
    fn is(&self, test: impl Fn(&Who) -> bool) -> bool {
        self.member.who().is_some_and(test)
    }

    /// Reads the pending events, so that no mailbox overflows.
    fn read(&mut self) {
        for (_, payload) in received(&self.member, &mut self.mailbox) {
            if let Some(mark) = payload
                .get("mark")
                .and_then(Value::as_u64)
                .filter(|mark| self.got.last() != Some(mark))
            {
                self.got.push(mark);
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
        let service = Hall::new(&Clock::system());
        let mut all: Vec<Seen> = Vec::new();
        for (mark, step) in (0_u64..).zip(steps) {
            let count = all.len();
            let index = |n: usize| if count == 0 { None } else { Some(n % count) };
            match step {
                Step::Enter(second) if count < 8 => {
                    let generation = if second { Generation::V2 } else { Generation::V1 };
                    let (member, mailbox) = service.enter(generation, "s").unwrap();
                    all.push(Seen { member, mailbox, rooms: BTreeSet::new(), due: Vec::new(), got: Vec::new() });
                }
                Step::Enter(_) => {}
                Step::Identify(member, id, role) => if let Some(n) = index(member) {
                    let user = test_user(id, Role::ALL[role]);
                    all[n].rooms = user.rooms(all[n].member.generation).iter().map(|join| join.topic.as_str().to_owned()).collect();
                    prop_assert!(all[n].member.identify(user));
                }
                Step::Join(member, room) => if let Some(n) = index(member) {
                    let room = ROOMS[room];
                    let is_allowed = all[n].is(|user| user.may_join(room));
                    prop_assert_eq!(all[n].member.join(room).is_ok(), is_allowed);
                    if is_allowed { all[n].rooms.insert(room.to_owned()); }
                }
                Step::Leave(member, room) => if let Some(n) = index(member) {
                    let room = ROOMS[room];
                    if all[n].member.leave(room).is_ok() { all[n].rooms.remove(room); }
                }
                Step::Kill(member) => if let Some(n) = index(member) { drop(all.swap_remove(n)); }
                Step::Created(cliente, proveedor) => {
                    let data = json!({"clienteId": cliente, "proveedor_id": proveedor.to_string(), "mark": mark});
                    service.happened("reservation_created", &data, None);
                    let room = format!("proveedor_{proveedor}");
                    // A version 2 member that joined a version 1 room receives the event once, in
                    // version 2 form.
                    for seen in all.iter_mut().filter(|seen| seen.rooms.contains("#second") || seen.rooms.contains(&room)) {
                        seen.due.push(mark);
                    }
                }
                Step::NotifyUser(id) => {
                    service.notify_user(&id.to_string(), "aviso", &json!({"mark": mark}));
                    let rooms: Vec<_> = Role::ALL.iter().map(|role| personal(*role, &id.to_string())).chain([user(&id.to_string())]).collect();
                    for seen in all.iter_mut().filter(|seen| rooms.iter().any(|room| seen.rooms.contains(room))) {
                        seen.due.push(mark);
                        prop_assert!(seen.is(|user| *user.id == *id.to_string()), "a personal room is the user's alone");
                    }
                }
                Step::NotifyRole(role) => {
                    let role = Role::ALL[role];
                    service.notify_role(role, "promo", &json!({"mark": mark}));
                    for seen in all.iter_mut().filter(|seen| seen.rooms.contains(&everybody(role)) || seen.rooms.contains(role.as_str())) {
                        seen.due.push(mark);
                        prop_assert!(seen.is(|user| user.role == role), "a role's room is the role's alone");
                    }
                }
            }
            for seen in &mut all {
                seen.read();
                prop_assert_eq!(&seen.got, &seen.due);
                prop_assert!(seen.member.who().is_some() || seen.got.is_empty());
            }
        }
        prop_assert_eq!(service.exchange.totals().connections, all.len());
        prop_assert_eq!(service.everybody().len(), all.len());
        drop(all);
        prop_assert_eq!(service.exchange.totals().connections, 0);
        let left: Vec<_> = service.exchange.topics().into_iter().map(|topic| topic.name.as_str().to_owned()).collect();
        prop_assert_eq!(left, [HISTORY], "empty rooms are gone");
    }
}
