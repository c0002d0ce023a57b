//! All clients reconnect at once after a restart.

use crate::cluster::{BenchCluster, Durability};
use crate::load::{ConnectionGroup, LoadCommand, LoadPlan, LoadProcess, Opened};
use crate::pacer::PublishSchedule;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};
use crate::server::{LatidoServer, LatidoSettings};
use crate::{floor, machine, web};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "storm",
    about: "10,000 clients of 500 businesses reconnect at once after the server was killed",
    run,
};

const CLIENTS: usize = 10_000;
const BUSINESSES: usize = 500;
const TIME: &str = "until all are back";
const READS: &str = "keys read";

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, None)?;
    let database = store.database(bench.runtime(), "storm", BUSINESSES, 20)?;
    bench.interleave(&["floor with HS256", "latido"], |bench, subject| {
        let clients = bench.count(CLIENTS);
        let port = web::free_port()?;
        if *subject == "latido" {
            let settings = LatidoSettings {
                port: Some(port),
                variables: &[("SWEEP_SECONDS", "3600")],
                ..LatidoSettings::new(&database)
            };
            return storm_latido(bench, &settings, clients, port);
        }
        let plan = floor::FloorPlan {
            port,
            beats: vec![PublishSchedule::new(BUSINESSES, 1.0)],
            verifies: true,
        };
        let start = || floor::start(&plan, Some(machine::SERVER_CORE));
        let mut process = start()?;
        let groups = vec![ConnectionGroup::new(clients, BUSINESSES)];
        let path = "/ws/{ch}?token={token}".to_owned();
        let (mut load, _) = LoadProcess::open(&LoadPlan {
            path,
            ..LoadPlan::for_plain_server(port, process.pid(), groups)
        })?;
        load.send(LoadCommand::Storm)?;
        process.kill();
        let process = start()?;
        let back: Opened = load.finished()?;
        bench.sample(subject, TIME, "ms", back.seconds * 1e3);
        bench.sample(
            subject,
            "server CPU a client",
            "µs",
            process.cpu_ns() as f64 / 1e3 / clients as f64,
        );
        bench.sample(subject, "lost", "clients", back.lost as f64);
        Ok(())
    })?;
    bench.goal(Goal::value("latido", READS, GoalBound::AtMost(500.0)));
    bench.goal(Goal::value("latido", "lost", GoalBound::AtMost(0.0)));
    bench.goal(Goal::ratio(
        "latido",
        TIME,
        "floor with HS256",
        GoalBound::Unlimited,
    ));
    bench.note("from the first accepted connection to the last snapshot; the floor gives no snapshot, its clients are back with their 101");
    bench.note("the clients' process signs 10,000 tokens and opens 10,000 sockets meanwhile: that is in both times");
    Ok(())
}

fn storm_latido(
    bench: &mut BenchContext,
    settings: &LatidoSettings,
    clients: usize,
    port: u16,
) -> anyhow::Result<()> {
    let mut latido = LatidoServer::start(settings)?;
    let (mut load, _) = LoadProcess::open(&LoadPlan::for_latido(
        port,
        latido.process.pid(),
        vec![ConnectionGroup::new(clients, BUSINESSES)],
    ))?;
    load.send(LoadCommand::Storm)?;
    latido.process.kill();
    let latido = LatidoServer::start_installed(settings)?;
    let back: Opened = load.finished()?;
    bench.sample("latido", TIME, "ms", back.seconds * 1e3);
    bench.sample(
        "latido",
        "server CPU a client",
        "µs",
        latido.process.cpu_ns() as f64 / 1e3 / clients as f64,
    );
    bench.sample("latido", "lost", "clients", back.lost as f64);
    bench.sample(
        "latido",
        READS,
        "keys",
        latido.metric("latido_reads_total")?,
    );
    bench.sample(
        "latido",
        "statements",
        "statements",
        latido.metric("latido_read_seconds_count")?,
    );
    Ok(())
}
