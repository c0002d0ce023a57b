//! A model test: after random connects, authentications and disconnects, each client has received
//! exactly its own messages.

use proptest::prelude::*;
use serde_json::json;

use super::{WorkspaceWorld, member_token};

/// Few ids, so that clients share them. Workspaces and users have the same ids.
const IDS: [&str; 3] = ["1", "2", "507f1f77bcf86cd799439011"];

#[derive(Debug, Clone)]
enum WorkspaceStep {
    Connect,
    /// An `auth` frame, with flags for a token of that user and of a member of that workspace.
    Auth {
        client: usize,
        workspace: usize,
        user: usize,
        as_number: bool,
        is_user: bool,
        is_member: bool,
    },
    Disconnect(usize),
    BroadcastToWorkspace(usize),
    MessageToUser(usize),
    Ping(usize),
    /// A delayed delivery of the shard's queue.
    Deliver,
}

fn step() -> impl Strategy<Value = WorkspaceStep> {
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
        3 => Just(WorkspaceStep::Connect),
        5 => auth.prop_map(|(client, workspace, user, as_number, is_user, is_member)| {
            WorkspaceStep::Auth { client, workspace, user, as_number, is_user, is_member }
        }),
        1 => (0usize..8).prop_map(WorkspaceStep::Disconnect),
        4 => id.clone().prop_map(WorkspaceStep::BroadcastToWorkspace),
        3 => id.prop_map(WorkspaceStep::MessageToUser),
        1 => (0usize..8).prop_map(WorkspaceStep::Ping),
        3 => Just(WorkspaceStep::Deliver),
    ]
}

#[derive(Default)]
struct ExpectedClient {
    is_open: bool,
    /// The indexes of the current workspace and user.
    membership: Option<(usize, usize)>,
    frames: Vec<String>,
}

/// The tested world, and the state that each of its clients must have.
struct ModelRun {
    world: WorkspaceWorld,
    clients: Vec<ExpectedClient>,
}

fn run_steps(steps: &[WorkspaceStep]) {
    let mut run = ModelRun {
        world: WorkspaceWorld::new(),
        clients: Vec::new(),
    };
    for (number, step) in steps.iter().enumerate() {
        run.apply(number, step);
        check_presence(&run.world, &run.clients);
    }
    run.world.deliver();
    run.check_received();
}

impl ModelRun {
    fn apply(&mut self, number: usize, step: &WorkspaceStep) {
        match *step {
            WorkspaceStep::Connect => {
                self.world.connect("").unwrap();
                self.clients.push(ExpectedClient {
                    is_open: true,
                    ..ExpectedClient::default()
                });
            }
            WorkspaceStep::Auth { .. } => self.auth(step),
            WorkspaceStep::Disconnect(client) => {
                let Some(expected) = open_client(&mut self.clients, client) else {
                    return;
                };
                expected.end();
                self.world.disconnect(u32::try_from(client).unwrap());
            }
            WorkspaceStep::BroadcastToWorkspace(id) => {
                self.world.post(
                    &format!("/api/workspaces/{}/broadcast", IDS[id]),
                    &format!(r#"{{"message":{number}}}"#),
                );
                let frame = format!(r#"{{"type":"broadcast","message":{number}}}"#);
                self.expect_frame(&frame, |workspace, _| workspace == id);
            }
            WorkspaceStep::MessageToUser(id) => {
                self.world.post(
                    &format!("/api/users/{}/message", IDS[id]),
                    &format!(r#"{{"message":{number}}}"#),
                );
                let frame = format!(r#"{{"type":"direct_message","message":{number}}}"#);
                self.expect_frame(&frame, |_, user| user == id);
            }
            WorkspaceStep::Ping(client) => {
                let Some(expected) = open_client(&mut self.clients, client) else {
                    return;
                };
                expected.frames.push(r#"{"type":"pong"}"#.into());
                self.world
                    .send(u32::try_from(client).unwrap(), r#"{"type":"ping"}"#);
            }
            WorkspaceStep::Deliver => self.world.deliver(),
        }
    }

    fn auth(&mut self, step: &WorkspaceStep) {
        let WorkspaceStep::Auth {
            client,
            workspace,
            user,
            as_number,
            is_user,
            is_member,
        } = *step
        else {
            return;
        };
        let Some(expected) = open_client(&mut self.clients, client) else {
            return;
        };
        let holder = if is_user { IDS[user] } else { "somebody else" };
        let granted = if is_member {
            IDS[workspace]
        } else {
            "elsewhere"
        };
        let id = |id: &str| match id.parse::<u64>() {
            Ok(number) if as_number => json!(number),
            _ => json!(id),
        };
        self.world.auth(
            u32::try_from(client).unwrap(),
            &id(IDS[workspace]),
            &id(IDS[user]),
            Some(member_token(holder, &[granted])),
        );
        if is_user && is_member {
            expected.membership = Some((workspace, user));
            expected.frames.push(r#"{"type":"auth_success"}"#.into());
        } else {
            expected.end();
        }
    }

    /// Expects a frame at every client whose workspace and user match.
    fn expect_frame(&mut self, frame: &str, matches: impl Fn(usize, usize) -> bool) {
        for expected in &mut self.clients {
            if expected
                .membership
                .is_some_and(|(workspace, user)| matches(workspace, user))
            {
                expected.frames.push(frame.to_owned());
            }
        }
    }

    fn check_received(&self) {
        for (number, expected) in (0..).zip(&self.clients) {
            let received = &self.world.clients[&number].received;
            if expected.is_open {
                assert_eq!(*received, expected.frames, "client {number}");
            } else {
                // A closed client may have missed the last frames. Besides those expected it
                // received nothing but the final error.
                let received: Vec<_> = received
                    .iter()
                    .filter(|frame| !frame.contains("Unauthorized"))
                    .collect();
                let expected = expected.frames.iter().take(received.len());
                assert!(
                    expected.eq(received.iter().copied()),
                    "client {number}: {received:?}"
                );
            }
        }
    }
}

impl ExpectedClient {
    fn end(&mut self) {
        self.is_open = false;
        self.membership = None;
    }
}

fn open_client(clients: &mut [ExpectedClient], client: usize) -> Option<&mut ExpectedClient> {
    clients.get_mut(client).filter(|expected| expected.is_open)
}

/// Checks that the presence lists equal the model after every step.
fn check_presence(world: &WorkspaceWorld, model: &[ExpectedClient]) {
    for (workspace, id) in IDS.iter().enumerate() {
        let is_present = |user: usize| {
            model
                .iter()
                .any(|expected| expected.membership == Some((workspace, user)))
        };
        let mut users: Vec<_> = (0..IDS.len())
            .filter(|user| is_present(*user))
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
    assert_eq!(world.shared.event_bus.totals().connections, open);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn clients_receive_exactly_their_own_messages(steps in prop::collection::vec(step(), 1..60)) {
        run_steps(&steps);
    }
}
