//! Builds the function that looks up the keys of changed rows. Pure.
//!
//! It is a `BEGIN ATOMIC` function, so PostgreSQL binds it to its tables and columns when it is
//! installed: it follows renames, and nothing of the same name can take their place later. It has one
//! array parameter for each column of `changed` that the query reads.

use crate::quote::{dollar_quote, quote_ident, quote_literal, quote_qualified};
use crate::triggers::script::{COMMENT_PREFIX, fill_template, sha256_hex};
use crate::triggers::table_route::{LookupArgument, LookupFacts};
use crate::triggers::trigger_set::LookupFunction;
use crate::triggers::watched_table::WatchedTable;

/// Returns the lookup function of a table, if its keys are looked up and the lookup has been
/// examined.
pub(super) fn lookup_function(table: &WatchedTable) -> Option<LookupFunction> {
    let (lookup, facts) = (table.lookup()?, table.lookup_facts()?);
    let name = table.lookup_name();
    let function = quote_qualified(table.instance.as_str(), &name);
    let count = facts.parts.len();
    let names: Vec<_> = (1..=count).map(|n| format!("k{n}")).collect();
    let list = |sql: &dyn Fn(&String) -> String, separator: &str| {
        let each: Vec<_> = names.iter().map(sql).collect();
        each.join(separator)
    };
    let texts = facts.parts.iter().zip(&names).map(|(form, name)| {
        let text = form.text_sql(&format!("v.{name}"));
        format!("{text} COLLATE pg_catalog.\"C\"")
    });
    let texts: Vec<_> = texts.collect();
    let types: Vec<_> = facts
        .arguments
        .iter()
        .map(|argument| format!("{}[]", argument.data_type()))
        .collect();
    // PostgreSQL prints a parameter without a name as «""», which nobody can read back: pg_dump would
    // write a function that no restore accepts.
    let named = types.iter().zip(1..);
    let named: Vec<_> = named.map(|(of, n)| format!("a{n} {of}")).collect();
    let parameters = named.join(", ");
    let nulls = vec!["NULL"; types.len()].join(", ");
    // The function's name has that of the table, which may hold any tag.
    let check = dollar_quote(&format!(" BEGIN PERFORM * FROM {function}({nulls}); END "));
    let (types, texts) = (types.join(", "), texts.join(", "));
    let columns = list(&|name| format!("{name} pg_catalog.text"), ", ");
    let present = list(&|name| format!("d.{name} IS NOT NULL"), " AND ");
    let (names, fields) = (names.join(", "), fields_sql(facts));
    let title = format!("stream {}, table {}", table.stream, table.qualified_name());
    let title = title.replace(char::is_control, " ");
    let hash = sha256_hex(
        &[
            include_str!("lookup.sql"),
            &types,
            &fields,
            &texts,
            &lookup.sql,
        ]
        .join("\0"),
    );
    let comment = format!("{COMMENT_PREFIX} lookup of keys; sha256:{hash}");
    let quoted = quote_literal(&comment);
    let values = [
        ("title", title.as_str()),
        ("path", &lookup.path_sql),
        ("function", &function),
        ("types", &types),
        ("parameters", &parameters),
        ("columns", &columns),
        ("fields", &fields),
        ("texts", &texts),
        ("sql", &lookup.sql),
        ("names", &names),
        ("present", &present),
        ("comment", &quoted),
        ("check", &check),
    ];
    let sql = fill_template(include_str!("lookup.sql"), &values);
    Some(LookupFunction { name, comment, sql })
}

/// Returns the select list and the FROM clause of `changed`.
fn fields_sql(facts: &LookupFacts) -> String {
    let (mut fields, mut arrays, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (argument, n) in facts.arguments.iter().zip(1..) {
        match argument {
            LookupArgument::Row { .. } => return "c.* FROM pg_catalog.unnest($1) AS c".to_owned(),
            LookupArgument::Column {
                name, collation, ..
            } => {
                let name = quote_ident(name);
                fields.push(match collation {
                    Some(collation) => format!("c.{name} COLLATE {collation} AS {name}"),
                    None => format!("c.{name}"),
                });
                arrays.push(format!("pg_catalog.unnest(${n})"));
                names.push(name);
            }
        }
    }
    format!(
        "{} FROM ROWS FROM ({}) AS c ({})",
        fields.join(", "),
        arrays.join(", "),
        names.join(", ")
    )
}
