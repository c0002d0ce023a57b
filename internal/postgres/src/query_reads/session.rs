//! The transaction in which the database parses a query. It creates the query as a function in the
//! temporary schema, reads the function's tree, and is rolled back.

use std::collections::HashMap;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row, Statement};

use crate::connect::DedicatedConnection;
use crate::error::{DatabaseError, ErrorScope};
use crate::examination::{FOLLOW_POLICIES_SQL, LIMITS_SQL, type_names};
use crate::pool::Database;
use crate::query_reads::QueryReadsError;
use latido_inference::Refusal;

/// The purpose of the statements, for messages.
const WHAT: &str = "a look at what a query reads";

/// From here on, names in the session's own statements mean those of the system.
const SYSTEM_PATH_SQL: &str = "SET LOCAL search_path = pg_catalog";

const TREE_SQL: &str = "SELECT prosqlbody::text FROM pg_proc
WHERE proname = $1 AND pronamespace = pg_my_temp_schema() ORDER BY oid DESC LIMIT 1";

/// Reads a function's definition, the beginning of that text, its body and its search path.
const DEFINITION_SQL: &str = "SELECT pg_get_functiondef(p.oid),
  'CREATE OR REPLACE FUNCTION ' || quote_ident(n.nspname) || '.' || quote_ident(p.proname), p.prosrc,
  (SELECT substr(c, 13) FROM unnest(p.proconfig) AS c WHERE c LIKE 'search_path=%')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = $1";

/// A connection with an open transaction, which ends without a trace.
pub(super) struct InferenceSession {
    connection: DedicatedConnection,
    local_settings: String,
    /// The search path of the stream, as a setting.
    search_path: String,
}

impl InferenceSession {
    pub(super) async fn open(database: &Database) -> Result<Self, DatabaseError> {
        let mut session = Self {
            connection: database.open_dedicated().await?,
            local_settings: database.endpoint().local_settings(),
            search_path: String::new(),
        };
        // A standby refuses READ WRITE.
        if session.begin("READ WRITE").await.is_err() {
            session.begin_again("READ ONLY").await.map_err(to_error)?;
        }
        let path = "SELECT pg_catalog.current_setting('search_path')";
        let rows = session.query(path, &[]).await?;
        session.search_path = rows
            .first()
            .and_then(|row| row.try_get(0).ok())
            .unwrap_or_default();
        Ok(session)
    }

    /// Opens a session whose transaction only reads.
    pub(super) async fn open_read_only(database: &Database) -> Result<Self, DatabaseError> {
        let session = Self {
            connection: database.open_dedicated().await?,
            local_settings: database.endpoint().local_settings(),
            search_path: String::new(),
        };
        session.begin("READ ONLY").await.map_err(to_error)?;
        Ok(session)
    }

    async fn begin(&self, mode: &str) -> Result<(), Error> {
        let settings = &self.local_settings;
        let sql = format!("BEGIN {mode}; {FOLLOW_POLICIES_SQL} {LIMITS_SQL} {settings}");
        self.execute(&sql).await
    }

    /// Begins after a failure. PostgreSQL warns of a ROLLBACK without a transaction, so the first
    /// beginning has none.
    async fn begin_again(&self, mode: &str) -> Result<(), Error> {
        self.execute("ROLLBACK").await?;
        self.begin(mode).await
    }

    /// Begins again after a failure, for statements that only read.
    pub(super) async fn restart_read_only(&self) -> Result<(), DatabaseError> {
        self.begin_again("READ ONLY").await.map_err(to_error)?;
        self.execute(SYSTEM_PATH_SQL).await.map_err(to_error)
    }

    /// Rolls everything back.
    pub(super) async fn close(self) {
        // If the connection failed, the server does the same.
        let _ = self.execute("ROLLBACK").await;
    }

    pub(super) async fn server_major(&self) -> Result<u32, DatabaseError> {
        let sql = "SELECT pg_catalog.current_setting('server_version_num')";
        let rows = self.query(sql, &[]).await?;
        let number: String = rows
            .first()
            .ok_or_else(|| DatabaseError::unavailable("no version"))?
            .try_get(0)
            .map_err(to_error)?;
        Ok(number.parse::<u32>().unwrap_or_default() / 10_000)
    }

    pub(super) async fn query(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let client = &self.connection.client;
        client.query_typed(sql, params).await.map_err(to_error)
    }

    async fn execute(&self, sql: &str) -> Result<(), Error> {
        self.connection.client.batch_execute(sql).await
    }

    /// Returns the tree of a query, or `None` if this role or server cannot create a function.
    pub(super) async fn stored_tree(
        &self,
        query: &str,
        types: &[Type],
    ) -> Result<Option<String>, QueryReadsError> {
        let client = &self.connection.client;
        let statement = describe(client.prepare_typed(query, types).await)?;
        let names = type_names(client, WHAT, statement.params()).await?;
        let head = format!(
            "CREATE FUNCTION pg_temp.latido_query({}) RETURNS SETOF record LANGUAGE sql",
            names.join(", ")
        );
        match self.create_function(&head, query).await {
            Ok(()) => Ok(self.tree_of("latido_query").await?),
            Err(error) => match error.as_db_error() {
                // The text is one statement that Parse accepts, but it is no query.
                Some(db) if db.code().code() == "0A000" => Err(Refusal::NotAQuery.into()),
                Some(_) if ErrorScope::classify(&error) != ErrorScope::Connection => Ok(None),
                _ => Err(to_error(error).into()),
            },
        }
    }

    /// Creates a function with this body. The extended protocol refuses several statements, so
    /// that a body cannot end the function and go on.
    async fn create_function(&self, head: &str, body: &str) -> Result<(), Error> {
        // The body may end with a comment.
        let sql = format!("{head} BEGIN ATOMIC\n{body}\n; END");
        let client = &self.connection.client;
        client.query_typed(&sql, &[]).await.map(drop)
    }

    async fn tree_of(&self, name: &str) -> Result<Option<String>, DatabaseError> {
        self.execute(SYSTEM_PATH_SQL).await.map_err(to_error)?;
        let rows = self.query(TREE_SQL, &[(&name, Type::NAME)]).await?;
        Ok(rows.first().and_then(|row| row.try_get(0).ok()))
    }

    /// Returns the trees of SQL functions whose body is text. Functions that cannot be created
    /// again are left out.
    pub(super) async fn body_trees(
        &self,
        functions: &[u32],
    ) -> Result<HashMap<u32, String>, DatabaseError> {
        let mut trees = HashMap::new();
        for oid in functions {
            self.execute("SAVEPOINT latido_body")
                .await
                .map_err(to_error)?;
            let tree = self.body_tree(*oid).await;
            self.execute("ROLLBACK TO SAVEPOINT latido_body")
                .await
                .map_err(to_error)?;
            if let Some(tree) = tree {
                trees.insert(*oid, tree);
            }
        }
        Ok(trees)
    }

    /// Creates a function once more with its body in SQL-standard form. `None` if that fails.
    async fn body_tree(&self, oid: u32) -> Option<String> {
        let rows = self
            .query(DEFINITION_SQL, &[(&oid, Type::OID)])
            .await
            .ok()?;
        let row = rows.first()?;
        let (definition, beginning): (String, String) =
            (row.try_get(0).ok()?, row.try_get(1).ok()?);
        let (body, path): (String, Option<String>) = (row.try_get(2).ok()?, row.try_get(3).ok()?);
        let rest = definition.strip_prefix(&beginning)?;
        let head = &rest[..rest.rfind("\nAS $")?];
        let path = path.unwrap_or_else(|| self.search_path.clone());
        let set = "SELECT set_config('search_path', $1, true)";
        self.query(set, &[(&path, Type::TEXT)]).await.ok()?;
        let head = format!("CREATE FUNCTION pg_temp.latido_body{head}");
        self.create_function(&head, &body).await.ok()?;
        self.tree_of("latido_body").await.ok()?
    }
}

/// Checks that Parse accepts a statement and that it returns rows.
pub(super) fn describe(prepared: Result<Statement, Error>) -> Result<Statement, QueryReadsError> {
    let statement = prepared.map_err(|error| match error.as_db_error() {
        Some(db) if ErrorScope::classify(&error) == ErrorScope::Statement => {
            Refusal::from_server(db.code().code(), db.message(), db.routine()).into()
        }
        _ => QueryReadsError::from(to_error(error)),
    })?;
    if statement.columns().is_empty() {
        return Err(Refusal::NotAQuery.into());
    }
    Ok(statement)
}

#[expect(clippy::needless_pass_by_value, reason = "it is used with map_err")]
pub(super) fn to_error(error: Error) -> DatabaseError {
    DatabaseError::from_driver(WHAT, &error)
}
