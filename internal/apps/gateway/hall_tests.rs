use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn who(id: u8, role: Role) -> Who {
    Who {
        id: id.to_string().into(),
        role,
    }
}

/// What a mailbox holds now, by the names of its generation; None: it was ended.
fn heard(member: &Member, mailbox: &mut Mailbox) -> Vec<(String, Value)> {
    let mut heard = Vec::new();
    while let Some(Ok(event)) = mailbox.try_recv() {
        for emit in words::emits(member.generation, &event) {
            heard.push((
                emit.name.to_string(),
                serde_json::from_str(&emit.payload).unwrap(),
            ));
        }
    }
    heard
}

fn names(heard: &[(String, Value)]) -> Vec<&str> {
    heard.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn a_reservation_finds_its_provider_and_nobody_else_of_the_first_generation() {
    let hall = Hall::new(&Clock::system());
    let mut entered: Vec<_> = [
        (Generation::First, Some(who(7, Role::Cliente))),
        (Generation::First, Some(who(9, Role::Proveedor))),
        (Generation::First, Some(who(9, Role::Proveedor))),
        (Generation::First, Some(who(8, Role::Proveedor))),
        (Generation::First, None),
        (Generation::Second, Some(who(1, Role::Admin))),
        (Generation::Second, Some(who(3, Role::Cliente))),
        (Generation::Second, None),
    ]
    .into_iter()
    .map(|(generation, who)| {
        let (mut member, mut mailbox) = hall.enter(generation, "s").unwrap();
        if let Some(who) = who {
            assert!(member.identify(who));
        }
        heard(&member, &mut mailbox);
        (member, mailbox)
    })
    .collect();
    let data = json!({"clienteId": 7, "proveedorId": 9});
    let kind = Kind::said("reservation_created").unwrap();
    assert_eq!(entered[0].0.say(kind, "reservation_created", &data), Ok(()));
    assert_eq!(
        entered[1].0.say(kind, "reservation_created", &data),
        Err("No autorizado")
    );
    assert_eq!(
        entered[4].0.say(kind, "reservation_created", &data),
        Err("No autenticado")
    );
    let all: Vec<_> = entered
        .iter_mut()
        .map(|(member, mailbox)| heard(member, mailbox))
        .collect();
    let first = ["event", "reservation_created"];
    let second = ["negocio:evento", "reserva:nueva", "reservation_created"];
    let names: Vec<_> = all.iter().map(|heard| names(heard)).collect();
    assert_eq!(names[..5], [&[][..], &first, &first, &[], &[]]);
    assert_eq!(names[5], [&second[..], &["reserva:notificacion"]].concat());
    assert_eq!(names[6..], [&second[..], &[]]);
}

#[test]
fn administrators_hear_of_clients_and_find_nobody_who_is_gone() {
    let hall = Hall::new(&Clock::system());
    let (mut admin, mut mailbox) = hall.enter(Generation::First, "boss").unwrap();
    admin.identify(who(1, Role::Admin));
    heard(&admin, &mut mailbox);
    let (mut member, box_of_it) = hall.enter(Generation::Second, "abc").unwrap();
    member.identify(who(7, Role::Cliente));
    drop(member);
    drop(box_of_it);
    let heard = heard(&admin, &mut mailbox);
    let kinds: Vec<_> = heard
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
    assert_eq!(hall.everybody().len(), 1);
    assert_eq!(hall.exchange.totals().connections, 1);
}

#[test]
fn publishers_reach_roles_and_users_of_both_generations() {
    let hall = Hall::new(&Clock::system());
    let enter = |generation, who| {
        let (mut member, mailbox) = hall.enter(generation, "s").unwrap();
        member.identify(who);
        (member, mailbox)
    };
    let mut all = [
        enter(Generation::First, who(7, Role::Cliente)),
        enter(Generation::Second, who(7, Role::Cliente)),
        enter(Generation::First, who(8, Role::Cliente)),
        enter(Generation::Second, who(9, Role::Proveedor)),
    ];
    assert!(hall.notify_user("7", "aviso", &json!({"a": 1})));
    assert!(hall.notify_role(Role::Cliente, "promo", &json!(2)));
    assert!(hall.notify_all(&json!({"message": "hola", "type": "info"})));
    let all: Vec<_> = all
        .iter_mut()
        .map(|(member, mailbox)| heard(member, mailbox))
        .collect();
    let names: Vec<_> = all.iter().map(|heard| names(heard)).collect();
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

/// A step of a random day.
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

/// A member with what it should have heard, by marks in the payloads.
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

    /// Reads what came, so that no mailbox ever overflows.
    fn read(&mut self) {
        for (_, payload) in heard(&self.member, &mut self.mailbox) {
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

    /// Whatever comes, goes, joins, leaves and is said: each hears what is its own, once and in order, and nothing else; whoever is not
    /// identified hears nothing.
    #[test]
    fn nobody_hears_what_is_not_his(steps in prop::collection::vec(step(), 1..120)) {
        let hall = Hall::new(&Clock::system());
        let mut all: Vec<Seen> = Vec::new();
        for (mark, step) in (0_u64..).zip(steps) {
            let count = all.len();
            let place = |n: usize| if count == 0 { None } else { Some(n % count) };
            match step {
                Step::Enter(second) if count < 8 => {
                    let generation = if second { Generation::Second } else { Generation::First };
                    let (member, mailbox) = hall.enter(generation, "s").unwrap();
                    all.push(Seen { member, mailbox, rooms: BTreeSet::new(), due: Vec::new(), got: Vec::new() });
                }
                Step::Enter(_) => {}
                Step::Identify(member, id, role) => if let Some(n) = place(member) {
                    let who = who(id, Role::ALL[role]);
                    all[n].rooms = who.rooms(all[n].member.generation).iter().map(|join| join.topic.as_str().to_owned()).collect();
                    prop_assert!(all[n].member.identify(who));
                }
                Step::Join(member, room) => if let Some(n) = place(member) {
                    let room = ROOMS[room];
                    let may = all[n].is(|who| who.may_join(room));
                    prop_assert_eq!(all[n].member.join(room).is_ok(), may);
                    if may { all[n].rooms.insert(room.to_owned()); }
                }
                Step::Leave(member, room) => if let Some(n) = place(member) {
                    let room = ROOMS[room];
                    if all[n].member.leave(room).is_ok() { all[n].rooms.remove(room); }
                }
                Step::Kill(member) => if let Some(n) = place(member) { drop(all.swap_remove(n)); }
                Step::Created(cliente, proveedor) => {
                    let data = json!({"clienteId": cliente, "proveedor_id": proveedor.to_string(), "mark": mark});
                    hall.happened("reservation_created", &data, None);
                    let room = format!("proveedor_{proveedor}");
                    // A room of the first generation that somebody of the second has joined is told in its words, once.
                    for seen in all.iter_mut().filter(|seen| seen.rooms.contains("#second") || seen.rooms.contains(&room)) {
                        seen.due.push(mark);
                    }
                }
                Step::NotifyUser(id) => {
                    hall.notify_user(&id.to_string(), "aviso", &json!({"mark": mark}));
                    let rooms: Vec<_> = Role::ALL.iter().map(|role| personal(*role, &id.to_string())).chain([user(&id.to_string())]).collect();
                    for seen in all.iter_mut().filter(|seen| rooms.iter().any(|room| seen.rooms.contains(room))) {
                        seen.due.push(mark);
                        prop_assert!(seen.is(|who| *who.id == *id.to_string()), "a personal room is the user's alone");
                    }
                }
                Step::NotifyRole(role) => {
                    let role = Role::ALL[role];
                    hall.notify_role(role, "promo", &json!({"mark": mark}));
                    for seen in all.iter_mut().filter(|seen| seen.rooms.contains(&everybody(role)) || seen.rooms.contains(role.as_str())) {
                        seen.due.push(mark);
                        prop_assert!(seen.is(|who| who.role == role), "a role's room is the role's alone");
                    }
                }
            }
            for seen in &mut all {
                seen.read();
                prop_assert_eq!(&seen.got, &seen.due);
                prop_assert!(seen.member.who().is_some() || seen.got.is_empty());
            }
        }
        prop_assert_eq!(hall.exchange.totals().connections, all.len());
        prop_assert_eq!(hall.everybody().len(), all.len());
        drop(all);
        prop_assert_eq!(hall.exchange.totals().connections, 0);
        let left: Vec<_> = hall.exchange.topics().into_iter().map(|topic| topic.name.as_str().to_owned()).collect();
        prop_assert_eq!(left, [HISTORY], "empty rooms are gone");
    }
}
