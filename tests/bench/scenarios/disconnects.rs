//! Ten thousand clients connect at once and disconnect at once: the effect on the remaining
//! clients.

use std::time::Duration;

use crate::beat::Beat;
use crate::campaign::{Bench, Scenario, Subject};
use crate::contender::{Contender, Running};
use crate::database::others::Others;
use crate::database::quantile::Times;
use crate::load::{Counted, Group, Load, Opened, Order, Plan};
use crate::report::{Bound, Goal};
use crate::server::{self, Settings};
use crate::store::{Database, Durability, Store};
use crate::writer;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "disconnects",
    about: "2,000 viewers of 200 topics that change 5 times a second, while 10,000 others come and vanish at once",
    run,
};

const VIEWERS: usize = 2_000;
const TOPICS: usize = 200;
const CROWD: usize = 10_000;
/// The topics of the group; those of the viewers come before.
const THEIRS: usize = 500;
/// The groups per measurement.
const STORMS: usize = 4;
/// The time in seconds in which the viewers are counted: alone, and again from shortly before the
/// group disconnects.
const WINDOW: f64 = 0.8;
const BEFORE: Duration = Duration::from_millis(100);
/// The concurrent handshakes of the group.
const RUSH: usize = 1_000;

const ALONE: &str = "others' delay p99, alone";
const GOING: &str = "others' delay p99, they go";
const COMING: &str = "others' delay p99, they come";
/// The share of the database and its writer in these delays, independent of Latido.
const WRITTEN_ALONE: &str = "others' statement alone, p99, alone";
const WRITTEN_GOING: &str = "others' statement alone, p99, they go";

/// The way in which the group disconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Resets each connection without a close frame.
    Reset,
    /// Sends a close frame on each connection.
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Hub(Way),
    Binary,
}

impl Subject for Case {
    fn name(&self) -> String {
        match self {
            Self::Hub(Way::Reset) => "latido (hub), resets".into(),
            Self::Hub(Way::Close) => "latido (hub), closes".into(),
            Self::Binary => "latido, both".into(),
        }
    }
}

fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let store = Store::start(Durability::Memory, None)?;
    let database = store.database(bench.runtime(), "disconnects", TOPICS + THEIRS, 20)?;
    server::install(&Settings::new(&database))?;
    let cases = [Case::Hub(Way::Reset), Case::Hub(Way::Close), Case::Binary];
    bench.interleave(&cases, |bench, case| match case {
        Case::Hub(way) => stamped(bench, case, *way),
        Case::Binary => committed(bench, case, &database),
    })?;
    for case in cases {
        let (name, alone) = (case.name(), Bound::AtMost(2.0));
        bench.goal(Goal::between(&name, GOING, (&name, ALONE), alone));
        bench.goal(Goal::between(&name, COMING, (&name, ALONE), Bound::Shown));
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
fn stamped(bench: &mut Bench, case: &Case, way: Way) -> anyhow::Result<()> {
    let name = case.name();
    let mut running = Contender::Hub { shards: 1 }.start(None, &[Beat::new(TOPICS, 5.0)])?;
    let (mut viewers, _) =
        Load::open(&running.plan(vec![Group::new(bench.count(VIEWERS), TOPICS)]))?;
    running.publish()?;
    viewers.rest(0.5)?;
    for _ in 0..STORMS {
        let count = Order::Count {
            warmup: 0.0,
            seconds: WINDOW,
            patient: false,
        };
        viewers.tell(count)?;
        let (crowd, size) = gather(bench, &running, way)?;
        let coming: Counted = viewers.finished()?;
        viewers.rest(0.2)?;
        let alone = viewers.count(0.0, WINDOW)?;
        viewers.tell(count)?;
        std::thread::sleep(BEFORE);
        go(crowd)?;
        let going: Counted = viewers.finished()?;
        for (measure, longest, counted) in [
            (ALONE, "longest, alone", &alone),
            (GOING, "longest, they go", &going),
            (COMING, "longest, they come", &coming),
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
fn committed(bench: &mut Bench, case: &Case, database: &Database) -> anyhow::Result<()> {
    let name = case.name();
    let running = Contender::Latido.start(Some(database), &[])?;
    let others = Others::watching(database, running.port(), 0..20, writer::toggle);
    let mut others = bench.runtime().block_on(others)?;
    let (mut alone, mut going, mut coming) = (Times::default(), Times::default(), Times::default());
    let (mut written_alone, mut written_going) = (Times::default(), Times::default());
    for way in [Way::Reset, Way::Close] {
        let (crowd, times) = std::thread::scope(|scope| {
            let gathering = scope.spawn(|| gather(bench, &running, way));
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
                std::thread::sleep(BEFORE);
                go(crowd)
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
        (GOING, "longest, they go", going),
        (COMING, "longest, they come", coming),
    ] {
        bench.sample(&name, measure, "ms", times.quantile(0.99) / 1e3);
        bench.sample(&name, longest, "ms", times.quantile(1.0) / 1e3);
    }
    for (measure, times) in [
        (WRITTEN_ALONE, written_alone),
        (WRITTEN_GOING, written_going),
    ] {
        bench.sample(&name, measure, "ms", times.quantile(0.99) / 1e3);
    }
    Ok(())
}

/// Connects and subscribes the group as fast as possible.
fn gather(bench: &Bench, running: &Running, way: Way) -> anyhow::Result<(Load, usize)> {
    let size = bench.count(CROWD);
    let plan = running.plan(vec![Group::new(size, THEIRS).from(TOPICS)]);
    let (crowd, _) = Load::open(&Plan {
        resets: way == Way::Reset,
        window: RUSH,
        recedes: true,
        ..plan
    })?;
    Ok((crowd, size))
}

/// Disconnects the whole group.
fn go(mut crowd: Load) -> anyhow::Result<()> {
    crowd.tell(Order::Close)?;
    let left: Opened = crowd.finished()?;
    anyhow::ensure!(left.open == 0, "{} connections were never ended", left.open);
    crowd.kill();
    Ok(())
}
