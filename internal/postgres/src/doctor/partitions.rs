//! Checks whether a key's read touches every partition of a table.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::doctor::finding::Finding;
use crate::pool::Database;
use crate::triggers::discover::discover_table;
use latido_stream::Stream;

/// The number of partitions below which reading all of them is no concern.
const MANY_PARTITIONS: usize = 4;

/// Returns a warning for each table of which the plan of one key has read every partition. The plan
/// is that of `EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON)`.
pub(super) async fn examine(database: &Database, stream: &Stream, plan: &Value) -> Vec<Finding> {
    let read = read_relations(&plan["Plan"]);
    let mut findings = Vec::new();
    for table in &stream.tables {
        // A table that cannot be found has a finding already.
        let Ok(found) = discover_table(database, stream, table).await else {
            continue;
        };
        let own = (&found.schema, &found.table);
        let partitions = found.relations.iter();
        let partitions = partitions.filter(|(schema, name)| (schema, name) != own);
        let partitions: BTreeSet<_> = partitions.cloned().collect();
        if partitions.len() < MANY_PARTITIONS || !partitions.is_subset(&read) {
            continue;
        }
        let of = format!("stream {}: partitions of {}", stream.name, table.name);
        let detail = format!(
            "one key reads all {} partitions: nothing tells PostgreSQL which of them have its rows",
            partitions.len()
        );
        let remedy = "compare the partition key with the key or with the day ($2, or a parameter) directly, without a function around it";
        findings.push(Finding::warning(of, detail).remedy(remedy));
    }
    findings
}

/// Returns the relations that a plan has read, with their schemas.
fn read_relations(node: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let is_executed = node["Actual Loops"].as_f64().unwrap_or_default() > 0.0;
    if let (Some(schema), Some(name), true) = (
        node["Schema"].as_str(),
        node["Relation Name"].as_str(),
        is_executed,
    ) {
        found.insert((schema.to_owned(), name.to_owned()));
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        found.extend(read_relations(child));
    }
    found
}
