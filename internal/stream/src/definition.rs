//! Streams as declared in the configuration, and the catalog that resolves channel names.

use std::sync::OnceLock;

use crate::key_type::KeyType;
use crate::verification_query::VerificationQuery;

/// A named live query.
#[derive(Debug)]
pub struct Stream {
    /// The stream's name: the part of its channels' names before the colon.
    pub name: String,
    /// The SQL. `$1` is the array of keys and `$2` the array with today's date of each key. It
    /// returns one row per key: the key, then the data columns.
    pub query: String,
    /// A plainer query that verifies `query`. With `None` nothing is compared.
    pub verification: Option<VerificationQuery>,
    /// The SQL for permissions. `$1` is the user id (text) and `$2` the keys (text array). It
    /// returns the keys, as text, that the user may read. With `None`, claims and roles alone
    /// decide.
    pub authorize_query: Option<String>,
    /// The rule for the time zone that defines «today».
    pub zone_rule: ZoneRule,
    /// The value of the frame's `type` field.
    pub event: String,
    /// The name of the key's field in the frame's data.
    pub key_field: String,
    /// The tables whose changes affect the stream.
    pub tables: Vec<SourceTable>,
    /// The key's type. It is known once the query has been prepared against the database.
    pub key_type: OnceLock<KeyType>,
}

impl Stream {
    /// Creates a stream without a query for tests: key field `negocio_id`, event `stats`, days in
    /// UTC.
    #[cfg(any(test, fuzzing, feature = "testing"))]
    pub fn test_stream(name: &str, key_type: Option<KeyType>) -> Self {
        Self {
            name: name.to_owned(),
            query: String::new(),
            verification: None,
            authorize_query: None,
            zone_rule: ZoneRule::Fixed("UTC".to_owned()),
            event: "stats".to_owned(),
            key_field: "negocio_id".to_owned(),
            tables: Vec::new(),
            key_type: key_type.map(OnceLock::from).unwrap_or_default(),
        }
    }

    /// Returns the query that the stream is currently read with.
    pub fn active_query(&self) -> &str {
        self.verification
            .as_ref()
            .filter(|check| check.is_active())
            .map_or(&self.query, |check| &check.query)
    }

    /// Returns the verification query while it is still compared with the stream's own query.
    pub fn pending_verification(&self) -> Option<&VerificationQuery> {
        self.verification
            .as_ref()
            .filter(|check| !check.is_active())
    }

    /// Returns the optional prefix before a UUID or an integer in a channel's name: `negocio_` for
    /// the key field `negocio_id`.
    pub fn key_prefix(&self) -> &str {
        self.key_field.strip_suffix("id").unwrap_or_default()
    }
}

/// A table that a stream reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTable {
    /// The table's name, with or without a schema.
    pub name: String,
    /// The column with the key. Without one, any change affects every key.
    pub key_column: Option<String>,
    /// The columns that matter: an UPDATE that changes none of them is ignored. If the list is
    /// empty, every column matters.
    pub columns: Vec<String>,
}

/// The rule for the time zone of a key, which decides its current day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneRule {
    /// One IANA time zone for all keys.
    Fixed(String),
    /// A query that returns key and zone name for `$1`, the array of keys. A key that is missing in
    /// the result or has an invalid zone uses the default.
    Query {
        /// The SQL of the zone query.
        sql: String,
        /// The IANA zone for keys without one.
        default: String,
    },
}
