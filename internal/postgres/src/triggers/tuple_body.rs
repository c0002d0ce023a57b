//! Builds the sources of trigger functions that find the keys of changed rows with a query: keys of
//! several parts, and keys that are looked up. Pure.
//!
//! The query is one for each event. It collects what the lookup reads into arrays, one for each
//! column; looks the keys up; and keeps those that a server watches. A session plans it once, and the
//! lookup is inlined, only if its arguments are columns (`r.c1`).

use crate::key_kind::KeyKind;
use crate::quote::{quote_literal, quote_qualified};
use crate::triggers::function_parts::FunctionParts;
use crate::triggers::key_part::{KeyColumn, KeySql};
use crate::triggers::payload_sql::{
    MAX_KEY_JSON_BYTES, MAX_NAMED_KEYS, MAX_PAYLOAD_BYTES, MAY_NOTIFY_SQL, every_key_sql,
    failure_handler, payload_head,
};
use crate::triggers::script::fill_template;
use crate::triggers::table_route::{Gate, LookupArgument, LookupFacts};
use crate::watch_locks::{try_first_sql, try_second_sql};

/// A function whose keys a query finds.
pub(super) struct TupleBody<'a> {
    parts: FunctionParts<'a>,
    arguments: Vec<LookupArgument>,
    /// The relation `v` with the keys, in a FROM clause after `r`, which has the arguments.
    keys: String,
    part_count: usize,
}

impl<'a> TupleBody<'a> {
    /// The rows hold their keys themselves.
    pub(super) fn of_columns(parts: FunctionParts<'a>, columns: &[KeyColumn]) -> Self {
        let arguments = columns.iter().map(|column| LookupArgument::Column {
            name: column.name.clone(),
            data_type: String::new(),
            collation: (matches!(column.kind, KeyKind::Text | KeyKind::Padded))
                .then(|| "\"C\"".to_owned()),
            is_compared_as_text: false,
        });
        let count = columns.len();
        let unnested: Vec<_> = (1..=count)
            .map(|n| format!("pg_catalog.unnest(r.c{n})"))
            .collect();
        let names: Vec<_> = (1..=count).map(|n| format!("k{n}")).collect();
        let texts: Vec<_> = columns
            .iter()
            .zip(&names)
            .map(|(column, name)| {
                format!(
                    "{} COLLATE \"C\"",
                    column.kind.text_sql(&format!("u.{name}"))
                )
            })
            .collect();
        let present: Vec<_> = names
            .iter()
            .map(|name| format!("d.{name} IS NOT NULL"))
            .collect();
        let (names, texts) = (names.join(", "), texts.join(", "));
        let keys = format!(
            "LATERAL (SELECT DISTINCT d.* FROM (SELECT {texts} FROM ROWS FROM ({}) AS u ({names})) AS d ({names}) WHERE {}) AS v",
            unnested.join(", "),
            present.join(" AND ")
        );
        Self {
            parts,
            arguments: arguments.collect(),
            keys,
            part_count: count,
        }
    }

    /// A function finds the keys.
    pub(super) fn of_lookup(parts: FunctionParts<'a>, facts: &LookupFacts, function: &str) -> Self {
        let function = quote_qualified(parts.instance.as_str(), function);
        let values: Vec<_> = (1..=facts.arguments.len())
            .map(|n| format!("r.c{n}"))
            .collect();
        Self {
            parts,
            arguments: facts.arguments.clone(),
            keys: format!("{function}({}) AS v", values.join(", ")),
            part_count: facts.parts.len(),
        }
    }

    /// Returns the source for statement triggers.
    pub(super) fn statements(&self) -> String {
        let inserted = self.keys_sql(None, &self.aggregated("n"), "latido_new AS n");
        let deleted = self.keys_sql(None, &self.aggregated("o"), "latido_old AS o");
        let many = "EXISTS (SELECT FROM latido_new OFFSET 1)";
        let (new_columns, old_columns) = (self.listed_sql("n"), self.listed_sql("o"));
        let pair = self.each_argument(|argument, _| {
            format!("ARRAY[{}, {}]", argument.of_row("o"), argument.of_row("n"))
        });
        let one = format!(
            "(SELECT * FROM latido_old LIMIT 1) AS o, (SELECT * FROM latido_new LIMIT 1) AS n\n                       \
             WHERE NOT {many} AND ROW({old_columns})::record *<> ROW({new_columns})::record"
        );
        let updated_one = self.keys_sql(Some(many), &pair, &one);
        let updated_many = self.keys_sql(None, &self.restored(), &self.difference());
        let own = [
            ("inserted", inserted.as_str()),
            ("deleted", &deleted),
            ("updated_one", &updated_one),
            ("updated_many", &updated_many),
        ];
        self.fill(include_str!("tuple.sql"), &own)
    }

    /// Returns the source for row triggers, which alone fire for what logical replication applies.
    pub(super) fn rows(&self) -> String {
        let changed = self.each_argument(|argument, _| {
            let (old, new) = (argument.of_row("OLD"), argument.of_row("NEW"));
            format!(
                "CASE TG_OP WHEN 'INSERT' THEN ARRAY[{new}] WHEN 'DELETE' THEN ARRAY[{old}] ELSE ARRAY[{old}, {new}] END"
            )
        });
        let changed = self.keys_sql(None, &changed, "(SELECT) AS one");
        let (new_columns, old_columns) = (self.listed_sql("NEW"), self.listed_sql("OLD"));
        let own = [
            ("changed", changed.as_str()),
            ("new_columns", &new_columns),
            ("old_columns", &old_columns),
        ];
        self.fill(include_str!("tuple_row.sql"), &own)
    }

    /// Fills a template with its own values, and with those that both forms have.
    fn fill(&self, template: &str, own: &[(&str, &str)]) -> String {
        let (pack, failed) = (self.pack(), failure_handler(self.parts.stream, false));
        let common = [
            ("pack", pack.as_str()),
            ("failed", &failed),
            ("send", include_str!("send.sql")),
        ];
        fill_template(template, &[own, &common].concat())
    }

    fn each_argument(&self, sql: impl Fn(&LookupArgument, usize) -> String) -> String {
        let each: Vec<_> = self
            .arguments
            .iter()
            .zip(1..)
            .map(|(argument, n)| sql(argument, n))
            .collect();
        each.join(", ")
    }

    fn argument_names(&self, alias: &str) -> String {
        self.each_argument(|_, n| format!("{alias}c{n}"))
    }

    fn aggregated(&self, row: &str) -> String {
        self.each_argument(|argument, _| format!("array_agg({})", argument.of_row(row)))
    }

    /// Returns the arrays of what [`difference`](Self::difference) found.
    fn restored(&self) -> String {
        self.each_argument(|argument, n| {
            let (_, restored) = argument.comparable("d", &format!("d.c{n}"));
            format!("array_agg({restored})")
        })
    }

    /// Returns the FROM clause for the arguments of all rows that an UPDATE changed. A change of what
    /// the lookup reads counts too, whether it is listed or not.
    fn difference(&self) -> String {
        let comparable =
            |row: &str| self.each_argument(|argument, _| argument.comparable(row, "").0);
        let names = self.argument_names("");
        let grouped = self.argument_names("s.");
        format!(
            "(SELECT DISTINCT {grouped}\n                                \
             FROM (SELECT {new}, ROW({new_listed})::text, 1 FROM latido_new AS n\n                                      \
             UNION ALL\n                                      \
             SELECT {old}, ROW({old_listed})::text, -1 FROM latido_old AS o) AS s ({names}, facts, side)\n                               \
             GROUP BY {grouped}, s.facts HAVING sum(s.side) <> 0) AS d",
            new = comparable("n"),
            old = comparable("o"),
            new_listed = self.parts.columns_sql("n"),
            old_listed = self.parts.columns_sql("o"),
        )
    }

    /// Returns the columns whose change counts: those that are listed, and those that are read.
    fn listed_sql(&self, row: &str) -> String {
        let listed = self.parts.columns_sql(row);
        let mut columns = vec![listed];
        if !self.parts.change_columns.is_empty() {
            for argument in &self.arguments {
                match argument {
                    LookupArgument::Column { name, .. }
                        if self.parts.change_columns.contains(name) => {}
                    argument => columns.push(argument.of_row(row)),
                }
            }
        }
        columns.join(", ")
    }

    /// Returns the statement that finds the keys of rows. With `many`, it also computes that.
    fn keys_sql(&self, many: Option<&str>, arguments: &str, rows: &str) -> String {
        let key = KeySql::numbered("v.k", self.part_count);
        let (item, hash) = (key.item(), key.hash(&quote_literal(self.parts.stream)));
        let is_too_long = key.is_too_long();
        let watched = match self.parts.gate {
            Gate::None => String::new(),
            Gate::InWhen => format!(
                " FILTER (WHERE NOT ({}\n                                                OR {}))",
                try_first_sql("k.hash"),
                try_second_sql("k.hash")
            ),
        };
        let (max, limit) = (MAX_NAMED_KEYS.to_string(), (MAX_NAMED_KEYS + 1).to_string());
        let many_sql = many.map(|sql| format!("{sql}, ")).unwrap_or_default();
        let into_many = many.map(|_| "latido_many, ").unwrap_or_default();
        let names = self.argument_names("");
        let values = [
            ("many", many_sql.as_str()),
            ("into_many", into_many),
            ("max_keys", &max),
            ("watched", &watched),
            ("item", &item),
            ("hash", &hash),
            ("is_too_long", &is_too_long),
            ("arguments", arguments),
            ("rows", rows),
            ("names", &names),
            ("keys", &self.keys),
            ("limit", &limit),
        ];
        fill_template(include_str!("tuple_keys.sql"), &values)
    }

    /// Returns the statements that put the keys into payloads.
    fn pack(&self) -> String {
        let head = payload_head(self.parts.stream);
        let chunk_bytes = (MAX_PAYLOAD_BYTES - MAX_KEY_JSON_BYTES - head.len()).to_string();
        let (head, every_key) = (quote_literal(&head), every_key_sql(self.parts.stream));
        let values = [
            ("head", head.as_str()),
            ("every_key", &every_key),
            ("chunk_bytes", &chunk_bytes),
            ("may_notify", MAY_NOTIFY_SQL),
        ];
        fill_template(include_str!("pack.sql"), &values)
    }
}
