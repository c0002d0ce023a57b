//! The transaction with the copies of a stream's tables.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::connect::DedicatedConnection;
use crate::error::DatabaseError;
use crate::examination::LIMITS_SQL;
use crate::pool::Database;
use crate::prepared_stream::PreparedStream;
use crate::quote::{quote_ident, quote_qualified};
use crate::shadow::printed::{PrintedQuery, Relation, WHAT, print_query, set_path};
use crate::shadow::routes::{Route, RoutedTable};
use crate::topic_arrays;
use latido_base::ident::Key;
use latido_stream::{LocalDay, Param, ParamKind, Stream};

/// The number of rows that are copied of each table.
const COPIED_ROWS: u32 = 5_000;
/// The name of the temporary table with the changed rows.
const CHANGED: &str = "changed";
/// The number of keys that are compared.
const COMPARED_KEYS: usize = 60;
/// The number of days for which each key is read, beside today.
const COMPARED_DAYS: usize = 2;

/// The statements that remove those indexes of a copy that call functions of the database's users. Its
/// rows are written by this role, which may be allowed more than the owner of such a function.
const INDEXES_WITH_CODE_SQL: &str = "
SELECT CASE WHEN k.oid IS NULL THEN pg_catalog.format('DROP INDEX %s', i.indexrelid::regclass)
            ELSE pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', i.indrelid::regclass, k.conname) END
  FROM pg_catalog.pg_index i
  LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid
 WHERE i.indrelid = pg_catalog.concat('pg_temp.', $1::text)::regclass
   -- What PostgreSQL itself brings is no dependency.
   AND EXISTS (SELECT FROM pg_catalog.pg_depend d LEFT JOIN pg_catalog.pg_type t ON d.refclassid = 'pg_catalog.pg_type'::regclass AND t.oid = d.refobjid
                WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid
                  AND (t.typtype = 'd' OR d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass)))";

/// The rows of each key, as text: several if the query gives several.
pub(super) type RowsByKey = BTreeMap<Vec<String>, Vec<String>>;

/// The topics that are compared, each with a day.
#[derive(Debug)]
pub(super) struct TopicSample {
    topics: Vec<Key>,
    days: Vec<LocalDay>,
}

/// A transaction with copies of the stream's tables, which ends without a trace.
pub(super) struct ShadowSession<'a> {
    connection: DedicatedConnection,
    stream: &'a Stream,
    prepared: &'a PreparedStream,
    /// The stream's query over the copies.
    read_sql: String,
    tables: Vec<RoutedTable>,
}

impl<'a> ShadowSession<'a> {
    /// Opens the transaction and copies the tables.
    ///
    /// # Errors
    /// Returns an error if a query is refused, two tables have one name, or this role may not create
    /// temporary tables.
    pub(super) async fn open(
        database: &Database,
        stream: &'a Stream,
        prepared: &'a PreparedStream,
        tables: Vec<RoutedTable>,
    ) -> Result<Self, DatabaseError> {
        let mut session = Self {
            connection: database.open_dedicated_direct().await?,
            stream,
            prepared,
            read_sql: String::new(),
            tables,
        };
        let path_sql = format!(
            "SET LOCAL search_path TO DEFAULT; {}",
            database.direct_endpoint().local_settings()
        );
        session
            .execute(&format!("BEGIN READ WRITE; {LIMITS_SQL} {path_sql}"))
            .await?;
        let query = print_query(
            session.client(),
            &prepared.read.sql,
            &session.parameter_types(),
            &path_sql,
        )
        .await?;
        session.read_sql = query.sql;
        let mut relations: BTreeSet<Relation> = query.relations.iter().cloned().collect();
        session.print_lookups(&path_sql, &mut relations).await?;
        // Views come in the order in which they can be made.
        let mut ordered = query.relations;
        relations.retain(|relation| !ordered.contains(relation));
        ordered.extend(relations);
        session.copy(&ordered).await?;
        Ok(session)
    }

    /// Gives the lookups names that mean the copies.
    async fn print_lookups(
        &mut self,
        path_sql: &str,
        relations: &mut BTreeSet<Relation>,
    ) -> Result<(), DatabaseError> {
        let mut tables = std::mem::take(&mut self.tables);
        for table in &mut tables {
            let source = quote_qualified(&table.schema, &table.name);
            let changed = format!("CREATE TEMPORARY TABLE changed (LIKE {source})");
            self.execute(&changed).await?;
            for route in &mut table.routes {
                let Route::Lookup(sql) = route else { continue };
                let printed = print_query(self.client(), sql, &[], path_sql).await?;
                let PrintedQuery { sql, relations: of } = printed;
                relations.extend(of);
                *route = Route::Lookup(sql);
            }
            self.execute("DROP TABLE pg_temp.changed").await?;
        }
        self.tables = tables;
        Ok(())
    }

    /// Copies tables, and makes views over the copies.
    async fn copy(&self, relations: &[Relation]) -> Result<(), DatabaseError> {
        let mut names = BTreeSet::from([CHANGED]);
        if let Some(twice) = relations.iter().find(|of| !names.insert(of.name.as_str())) {
            let expected = "tables of different names, and none named changed, for their copies share one schema";
            let found = match twice.name.as_str() {
                CHANGED => format!("a table named {CHANGED}"),
                name => format!("several tables named {name}"),
            };
            return Err(DatabaseError::unfit(WHAT, expected, found));
        }
        let schemas: BTreeSet<_> = relations.iter().map(|of| quote_ident(&of.schema)).collect();
        set_path(self.client(), schemas).await?;
        let (views, tables): (Vec<_>, Vec<_>) = relations.iter().partition(|of| of.kind == "v");
        // Before there are copies, which would hide the tables whose names it prints.
        let mut definitions = Vec::new();
        for view in views {
            definitions.push((quote_ident(&view.name), self.view_text(view).await?));
        }
        for table in tables {
            let name = quote_ident(&table.name);
            let source = quote_qualified(&table.schema, &table.name);
            let indexes = if table.kind == "m" {
                ""
            } else {
                " INCLUDING INDEXES"
            };
            let create = format!("CREATE TEMPORARY TABLE {name} (LIKE {source}{indexes})");
            self.execute(&create).await?;
            for row in self
                .query(INDEXES_WITH_CODE_SQL, &[(&name, Type::TEXT)])
                .await?
            {
                self.execute(row.try_get(0).map_err(to_error)?).await?;
            }
            self.execute(&format!(
                "INSERT INTO pg_temp.{name} SELECT * FROM {source} LIMIT {COPIED_ROWS}; ANALYZE pg_temp.{name}"
            ))
            .await?;
        }
        for (name, text) in definitions {
            let create = format!("CREATE TEMPORARY VIEW {name} AS {text}");
            self.execute(&create).await?;
        }
        Ok(())
    }

    /// Returns the query of a view.
    async fn view_text(&self, view: &Relation) -> Result<String, DatabaseError> {
        let source = quote_qualified(&view.schema, &view.name);
        let sql = "SELECT pg_catalog.pg_get_viewdef($1::text::regclass)";
        let rows = self.query(sql, &[(&source, Type::TEXT)]).await?;
        let text = rows.first().map(|row| row.try_get(0).map_err(to_error));
        text.unwrap_or_else(|| Err(DatabaseError::unavailable("a view was dropped meanwhile")))
    }

    /// Rolls everything back.
    pub(super) async fn close(self) {
        // If the connection failed, the server does the same.
        let _ = self.execute("ROLLBACK").await;
    }

    pub(super) fn tables(&self) -> &[RoutedTable] {
        &self.tables
    }

    pub(super) fn client(&self) -> &Client {
        &self.connection.client
    }

    pub(super) async fn execute(&self, sql: &str) -> Result<(), DatabaseError> {
        let done = self.client().batch_execute(sql).await;
        done.map_err(to_error)
    }

    pub(super) async fn query(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let rows = self.client().query_typed(sql, params).await;
        rows.map_err(to_error)
    }

    fn parameter_types(&self) -> Vec<Type> {
        let arrays = &self.prepared.topic_arrays;
        let days = &self.prepared.read.day_arrays;
        let all = arrays.keys.iter().chain(days).chain(&arrays.params);
        all.cloned().collect()
    }

    /// Returns topics whose rows can alter: keys that the routes find, today and on the days that most
    /// rows have.
    pub(super) async fn sample_topics(&self) -> Result<TopicSample, DatabaseError> {
        let mut keys = BTreeSet::new();
        for table in &self.tables {
            let fill = format!(
                "SAVEPOINT latido; CREATE TEMPORARY TABLE changed AS SELECT * FROM pg_temp.{}",
                quote_ident(&table.name)
            );
            self.execute(&fill).await?;
            for key in self.keys_of_changed(table).await? {
                if keys.len() < COMPARED_KEYS {
                    keys.insert(key);
                }
            }
            self.execute("ROLLBACK TO SAVEPOINT latido").await?;
        }
        if self.stream.key_fields.is_empty() {
            keys.insert(Vec::new());
        }
        let params: Vec<_> = self.stream.params.iter().map(example_value).collect();
        let days = self.frequent_days().await?;
        let topic = |key: &Vec<String>| Key::from_parts(key).with_params(&params);
        let arrays = &self.prepared.topic_arrays;
        let fits = |key: &Key| topic_arrays::fits(&arrays.keys, key.parts());
        let topics: Vec<_> = keys.iter().map(topic).filter(fits).collect();
        let pairs = topics
            .iter()
            .flat_map(|topic| days.iter().map(move |day| (topic.clone(), *day)));
        let (topics, days) = pairs.unzip();
        Ok(TopicSample { topics, days })
    }

    /// Returns the keys that the routes of a table find for the rows of `changed`.
    pub(super) async fn keys_of_changed(
        &self,
        table: &RoutedTable,
    ) -> Result<BTreeSet<Vec<String>>, DatabaseError> {
        let mut keys = BTreeSet::new();
        for route in &table.routes {
            let (Route::Columns(sql) | Route::Lookup(sql)) = route;
            for row in self.query(sql, &[]).await? {
                let texts: Vec<Option<String>> = row.try_get(0).map_err(to_error)?;
                keys.extend(texts.into_iter().collect::<Option<Vec<_>>>());
            }
        }
        Ok(keys)
    }

    async fn frequent_days(&self) -> Result<Vec<LocalDay>, DatabaseError> {
        let mut dates = BTreeSet::new();
        for table in &self.tables {
            let source = quote_qualified(&table.schema, &table.name);
            let columns = "SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
                           AND atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) ORDER BY attnum";
            for row in self.query(columns, &[(&source, Type::TEXT)]).await? {
                let column: String = row.try_get(0).map_err(to_error)?;
                let read = table.columns.as_ref();
                if read.is_some_and(|read| !read.contains(&column)) {
                    continue;
                }
                let sql = format!(
                    "SELECT c.{column}::date FROM pg_temp.{table} c WHERE pg_catalog.isfinite(c.{column}) GROUP BY 1 ORDER BY count(*) DESC LIMIT {COMPARED_DAYS}",
                    column = quote_ident(&column),
                    table = quote_ident(&table.name)
                );
                let rows = self.query(&sql, &[]).await?;
                dates.extend(rows.iter().filter_map(|row| row.try_get::<_, Date>(0).ok()));
            }
        }
        let mut days = vec![LocalDay::at(jiff::Timestamp::now(), &TimeZone::UTC)];
        let frequent = dates.into_iter().rev().take(COMPARED_DAYS);
        days.extend(frequent.map(|date| LocalDay::new(date, &TimeZone::UTC)));
        if self.prepared.read.day_arrays.is_empty() {
            days.truncate(1);
        }
        Ok(days)
    }

    /// Returns the rows of these topics, by key.
    pub(super) async fn rows(&self, sample: &TopicSample) -> Result<RowsByKey, DatabaseError> {
        let arrays = &self.prepared.topic_arrays;
        let topics: Vec<&Key> = sample.topics.iter().collect();
        let day_arrays = &self.prepared.read.day_arrays;
        let columns = topic_arrays::parameters(arrays, day_arrays, &topics, &sample.days);
        let params = topic_arrays::borrow(&columns);
        let mut found = RowsByKey::new();
        for row in self.query(&self.read_sql, &params).await? {
            let texts: Vec<Option<String>> = row.try_get(0).map_err(to_error)?;
            let parts = texts.into_iter().take(self.stream.key_fields.len());
            let Some(key) = parts.collect::<Option<Vec<_>>>() else {
                continue;
            };
            let data: Option<String> = row.try_get(1).map_err(to_error)?;
            found.entry(key).or_default().extend(data);
        }
        for rows in found.values_mut() {
            rows.sort();
        }
        Ok(found)
    }
}

/// Returns a value of a parameter that is likely to let rows through.
fn example_value(param: &Param) -> String {
    match (&param.default, &param.kind) {
        (Some(default), _) => default.clone(),
        (None, ParamKind::Date) => "2000-01-01".to_owned(),
        (None, ParamKind::Integer | ParamKind::Text { .. }) => "0".to_owned(),
        (None, ParamKind::Boolean) => "true".to_owned(),
        (None, ParamKind::Enum(values)) => values.first().cloned().unwrap_or_default(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is used with map_err")]
pub(super) fn to_error(error: tokio_postgres::Error) -> DatabaseError {
    DatabaseError::from_driver(WHAT, &error)
}
