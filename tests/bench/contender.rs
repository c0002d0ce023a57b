//! The measured subjects: the floor, Latido, Latido without its database, and peers. Each is
//! started and fed in its own way.

use crate::beat::Beat;
use crate::campaign::Subject;
use crate::load::{Group, Plan};
use crate::peers::{self, Peer};
use crate::process::Process;
use crate::server::{Latido, Settings};
use crate::store::Database;
use crate::writer::Writer;
use crate::{floor, hub, machine, web};

/// A measured subject; see the module documentation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Contender {
    /// The minimal code, with or without token verification.
    Floor { verifies: bool },
    /// The real server, which publishes after commits.
    Latido,
    /// Latido's library, with generated rows published directly to the hub.
    Hub { shards: usize },
    /// Another server for comparison.
    Peer(Peer),
}

impl Subject for Contender {
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
pub(crate) struct Running {
    kind: Contender,
    port: u16,
    beats: Vec<Beat>,
    database: Option<Database>,
    // Declared before the server, so the writer is dropped first and never writes to a stopping
    // server.
    writer: Option<Writer>,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Own(Process),
    Latido(Latido),
    Peer(peers::Running),
}

impl Contender {
    /// Starts the subject. Only the real server uses `database`. It publishes after
    /// [`RunningSubject::publish`].
    pub(crate) fn start(
        self,
        database: Option<&Database>,
        beats: &[Beat],
    ) -> anyhow::Result<Running> {
        self.start_on(Some(machine::SERVER_CORE), database, beats)
    }

    /// Starts the subject without pinning it to a core.
    pub(crate) fn start_anywhere(self, beats: &[Beat]) -> anyhow::Result<Running> {
        self.start_on(None, None, beats)
    }

    fn start_on(
        self,
        core: Option<usize>,
        database: Option<&Database>,
        beats: &[Beat],
    ) -> anyhow::Result<Running> {
        let (port, owned) = (web::free_port()?, beats.to_vec());
        let inner = match self {
            Self::Floor { verifies } => Inner::Own(floor::start(
                &floor::Plan {
                    port,
                    beats: owned,
                    verifies,
                },
                core,
            )?),
            Self::Hub { shards } => Inner::Own(hub::start(
                &hub::Plan {
                    port,
                    shards,
                    beats: owned,
                },
                core,
            )?),
            Self::Latido => {
                let database = database.ok_or_else(|| anyhow::anyhow!("no database"))?;
                Inner::Latido(Latido::start_installed(&Settings {
                    core,
                    port: Some(port),
                    ..Settings::new(database)
                })?)
            }
            Self::Peer(peer) => {
                let beat = beats
                    .first()
                    .copied()
                    .ok_or_else(|| anyhow::anyhow!("nothing to publish"))?;
                Inner::Peer(peer.start(port, beat)?)
            }
        };
        Ok(Running {
            kind: self,
            port,
            beats: beats.to_vec(),
            database: database.cloned(),
            writer: None,
            inner,
        })
    }
}

impl Running {
    /// Returns the process of the subject.
    pub(crate) fn process(&self) -> &Process {
        match &self.inner {
            Inner::Own(process) => process,
            Inner::Latido(latido) => &latido.process,
            Inner::Peer(peer) => &peer.process,
        }
    }

    /// Returns the port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the connection plan of the clients. They authenticate and subscribe, as far as the
    /// subject supports it.
    pub(crate) fn plan(&self, groups: Vec<Group>) -> Plan {
        let pid = self.process().pid();
        match (&self.kind, &self.inner) {
            (Contender::Floor { verifies: true }, _) => Plan {
                path: "/ws/{ch}?token={token}".into(),
                ..Plan::plain(self.port, pid, groups)
            },
            (Contender::Peer(peer), Inner::Peer(running)) => peer.plan(running, self.port, groups),
            (Contender::Latido | Contender::Hub { .. }, _) => Plan::latido(self.port, pid, groups),
            _ => Plan::plain(self.port, pid, groups),
        }
    }

    /// Starts the publication of changes.
    pub(crate) fn publish(&mut self) -> anyhow::Result<()> {
        match (&mut self.inner, &self.database) {
            (Inner::Own(process), _) => process.tell("go")?,
            (Inner::Peer(peer), _) => peer.publish()?,
            (Inner::Latido(_), Some(database)) => {
                self.writer = Some(Writer::start(database, &self.beats)?)
            }
            (Inner::Latido(_), None) => {}
        }
        Ok(())
    }
}
