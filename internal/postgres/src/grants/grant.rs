//! One privilege on one object, and its SQL.

use std::fmt;

use crate::quote::{quote_ident, quote_qualified};

/// A privilege on an object that exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub(super) object: GrantObject,
    pub(super) privilege: String,
    /// The columns that the privilege is limited to; empty means the whole object.
    pub(super) columns: Vec<String>,
}

impl Grant {
    /// Returns the table's quoted name, if the privilege allows to change it.
    pub(crate) fn written_table(&self) -> Option<String> {
        let is_table = matches!(self.object, GrantObject::Table { .. });
        (is_table && self.privilege != "SELECT").then(|| self.object.name())
    }
}

/// The object of a [`Grant`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GrantObject {
    Database(String),
    Schema(String),
    Table {
        schema: String,
        name: String,
    },
    /// A function, with its schema and its argument types as SQL.
    Function(String),
}

impl GrantObject {
    /// Returns the kind as the check's SQL names it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Database(_) => "database",
            Self::Schema(_) => "schema",
            Self::Table { .. } => "table",
            Self::Function(_) => "function",
        }
    }

    /// Returns the name as PostgreSQL's `has_…_privilege` functions expect it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Database(name) | Self::Schema(name) => name.clone(),
            Self::Table { schema, name } => quote_qualified(schema, name),
            Self::Function(signature) => signature.clone(),
        }
    }

    fn sql(&self) -> String {
        match self {
            Self::Database(name) => format!("DATABASE {}", quote_ident(name)),
            Self::Schema(name) => format!("SCHEMA {}", quote_ident(name)),
            Self::Table { schema, name } => format!("TABLE {}", quote_qualified(schema, name)),
            Self::Function(signature) => format!("FUNCTION {signature}"),
        }
    }
}

/// Writes the privilege as SQL, without the role.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.privilege)?;
        if !self.columns.is_empty() {
            let columns: Vec<_> = self.columns.iter().map(|name| quote_ident(name)).collect();
            write!(f, " ({})", columns.join(", "))?;
        }
        write!(f, " ON {}", self.object.sql())
    }
}

/// Returns the statements that give these privileges to a role.
pub fn grant_script(role: &str, grants: &[Grant]) -> String {
    let statements = grants
        .iter()
        .map(|grant| format!("GRANT {grant} TO {};\n", quote_ident(role)));
    statements.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_quote_every_name() {
        let grants = [
            Grant {
                object: GrantObject::Table {
                    schema: "public".to_owned(),
                    name: "a\"b".to_owned(),
                },
                privilege: "SELECT".to_owned(),
                columns: vec!["x".to_owned(), "Y".to_owned()],
            },
            Grant {
                object: GrantObject::Schema("s; --".to_owned()),
                privilege: "USAGE".to_owned(),
                columns: Vec::new(),
            },
        ];
        assert_eq!(
            grant_script("r\"", &grants),
            "GRANT SELECT (\"x\", \"Y\") ON TABLE \"public\".\"a\"\"b\" TO \"r\"\"\";\n\
             GRANT USAGE ON SCHEMA \"s; --\" TO \"r\"\"\";\n"
        );
    }
}
