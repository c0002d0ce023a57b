//! Modules, their state, and the sessions of web users. Reads go over the pool; writes over one connection of their own, one at a time.

mod ears;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::types::{ToSql, Type};

use crate::postgres::connect::Private;
use crate::postgres::error::DatabaseError;
use crate::postgres::quote::literal;

pub use ears::{CHANNEL, Heard};

/// Longest time that a write may take.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// The tables and triggers; see `sql/apps/modules.sql`.
pub const SCHEMA: &str = include_str!("../../../../sql/apps/modules.sql");

/// Takes the triggers away again, and the mark that they are there. The tables stay, for they hold what people put there.
pub const REMOVAL: &str = "DROP SCHEMA IF EXISTS latido_modules CASCADE;\n\
    DO $$ BEGIN IF to_regclass('module_state') IS NOT NULL THEN COMMENT ON TABLE module_state IS NULL; END IF; END $$;\n";

/// Whose a session is, where connect-pg-simple keeps it. `$1` is the session's id.
pub const SESSION_SQL: &str = "SELECT sess->>'user_id' AS user_id, sess->>'is_admin' AS is_admin, sess->>'nickname' AS nickname \
    FROM session WHERE sid = $1 AND expire > now()";

const COLUMNS: &str = "m.module_id::text, m.name::text, m.type::text, m.user_id::text, coalesce(m.claimed, false), \
    (extract(epoch FROM coalesce(s.last_seen, m.last_seen)) * 1000)::bigint, s.telemetry::text \
    FROM modules m LEFT JOIN module_state s ON s.module_id = m.module_id::text";

/// A module's row, and what was last known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredModule {
    /// Its name.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// What it is.
    pub kind: Option<String>,
    /// Whose it is.
    pub user: Option<String>,
    /// Whether somebody has claimed it.
    pub claimed: bool,
    /// When it was last seen, milliseconds since the Unix epoch.
    pub last_seen_ms: Option<i64>,
    /// JSON text of what it last told.
    pub telemetry: Option<String>,
}

/// What a device must know. Not to be printed.
#[derive(Clone)]
pub struct Credentials {
    /// bcrypt.
    pub password_hash: Option<String>,
    /// Nobody's module may not connect.
    pub claimed: bool,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("claimed", &self.claimed)
            .finish_non_exhaustive()
    }
}

/// Whose a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The user's id.
    pub user: String,
    /// Whether an administrator.
    pub is_admin: bool,
    /// What to call them.
    pub nickname: Option<String>,
}

/// What is to be kept of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// Which.
    pub id: String,
    /// Whether it is online.
    pub online: bool,
    /// When it was last seen, milliseconds since the Unix epoch.
    pub last_seen_ms: Option<i64>,
    /// JSON text of what it last told.
    pub telemetry: Option<String>,
}

/// See the module's documentation. Clones share the writing connection.
#[derive(Clone)]
pub struct Database {
    database: crate::postgres::Database,
    session_sql: Arc<str>,
    /// Held for the length of a statement: one at a time.
    writer: Arc<Mutex<Option<Private>>>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// `session_sql`: `$1` a session's id → `user_id`, `is_admin`, `nickname`; no row for a session that has ended.
    pub fn new(database: &crate::postgres::Database, session_sql: &str) -> Self {
        let sql = session_sql.trim().trim_end_matches(';');
        // Whatever the columns' types are: text for ids, and all that Postgres itself takes for true.
        let session_sql = format!(
            "SELECT latido_s.user_id::text, coalesce(latido_s.is_admin::text, 'false')::boolean, latido_s.nickname::text \
             FROM (\n{sql}\n) AS latido_s WHERE latido_s.user_id IS NOT NULL LIMIT 1"
        );
        Self {
            database: database.clone(),
            session_sql: session_sql.into(),
            writer: Arc::default(),
        }
    }

    /// At most `limit` modules behind that id.
    ///
    /// # Errors
    /// The database is away, or has no such tables.
    pub async fn page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StoredModule>, DatabaseError> {
        let sql = format!(
            "SELECT {COLUMNS} WHERE $1::text IS NULL OR m.module_id::text COLLATE \"C\" > $1 \
             ORDER BY m.module_id::text COLLATE \"C\" LIMIT $2"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(&after, Type::TEXT), (&limit, Type::INT8)];
        let rows = self
            .database
            .query("the list of modules", &sql, &params)
            .await?;
        rows.iter().map(stored).collect()
    }

    /// Those of these modules that exist.
    ///
    /// # Errors
    /// As [`Self::page`].
    pub async fn named(&self, ids: &[String]) -> Result<Vec<StoredModule>, DatabaseError> {
        let sql = format!("SELECT {COLUMNS} WHERE m.module_id::text = ANY ($1)");
        let rows = self
            .database
            .query("modules", &sql, &[(&ids, Type::TEXT_ARRAY)])
            .await?;
        rows.iter().map(stored).collect()
    }

    /// What a device must know to be that module.
    ///
    /// # Errors
    /// As [`Self::page`].
    pub async fn credentials(&self, module: &str) -> Result<Option<Credentials>, DatabaseError> {
        const SQL: &str = "SELECT module_password_hash::text, coalesce(claimed, false) FROM modules WHERE module_id::text = $1";
        let what = "a module's credentials";
        let rows = self
            .database
            .query(what, SQL, &[(&module, Type::TEXT)])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let hash: Option<String> = row
            .try_get(0)
            .map_err(|error| DatabaseError::of(what, &error))?;
        let claimed = row
            .try_get(1)
            .map_err(|error| DatabaseError::of(what, &error))?;
        Ok(Some(Credentials {
            password_hash: hash,
            claimed,
        }))
    }

    /// Whose a session is. None: it has ended, or nobody has logged in.
    ///
    /// # Errors
    /// The database is away, or the statement does not fit it.
    pub async fn session(&self, id: &str) -> Result<Option<SessionRow>, DatabaseError> {
        let what = "the session's statement";
        let rows = self
            .database
            .query(what, &self.session_sql, &[(&id, Type::TEXT)])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let of = |error| DatabaseError::of(what, &error);
        let (user, is_admin) = (row.try_get(0).map_err(of)?, row.try_get(1).map_err(of)?);
        Ok(Some(SessionRow {
            user,
            is_admin,
            nickname: row.try_get(2).map_err(of)?,
        }))
    }

    /// Gives an unclaimed module to a user who knows its code; whether it could. One that has no code can't be claimed.
    ///
    /// # Errors
    /// The database is away, or the user's id does not fit the column.
    pub async fn claim(&self, module: &str, code: &str, user: &str) -> Result<bool, DatabaseError> {
        // Constants, so that they take the columns' types, whatever these are.
        let sql = format!(
            "UPDATE modules SET user_id = {}, claimed = true \
             WHERE module_id = {} AND NOT coalesce(claimed, false) AND user_id IS NULL AND module_code = {}",
            literal(user),
            literal(module),
            literal(code),
        );
        self.write("a claim", async |client| {
            let messages = client.simple_query(&sql).await?;
            let changed = |message: &_| {
                matches!(
                    message,
                    tokio_postgres::SimpleQueryMessage::CommandComplete(1..)
                )
            };
            Ok(messages.iter().any(changed))
        })
        .await
    }

    /// Keeps what is known of these modules, as far as they exist.
    ///
    /// # Errors
    /// The database is away, or refuses.
    pub async fn save(&self, states: &[StateRow]) -> Result<(), DatabaseError> {
        const SQL: &str = "WITH told AS ( \
                SELECT t.id, t.online, to_timestamp(t.seen / 1000.0) AS seen, t.telemetry::jsonb AS telemetry \
                FROM unnest($1::text[], $2::bool[], $3::float8[], $4::text[]) AS t (id, online, seen, telemetry) \
                JOIN modules m ON m.module_id::text = t.id), \
            marked AS ( \
                UPDATE modules m SET status = CASE WHEN t.online THEN 'online' ELSE 'offline' END, last_seen = coalesce(t.seen, m.last_seen) \
                FROM told t WHERE m.module_id::text = t.id) \
            INSERT INTO module_state AS s (module_id, online, last_seen, telemetry, updated_at) \
            SELECT id, online, seen, telemetry, now() FROM told \
            ON CONFLICT (module_id) DO UPDATE SET online = excluded.online, last_seen = coalesce(excluded.last_seen, s.last_seen), \
                telemetry = coalesce(excluded.telemetry, s.telemetry), updated_at = excluded.updated_at";
        let ids: Vec<&str> = states.iter().map(|state| &*state.id).collect();
        let online: Vec<bool> = states.iter().map(|state| state.online).collect();
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds of the next 200,000 years are exact"
        )]
        let seen: Vec<Option<f64>> = states
            .iter()
            .map(|state| state.last_seen_ms.map(|ms| ms as f64))
            .collect();
        let telemetry: Vec<Option<&str>> = states
            .iter()
            .map(|state| state.telemetry.as_deref())
            .collect();
        self.write("the modules' state", async |client| {
            let params: [(&(dyn ToSql + Sync), Type); 4] = [
                (&ids, Type::TEXT_ARRAY),
                (&online, Type::BOOL_ARRAY),
                (&seen, Type::FLOAT8_ARRAY),
                (&telemetry, Type::TEXT_ARRAY),
            ];
            client.query_typed(SQL, &params).await.map(drop)
        })
        .await
    }

    /// Notes that no module is online: nobody is connected to a server that has just started.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub async fn begin(&self) -> Result<(), DatabaseError> {
        const SQL: &str = "UPDATE module_state SET online = false WHERE online; \
            UPDATE modules SET status = 'offline' WHERE status = 'online'";
        self.write("the modules' state", async |client| {
            client.batch_execute(SQL).await
        })
        .await
    }

    /// Runs one statement on the writing connection, which is opened when needed. A connection that failed is not used again.
    async fn write<T>(
        &self,
        what: &str,
        work: impl AsyncFnOnce(&tokio_postgres::Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, DatabaseError> {
        let mut writer = self.writer.lock().await;
        let private = match writer.take().filter(|private| !private.client.is_closed()) {
            Some(private) => private,
            None => self.database.private_direct().await?,
        };
        let result = tokio::time::timeout(WRITE_LIMIT, work(&private.client)).await;
        let result =
            result.map_err(|_| DatabaseError::unavailable("no answer to a write in time"))?;
        let answer = result.map_err(|error| DatabaseError::of(what, &error))?;
        *writer = Some(private);
        Ok(answer)
    }
}

fn stored(row: &tokio_postgres::Row) -> Result<StoredModule, DatabaseError> {
    let of = |error| DatabaseError::of("the list of modules", &error);
    Ok(StoredModule {
        id: row.try_get(0).map_err(of)?,
        name: row.try_get(1).map_err(of)?,
        kind: row.try_get(2).map_err(of)?,
        user: row.try_get(3).map_err(of)?,
        claimed: row.try_get(4).map_err(of)?,
        last_seen_ms: row.try_get(5).map_err(of)?,
        telemetry: row.try_get(6).map_err(of)?,
    })
}
