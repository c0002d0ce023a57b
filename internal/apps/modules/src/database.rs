//! Database access of the modules app: modules, their state, and the sessions of web users.
//!
//! Reads go through the pool. Writes use a dedicated connection, one statement at a time.

use std::sync::Arc;

use latido_postgres::{
    AppSchema, Database, DatabaseError, Row, SimpleQueryMessage, TableGrant, ToSql, Type,
    WriteConnection, quote_literal,
};

use crate::name::NAME;

/// The tables and triggers of the app. The tables stay when it is uninstalled: they are data of the
/// application, and `module_state` holds the last telemetry of each device.
pub(super) static SCHEMA: AppSchema = AppSchema {
    app: NAME,
    version_table: "module_state",
    install_sql: include_str!("../../../../sql/apps/modules.sql"),
    uninstall_sql: include_str!("../../../../sql/apps/modules_uninstall.sql"),
    kept: &["users", "session", "modules", "module_state"],
    grants: &[
        TableGrant::new("users", "SELECT", &["id"]),
        TableGrant::new("session", "SELECT", &["sid", "sess", "expire"]),
        TableGrant::new("modules", "SELECT", &[]),
        TableGrant::new(
            "modules",
            "UPDATE",
            &["user_id", "claimed", "status", "last_seen"],
        ),
        TableGrant::new("module_state", "SELECT", &[]),
        TableGrant::new("module_state", "INSERT", &[]),
        TableGrant::new("module_state", "UPDATE", &[]),
    ],
    called_functions: &[],
};

/// The default query for the owner of a session, as connect-pg-simple stores it. `$1` is the
/// session id.
pub(crate) const SESSION_SQL: &str = "SELECT sess OPERATOR(pg_catalog.->>) 'user_id' AS user_id, sess OPERATOR(pg_catalog.->>) 'is_admin' AS is_admin, \
    sess OPERATOR(pg_catalog.->>) 'nickname' AS nickname \
    FROM session WHERE sid OPERATOR(pg_catalog.=) $1 AND expire OPERATOR(pg_catalog.>) pg_catalog.now()";

const MODULE_COLUMNS: &str = "m.module_id::pg_catalog.text, m.name::pg_catalog.text, m.type::pg_catalog.text, m.user_id::pg_catalog.text, \
    coalesce(m.claimed, false), \
    (extract(epoch FROM coalesce(s.last_seen, m.last_seen)) OPERATOR(pg_catalog.*) 1000)::bigint, s.telemetry::pg_catalog.text \
    FROM modules m LEFT JOIN module_state s ON s.module_id OPERATOR(pg_catalog.=) m.module_id::pg_catalog.text";

/// A row of `modules` with the last known state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredModule {
    /// The module's id, as text.
    pub id: String,
    /// The display name, if the row has one.
    pub name: Option<String>,
    /// The module's type (column `type`).
    pub kind: Option<String>,
    /// The id of the user that owns it.
    pub user: Option<String>,
    /// `true` once a user has claimed the module.
    pub is_claimed: bool,
    /// The time of the last contact, in milliseconds since the Unix epoch.
    pub last_seen_ms: Option<i64>,
    /// The last telemetry that the device sent, as JSON text.
    pub telemetry: Option<String>,
}

/// The secrets that a device must present. They must never be printed, hence the manual `Debug`.
#[derive(Clone)]
pub(crate) struct DeviceCredentials {
    /// The bcrypt hash of the device's password.
    pub password_hash: Option<String>,
    /// `true` once a user has claimed the module. An unclaimed module may not connect.
    pub is_claimed: bool,
}

impl std::fmt::Debug for DeviceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("claimed", &self.is_claimed)
            .finish_non_exhaustive()
    }
}

/// The user that a web session belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRow {
    /// The user's id, as text.
    pub user: String,
    /// `true` if the user is an administrator.
    pub is_admin: bool,
    /// The user's display name, if the session has one.
    pub nickname: Option<String>,
}

/// The state of a module, to be written to `module_state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModuleStateRow {
    /// The id of the module.
    pub id: String,
    /// `true` if the device is connected.
    pub is_online: bool,
    /// The time of the last contact, in milliseconds since the Unix epoch.
    pub last_seen_ms: Option<i64>,
    /// The last telemetry that the device sent, as JSON text.
    pub telemetry: Option<String>,
}

/// The store of the modules app. Clones share the dedicated write connection.
#[derive(Clone)]
pub(crate) struct ModulesDatabase {
    database: Database,
    session_sql: Arc<str>,
    write_connection: WriteConnection,
}

impl std::fmt::Debug for ModulesDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl ModulesDatabase {
    /// Creates the store. `session_sql` takes a session id as `$1` and returns `user_id`,
    /// `is_admin` and `nickname`, or no row for a session that has ended.
    pub(crate) fn new(database: &Database, session_sql: &str) -> Self {
        let sql = session_sql.trim().trim_end_matches(';');
        // Works with any column types: ids are cast to text, and `is_admin` may be everything that
        // PostgreSQL accepts as a boolean.
        let session_sql = format!(
            "SELECT latido_s.user_id::pg_catalog.text, coalesce(latido_s.is_admin::pg_catalog.text, 'false')::boolean, \
             latido_s.nickname::pg_catalog.text \
             FROM (\n{sql}\n) AS latido_s WHERE latido_s.user_id IS NOT NULL LIMIT 1"
        );
        Self {
            database: database.clone(),
            session_sql: session_sql.into(),
            write_connection: database.write_connection(),
        }
    }

    /// Returns at most `limit` modules whose ids sort after `after`.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable or the tables do not exist.
    pub(crate) async fn page_after(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StoredModule>, DatabaseError> {
        let sql = format!(
            "SELECT {MODULE_COLUMNS} WHERE $1::pg_catalog.text IS NULL \
                OR (m.module_id::pg_catalog.text COLLATE pg_catalog.\"C\") OPERATOR(pg_catalog.>) $1 \
             ORDER BY m.module_id::pg_catalog.text COLLATE pg_catalog.\"C\" LIMIT $2"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(&after, Type::TEXT), (&limit, Type::INT8)];
        let rows = self
            .database
            .query("the list of modules", &sql, &params)
            .await?;
        rows.iter().map(read_module).collect()
    }

    /// Returns the modules with these ids, as far as they exist.
    ///
    /// # Errors
    /// The same errors as [`Self::page_after`].
    pub(crate) async fn by_ids(&self, ids: &[String]) -> Result<Vec<StoredModule>, DatabaseError> {
        let sql = format!(
            "SELECT {MODULE_COLUMNS} WHERE m.module_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)"
        );
        let rows = self
            .database
            .query("modules", &sql, &[(&ids, Type::TEXT_ARRAY)])
            .await?;
        rows.iter().map(read_module).collect()
    }

    /// Returns the credentials that a device needs to act as this module, or `None` if the module
    /// does not exist.
    ///
    /// # Errors
    /// The same errors as [`Self::page_after`].
    pub(crate) async fn credentials(
        &self,
        module: &str,
    ) -> Result<Option<DeviceCredentials>, DatabaseError> {
        const SQL: &str = "SELECT module_password_hash::pg_catalog.text, coalesce(claimed, false) FROM modules \
            WHERE module_id::pg_catalog.text OPERATOR(pg_catalog.=) $1";
        let label = "a module's credentials";
        let rows = self
            .database
            .query(label, SQL, &[(&module, Type::TEXT)])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let hash: Option<String> = row
            .try_get(0)
            .map_err(|error| DatabaseError::from_driver(label, &error))?;
        let claimed = row
            .try_get(1)
            .map_err(|error| DatabaseError::from_driver(label, &error))?;
        Ok(Some(DeviceCredentials {
            password_hash: hash,
            is_claimed: claimed,
        }))
    }

    /// Returns the user of a session, or `None` if the session has ended or has no logged-in user.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable or the configured query does not fit it.
    pub(crate) async fn session(&self, id: &str) -> Result<Option<SessionRow>, DatabaseError> {
        let label = "the session's statement";
        let rows = self
            .database
            .query(label, &self.session_sql, &[(&id, Type::TEXT)])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let to_error = |error| DatabaseError::from_driver(label, &error);
        let (user, is_admin) = (
            row.try_get(0).map_err(to_error)?,
            row.try_get(1).map_err(to_error)?,
        );
        Ok(Some(SessionRow {
            user,
            is_admin,
            nickname: row.try_get(2).map_err(to_error)?,
        }))
    }

    /// Assigns an unclaimed module to a user who knows its code. Returns `true` if that succeeded.
    /// A module without a code cannot be claimed.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable or the user's id does not fit the column.
    pub(crate) async fn claim(
        &self,
        module: &str,
        code: &str,
        user: &str,
    ) -> Result<bool, DatabaseError> {
        // Literals instead of parameters, because literals take the type of the column.
        let sql = format!(
            "UPDATE modules SET user_id = {}, claimed = true \
             WHERE module_id OPERATOR(pg_catalog.=) {} AND NOT coalesce(claimed, false) AND user_id IS NULL \
               AND module_code OPERATOR(pg_catalog.=) {}",
            quote_literal(user),
            quote_literal(module),
            quote_literal(code),
        );
        self.write_connection
            .run("a claim", async |client| {
                let messages = client.simple_query(&sql).await?;
                let changed =
                    |message: &_| matches!(message, SimpleQueryMessage::CommandComplete(1..));
                Ok(messages.iter().any(changed))
            })
            .await
    }

    /// Writes the state of these modules and skips the ones that do not exist.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable or rejects the statement.
    pub(crate) async fn save_states(&self, states: &[ModuleStateRow]) -> Result<(), DatabaseError> {
        // An unnest of several arrays is always that of `pg_catalog`.
        const SQL: &str = "WITH told AS ( \
                SELECT t.id, t.online, \
                       pg_catalog.to_timestamp(t.seen OPERATOR(pg_catalog./) 1000.0::double precision) AS seen, \
                       t.telemetry::pg_catalog.jsonb AS telemetry \
                FROM unnest($1::pg_catalog.text[], $2::boolean[], $3::double precision[], $4::pg_catalog.text[]) \
                  AS t (id, online, seen, telemetry) \
                JOIN modules m ON m.module_id::pg_catalog.text OPERATOR(pg_catalog.=) t.id), \
            marked AS ( \
                UPDATE modules m SET status = CASE WHEN t.online THEN 'online' ELSE 'offline' END, last_seen = coalesce(t.seen, m.last_seen) \
                FROM told t WHERE m.module_id::pg_catalog.text OPERATOR(pg_catalog.=) t.id) \
            INSERT INTO module_state AS s (module_id, online, last_seen, telemetry, updated_at) \
            SELECT id, online, seen, telemetry, pg_catalog.now() FROM told \
            ON CONFLICT (module_id) DO UPDATE SET online = excluded.online, last_seen = coalesce(excluded.last_seen, s.last_seen), \
                telemetry = coalesce(excluded.telemetry, s.telemetry), updated_at = excluded.updated_at";
        let ids: Vec<&str> = states.iter().map(|state| &*state.id).collect();
        let online: Vec<bool> = states.iter().map(|state| state.is_online).collect();
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
        self.write_connection
            .run("the modules' state", async |client| {
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

    /// Marks all modules as offline. The server calls this at start, when no device is connected.
    ///
    /// # Errors
    /// The same errors as [`Self::save_states`].
    pub(crate) async fn mark_all_offline(&self) -> Result<(), DatabaseError> {
        const SQL: &str = "UPDATE module_state SET online = false WHERE online; \
            UPDATE modules SET status = 'offline' WHERE status OPERATOR(pg_catalog.=) 'online'";
        self.write_connection
            .run("the modules' state", async |client| {
                client.batch_execute(SQL).await
            })
            .await
    }
}

fn read_module(row: &Row) -> Result<StoredModule, DatabaseError> {
    let to_error = |error| DatabaseError::from_driver("the list of modules", &error);
    Ok(StoredModule {
        id: row.try_get(0).map_err(to_error)?,
        name: row.try_get(1).map_err(to_error)?,
        kind: row.try_get(2).map_err(to_error)?,
        user: row.try_get(3).map_err(to_error)?,
        is_claimed: row.try_get(4).map_err(to_error)?,
        last_seen_ms: row.try_get(5).map_err(to_error)?,
        telemetry: row.try_get(6).map_err(to_error)?,
    })
}
