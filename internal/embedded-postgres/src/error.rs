//! The ways in which a private PostgreSQL can fail to run. Each message explains the next step.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use thiserror::Error;

/// The reason why the private PostgreSQL does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No server was found on the machine or in the cache, and none could be downloaded.
    #[error(
        "no PostgreSQL 14 or newer was found ({looked}) and none was fetched ({fetch}). Any one of these is enough:\n  \
         {install}\n  docker compose up -d db\n  DATABASE_URL=postgresql://user:password@host:5432/database"
    )]
    NotFound {
        /// The locations that were searched, and the problems found there.
        looked: String,
        /// The reason why the download gave no server.
        fetch: String,
        /// The command that installs PostgreSQL on this system.
        install: &'static str,
    },
    /// The directory named explicitly in `PG_BIN` cannot be used.
    #[error("PG_BIN={dir} can't be used: {reason}")]
    BadBinDir {
        /// The directory as it was given.
        dir: PathBuf,
        /// The reason why it cannot be used.
        reason: String,
    },
    /// There is data, but no server of its major version can be found to read it.
    #[error(
        "the data in {dir} was written by PostgreSQL {major}, and no PostgreSQL {major} was found ({tried}); \
         install it, name its bin directory in PG_BIN, or move the data away to start afresh"
    )]
    MissingMajor {
        /// The newest data directory, by major version.
        dir: PathBuf,
        /// The major version that wrote the data.
        major: u32,
        /// The servers that were found instead, and the reason why none was downloaded.
        tried: String,
    },
    /// Another process runs this cluster already.
    #[error(
        "process {pid} already runs the database in {data_dir}; stop it, or use its database:\n  \
         psql '{url}'\n  DATABASE_URL='{url}'"
    )]
    AlreadyRunning {
        /// The process that holds the lock: the one that started the server, not the server.
        pid: u32,
        /// The URL of its server, for the database `postgres`.
        url: String,
        /// The data directory that both processes want to use.
        data_dir: PathBuf,
    },
    /// The data belongs to a live server that was not started by this program, or may not have
    /// been.
    #[error(
        "{path} names process {pid} ({command}), which may be a PostgreSQL using this data; \
         stop it, or delete that file if it has nothing to do with it"
    )]
    PidFileInUse {
        /// The path of the `postmaster.pid` file.
        path: PathBuf,
        /// The process named in that file.
        pid: u32,
        /// The command line of that process.
        command: String,
    },
    /// PostgreSQL refuses to run as root, and there is no user to drop to.
    #[error(
        "PostgreSQL refuses to run as root, and neither the user postgres nor nobody exists; start as another user"
    )]
    NoUnprivilegedUser,
    /// The user that runs the server cannot enter a directory.
    #[error(
        "the user {user} can't enter {path} because of {blocked_by}; choose a place outside it"
    )]
    Unreachable {
        /// The name of the user that runs the server.
        user: String,
        /// The directory that the user must be able to enter.
        path: PathBuf,
        /// The first directory on the path that is closed to the user.
        blocked_by: PathBuf,
    },
    /// A directory that must belong to one user alone is open to others.
    #[error("{path} can't be used: {reason}")]
    UnsafeDirectory {
        /// The path of the unsafe directory.
        path: PathBuf,
        /// The reason why it is unsafe.
        reason: String,
    },
    /// The data directory contains other files than a cluster's.
    #[error("{path} is not empty and is not a PostgreSQL data directory")]
    NotADataDirectory {
        /// The path of that directory.
        path: PathBuf,
    },
    /// TCP was requested for persistent data.
    #[error("TCP is only for temporary clusters: this one trusts whoever connects")]
    TcpNotAllowed,
    /// A program that prepares the data (`initdb`, `cp`) failed.
    #[error("{program} failed ({status}): {output}")]
    ProgramFailed {
        /// The name of the failed program.
        program: String,
        /// The program's exit status.
        status: String,
        /// The program's output, both streams.
        output: String,
    },
    /// The server ended before it was ready, or never became ready.
    #[error("PostgreSQL did not start ({reason}); its log, {log}, ends with:\n{tail}")]
    StartFailed {
        /// The exit status, or the expired time limit.
        reason: String,
        /// The path of the server's log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// An operating-system call failed.
    #[error("{doing}: {source}")]
    Io {
        /// The action that failed, for example «creating /x».
        doing: String,
        /// The error that the system returned.
        source: io::Error,
    },
}

/// The reason why a directory has no usable server. Each message is a phrase for a longer sentence.
#[derive(Debug, Error)]
pub(super) enum ProbeError {
    #[error("it has no postgres")]
    NoPostgres,
    #[error("{} has no initdb", .0.display())]
    NoInitdb(PathBuf),
    #[error("{program} can't be run as {user}: {source}")]
    NotRunnable {
        program: PathBuf,
        user: String,
        source: io::Error,
    },
    #[error("postgres --version failed ({status}): {stderr}")]
    VersionFailed { status: ExitStatus, stderr: String },
    #[error("its version is unreadable: {0}")]
    UnreadableVersion(String),
    #[error("PostgreSQL {version} is older than {oldest}")]
    TooOld { version: String, oldest: u32 },
}

/// The reason why no server was downloaded. Each message is a phrase for a longer sentence.
#[derive(Debug, Error)]
pub(super) enum DownloadError {
    #[error("fetching is turned off")]
    TurnedOff,
    #[error("the registry has {0} only")]
    OtherMajor(u32),
    #[error("the package has no build for musl")]
    Musl,
    #[error("writing in {dir}: {source}")]
    Write { dir: PathBuf, source: io::Error },
    #[error("moving it into the cache: {0}")]
    Move(io::Error),
    /// All installers failed, each for its own reason.
    #[error("{0}")]
    Installers(String),
    #[error(transparent)]
    Cache(#[from] EmbeddedError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

/// Adds the attempted action to an I/O error.
pub(super) trait ErrorContext<T> {
    /// Converts the error. `doing` is a phrase such as «creating /x».
    fn context(self, doing: impl FnOnce() -> String) -> Result<T, EmbeddedError>;
}

impl<T, E: Into<io::Error>> ErrorContext<T> for Result<T, E> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T, EmbeddedError> {
        self.map_err(|error| EmbeddedError::Io {
            doing: doing(),
            source: error.into(),
        })
    }
}
