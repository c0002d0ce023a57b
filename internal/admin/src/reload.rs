//! Reading the configuration again while the server runs.

use std::fmt;
use std::pin::Pin;

/// The future of a reload.
pub type ReloadFuture<'a> =
    Pin<Box<dyn Future<Output = Result<ReloadReport, ReloadError>> + Send + 'a>>;

/// A configuration that can be read again.
pub trait Reload: Send + Sync {
    /// Reads the configuration and applies what changed, or nothing. Calls wait for one another.
    fn reload(&self) -> ReloadFuture<'_>;
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// The names of the new streams.
    pub added: Vec<String>,
    /// The names of the streams with another definition.
    pub changed: Vec<String>,
    /// The names of the streams that are not served any more.
    pub removed: Vec<String>,
    /// The names of the streams that went on as they were.
    pub unchanged: Vec<String>,
    /// The names of the limits that have another value now.
    pub limits: Vec<String>,
    /// The names of the settings that have another value, which counts after a restart.
    pub needs_restart: Vec<String>,
    /// Messages about settings that work but deserve attention.
    pub warnings: Vec<String>,
}

/// The reason why a reload changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadError {
    /// The configuration has mistakes; each text names one, with what was expected.
    Mistakes(Vec<String>),
    /// The database, which must examine the streams, does not answer.
    Unavailable(String),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mistakes(mistakes) => {
                let count = mistakes.len();
                let mistake = if count == 1 { "mistake" } else { "mistakes" };
                write!(
                    f,
                    "{count} {mistake} in the configuration; nothing changed:"
                )?;
                for mistake in mistakes {
                    write!(f, "\n  {}", mistake.trim_end().replace('\n', "\n    "))?;
                }
                Ok(())
            }
            Self::Unavailable(reason) => {
                write!(
                    f,
                    "the database can't examine the streams now; nothing changed: {reason}"
                )
            }
        }
    }
}

impl std::error::Error for ReloadError {}
