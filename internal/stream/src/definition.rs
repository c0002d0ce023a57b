//! Streams as declared in the configuration, and the catalog that resolves channel names.

use std::sync::OnceLock;

use std::time::Duration;

use crate::authorize_query::AuthorizeQuery;
use crate::inference::Inference;
use crate::key_type::KeyType;
use crate::param::Param;
use crate::verification_query::VerificationQuery;

/// The largest number of key parts. PostgreSQL's own limit for an index is 32 columns.
pub const MAX_KEY_PARTS: usize = 8;

/// A named live query.
#[derive(Debug)]
pub struct Stream {
    /// The stream's name: the part of its channels' names before the colon.
    pub name: String,
    /// The SQL. Its parameters are arrays with one element per topic: one for each key part, then
    /// today's date, then one for each of `params`. It returns one row per topic: the key parts,
    /// the parameters, then the data columns.
    pub query: String,
    /// A plainer query that verifies `query`. With `None` nothing is compared.
    pub verification: Option<VerificationQuery>,
    /// The SQL for the history of topics. It has the parameters of `query` and returns any number of
    /// rows for each topic, in their order: the key parts, the parameters, then the data columns.
    pub history_query: Option<String>,
    /// The SQL for permissions. With `None`, claims and roles alone decide.
    pub authorize_query: Option<AuthorizeQuery>,
    /// The rule for the time zone that defines «today».
    pub zone_rule: ZoneRule,
    /// The value of the frame's `type` field.
    pub event: String,
    /// The names of the key parts, in order: their fields in the frame's data. A stream without a
    /// key has none.
    pub key_fields: Vec<String>,
    /// What a subscriber may choose beside the key, in order.
    pub params: Vec<Param>,
    /// The shortest time between two frames of a key. With `None`, the engine's own interval
    /// applies.
    pub interval: Option<Duration>,
    /// The tables whose changes affect the stream.
    pub tables: Vec<SourceTable>,
    /// The type of each key part. They are known once the query has been prepared against the
    /// database.
    pub key_types: OnceLock<Vec<KeyType>>,
    /// The parts of this definition that the query decides.
    pub inference: Inference,
    /// The number of this definition among all that a server has had under this name. The first one
    /// has 0; each reload that changes the stream gives it a number of its own.
    pub revision: u32,
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
            history_query: None,
            authorize_query: None,
            zone_rule: ZoneRule::Fixed("UTC".to_owned()),
            event: "stats".to_owned(),
            key_fields: vec!["negocio_id".to_owned()],
            params: Vec::new(),
            interval: None,
            tables: Vec::new(),
            key_types: key_type.map(|of| vec![of].into()).unwrap_or_default(),
            inference: Inference::default(),
            revision: 0,
        }
    }

    /// Returns whether the configuration says the same about both streams, whatever their queries
    /// decided about the parts that it leaves to them.
    #[must_use]
    pub fn is_declared_like(&self, other: &Self) -> bool {
        // A new field must be compared, or named here.
        let Self {
            name,
            query,
            verification,
            history_query,
            authorize_query,
            zone_rule,
            event,
            key_fields,
            params,
            interval,
            tables,
            key_types: _,
            inference,
            revision: _,
        } = self;
        let check = |stream: &Option<VerificationQuery>| stream.as_ref().map(|c| c.query.clone());
        let Inference {
            keys: infers_keys,
            tables: infers_tables,
            file,
            gap: _,
        } = inference;
        *name == other.name
            && *query == other.query
            && check(verification) == check(&other.verification)
            && *history_query == other.history_query
            && *authorize_query == other.authorize_query
            && *zone_rule == other.zone_rule
            && *event == other.event
            && *params == other.params
            && *interval == other.interval
            && *infers_keys == other.inference.keys
            && *infers_tables == other.inference.tables
            && *file == other.inference.file
            && (*infers_keys || *key_fields == other.key_fields)
            && (*infers_tables || *tables == other.tables)
    }

    /// Returns whether both streams are the same: they are declared alike, and their queries decided
    /// alike.
    #[must_use]
    pub fn is_defined_like(&self, other: &Self) -> bool {
        self.is_declared_like(other)
            && self.key_fields == other.key_fields
            && self.tables == other.tables
            && self.inference == other.inference
    }

    /// Returns whether the triggers of one of its tables cannot tell a row's keys from its columns,
    /// so that they ask first whether any key of the stream is watched.
    pub fn has_gate(&self) -> bool {
        let is_column = |table: &SourceTable| matches!(table.route, KeyRoute::Columns(_));
        !self.tables.iter().all(is_column)
    }

    /// Returns whether the claims of a token decide about a permission, so that they must be kept.
    pub fn takes_claims(&self) -> bool {
        let authorize = self.authorize_query.as_ref();
        authorize.is_some_and(AuthorizeQuery::takes_claims)
    }

    /// Returns whether a trigger looks keys up in other rows. Then a move of such a row to another
    /// key may escape a transaction that looked the key up before.
    pub fn looks_up_keys(&self) -> bool {
        let looks_up = |table: &SourceTable| matches!(table.route, KeyRoute::Lookup(_));
        self.tables.iter().any(looks_up)
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
}

/// Returns the optional prefix before a UUID or an integer in a channel's name: `negocio_` for the
/// key field `negocio_id`.
pub fn key_prefix(key_field: &str) -> &str {
    key_field.strip_suffix("id").unwrap_or_default()
}

/// A table that a stream reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTable {
    /// The table's name, with or without a schema.
    pub name: String,
    /// The way from a changed row to the keys that it concerns.
    pub route: KeyRoute,
    /// The columns that matter: an UPDATE that changes none of them is ignored. If the list is
    /// empty, every column matters.
    pub columns: Vec<String>,
}

/// The way from a changed row of a table to the keys that it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRoute {
    /// These columns of the row hold the key parts, in order.
    Columns(Vec<String>),
    /// This SELECT over `changed`, the old and new versions of the changed rows, returns them: one
    /// column for each key part.
    Lookup(String),
    /// Any change affects every key.
    EveryKey,
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
