//! Refuses to install upon objects that belong to other roles.
//!
//! Whoever made the schema `latido`, a table of an app, or a function of the same name beforehand
//! could change what the triggers call, and would so gain the rights of the installing role. The
//! check runs in the installing transaction, before and after the other statements.

use super::script::{ScriptSection, fill_template};
use crate::quote::{dollar_quote, quote_literal};

/// The SQLSTATE that the check raises; PostgreSQL itself has none of this class.
pub(super) const NOT_OWNED_CODE: &str = "LTOWN";

/// The names of the objects that an installation creates or relies on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ObjectNames {
    /// The schemas that belong to the installation, with everything in them.
    pub(super) schemas: Vec<String>,
    /// The tables and sequences in the home schema.
    pub(super) relations: Vec<String>,
    /// The functions in the home schema.
    pub(super) functions: Vec<String>,
    /// The tables in the home schema on which only own triggers may be.
    pub(super) guarded: Vec<String>,
    /// The names of triggers on other tables.
    pub(super) triggers: Vec<String>,
}

impl ObjectNames {
    /// Reads the names from the CREATE statements of a script. Each statement begins a line. What
    /// is in a schema that the script creates is found by that schema.
    pub(super) fn of_script(sql: &str) -> Self {
        let mut names = Self::default();
        for line in sql.lines() {
            let created = |start: &str| line.strip_prefix(start).and_then(first_name);
            let tables = created("CREATE TABLE IF NOT EXISTS ");
            names
                .relations
                .extend(tables.or_else(|| created("CREATE SEQUENCE IF NOT EXISTS ")));
            names
                .functions
                .extend(created("CREATE OR REPLACE FUNCTION "));
            names
                .schemas
                .extend(created("CREATE SCHEMA IF NOT EXISTS "));
        }
        names
    }

    /// Returns the query for the objects of these names that belong to somebody else, as one text
    /// column. `home` is SQL for the name of the home schema.
    pub(super) fn foreign_objects_sql(&self, home: &str) -> String {
        let lists = [
            ("schemas", &self.schemas),
            ("relations", &self.relations),
            ("functions", &self.functions),
            ("guarded", &self.guarded),
            ("triggers", &self.triggers),
        ]
        .map(|(name, names)| (name, text_array(names)));
        let mut values: Vec<_> = lists
            .iter()
            .map(|(name, list)| (*name, list.as_str()))
            .collect();
        values.push(("home", home));
        fill_template(include_str!("foreign_objects.sql"), &values)
    }

    /// Returns the section that fails if objects of these names belong to somebody else.
    pub(super) fn guard_section(&self, subject: String, home: &str) -> ScriptSection {
        let foreign_objects = self.foreign_objects_sql(home);
        let values = [
            ("foreign_objects", foreign_objects.trim_end()),
            ("code", NOT_OWNED_CODE),
        ];
        let body = dollar_quote(&fill_template(include_str!("guard.sql"), &values));
        ScriptSection {
            subject,
            sql: format!(
                "-- Nothing is installed upon what belongs to another role.\nDO {body};\n"
            ),
        }
    }
}

/// Returns the name at the start of the text, if it is in the home schema: plain, or after the
/// placeholder `@home@`.
fn first_name(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@');
    let path = &text[..text.find(|c| !is_part(c)).unwrap_or(text.len())];
    let name = path.strip_prefix("@home@.").unwrap_or(path);
    (!name.is_empty() && !name.contains('.')).then(|| name.to_owned())
}

/// Returns SQL for an array of these texts.
fn text_array(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| quote_literal(name)).collect();
    format!("ARRAY[{}]::pg_catalog.text[]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_create_statements() {
        let sql = "-- CREATE TABLE IF NOT EXISTS no\nCREATE TABLE IF NOT EXISTS @home@.a (\n  b int);\n\
                   CREATE SEQUENCE IF NOT EXISTS s;\nCREATE SCHEMA IF NOT EXISTS x;\n\
                   CREATE OR REPLACE FUNCTION x.g() RETURNS void\n\
                   CREATE OR REPLACE FUNCTION @home@.f(a int) RETURNS void\nCREATE OR REPLACE TRIGGER t AFTER INSERT ON a\n";
        let names = ObjectNames::of_script(sql);
        assert_eq!(names.relations, ["a", "s"]);
        assert_eq!(names.functions, ["f"]);
        assert_eq!(names.schemas, ["x"]);
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(
            text_array(&["a'b".to_owned(), "c".to_owned()]),
            "ARRAY['a''b', 'c']::pg_catalog.text[]"
        );
        assert_eq!(text_array(&[]), "ARRAY[]::pg_catalog.text[]");
    }
}
