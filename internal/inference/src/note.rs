//! What else is to be said about a query's reads.

use std::fmt;

/// A property of a query beside its tables and columns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// It reads through a view.
    View(String),
    /// It reads through a function in SQL, whose reads are known.
    Function(String),
    /// It calls a function whose reads cannot be known.
    Hidden(String),
    /// It calls a function of an extension, which is assumed to read no table.
    Extension(String),
    /// It reads a materialized view, which cannot have triggers.
    MaterializedView(String),
    /// It reads a foreign table, whose remote writes fire no trigger.
    ForeignTable(String),
    /// It reads a table with partitions or inheriting tables.
    Children(String),
    /// It reads a table of the system's catalogs.
    Catalog(String),
    /// Policies of row-level security apply to a table.
    Policy(String),
    /// It calls a function of the clock, such as `now()`.
    Clock(String),
    /// It contains a literal such as `'today'`, which is evaluated once.
    ClockLiteral,
    /// It compares a timestamp with a date, so the rows of a day are those at midnight only.
    TimestampWithDate,
    /// It converts between a moment and a local time by the session's time zone, in this function.
    SessionZone(String),
    /// Every read gives another result.
    Random,
    /// It depends on the session, such as `current_user`.
    Session(String),
    /// It reads a sequence.
    Sequence,
    /// It reads something that is no table, such as a large object.
    Outside(String),
    /// It reads a system column, which any UPDATE changes.
    SystemColumn,
}

impl Note {
    /// Returns a short name, with the object that it concerns if there may be several.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::View(name) => format!("view:{name}"),
            Self::Function(name) => format!("function:{name}"),
            Self::Hidden(name) => format!("hidden:{name}"),
            Self::Extension(name) => format!("extension:{name}"),
            Self::MaterializedView(name) => format!("matview:{name}"),
            Self::ForeignTable(name) => format!("foreign:{name}"),
            Self::Children(name) => format!("children:{name}"),
            Self::Catalog(name) => format!("catalog:{name}"),
            Self::Policy(name) => format!("policy:{name}"),
            Self::Clock(_) => "time".to_owned(),
            Self::ClockLiteral => "time-literal".to_owned(),
            Self::TimestampWithDate => "timestamp-date".to_owned(),
            Self::SessionZone(_) => "session-zone".to_owned(),
            Self::Random => "random".to_owned(),
            Self::Session(_) => "session".to_owned(),
            Self::Sequence => "sequence".to_owned(),
            Self::Outside(_) => "outside".to_owned(),
            Self::SystemColumn => "system-column".to_owned(),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(name) => write!(f, "it reads through the view {name}"),
            Self::Function(name) => write!(f, "it reads through the function {name}"),
            Self::Hidden(name) => write!(f, "the function {name} hides what it reads"),
            Self::Extension(name) => write!(f, "it calls {name} of an extension"),
            Self::MaterializedView(name) => write!(
                f,
                "it reads the materialized view {name}, which has no triggers: a REFRESH is found by the hook or the sweep"
            ),
            Self::ForeignTable(name) => write!(
                f,
                "it reads the foreign table {name}: what is written elsewhere is found by the sweep alone"
            ),
            Self::Children(name) => write!(f, "it reads {name} with all tables below it"),
            Self::Catalog(name) => write!(
                f,
                "it reads the system catalog {name}, which has no triggers: the sweep alone finds changes"
            ),
            Self::Policy(name) => write!(f, "policies of row-level security apply to {name}"),
            Self::Clock(name) => write!(
                f,
                "it calls {name}: its numbers change without a write, and the session's time zone decides its day"
            ),
            Self::ClockLiteral => f.write_str(
                "it has a literal such as 'today' or 'now', which is evaluated only once",
            ),
            Self::TimestampWithDate => f.write_str(
                "it compares a timestamp with a date, which is the moment of midnight and no whole day",
            ),
            Self::SessionZone(name) => write!(
                f,
                "the session's time zone decides the result of {name}, which is a cast in most queries"
            ),
            Self::Random => f.write_str("every read of it gives another result"),
            Self::Session(name) => write!(
                f,
                "it uses {name}, which is the server's own and the same for every viewer"
            ),
            Self::Sequence => {
                f.write_str("it reads a sequence, which has no triggers: the sweep alone finds changes")
            }
            Self::Outside(name) => write!(
                f,
                "it calls {name}, which reads something other than tables: the sweep alone finds changes"
            ),
            Self::SystemColumn => {
                f.write_str("it reads a system column such as ctid or xmin, which every UPDATE changes")
            }
        }
    }
}
