//! Generates the SQL of the triggers from a description of the tables. Pure.
//!
//! There is one function for each table of a stream, and four triggers on the table and on each of
//! its partitions, because a statement that names a partition fires only that partition's triggers.
//! They are ALWAYS triggers, because restore tools and replication scripts disable the others.
//!
//! There are two kinds ([`TriggerKind`]). With the interest gate, a plain table has row triggers.
//! They cost a writer of one row a third of what statement triggers do, and no more for many rows.
//! They run as the writer and use only rights that every writer has. All other tables have
//! statement triggers, which name every key once, and one shared function that sends.

use sha2::{Digest, Sha256};

use crate::interest::{hash_sql, try_first_sql, try_second_sql};
use crate::quote::{dollar, ident, literal, qualified};
use latido_stream::MAX_KEY_BYTES;

/// The schema of all installed functions.
pub(super) const SCHEMA: &str = "latido";
/// The prefix of the comments on installed objects; objects without it belong to others.
pub(super) const MARK: &str = "latido:";
/// The name of the shared function.
pub(super) const SHARED: &str = "changed";

/// The largest number of keys that one statement names. Beyond it, it reports a change of every
/// key.
const MAX_KEYS: usize = 2000;
/// The largest payload in bytes; the server accepts 7,999.
const MAX_PAYLOAD: usize = 7900;
/// The largest size of one key as JSON, in bytes, with quotes and comma, if every byte is escaped.
const MAX_ITEM: usize = 6 * MAX_KEY_BYTES + 3;
/// The largest size of a name in PostgreSQL, in bytes.
const MAX_NAME: usize = 63;

/// The kind of trigger that finds a table's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Row triggers, which try the gate for the key of each row.
    Rows,
    /// Statement triggers, which read the sets of rows that a statement wrote.
    Statements,
}

/// A table of a stream, as found in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub stream: String,
    pub schema: String,
    pub table: String,
    pub key: Option<KeyColumn>,
    /// The columns whose change counts; empty means every column.
    pub columns: Vec<String>,
    /// The relations that get triggers, as schema and name: the table, then its partitions.
    pub relations: Vec<(String, String)>,
    pub form: Form,
}

/// The column that holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    pub name: String,
    /// True if the column holds text. Texts are compared byte by byte, regardless of the column's
    /// collation.
    pub is_text: bool,
}

impl KeyColumn {
    /// Returns the SQL for the key of a row under that alias, in the form that is compared.
    fn of(&self, alias: &str) -> String {
        let collation = if self.is_text {
            "::text COLLATE \"C\""
        } else {
            ""
        };
        format!("{alias}.{}{collation}", ident(&self.name))
    }
}

/// A part of the script for one table or object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// The qualified name of the table, or a description of another object.
    pub(super) subject: String,
    pub(super) sql: String,
}

/// One of the four trigger events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) suffix: &'static str,
    /// The value of `pg_trigger.tgtype` for an AFTER trigger FOR EACH STATEMENT.
    tgtype: i16,
}

impl Event {
    /// Returns the value of `pg_trigger.tgtype`; TRUNCATE has statement triggers only.
    pub(super) fn tgtype(self, form: Form) -> i16 {
        const ROW: i16 = 1;
        const TRUNCATE: i16 = 32;
        if form == Form::Rows && self.tgtype != TRUNCATE {
            self.tgtype | ROW
        } else {
            self.tgtype
        }
    }
}

pub(super) const EVENTS: [Event; 4] = [
    Event {
        suffix: "ins",
        tgtype: 4,
    },
    Event {
        suffix: "upd",
        tgtype: 16,
    },
    Event {
        suffix: "del",
        tgtype: 8,
    },
    Event {
        suffix: "tru",
        tgtype: 32,
    },
];

impl Watched {
    pub fn qualified(&self) -> String {
        qualified(&self.schema, &self.table)
    }

    /// Returns the function's name: readable, and unique through a hash of the parts that identify
    /// it.
    pub(super) fn function(&self) -> String {
        limited(
            &format!("{}_{}", self.stream, self.table),
            &format!("_{}", self.id()),
        )
    }

    pub(super) fn trigger(&self, event: Event) -> String {
        limited(
            &format!("latido_{}", self.stream),
            &format!("_{}_{}", self.id(), event.suffix),
        )
    }

    fn id(&self) -> String {
        let key = self.key.as_ref().map_or("", |key| &key.name);
        hash(&[&self.stream, &self.schema, &self.table, key].join("\0"))[..8].to_owned()
    }

    /// Returns the function's source, as `pg_proc.prosrc` holds it.
    pub(super) fn body(&self) -> String {
        let stream = literal(&self.stream);
        let columns = self.columns_of("latido_r");
        let Some(key) = &self.key else {
            return fill(
                include_str!("keyless.sql"),
                &[("stream", &stream), ("columns", &columns)],
            );
        };
        if self.form == Form::Rows {
            return self.row_body(key, &stream);
        }
        let (new_key, old_key) = (key.of("latido_r"), key.of("latido_o"));
        let (limit, old_columns) = ((MAX_KEYS + 1).to_string(), self.columns_of("latido_o"));
        let values = [
            ("stream", stream.as_str()),
            ("columns", &columns),
            ("old_columns", &old_columns),
            ("key", &new_key),
            ("old_key", &old_key),
            ("limit", &limit),
        ];
        fill(include_str!("table.sql"), &values)
    }

    fn row_body(&self, key: &KeyColumn, stream: &str) -> String {
        let column = ident(&key.name);
        let (new_key, old_key) = (format!("NEW.{column}"), format!("OLD.{column}"));
        let (columns, old_columns) = (self.columns_of("NEW"), self.columns_of("OLD"));
        let key_of_row = format!("coalesce({new_key}, {old_key})::text");
        // Keys are compared as text, unless equal values of the type have equal texts; then the
        // cheaper comparison is used.
        let same_key = if key.is_text {
            format!(
                "(coalesce({old_key}, {new_key})::text COLLATE \"C\") = ({key_of_row} COLLATE \"C\")"
            )
        } else {
            format!("coalesce({old_key}, {new_key}) = coalesce({new_key}, {old_key})")
        };
        let (hash_of_row, hash_of_key) = (
            hash_sql(&format!("{stream} || ':' || {key_of_row}")),
            hash_sql(&format!("{stream} || ':' || latido_key")),
        );
        let (try_first, try_second, bytes) = (
            try_first_sql("latido_hash"),
            try_second_sql("latido_hash"),
            MAX_KEY_BYTES.to_string(),
        );
        let values = [
            ("stream", stream),
            ("columns", &columns),
            ("old_columns", &old_columns),
            ("new_key", &new_key),
            ("old_key", &old_key),
            ("same_key", &same_key),
            ("hash_of_row", &hash_of_row),
            ("hash_of_key", &hash_of_key),
            ("try_first", &try_first),
            ("try_second", &try_second),
            ("max_key_bytes", &bytes),
        ];
        fill(include_str!("row.sql"), &values)
    }

    /// Returns the rights that the function runs with. A row function calls nothing that its writer
    /// may not call. Changing role and search path would cost more than all its other work.
    fn rights(&self) -> &'static str {
        match self.form {
            Form::Rows => "SECURITY INVOKER",
            Form::Statements => "SECURITY DEFINER SET search_path = pg_catalog, pg_temp",
        }
    }

    /// Returns the SQL for the columns whose change counts, of rows under that alias.
    fn columns_of(&self, alias: &str) -> String {
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|name| format!("{alias}.{}", ident(name)))
            .collect();
        if columns.is_empty() {
            format!("{alias}.*")
        } else {
            columns.join(", ")
        }
    }

    /// Returns the function's comment, which identifies it as Latido's and contains its version.
    pub(super) fn comment(&self) -> String {
        let hash = hash(&format!(
            "{}{}{}",
            include_str!("function.sql"),
            self.rights(),
            self.body()
        ));
        format!(
            "{MARK} changes of {} for stream {}; sha256:{hash}",
            self.qualified(),
            self.stream
        )
    }

    fn section(&self) -> Section {
        let function = qualified(SCHEMA, &self.function());
        let (body, comment) = (dollar(&self.body()), literal(&self.comment()));
        // Names go into a comment line here, so they must not contain line ends.
        let line = |text: &str| text.replace(char::is_control, " ");
        let (stream, table) = (line(&self.stream), line(&self.qualified()));
        let values = [
            ("stream", stream.as_str()),
            ("table", &table),
            ("function", &function),
            ("rights", self.rights()),
            ("body", &body),
            ("comment", &comment),
        ];
        let triggers = match self.form {
            Form::Rows => include_str!("row_triggers.sql"),
            Form::Statements => include_str!("triggers.sql"),
        };
        let mut sql = fill(include_str!("function.sql"), &values);
        for (schema, name) in &self.relations {
            let [ins, upd, del, tru] = EVENTS.map(|event| ident(&self.trigger(event)));
            let table = qualified(schema, name);
            let values = [
                ("table", table.as_str()),
                ("function", &function),
                ("ins", &ins),
                ("upd", &upd),
                ("del", &del),
                ("tru", &tru),
            ];
            sql.push_str(&fill(triggers, &values));
        }
        Section {
            subject: self.qualified(),
            sql,
        }
    }
}

/// Returns the shared function's source. With `gated`, it sends nothing for keys that no server
/// watches.
pub(super) fn shared_body(gated: bool) -> String {
    let (hash, each) = ("latido_hash", "k.hash");
    let gate = [
        (
            "hash_of_key",
            hash_sql("latido_stream || ':' || latido_keys[1]"),
        ),
        ("hash_of_each", hash_sql("latido_stream || ':' || k.key")),
        ("try_first", try_first_sql(hash)),
        ("try_second", try_second_sql(hash)),
        ("try_first_each", try_first_sql(each)),
        ("try_second_each", try_second_sql(each)),
    ];
    let gate = fill(
        include_str!("gate.sql"),
        &gate.each_ref().map(|(name, sql)| (*name, sql.as_str())),
    );
    let gate = if gated { gate.as_str() } else { "" };
    let (keys, bytes) = (MAX_KEYS.to_string(), MAX_KEY_BYTES.to_string());
    let (payload, item) = (MAX_PAYLOAD.to_string(), MAX_ITEM.to_string());
    let values = [
        ("max_keys", keys.as_str()),
        ("max_key_bytes", &bytes),
        ("max_payload", &payload),
        ("max_item", &item),
        ("gate", gate),
    ];
    fill(include_str!("changed.sql"), &values)
}

pub(super) fn shared_comment(gated: bool) -> String {
    let hash = hash(&format!(
        "{}{}",
        include_str!("shared.sql"),
        shared_body(gated)
    ));
    format!("{MARK} sends what changed; sha256:{hash}")
}

/// Returns all sections that install the triggers of these tables, in order.
pub(super) fn sections(tables: &[Watched], gated: bool) -> Vec<Section> {
    let schema_comment = literal(&format!(
        "{MARK} triggers for live statistics; latido uninstall removes them"
    ));
    let (body, comment) = (dollar(&shared_body(gated)), literal(&shared_comment(gated)));
    let values = [
        ("schema_comment", schema_comment.as_str()),
        ("body", &body),
        ("comment", &comment),
    ];
    let shared = Section {
        subject: format!("schema {SCHEMA}"),
        sql: fill(include_str!("shared.sql"), &values),
    };
    std::iter::once(shared)
        .chain(tables.iter().map(Watched::section))
        .collect()
}

/// Returns the sections as a script for psql, in one transaction.
pub(super) fn script(settings: &str, sections: &[Section]) -> String {
    let parts: Vec<_> = sections
        .iter()
        .map(|section| section.sql.as_str())
        .collect();
    format!("BEGIN;\n{settings}\n\n{}\nCOMMIT;\n", parts.join("\n"))
}

pub(super) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Truncates `start` so that it fits before `end`.
fn limited(start: &str, end: &str) -> String {
    let room = MAX_NAME - end.len();
    let cut = (0..=room.min(start.len()))
        .rev()
        .find(|at| start.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}{end}", &start[..cut])
}

/// Replaces each `{name}` with its value in one pass, so that a value's content is never taken for
/// a placeholder.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = values.iter().find_map(|(name, value)| {
            Some((value, rest[1..].strip_prefix(name)?.strip_prefix('}')?))
        });
        if let Some((value, tail)) = found {
            text.push_str(value);
            rest = tail;
        } else {
            text.push('{');
            rest = &rest[1..];
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn citas() -> Watched {
        Watched {
            stream: "estadisticas".to_owned(),
            schema: "public".to_owned(),
            table: "citas".to_owned(),
            key: Some(KeyColumn {
                name: "negocio_id".to_owned(),
                is_text: false,
            }),
            columns: ["negocio_id", "fecha", "estado"].map(str::to_owned).into(),
            relations: vec![("public".to_owned(), "citas".to_owned())],
            form: Form::Statements,
        }
    }

    #[test]
    fn script_equals_the_reviewed_one() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/install/");
        let by_rows = Watched {
            form: Form::Rows,
            ..citas()
        };
        let forms = [
            (citas(), "golden.sql", include_str!("golden.sql")),
            (by_rows, "golden_rows.sql", include_str!("golden_rows.sql")),
        ];
        let scripts = forms.map(|(watched, name, reviewed)| {
            let script = script(
                "SET LOCAL lock_timeout = '800ms';",
                &sections(&[watched], true),
            );
            if std::env::var_os("LATIDO_UPDATE_GOLDEN").is_some() {
                std::fs::write(format!("{folder}{name}"), &script).unwrap();
            }
            (script, reviewed)
        });
        for (script, reviewed) in scripts {
            assert_eq!(
                script, reviewed,
                "run with LATIDO_UPDATE_GOLDEN=1 and review the difference"
            );
        }
    }

    #[test]
    fn names_never_leave_their_quotes() {
        let evil = r#"a"); DROP TABLE x; --$latido$ {body} {key} \'"#;
        let watched = Watched {
            stream: evil.to_owned(),
            table: format!("t\n{evil}"),
            key: Some(KeyColumn {
                name: evil.to_owned(),
                is_text: true,
            }),
            columns: vec![evil.to_owned()],
            relations: vec![("public".to_owned(), evil.to_owned())],
            ..citas()
        };
        let section = watched.section().sql;
        let quoted = ident(evil);
        assert!(
            section.contains(&format!("latido_r.{quoted}::text COLLATE")),
            "{section}"
        );
        assert!(
            section.contains("$latido1$"),
            "the body's tag differs from all that it holds"
        );
        assert_eq!(
            section
                .lines()
                .filter(|line| line.starts_with("-- Stream"))
                .count(),
            1
        );
    }

    #[test]
    fn names_are_short_unique_and_stable() {
        let long = Watched {
            stream: "ñ".repeat(60),
            table: "t".repeat(63),
            ..citas()
        };
        for name in EVENTS
            .map(|event| long.trigger(event))
            .into_iter()
            .chain([long.function()])
        {
            assert!(name.len() <= MAX_NAME, "{name}");
        }
        let other = Watched {
            schema: "otra".to_owned(),
            ..long.clone()
        };
        assert_ne!(long.function(), other.function());
        assert_eq!(citas().function(), "estadisticas_citas_ff86264d");
    }
}
