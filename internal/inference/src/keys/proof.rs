//! The proof of lookups.
//!
//! 1. *Key.* Each of the first outputs is the column of `unnest($i)`, or equal to it by a fact.
//! 2. *Facts.* Equalities of two plain columns that hold wherever a row can matter
//!    ([`equality`](crate::keys::equality), [`region`](crate::keys::region)).
//! 3. *Boundaries.* A fact outside of a block counts for a row inside only through an output on which a
//!    filter may move down ([`boundary`](crate::keys::boundary)), for every block around the row.
//! 4. *Chains.* From each place where a table is read, the search goes from table to table along the
//!    facts until all key parts are known ([`search`](crate::keys::search)).
//! 5. *Changes together.* Of all rows that one statement changes, one must still find the key
//!    ([`together`](crate::keys::together)). A statement that itself writes to two tables (a WITH that
//!    writes) is not considered for keys whose parts come from both.
//!
//! Everything else is not proven. What a function that hides its reads does is not part of the proof.

use std::collections::{HashMap, HashSet};

use crate::block::Blocks;
use crate::keys::answer::{KeyPart, KeyProof, LookupAnswer, TableLookups};
use crate::keys::candidate::suggestions;
use crate::keys::catalog::KeyCatalog;
use crate::keys::chain::Chain;
use crate::keys::lookup::Lookup;
use crate::keys::not_proven::{NotProven, NotProvenReason, Suggestion, SuggestionOrigin};
use crate::keys::place::{Places, TablePlace};
use crate::keys::problem::KeyProblem;
use crate::keys::prover::Prover;
use crate::keys::statement::Route;
use crate::keys::unvisited::unvisited_relations;
use crate::node::{Node, Value};
use crate::query_reads::TableReads;

/// What is to be proven.
pub(crate) struct Question<'a> {
    pub(crate) query: &'a Node,
    pub(crate) views: &'a HashMap<u32, Value>,
    pub(crate) catalog: KeyCatalog<'a>,
    /// The number of key parts.
    pub(crate) key_parts: usize,
    pub(crate) tables: &'a [TableReads],
    /// The tables that functions and policies read.
    pub(crate) in_functions: &'a HashSet<u32>,
}

/// Returns the key of a query and the lookups of its tables.
pub(crate) fn prove(question: &Question<'_>) -> KeyProof {
    if question.key_parts == 0 {
        let answer = |_: &TableReads| LookupAnswer::EveryKey;
        return proof(Ok(Vec::new()), question.tables, answer);
    }
    let blocks = Blocks::new(question.query, question.views);
    let mut prover = Prover::new(blocks, question.catalog);
    match prover.find(question.key_parts) {
        Ok((key, places)) => {
            let unvisited = unvisited_relations(question.query, question.views, &places.entries);
            let answer = |table: &TableReads| {
                let found = if unvisited.contains(&table.oid) {
                    Err((NotProvenReason::NotUnderstood, Vec::new()))
                } else {
                    prover.lookups(&places, table.oid)
                };
                let found = match found {
                    Ok(lookups) if question.in_functions.contains(&table.oid) => {
                        Err((NotProvenReason::InFunction, lookups))
                    }
                    Err((NotProvenReason::NoPath, _))
                        if question.in_functions.contains(&table.oid) =>
                    {
                        Err((NotProvenReason::InFunction, Vec::new()))
                    }
                    found => found,
                };
                found.map_or_else(
                    |(reason, lookups)| not_proven(&question.catalog, &key, table, reason, lookups),
                    LookupAnswer::Proven,
                )
            };
            let tables = lookups_of(question.tables, answer);
            KeyProof {
                key: Ok(key),
                tables,
            }
        }
        Err(problem) => {
            let reason = NotProvenReason::Key(problem.clone());
            proof(Err(problem), question.tables, |_| {
                LookupAnswer::NotProven(NotProven {
                    reason: reason.clone(),
                    suggestions: Vec::new(),
                })
            })
        }
    }
}

fn proof(
    key: Result<Vec<KeyPart>, KeyProblem>,
    tables: &[TableReads],
    answer: impl FnMut(&TableReads) -> LookupAnswer,
) -> KeyProof {
    let tables = lookups_of(tables, answer);
    KeyProof { key, tables }
}

fn lookups_of(
    tables: &[TableReads],
    mut answer: impl FnMut(&TableReads) -> LookupAnswer,
) -> Vec<TableLookups> {
    let lookups = |table: &TableReads| TableLookups {
        oid: table.oid,
        schema: table.schema.clone(),
        name: table.name.clone(),
        answer: answer(table),
    };
    tables.iter().map(lookups).collect()
}

fn not_proven(
    catalog: &KeyCatalog<'_>,
    key: &[KeyPart],
    table: &TableReads,
    reason: NotProvenReason,
    from_query: Vec<Lookup>,
) -> LookupAnswer {
    let mut all = Vec::new();
    if !from_query.is_empty() {
        all.push(Suggestion {
            lookups: from_query,
            origin: SuggestionOrigin::Query,
        });
    }
    for suggestion in suggestions(catalog, key, table.oid) {
        if all.iter().all(|known| known.lookups != suggestion.lookups) {
            all.push(suggestion);
        }
    }
    all.truncate(NotProven::MAX_SUGGESTIONS);
    LookupAnswer::NotProven(NotProven {
        reason,
        suggestions: all,
    })
}

impl Prover<'_> {
    /// Finds the key and all places.
    fn find(&mut self, key_parts: usize) -> Result<(Vec<KeyPart>, Places), KeyProblem> {
        let places = self.places().ok_or(KeyProblem::NotUnderstood)?;
        let key = self.find_key(key_parts)?;
        self.key_types = key.iter().map(|part| part.type_oid).collect();
        // These classes were found without the key.
        self.classes.clear();
        self.check_key_places(&places)?;
        Ok((key, places))
    }

    /// Returns the lookups of all places of a table.
    ///
    /// # Errors
    /// Returns the reason if one is not proven, with the lookups that may be right.
    fn lookups(
        &mut self,
        places: &Places,
        relation: u32,
    ) -> Result<Vec<Lookup>, (NotProvenReason, Vec<Lookup>)> {
        let own = places.tables.iter().filter(|p| p.relation == relation);
        let (mut lookups, mut problem) = (Vec::new(), None);
        let mut is_found = false;
        for place in own {
            is_found = true;
            match self.place_lookups(place) {
                Ok(found) => {
                    for lookup in found {
                        if !lookups.contains(&lookup) {
                            lookups.push(lookup);
                        }
                    }
                }
                Err((NotProvenReason::ChangedTogether, Some(lookup))) => {
                    problem.get_or_insert(NotProvenReason::ChangedTogether);
                    if !lookups.contains(&lookup) {
                        lookups.push(lookup);
                    }
                }
                Err((reason, _)) => return Err((reason, Vec::new())),
            }
        }
        match problem {
            Some(reason) => Err((reason, lookups)),
            None if is_found => Ok(lookups),
            None => Err((NotProvenReason::NoPath, Vec::new())),
        }
    }

    fn place_lookups(
        &mut self,
        place: &TablePlace,
    ) -> Result<Vec<Lookup>, (NotProvenReason, Option<Lookup>)> {
        if place.is_recursive {
            return Err((NotProvenReason::Recursive, None));
        }
        if place.is_sampled {
            return Err((NotProvenReason::Sampled, None));
        }
        let chains = self.chains(place.place).map_err(|failure| {
            let lookup = failure.chain.and_then(|chain| self.lookup(&chain));
            if self.is_exhausted() {
                return (NotProvenReason::TooComplex, None);
            }
            (failure.reason.unwrap_or(NotProvenReason::NoPath), lookup)
        })?;
        let lookups: Option<Vec<_>> = chains.iter().map(|chain| self.lookup(chain)).collect();
        lookups.ok_or((NotProvenReason::NotUnderstood, None))
    }

    /// Returns a chain as a lookup. Returns `None` if a column is not known.
    fn lookup(&self, chain: &Chain) -> Option<Lookup> {
        let relations = chain.places.iter().map(|place| self.relation_at(*place));
        let route = Route {
            relations: relations.collect::<Option<_>>()?,
            joins: chain.joins.clone(),
            parts: chain.parts.clone(),
        };
        self.catalog.lookup(&route, &self.key_types)
    }
}
