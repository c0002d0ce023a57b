//! Nobody gets what is not theirs, and everybody all that is: random workspaces, users, identities and ends against a model.

use proptest::prelude::*;
use serde_json::json;

use super::{World, member_token};

/// Few, so that they meet. Workspaces and users have the same ids.
const IDS: [&str; 3] = ["1", "2", "507f1f77bcf86cd799439011"];

#[derive(Debug, Clone)]
enum Step {
    Connect,
    /// Whether the token is of that user, and in that workspace.
    Auth {
        client: usize,
        workspace: usize,
        user: usize,
        as_number: bool,
        is_user: bool,
        is_member: bool,
    },
    Disconnect(usize),
    ToWorkspace(usize),
    ToUser(usize),
    Ping(usize),
    /// The shard's turn comes late.
    Deliver,
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..IDS.len();
    let auth = (
        0usize..8,
        id.clone(),
        id.clone(),
        any::<bool>(),
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.9),
    );
    prop_oneof![
        3 => Just(Step::Connect),
        5 => auth.prop_map(|(client, workspace, user, as_number, is_user, is_member)| {
            Step::Auth { client, workspace, user, as_number, is_user, is_member }
        }),
        1 => (0usize..8).prop_map(Step::Disconnect),
        4 => id.clone().prop_map(Step::ToWorkspace),
        3 => id.prop_map(Step::ToUser),
        1 => (0usize..8).prop_map(Step::Ping),
        3 => Just(Step::Deliver),
    ]
}

#[derive(Default)]
struct Expected {
    is_open: bool,
    /// Workspace and user.
    place: Option<(usize, usize)>,
    frames: Vec<String>,
}

fn play(steps: &[Step]) {
    let mut world = World::new();
    let mut model: Vec<Expected> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Connect => {
                world.connect("").unwrap();
                model.push(Expected {
                    is_open: true,
                    ..Expected::default()
                });
            }
            Step::Auth {
                client,
                workspace,
                user,
                as_number,
                is_user,
                is_member,
            } => {
                let Some(expected) = model.get_mut(client).filter(|expected| expected.is_open)
                else {
                    continue;
                };
                let holder = if is_user { IDS[user] } else { "somebody else" };
                let token = member_token(
                    holder,
                    &[if is_member {
                        IDS[workspace]
                    } else {
                        "elsewhere"
                    }],
                );
                let id = |id: &str| match id.parse::<u64>() {
                    Ok(number) if as_number => json!(number),
                    _ => json!(id),
                };
                world.auth(
                    u32::try_from(client).unwrap(),
                    &id(IDS[workspace]),
                    &id(IDS[user]),
                    Some(token),
                );
                if is_user && is_member {
                    expected.place = Some((workspace, user));
                    expected.frames.push(r#"{"type":"auth_success"}"#.into());
                } else {
                    expected.is_open = false;
                    expected.place = None;
                }
            }
            Step::Disconnect(client) => {
                let Some(expected) = model.get_mut(client).filter(|expected| expected.is_open)
                else {
                    continue;
                };
                world.disconnect(u32::try_from(client).unwrap());
                expected.is_open = false;
                expected.place = None;
            }
            Step::ToWorkspace(id) => {
                world.post(
                    &format!("/api/workspaces/{}/broadcast", IDS[id]),
                    &format!(r#"{{"message":{number}}}"#),
                );
                for expected in model
                    .iter_mut()
                    .filter(|expected| expected.place.is_some_and(|(workspace, _)| workspace == id))
                {
                    expected
                        .frames
                        .push(format!(r#"{{"type":"broadcast","message":{number}}}"#));
                }
            }
            Step::ToUser(id) => {
                world.post(
                    &format!("/api/users/{}/message", IDS[id]),
                    &format!(r#"{{"message":{number}}}"#),
                );
                for expected in model
                    .iter_mut()
                    .filter(|expected| expected.place.is_some_and(|(_, user)| user == id))
                {
                    expected
                        .frames
                        .push(format!(r#"{{"type":"direct_message","message":{number}}}"#));
                }
            }
            Step::Ping(client) => {
                let Some(expected) = model.get_mut(client).filter(|expected| expected.is_open)
                else {
                    continue;
                };
                world.say(u32::try_from(client).unwrap(), r#"{"type":"ping"}"#);
                expected.frames.push(r#"{"type":"pong"}"#.into());
            }
            Step::Deliver => world.deliver(),
        }
        look(&world, &model);
    }
    world.deliver();
    for (number, expected) in (0..).zip(&model) {
        let told = &world.clients[&number].told;
        if expected.is_open {
            assert_eq!(*told, expected.frames, "client {number}");
        } else {
            // It may have missed the last, but got nothing else, but for a last word.
            let told: Vec<_> = told
                .iter()
                .filter(|frame| !frame.contains("Unauthorized"))
                .collect();
            assert!(
                expected
                    .frames
                    .iter()
                    .take(told.len())
                    .eq(told.iter().copied()),
                "client {number}: {told:?}"
            );
        }
    }
}

/// Presence is right at every moment.
fn look(world: &World, model: &[Expected]) {
    for (workspace, id) in IDS.iter().enumerate() {
        let there = |user: usize| {
            model
                .iter()
                .any(|expected| expected.place == Some((workspace, user)))
        };
        let mut users: Vec<_> = (0..IDS.len())
            .filter(|user| there(*user))
            .map(|user| IDS[user])
            .collect();
        users.sort_unstable();
        let listed: serde_json::Value = serde_json::from_str(&world.users(id)).unwrap();
        let listed: Vec<_> = listed["users"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().map_or(id.to_string(), Into::into))
            .collect();
        assert_eq!(listed, users, "workspace {id}");
    }
    let open = model.iter().filter(|expected| expected.is_open).count();
    assert_eq!(world.shared.exchange.totals().connections, open);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn everybody_gets_what_is_theirs_and_nothing_else(steps in prop::collection::vec(step(), 1..60)) {
        play(&steps);
    }
}
