//! Builds the sources of the trigger functions.
//!
//! Whatever fails in them, the application's write succeeds: each function catches its errors and
//! reports that any key may have changed, with the table and the SQLSTATE. Nothing in them is found
//! by the writer's search path. Functions for statements pin theirs; functions for rows qualify
//! every name, because a setting would cost a writer more than all their other work.

use crate::quote::quote_literal;
use crate::triggers::function_parts::FunctionParts;
use crate::triggers::key_part::{KeyColumn, KeySql, has_key_sql, texts_sql};
use crate::triggers::payload_sql::{
    MAX_NAMED_KEYS, MAY_NOTIFY_SQL, every_key_sql, failure_handler, gate_sql, payload_head,
};
use crate::triggers::script::fill_template;
use crate::triggers::table_route::{Gate, TableRoute};
use crate::triggers::trigger_event::TriggerKind;
use crate::triggers::tuple_body::TupleBody;
use crate::watch_locks::{try_first_sql, try_second_sql};

/// Builds the source of a trigger function.
pub(super) struct FunctionBody<'a>(pub(super) FunctionParts<'a>);

impl FunctionBody<'_> {
    /// Returns the function's source, as `pg_proc.prosrc` holds it. It is empty for a lookup that
    /// has not been examined.
    pub(super) fn source(&self, lookup_function: &str) -> String {
        match (self.0.route, self.0.trigger_kind) {
            (TableRoute::EveryKey, _) => self.keyless_body(),
            (TableRoute::Columns(columns), TriggerKind::Rows) => self.row_body(columns),
            (TableRoute::Columns(columns), TriggerKind::Statements) => match columns.as_slice() {
                [] => self.keyless_body(),
                [key] => self.statement_body(key),
                columns => TupleBody::of_columns(self.0, columns).statements(),
            },
            (TableRoute::Lookup(lookup), kind) => {
                let Some(facts) = &lookup.facts else {
                    return String::new();
                };
                let body = TupleBody::of_lookup(self.0, facts, lookup_function);
                match kind {
                    TriggerKind::Rows => body.rows(),
                    TriggerKind::Statements => body.statements(),
                }
            }
        }
    }

    /// Returns the source for a table whose changes concern one key alone or every key, so that its
    /// rows need not be looked at one by one.
    fn keyless_body(&self) -> String {
        let every_key = every_key_sql(self.0.stream);
        let (payload, gate) = match self.0.route {
            TableRoute::Columns(_) => (
                quote_literal(&format!("{}[]", payload_head(self.0.stream))),
                self.only_key_gate(),
            ),
            TableRoute::Lookup(_) | TableRoute::EveryKey => (every_key, String::new()),
        };
        let (columns, failed) = (
            self.0.columns_sql("latido_r"),
            failure_handler(self.0.stream, false),
        );
        let values = [
            ("columns", columns.as_str()),
            ("failed", &failed),
            ("gate", &gate),
            ("payload", &payload),
            ("may_notify", MAY_NOTIFY_SQL),
            ("send", include_str!("send.sql")),
        ];
        fill_template(include_str!("keyless.sql"), &values)
    }

    fn statement_body(&self, key: &KeyColumn) -> String {
        let comparable = |row: &str| key.kind.comparable_sql(&key.of_row(row));
        let (schema, stream) = (self.0.instance.sql(), quote_literal(self.0.stream));
        let (new_key, old_key) = (comparable("latido_r"), comparable("latido_o"));
        let limit = (MAX_NAMED_KEYS + 1).to_string();
        let (columns, old_columns) = (
            self.0.columns_sql("latido_r"),
            self.0.columns_sql("latido_o"),
        );
        let (failed, every_key) = (
            failure_handler(self.0.stream, false),
            every_key_sql(self.0.stream),
        );
        let values = [
            ("stream", stream.as_str()),
            ("columns", &columns),
            ("old_columns", &old_columns),
            ("key", &new_key),
            ("old_key", &old_key),
            ("limit", &limit),
            ("schema", &schema),
            ("failed", &failed),
            ("every_key", &every_key),
            ("may_notify", MAY_NOTIFY_SQL),
            ("send", include_str!("send.sql")),
        ];
        fill_template(include_str!("table.sql"), &values)
    }

    fn row_body(&self, columns: &[KeyColumn]) -> String {
        let stream = quote_literal(self.0.stream);
        // A row has one key as well if the other one is NULL, or if there is no other row.
        let same_key: Vec<_> = columns
            .iter()
            .map(|column| {
                let equal = column
                    .kind
                    .equal_sql(&column.of_row("OLD"), &column.of_row("NEW"));
                format!("coalesce({equal}, true)")
            })
            .collect();
        let same_key = match same_key.is_empty() {
            true => "true".to_owned(),
            false => same_key.join(" AND "),
        };
        let texts_of_row = columns.iter().map(|column| {
            let value = format!(
                "coalesce({}, {})",
                column.of_row("NEW"),
                column.of_row("OLD")
            );
            column.kind.text_sql(&value)
        });
        let key_is_free = try_first_sql(&KeySql(texts_of_row.collect()).hash(&stream));
        let key = RowKey::new(columns);
        let (hash_of_key, item, is_too_long) =
            (key.sql.hash(&stream), key.sql.item(), key.sql.is_too_long());
        let (new_columns, old_columns) = (self.0.columns_sql("NEW"), self.0.columns_sql("OLD"));
        let (head, every_key) = (
            quote_literal(&payload_head(self.0.stream)),
            every_key_sql(self.0.stream),
        );
        let (try_first, try_second) = (try_first_sql("latido_hash"), try_second_sql("latido_hash"));
        let failed = failure_handler(self.0.stream, true);
        let values = [
            ("head", head.as_str()),
            ("every_key", &every_key),
            ("may_notify", MAY_NOTIFY_SQL),
            ("columns", &new_columns),
            ("old_columns", &old_columns),
            ("same_key", &same_key),
            ("key_is_free", &key_is_free),
            ("key_type", key.data_type),
            ("each_key", &key.each),
            ("last_key", &key.last),
            ("item", &item),
            ("is_too_long", &is_too_long),
            ("hash_of_key", &hash_of_key),
            ("try_first", &try_first),
            ("try_second", &try_second),
            ("failed", &failed),
        ];
        fill_template(include_str!("row.sql"), &values)
    }

    /// Returns the statement that ends the function if the only key is not watched.
    fn only_key_gate(&self) -> String {
        if self.0.gate == Gate::None {
            return String::new();
        }
        let hash = KeySql(Vec::new()).hash(&quote_literal(self.0.stream));
        let is_free = format!("{} OR {}", try_first_sql(&hash), try_second_sql(&hash));
        gate_sql(&is_free)
    }
}

/// The key of a row in a function for rows, in its variable `latido_key`.
struct RowKey {
    data_type: &'static str,
    /// The beginning of the loop over the old and the new key, NULL where a row has none.
    each: String,
    /// SQL for the new key.
    last: String,
    /// The parts of the variable.
    sql: KeySql,
}

impl RowKey {
    fn new(columns: &[KeyColumn]) -> Self {
        if let [key] = columns {
            let text = |row| key.kind.text_sql(&format!("({})", key.of_row(row)));
            return Self {
                data_type: "pg_catalog.text",
                each: format!(
                    "FOREACH latido_key IN ARRAY ARRAY[{}, {}] LOOP",
                    text("OLD"),
                    text("NEW")
                ),
                last: format!("{} COLLATE pg_catalog.\"C\"", text("NEW")),
                sql: KeySql(vec!["latido_key".to_owned()]),
            };
        }
        let (old, new) = (texts_sql(columns, "OLD"), texts_sql(columns, "NEW"));
        let has_key = |row| match columns.is_empty() {
            // The only key is told unless every key is, after TRUNCATE.
            true => "latido_payload IS NULL".to_owned(),
            false => has_key_sql(columns, row),
        };
        let (has_old, has_new) = (has_key("OLD"), has_key("NEW"));
        let each = format!(
            "FOREACH latido_side IN ARRAY ARRAY[1, 2] LOOP\n        \
             latido_key := CASE WHEN latido_side OPERATOR(pg_catalog.=) 1 THEN CASE WHEN {has_old} THEN {old} END\n                           \
             WHEN {has_new} THEN {new} END;"
        );
        Self {
            data_type: "pg_catalog.text[];\n      latido_side pg_catalog.int4",
            each,
            last: new,
            sql: KeySql(
                (1..=columns.len())
                    .map(|n| format!("latido_key[{n}]"))
                    .collect(),
            ),
        }
    }
}
