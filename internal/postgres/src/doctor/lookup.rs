//! Checks the lookups of a stream's tables: what they read, and whether indexes find it.

use serde_json::Value;

use crate::doctor::finding::Finding;
use crate::doctor::stream::subject;
use crate::pool::Database;
use crate::quote::{quote_ident, quote_qualified};
use crate::triggers::lookup_session::plan_lookup;
use crate::triggers::table_route::{LookupArgument, LookupFacts, PathTable, TableLookup};
use crate::triggers::watched_table::WatchedTable;
use crate::triggers::{DiscoveryError, discover};
use latido_stream::{Catalog, SourceTable, Stream};

/// Returns the findings about the lookup of a table, if it has one. A table that cannot be found has
/// a finding already.
pub(super) async fn examine(
    database: &Database,
    catalog: &Catalog,
    stream: &Stream,
    table: &SourceTable,
) -> Vec<Finding> {
    let of = subject(stream, &format!("via of {}", table.name));
    let Ok(mut watched) = discover::discover_table(database, stream, table).await else {
        return Vec::new();
    };
    if watched.lookup().is_none() {
        return Vec::new();
    }
    match discover::add_facts(database, catalog, &mut watched).await {
        Ok(()) => {}
        Err(DiscoveryError::Table(problem)) => {
            return vec![Finding::failure(of, problem.to_string())];
        }
        Err(DiscoveryError::Database(error)) => {
            let detail = format!("not known what it reads: {error}");
            return vec![Finding::warning(of, detail)];
        }
    }
    let (Some(lookup), Some(facts)) = (watched.lookup(), watched.lookup_facts()) else {
        return Vec::new();
    };
    let mut findings: Vec<_> = unlisted(&of, &watched, facts).into_iter().collect();
    findings.extend(functions(&of, facts));
    findings.extend(indexes(database, &of, &watched, lookup, facts).await);
    if findings.is_empty() {
        let path: Vec<_> = facts.path.iter().map(|path| path.table.as_str()).collect();
        let through = match path.is_empty() {
            true => String::new(),
            false => format!(", through {}", path.join(", ")),
        };
        findings.push(Finding::ok(
            of,
            format!("finds {}{through}", facts.names.join(", ")),
        ));
    }
    findings
}

/// Returns a warning if the lookup reads columns that `columns` does not list.
fn unlisted(of: &str, watched: &WatchedTable, facts: &LookupFacts) -> Option<Finding> {
    let listed = &watched.change_columns;
    let names = facts
        .arguments
        .iter()
        .filter_map(|argument| match argument {
            LookupArgument::Column { name, .. } => Some(name),
            LookupArgument::Row { .. } => None,
        });
    let missing: Vec<_> = names
        .filter(|name| !listed.contains(name))
        .cloned()
        .collect();
    if listed.is_empty() || missing.is_empty() {
        return None;
    }
    let complete: Vec<_> = listed
        .iter()
        .chain(&missing)
        .map(|name| format!("{name:?}"))
        .collect();
    let detail = format!(
        "it reads {}, which `columns` does not list; it counts all the same",
        missing.join(", ")
    );
    Some(Finding::warning(of, detail).remedy(format!("columns = [{}]", complete.join(", "))))
}

/// Returns a warning that names the functions which the lookup calls.
fn functions(of: &str, facts: &LookupFacts) -> Option<Finding> {
    let detail = format!(
        "it calls {}, with the rights of the role that installed the triggers",
        facts.functions.join(", ")
    );
    let remedy = "use these functions only if nobody else can replace them";
    (!facts.functions.is_empty()).then(|| Finding::warning(of, detail).remedy(remedy))
}

/// Returns a warning for each table that the lookup can only scan whole.
async fn indexes(
    database: &Database,
    of: &str,
    watched: &WatchedTable,
    lookup: &TableLookup,
    facts: &LookupFacts,
) -> Vec<Finding> {
    let plan = match plan_lookup(database, watched, lookup).await {
        Ok(plan) => plan,
        Err(error) => {
            let detail = format!("not known whether indexes find its rows: {error}");
            return vec![Finding::warning(of, detail)];
        }
    };
    let scans = whole_scans(&plan);
    let missing = facts.path.iter().filter_map(|path| {
        let alias = scans.iter().find(|(table, _)| *table == path.table)?.1;
        Some(index_finding(of, path, &joined_columns(path, alias, &plan)))
    });
    missing.collect()
}

fn index_finding(of: &str, path: &PathTable, columns: &[&str]) -> Finding {
    let detail = format!(
        "no index finds its rows in {}: every write scans that table while somebody watches",
        path.table
    );
    let finding = Finding::warning(of, detail);
    if columns.is_empty() {
        return finding;
    }
    let columns: Vec<_> = columns.iter().map(|name| quote_ident(name)).collect();
    finding.remedy(format!(
        "CREATE INDEX CONCURRENTLY ON {} ({});",
        quote_qualified(&path.schema, &path.table),
        columns.join(", ")
    ))
}

/// Returns the tables that a plan scans whole, with their aliases.
fn whole_scans(plan: &Value) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    visit(plan, &mut |node| {
        if node["Node Type"] == "Seq Scan"
            && let (Some(table), Some(alias)) =
                (node["Relation Name"].as_str(), node["Alias"].as_str())
        {
            found.push((table, alias));
        }
    });
    found
}

/// Returns the columns of a table by which a plan filters its rows.
fn joined_columns<'a>(path: &'a PathTable, alias: &str, plan: &Value) -> Vec<&'a str> {
    let mut conditions = String::new();
    visit(plan, &mut |node| {
        let own = (node["Alias"] == alias)
            .then(|| node["Filter"].as_str())
            .flatten();
        let joined = node["Join Filter"].as_str();
        for condition in own.into_iter().chain(joined) {
            conditions.push_str(condition);
            conditions.push('\n');
        }
    });
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let names = |name: &str| {
        [
            format!("{alias}.{name}"),
            format!("{alias}.{}", quote_ident(name)),
        ]
        .iter()
        .any(|full| {
            conditions.match_indices(full.as_str()).any(|(at, _)| {
                let before = conditions[..at].chars().next_back();
                let after = conditions[at + full.len()..].chars().next();
                !before.is_some_and(is_word) && !after.is_some_and(is_word)
            })
        })
    };
    let columns = path.columns.iter().map(String::as_str);
    columns.filter(|name| names(name)).collect()
}

fn visit<'a>(node: &'a Value, with: &mut impl FnMut(&'a Value)) {
    with(node);
    for child in node["Plans"].as_array().into_iter().flatten() {
        visit(child, with);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::triggers::table_route::MoveKey;

    #[test]
    fn whole_scans_name_the_columns_that_an_index_needs() {
        let path = PathTable {
            schema: "public".to_owned(),
            table: "pedidos".to_owned(),
            columns: ["id", "id_2", "tienda_id"].map(str::to_owned).into(),
            relations: Vec::new(),
            is_moved_by_insert: false,
            is_moved_by_delete: false,
            moves_elsewhere: false,
            key: MoveKey::Unknown,
        };
        let scan = json!({"Node Type": "Seq Scan", "Relation Name": "pedidos", "Alias": "p"});
        let plan = json!({"Node Type": "Nested Loop", "Join Filter": "(c.pedido_id = p.id_2)", "Plans": [scan]});
        let scans = whole_scans(&plan);
        assert_eq!(scans, [("pedidos", "p")]);
        assert_eq!(joined_columns(&path, "p", &plan), ["id_2"]);
        let finding = index_finding("x", &path, &["id_2"]);
        let create = r#"CREATE INDEX CONCURRENTLY ON "public"."pedidos" ("id_2");"#;
        assert_eq!(finding.with_remedy.as_deref(), Some(create));
    }
}
