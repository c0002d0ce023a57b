//! Ten thousand clients connect at once and disconnect at once: the effect on the remaining
//! clients.

use std::time::Duration;

use crate::cluster::{BenchCluster, BenchDatabase, Durability};
use crate::database::durations::Durations;
use crate::database::quiet_keys::QuietKeys;
use crate::load::{ConnectionGroup, Counted, LoadCommand, LoadPlan, LoadProcess, Opened};
use crate::pacer::PublishSchedule;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, MeasuredSubject, Scenario};
use crate::server::{self, LatidoSettings};
use crate::subject::{BenchSubject, RunningSubject};
use crate::writer;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "disconnects",
    about: "2,000 viewers of 200 topics that change 5 times a second, while 10,000 others come and vanish at once",
    run,
};

const VIEWERS: usize = 2_000;
const TOPICS: usize = 200;
const GROUP_SIZE: usize = 10_000;
/// The topics of the group; those of the viewers come before.
const GROUP_TOPICS: usize = 500;
/// The groups per measurement.
const GROUPS: usize = 4;
/// The time in seconds in which the viewers are counted: alone, and again from shortly before the
/// group disconnects.
const WINDOW: f64 = 0.8;
const LEAD_TIME: Duration = Duration::from_millis(100);
/// The concurrent handshakes of the group.
const CONCURRENT_HANDSHAKES: usize = 1_000;

const ALONE: &str = "others' delay p99, alone";
const DISCONNECTING: &str = "others' delay p99, they go";
const CONNECTING: &str = "others' delay p99, they come";
/// The share of the database and its writer in these delays, independent of Latido.
const WRITTEN_ALONE: &str = "others' statement alone, p99, alone";
const WRITTEN_DISCONNECTING: &str = "others' statement alone, p99, they go";

/// The way in which the group disconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DisconnectKind {
    /// Resets each connection without a close frame.
    Reset,
    /// Sends a close frame on each connection.
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DisconnectCase {
    Hub(DisconnectKind),
    Binary,
}

impl MeasuredSubject for DisconnectCase {
    fn name(&self) -> String {
        match self {
            Self::Hub(DisconnectKind::Reset) => "latido (hub), resets".into(),
            Self::Hub(DisconnectKind::Close) => "latido (hub), closes".into(),
            Self::Binary => "latido, both".into(),
        }
    }
}

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, None)?;
    let database = store.database(bench.runtime(), "disconnects", TOPICS + GROUP_TOPICS, 20)?;
    server::install(&LatidoSettings::new(&database))?;
    let cases = [
        DisconnectCase::Hub(DisconnectKind::Reset),
        DisconnectCase::Hub(DisconnectKind::Close),
        DisconnectCase::Binary,
    ];
    bench.interleave(&cases, |bench, case| match case {
        DisconnectCase::Hub(way) => measure_stamped(bench, case, *way),
        DisconnectCase::Binary => measure_committed(bench, case, &database),
    })?;
    for case in cases {
        let (name, alone) = (case.name(), GoalBound::AtMost(2.0));
        bench.goal(Goal::between(&name, DISCONNECTING, (&name, ALONE), alone));
        bench.goal(Goal::between(
            &name,
            CONNECTING,
            (&name, ALONE),
            GoalBound::Unlimited,
        ));
    }
    bench.note(
        "alone: the crowd is connected and quiet; each window is 0.8 s, and the crowd goes 0.1 s after its begin; \
         the crowd's process lets all others go before it (nice 19, and a breath after every 32nd client), for it stands for machines \
         elsewhere",
    );
    bench.note("hub: from the stamp to the arrival; latido: from the statement to the frame, one commit after the other");
    Ok(())
}

/// Measures with time stamps in the frames.
fn measure_stamped(
    bench: &mut BenchContext,
    case: &DisconnectCase,
    way: DisconnectKind,
) -> anyhow::Result<()> {
    let name = case.name();
    let mut running =
        BenchSubject::Hub { shards: 1 }.start(None, &[PublishSchedule::new(TOPICS, 5.0)])?;
    let (mut viewers, _) =
        LoadProcess::open(&running.plan(vec![ConnectionGroup::new(bench.count(VIEWERS), TOPICS)]))?;
    running.publish()?;
    viewers.rest(0.5)?;
    for _ in 0..GROUPS {
        let count = LoadCommand::Count {
            warmup: 0.0,
            seconds: WINDOW,
            patient: false,
        };
        viewers.send(count)?;
        let (crowd, size) = connect_group(bench, &running, way)?;
        let coming: Counted = viewers.finished()?;
        viewers.rest(0.2)?;
        let alone = viewers.count(0.0, WINDOW)?;
        viewers.send(count)?;
        std::thread::sleep(LEAD_TIME);
        disconnect_group(crowd)?;
        let going: Counted = viewers.finished()?;
        for (measure, longest, counted) in [
            (ALONE, "longest, alone", &alone),
            (DISCONNECTING, "longest, they go", &going),
            (CONNECTING, "longest, they come", &coming),
        ] {
            let Some(group) = counted.groups.first() else {
                continue;
            };
            bench.sample(&name, measure, "ms", group.delay_ms.p99);
            bench.sample(&name, longest, "ms", group.delay_ms.most);
        }
        let spent = going.server_cpu_ns.saturating_sub(alone.server_cpu_ns);
        bench.sample(
            &name,
            "server CPU for each that goes",
            "µs",
            spent as f64 / 1e3 / size as f64,
        );
        bench.sample(
            &name,
            "frames, going ÷ alone",
            "",
            going.frames as f64 / alone.frames.max(1) as f64,
        );
    }
    Ok(())
}

/// Measures with commits, on a complete server.
fn measure_committed(
    bench: &mut BenchContext,
    case: &DisconnectCase,
    database: &BenchDatabase,
) -> anyhow::Result<()> {
    let name = case.name();
    let running = BenchSubject::Latido.start(Some(database), &[])?;
    let others = QuietKeys::connect(database, running.port(), 0..20, writer::toggle_sql);
    let mut others = bench.runtime().block_on(others)?;
    let (mut alone, mut going, mut coming) = (
        Durations::default(),
        Durations::default(),
        Durations::default(),
    );
    let (mut written_alone, mut written_going) = (Durations::default(), Durations::default());
    for way in [DisconnectKind::Reset, DisconnectKind::Close] {
        let (crowd, times) = std::thread::scope(|scope| {
            let gathering = scope.spawn(|| connect_group(bench, &running, way));
            let times = bench.runtime().block_on(others.measure(WINDOW));
            (gathering.join(), times)
        });
        coming.append(times?);
        let (crowd, _) = crowd.map_err(|_| anyhow::anyhow!("gathering the crowd panicked"))??;
        others.statements();
        alone.append(bench.runtime().block_on(others.measure(WINDOW))?);
        written_alone.append(others.statements());
        let (gone, times) = std::thread::scope(|scope| {
            let gone = scope.spawn(|| {
                std::thread::sleep(LEAD_TIME);
                disconnect_group(crowd)
            });
            let times = bench.runtime().block_on(others.measure(WINDOW));
            (gone.join(), times)
        });
        going.append(times?);
        written_going.append(others.statements());
        gone.map_err(|_| anyhow::anyhow!("sending the crowd away panicked"))??;
    }
    for (measure, longest, times) in [
        (ALONE, "longest, alone", alone),
        (DISCONNECTING, "longest, they go", going),
        (CONNECTING, "longest, they come", coming),
    ] {
        bench.sample(&name, measure, "ms", times.quantile(0.99) / 1e3);
        bench.sample(&name, longest, "ms", times.quantile(1.0) / 1e3);
    }
    for (measure, times) in [
        (WRITTEN_ALONE, written_alone),
        (WRITTEN_DISCONNECTING, written_going),
    ] {
        bench.sample(&name, measure, "ms", times.quantile(0.99) / 1e3);
    }
    Ok(())
}

/// Connects and subscribes the group as fast as possible.
fn connect_group(
    bench: &BenchContext,
    running: &RunningSubject,
    way: DisconnectKind,
) -> anyhow::Result<(LoadProcess, usize)> {
    let size = bench.count(GROUP_SIZE);
    let plan = running.plan(vec![
        ConnectionGroup::new(size, GROUP_TOPICS).starting_at(TOPICS),
    ]);
    let (crowd, _) = LoadProcess::open(&LoadPlan {
        resets: way == DisconnectKind::Reset,
        window: CONCURRENT_HANDSHAKES,
        recedes: true,
        ..plan
    })?;
    Ok((crowd, size))
}

/// Disconnects the whole group.
fn disconnect_group(mut crowd: LoadProcess) -> anyhow::Result<()> {
    crowd.send(LoadCommand::Close)?;
    let left: Opened = crowd.finished()?;
    anyhow::ensure!(left.open == 0, "{} connections were never ended", left.open);
    crowd.kill();
    Ok(())
}
