//! Every way in which a private PostgreSQL can fail to run, each with a text that says what to do next.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why the private PostgreSQL does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// Neither the machine nor the cache has a server, and none could be fetched.
    #[error(
        "no PostgreSQL 14 or newer was found ({looked}) and none was fetched ({fetch}). Any one of these is enough:\n  \
         {install}\n  docker compose up -d db\n  DATABASE_URL=postgresql://user:password@host:5432/database"
    )]
    NotFound {
        /// Where we looked, and what was wrong with what we found.
        looked: String,
        /// Why the registry did not help.
        fetch: String,
        /// The command that installs PostgreSQL on this system.
        install: &'static str,
    },
    /// The directory that was named explicitly (`PG_BIN`) can't be used.
    #[error("PG_BIN={dir} can't be used: {reason}")]
    BadBinDir {
        /// The directory as it was given.
        dir: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is data, and no server of its major version to read it.
    #[error(
        "the data in {dir} was written by PostgreSQL {major}, and no PostgreSQL {major} was found ({tried}); \
         install it, name its bin directory in PG_BIN, or move the data away to start afresh"
    )]
    MissingMajor {
        /// The newest data directory.
        dir: PathBuf,
        /// The version that wrote it.
        major: u32,
        /// What was found instead, and why nothing was fetched.
        tried: String,
    },
    /// Another process runs this cluster already.
    #[error(
        "process {pid} already runs the database in {data_dir}; stop it, or use its database:\n  \
         psql '{url}'\n  DATABASE_URL='{url}'"
    )]
    AlreadyRunning {
        /// The process that holds the lock (the one that started the server, not the server).
        pid: u32,
        /// Where its server can be reached, database `postgres`.
        url: String,
        /// The data both want.
        data_dir: PathBuf,
    },
    /// A live server that we did not start, or can't tell from one, owns the data.
    #[error(
        "{path} names process {pid} ({command}), which may be a PostgreSQL using this data; \
         stop it, or delete that file if it has nothing to do with it"
    )]
    PidFileHeld {
        /// The `postmaster.pid`.
        path: PathBuf,
        /// The process named in it.
        pid: u32,
        /// Its command line.
        command: String,
    },
    /// PostgreSQL refuses to run as root, and there is no user to drop to.
    #[error(
        "PostgreSQL refuses to run as root, and neither the user postgres nor nobody exists; start as another user"
    )]
    NoUnprivilegedUser,
    /// The user that the server runs as can't reach a directory.
    #[error(
        "the user {user} can't enter {path} because of {blocked_by}; choose a place outside it"
    )]
    Unreachable {
        /// Who the server runs as.
        user: String,
        /// Where it must get to.
        path: PathBuf,
        /// The directory that stops it.
        blocked_by: PathBuf,
    },
    /// A directory that must be ours alone isn't.
    #[error("{path} can't be used: {reason}")]
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The place of the data holds something else.
    #[error("{path} is not empty and is not a PostgreSQL data directory")]
    NotADataDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// TCP was asked for on data that is kept.
    #[error("TCP is only for temporary clusters: this one trusts whoever connects")]
    TcpRefused,
    /// A program that prepares the data (`initdb`, `cp`) failed.
    #[error("{program} failed ({status}): {output}")]
    Program {
        /// Which one.
        program: String,
        /// How it ended.
        status: String,
        /// What it said.
        output: String,
    },
    /// The server ended before it was ready, or never became ready.
    #[error("PostgreSQL did not start ({reason}); its log, {log}, ends with:\n{tail}")]
    Start {
        /// How it ended.
        reason: String,
        /// The log's path.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Something of the operating system failed.
    #[error("{doing}: {source}")]
    Io {
        /// What we were doing.
        doing: String,
        /// What it said.
        source: io::Error,
    },
}

/// Says what was being done when the system refused.
pub(super) trait Doing<T> {
    /// `doing` is a phrase such as «creating /x».
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, EmbeddedError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, EmbeddedError> {
        self.map_err(|error| EmbeddedError::Io {
            doing: doing(),
            source: error.into(),
        })
    }
}
