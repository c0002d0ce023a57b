//! Compares what a query decides now with what was recorded. Pure.

use std::collections::{BTreeMap, BTreeSet};

use latido_stream::{KeyRoute, SourceTable};

/// What the entries of one table say together.
#[derive(Default)]
struct TableUse<'a> {
    columns: BTreeSet<&'a str>,
    reads_all: bool,
    routes: Vec<&'a KeyRoute>,
}

/// Returns each difference in a sentence about the stream.
pub(crate) fn differences(
    stream: &str,
    recorded: (&[String], &[SourceTable]),
    current: (&[String], &[SourceTable]),
) -> Vec<String> {
    let mut found = Vec::new();
    if recorded.0 != current.0 {
        let list = |keys: &[String]| match keys.is_empty() {
            true => "no key".to_owned(),
            false => keys.join(", "),
        };
        found.push(format!(
            "`{stream}` is now keyed by {}, and was by {}",
            list(current.0),
            list(recorded.0)
        ));
    }
    let (before, now) = (uses(recorded.1), uses(current.1));
    for (table, used) in &now {
        match before.get(table) {
            None => found.push(format!("`{stream}` now reads `{table}` too")),
            Some(known) => found.extend(table_differences(stream, table, known, used)),
        }
    }
    let gone = before.keys().filter(|table| !now.contains_key(*table));
    found.extend(gone.map(|table| format!("`{stream}` no longer reads `{table}`")));
    found
}

fn uses(tables: &[SourceTable]) -> BTreeMap<&str, TableUse<'_>> {
    let mut uses: BTreeMap<&str, TableUse<'_>> = BTreeMap::new();
    for table in tables {
        let used = uses.entry(&table.name).or_default();
        used.columns
            .extend(table.columns.iter().map(String::as_str));
        used.reads_all |= table.columns.is_empty();
        used.routes.push(&table.route);
    }
    uses
}

fn table_differences(
    stream: &str,
    table: &str,
    known: &TableUse<'_>,
    now: &TableUse<'_>,
) -> Vec<String> {
    let mut found = Vec::new();
    match (known.reads_all, now.reads_all) {
        (false, true) => found.push(format!("`{stream}` now reads all columns of `{table}`")),
        (true, false) => {
            found.push(format!(
                "`{stream}` no longer reads all columns of `{table}`"
            ));
        }
        (true, true) => {}
        (false, false) => {
            let new = now.columns.difference(&known.columns);
            found.extend(new.map(|name| format!("`{stream}` now reads `{table}.{name}` too")));
            let gone = known.columns.difference(&now.columns);
            found.extend(gone.map(|name| format!("`{stream}` no longer reads `{table}.{name}`")));
        }
    }
    if known.routes != now.routes {
        found.push(format!(
            "the keys of the rows of `{table}` in `{stream}` are found in another way now"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, key: &str, columns: &[&str]) -> SourceTable {
        SourceTable {
            name: name.to_owned(),
            route: KeyRoute::Columns(vec![key.to_owned()]),
            columns: columns.iter().map(|c| (*c).to_owned()).collect(),
        }
    }

    #[test]
    fn each_difference_is_a_sentence() {
        let keys = ["id".to_owned()];
        let compare = |before: &[SourceTable], now: &[SourceTable]| {
            differences("ventas", (&keys, before), (&keys, now)).join("\n")
        };
        let before = [table("pedidos", "k", &["k", "total"])];
        assert_eq!(compare(&before, &before), "");
        for (now, expected) in [
            (
                table("pedidos", "k", &["descuento", "k", "total"]),
                "`ventas` now reads `pedidos.descuento` too",
            ),
            (
                table("pedidos", "k", &["k"]),
                "`ventas` no longer reads `pedidos.total`",
            ),
            (
                table("pedidos", "k", &[]),
                "`ventas` now reads all columns of `pedidos`",
            ),
            (
                table("pedidos", "otro", &["k", "total"]),
                "the keys of the rows of `pedidos` in `ventas` are found in another way now",
            ),
            (
                table("lineas", "k", &["k"]),
                "`ventas` now reads `lineas` too\n`ventas` no longer reads `pedidos`",
            ),
        ] {
            assert_eq!(compare(&before, &[now]), expected);
        }
        let other = ["caja".to_owned()];
        let keyed = differences("ventas", (&keys, &[]), (&other, &[]));
        assert_eq!(keyed, ["`ventas` is now keyed by caja, and was by id"]);
    }
}
