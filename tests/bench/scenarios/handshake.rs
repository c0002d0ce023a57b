//! The cost of an accepted connection, and the number of connections per second.

use crate::load::{ConnectionGroup, LoadPlan, LoadProcess};
use crate::peers;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, MeasuredSubject as _, Scenario};
use crate::subject::BenchSubject;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "handshake",
    about: "10,000 connects with an HS256 token each, 128 at a time; with and without a subscription",
    run,
};

const CPU: &str = "server CPU a connect";
const RATE: &str = "connects a second of one core";
const CONNECTIONS: usize = 10_000;

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let plain = BenchSubject::Floor { verifies: false };
    let verifying = BenchSubject::Floor { verifies: true };
    let (hub, uws) = (
        BenchSubject::Hub { shards: 1 },
        BenchSubject::Peer(peers::UWEBSOCKETS),
    );
    let ways = [
        (plain, false),
        (verifying, false),
        (hub, false),
        (hub, true),
        (uws, false),
    ];
    let names: Vec<String> = ways
        .iter()
        .map(|(contender, subscribes)| name(contender, *subscribes))
        .collect();
    let subjects: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.interleave(&subjects, |bench, subject| {
        let way = names
            .iter()
            .position(|name| name == subject)
            .map(|index| ways[index]);
        way.map_or(Ok(()), |(contender, subscribes)| {
            measure(bench, &contender, subscribes, subject)
        })
    })?;
    bench.goal(Goal::value("latido (hub)", CPU, GoalBound::AtMost(20.0)));
    bench.goal(Goal::value(
        "latido (hub)",
        RATE,
        GoalBound::AtLeast(40_000.0),
    ));
    bench.goal(Goal::ratio(
        "latido (hub)",
        CPU,
        "floor with HS256",
        GoalBound::Unlimited,
    ));
    bench.note("connects a second of one core: 1 s of server CPU ÷ CPU a connect; the clients' core does not limit it");
    bench.note("subscribed: the subscription, its answer and the snapshot are in the CPU");
    Ok(())
}

fn name(contender: &BenchSubject, subscribes: bool) -> String {
    let name = contender.name();
    if subscribes {
        format!("{name}, subscribed")
    } else {
        name
    }
}

fn measure(
    bench: &mut BenchContext,
    contender: &BenchSubject,
    subscribes: bool,
    name: &str,
) -> anyhow::Result<()> {
    let connections = bench.count(CONNECTIONS);
    let running = contender.start(None, &[crate::pacer::PublishSchedule::new(1, 1.0)])?;
    let plan = running.plan(vec![ConnectionGroup::new(connections, 1)]);
    let plan = if subscribes {
        plan
    } else {
        LoadPlan {
            subscribe: None,
            await_snapshot: false,
            ..plan
        }
    };
    let (_load, opened) = LoadProcess::open(&plan)?;
    bench.sample(name, CPU, "µs", opened.cpu_us());
    bench.sample(name, RATE, "a second", 1e6 / opened.cpu_us());
    bench.sample(
        name,
        "connects a second as seen",
        "a second",
        opened.open as f64 / opened.seconds,
    );
    Ok(())
}
