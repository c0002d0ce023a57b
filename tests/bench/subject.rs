//! The measured subjects: the floor, Latido, Latido without its database, and peers. Each is
//! started and fed in its own way.

use crate::cluster::BenchDatabase;
use crate::load::{ConnectionGroup, LoadPlan};
use crate::pacer::PublishSchedule;
use crate::peers::{self, PeerServer};
use crate::process::BenchProcess;
use crate::runner::MeasuredSubject;
use crate::server::{LatidoServer, LatidoSettings};
use crate::writer::ScheduledWriter;
use crate::{floor, hub, machine, web};

/// A measured subject; see the module documentation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BenchSubject {
    /// The minimal code, with or without token verification.
    Floor { verifies: bool },
    /// The real server, which publishes after commits.
    Latido,
    /// Latido's library, with generated rows published directly to the hub.
    Hub { shards: usize },
    /// Another server for comparison.
    Peer(PeerServer),
}

impl MeasuredSubject for BenchSubject {
    fn name(&self) -> String {
        match self {
            Self::Floor { verifies: false } => "floor".into(),
            Self::Floor { verifies: true } => "floor with HS256".into(),
            Self::Latido => "latido".into(),
            Self::Hub { shards: 1 } => "latido (hub)".into(),
            Self::Hub { shards } => format!("latido (hub, {shards} shards)"),
            Self::Peer(peer) => peer.name.into(),
        }
    }
}

/// A running subject, which ends when dropped.
#[derive(Debug)]
pub(crate) struct RunningSubject {
    kind: BenchSubject,
    port: u16,
    beats: Vec<PublishSchedule>,
    database: Option<BenchDatabase>,
    // Declared before the server, so the writer is dropped first and never writes to a stopping
    // server.
    writer: Option<ScheduledWriter>,
    inner: SubjectProcess,
}

#[derive(Debug)]
enum SubjectProcess {
    Own(BenchProcess),
    Latido(LatidoServer),
    Peer(peers::RunningPeer),
}

impl BenchSubject {
    /// Starts the subject. Only the real server uses `database`. It publishes after
    /// [`RunningSubject::publish`].
    pub(crate) fn start(
        self,
        database: Option<&BenchDatabase>,
        beats: &[PublishSchedule],
    ) -> anyhow::Result<RunningSubject> {
        self.start_on(Some(machine::SERVER_CORE), database, beats)
    }

    /// Starts the subject without pinning it to a core.
    pub(crate) fn start_unpinned(
        self,
        beats: &[PublishSchedule],
    ) -> anyhow::Result<RunningSubject> {
        self.start_on(None, None, beats)
    }

    fn start_on(
        self,
        core: Option<usize>,
        database: Option<&BenchDatabase>,
        beats: &[PublishSchedule],
    ) -> anyhow::Result<RunningSubject> {
        let (port, owned) = (web::free_port()?, beats.to_vec());
        let inner = match self {
            Self::Floor { verifies } => SubjectProcess::Own(floor::start(
                &floor::FloorPlan {
                    port,
                    beats: owned,
                    verifies,
                },
                core,
            )?),
            Self::Hub { shards } => SubjectProcess::Own(hub::start(
                &hub::HubPlan {
                    port,
                    shards,
                    beats: owned,
                },
                core,
            )?),
            Self::Latido => {
                let database = database.ok_or_else(|| anyhow::anyhow!("no database"))?;
                SubjectProcess::Latido(LatidoServer::start_installed(&LatidoSettings {
                    core,
                    port: Some(port),
                    ..LatidoSettings::new(database)
                })?)
            }
            Self::Peer(peer) => {
                let beat = beats
                    .first()
                    .copied()
                    .ok_or_else(|| anyhow::anyhow!("nothing to publish"))?;
                SubjectProcess::Peer(peer.start(port, beat)?)
            }
        };
        Ok(RunningSubject {
            kind: self,
            port,
            beats: beats.to_vec(),
            database: database.cloned(),
            writer: None,
            inner,
        })
    }
}

impl RunningSubject {
    /// Returns the process of the subject.
    pub(crate) fn process(&self) -> &BenchProcess {
        match &self.inner {
            SubjectProcess::Own(process) => process,
            SubjectProcess::Latido(latido) => &latido.process,
            SubjectProcess::Peer(peer) => &peer.process,
        }
    }

    /// Returns the port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the connection plan of the clients. They authenticate and subscribe, as far as the
    /// subject supports it.
    pub(crate) fn plan(&self, groups: Vec<ConnectionGroup>) -> LoadPlan {
        let pid = self.process().pid();
        match (&self.kind, &self.inner) {
            (BenchSubject::Floor { verifies: true }, _) => LoadPlan {
                path: "/ws/{ch}?token={token}".into(),
                ..LoadPlan::for_plain_server(self.port, pid, groups)
            },
            (BenchSubject::Peer(peer), SubjectProcess::Peer(running)) => {
                peer.plan(running, self.port, groups)
            }
            (BenchSubject::Latido | BenchSubject::Hub { .. }, _) => {
                LoadPlan::for_latido(self.port, pid, groups)
            }
            _ => LoadPlan::for_plain_server(self.port, pid, groups),
        }
    }

    /// Starts the publication of changes.
    pub(crate) fn publish(&mut self) -> anyhow::Result<()> {
        match (&mut self.inner, &self.database) {
            (SubjectProcess::Own(process), _) => process.send_line("go")?,
            (SubjectProcess::Peer(peer), _) => peer.publish()?,
            (SubjectProcess::Latido(_), Some(database)) => {
                self.writer = Some(ScheduledWriter::start(database, &self.beats)?)
            }
            (SubjectProcess::Latido(_), None) => {}
        }
        Ok(())
    }
}
