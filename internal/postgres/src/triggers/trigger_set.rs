//! A trigger function with the triggers that call it: the unit that is installed, inspected and
//! removed. Pure.

use crate::instance::InstanceName;
use crate::quote::{dollar_quote, quote_ident, quote_literal, quote_qualified};
use crate::triggers::script::fill_template;

/// A trigger function with all its triggers, as this version installs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TriggerSet {
    /// The function's name in the schema of the installation.
    pub(super) function: String,
    /// The function's source, as `pg_proc.prosrc` holds it.
    pub(super) source: String,
    /// The function's comment, which identifies it as Latido's and contains its version.
    pub(super) comment: String,
    pub(super) rights: &'static str,
    /// One line for people: the purpose.
    pub(super) title: String,
    pub(super) triggers: Vec<ExpectedTrigger>,
    /// The function that looks keys up, with its comment.
    pub(super) lookup: Option<LookupFunction>,
    /// The SQL that creates the triggers.
    pub(super) triggers_sql: String,
}

/// One trigger of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpectedTrigger {
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) name: String,
    /// The value of `pg_trigger.tgtype`.
    pub(super) tgtype: i16,
}

/// A function that looks keys up for a trigger function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LookupFunction {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) sql: String,
}

impl TriggerSet {
    /// Returns the SQL that creates everything of the set.
    pub(super) fn sql(&self, instance: &InstanceName) -> String {
        let function = quote_qualified(instance.as_str(), &self.function);
        let (body, comment) = (dollar_quote(&self.source), quote_literal(&self.comment));
        // Names go into a comment line here, so they must not contain line ends.
        let title = self.title.replace(char::is_control, " ");
        let values = [
            ("title", title.as_str()),
            ("function", &function),
            ("rights", self.rights),
            ("body", &body),
            ("comment", &comment),
        ];
        let lookup = self.lookup.as_ref().map(|lookup| lookup.sql.as_str());
        let function = fill_template(include_str!("function.sql"), &values);
        format!(
            "{}{function}{}",
            lookup.unwrap_or_default(),
            self.triggers_sql
        )
    }

    /// Returns the SQL that removes everything of the set, as far as it is there.
    pub(super) fn removal_sql(&self, instance: &InstanceName) -> String {
        let triggers = self.triggers.iter().map(|trigger| {
            format!(
                "DROP TRIGGER IF EXISTS {} ON {};\n",
                quote_ident(&trigger.name),
                quote_qualified(&trigger.schema, &trigger.table)
            )
        });
        let functions = self.function_names().map(|name| {
            let name = quote_qualified(instance.as_str(), name);
            format!("DROP FUNCTION IF EXISTS {name};\n")
        });
        triggers.chain(functions).collect()
    }

    /// Returns the names of the functions of the set.
    pub(super) fn function_names(&self) -> impl Iterator<Item = &String> {
        let lookup = self.lookup.as_ref().map(|lookup| &lookup.name);
        std::iter::once(&self.function).chain(lookup)
    }
}

/// Returns the WHEN clause of a trigger with these conditions, or nothing.
pub(super) fn when_sql(conditions: &[String]) -> String {
    match conditions.is_empty() {
        true => String::new(),
        false => format!(" WHEN ({})", conditions.join(" AND ")),
    }
}

/// Returns the SQL that makes triggers fire under any `session_replication_role`.
pub(super) fn always_sql(table: &str, names: &[String]) -> String {
    let each: Vec<_> = names
        .iter()
        .map(|name| format!("ENABLE ALWAYS TRIGGER {}", quote_ident(name)))
        .collect();
    format!("ALTER TABLE {table} {};\n", each.join(", "))
}
