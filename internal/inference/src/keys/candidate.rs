//! Candidates for a person to choose from: columns with the names and types of the key parts, in the
//! table itself or at the end of a path of foreign keys. They may miss keys.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::ForeignKeyFacts;
use crate::keys::answer::KeyPart;
use crate::keys::catalog::KeyCatalog;
use crate::keys::not_proven::{NotProven, Suggestion, SuggestionOrigin};
use crate::keys::statement::Route;

/// The largest number of foreign keys in a path.
const MAX_PATH: usize = 4;

/// Returns the candidates of a table.
pub(crate) fn suggestions(
    catalog: &KeyCatalog<'_>,
    key: &[KeyPart],
    relation: u32,
) -> Vec<Suggestion> {
    let mut search = PathSearch {
        catalog,
        key,
        own: columns_like(catalog, key, relation),
        routes: Vec::new(),
    };
    let route = Route {
        relations: vec![relation],
        joins: Vec::new(),
        parts: BTreeMap::new(),
    };
    let origin = if search.own.len() == key.len() {
        search.complete(route);
        SuggestionOrigin::ColumnNames
    } else {
        search.grow(&route);
        SuggestionOrigin::ForeignKeys
    };
    let types: Vec<_> = key.iter().map(|part| part.type_oid).collect();
    let lookups = search
        .routes
        .iter()
        .filter_map(|route| catalog.lookup(route, &types));
    let suggestion = |lookup| Suggestion {
        lookups: vec![lookup],
        origin,
    };
    lookups.map(suggestion).collect()
}

/// Returns the columns of a table that have the name and type of a key part.
fn columns_like(catalog: &KeyCatalog<'_>, key: &[KeyPart], relation: u32) -> BTreeMap<usize, i32> {
    let Some(facts) = catalog.relations.get(&relation) else {
        return BTreeMap::new();
    };
    let column = |part: &KeyPart| {
        let mut columns = facts.columns.iter();
        let (number, _) = columns.find(|(_, name)| **name == part.output)?;
        let spelling = catalog.key_spelling(relation, *number, part.type_oid);
        (spelling.is_some() && catalog.is_readable(relation, *number)).then_some(*number)
    };
    let parts = key
        .iter()
        .filter_map(|part| Some((part.parameter, column(part)?)));
    parts.collect()
}

struct PathSearch<'a> {
    catalog: &'a KeyCatalog<'a>,
    key: &'a [KeyPart],
    /// The key parts that the table itself has.
    own: BTreeMap<usize, i32>,
    routes: Vec<Route>,
}

impl PathSearch<'_> {
    /// Adds a route if its last table has the parts that are missing. Returns whether it has.
    fn complete(&mut self, mut route: Route) -> bool {
        let (Some(last), at) = (route.relations.last(), route.relations.len() - 1) else {
            return false;
        };
        let found = columns_like(self.catalog, self.key, *last);
        for part in self.key.iter().map(|part| part.parameter) {
            let column = match (self.own.get(&part), found.get(&part)) {
                (Some(own), _) => (0, *own),
                (None, Some(column)) => (at, *column),
                (None, None) => return false,
            };
            route.parts.insert(part, column);
        }
        self.routes.push(route);
        true
    }

    /// Follows the foreign keys of the last table of a route.
    fn grow(&mut self, route: &Route) {
        let last = route.relations.last();
        let Some(facts) = last.and_then(|oid| self.catalog.relations.get(oid)) else {
            return;
        };
        for key in &facts.foreign_keys {
            if self.routes.len() >= NotProven::MAX_SUGGESTIONS {
                return;
            }
            let ForeignKeyFacts {
                parent,
                columns,
                parent_columns,
                ..
            } = key;
            if route.relations.contains(parent) {
                continue;
            }
            let mut longer = route.clone();
            longer.relations.push(*parent);
            let pairs = columns.iter().copied().zip(parent_columns.iter().copied());
            longer.joins.push(pairs.collect::<BTreeSet<_>>());
            if !self.complete(longer.clone()) && longer.joins.len() < MAX_PATH {
                self.grow(&longer);
            }
        }
    }
}
