//! The result of the proof: the key of a query, and the way from each table to it.

use crate::keys::lookup::Lookup;
use crate::keys::not_proven::NotProven;
use crate::keys::problem::KeyProblem;

/// The key of a query, and the way from the changed rows of each table to the keys that they concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyProof {
    /// The key parts in the order of their parameters, `$1` first. Without a key the list is empty.
    ///
    /// With a problem no table is proven. A problem for which [`KeyProblem::mixes_keys`] is true is
    /// a mistake of the query: its rows are wrong as soon as several keys are read together.
    pub key: Result<Vec<KeyPart>, KeyProblem>,
    /// The tables of [`QueryReads::tables`](crate::QueryReads::tables), in the same order.
    pub tables: Vec<TableLookups>,
}

impl KeyProof {
    /// Returns whether a lookup is known for every table. What functions read that hide their reads
    /// ([`QueryReads::hidden_functions`](crate::QueryReads::hidden_functions)) is not part of it: a
    /// person must list their tables, also those that are known from elsewhere in the query.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.not_proven().next().is_none()
    }

    /// Returns the tables for which a person has to choose.
    pub fn not_proven(&self) -> impl Iterator<Item = (&TableLookups, &NotProven)> {
        self.tables.iter().filter_map(|table| match &table.answer {
            LookupAnswer::NotProven(reason) => Some((table, reason)),
            LookupAnswer::EveryKey | LookupAnswer::Proven(_) => None,
        })
    }
}

/// One part of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// The number of its parameter: 1 is `$1`.
    pub parameter: usize,
    /// The name of its output column. It is the output at the position of the parameter.
    pub output: String,
    /// The OID of the type of one key: the element type of the parameter's array.
    pub type_oid: u32,
}

/// The lookups of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLookups {
    /// The table's OID.
    pub oid: u32,
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub name: String,
    /// The way from a changed row to the keys.
    pub answer: LookupAnswer,
}

/// The way from the changed rows of a table to the keys that they concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupAnswer {
    /// The stream has no key, so every change concerns the only row.
    EveryKey,
    /// These lookups together return every key whose result a changed row can alter. There is at
    /// least one. Each needs an entry of its own: the query reads the table in several places.
    Proven(Vec<Lookup>),
    /// Nothing was proven. Only the choice that any change concerns every key is always right.
    NotProven(NotProven),
}
