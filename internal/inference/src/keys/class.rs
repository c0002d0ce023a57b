//! Equivalence classes: the columns and key parts that equal each other wherever a row of one place
//! can matter.

use std::collections::{BTreeMap, BTreeSet};

use crate::keys::problem::KeyMixing;
use crate::keys::source::SourceColumn;

/// A set of equal things, as seen from one place.
#[derive(Debug, Default)]
pub(crate) struct Class {
    /// The columns of the place itself.
    pub(crate) own: BTreeSet<i32>,
    /// The key parts, from 1.
    pub(crate) parts: BTreeSet<usize>,
    /// The columns of other places.
    pub(crate) others: BTreeSet<SourceColumn>,
}

/// The equivalence classes of one place.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    pub(crate) all: Vec<Class>,
    /// The first boundary that kept a fact from counting.
    pub(crate) stopped: Option<KeyMixing>,
}

impl Classes {
    /// Returns the class that contains a column of the place.
    pub(crate) fn of_own(&self, column: i32) -> Option<&Class> {
        self.all.iter().find(|class| class.own.contains(&column))
    }
}

/// A member of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Member {
    Own(i32),
    Part(usize),
    Other(SourceColumn),
}

/// Sets of members that are joined step by step.
#[derive(Default)]
pub(crate) struct Partition {
    /// The set of each member.
    set_of: BTreeMap<Member, usize>,
    sets: Vec<Vec<Member>>,
}

impl Partition {
    /// Makes all members equal.
    pub(crate) fn unite(&mut self, members: &[Member]) {
        let Some((first, rest)) = members.split_first() else {
            return;
        };
        let into = self.set(*first);
        for member in rest {
            let from = self.set(*member);
            if from != into {
                for moved in std::mem::take(&mut self.sets[from]) {
                    self.set_of.insert(moved, into);
                    self.sets[into].push(moved);
                }
            }
        }
    }

    fn set(&mut self, member: Member) -> usize {
        let sets = &mut self.sets;
        *self.set_of.entry(member).or_insert_with(|| {
            sets.push(vec![member]);
            sets.len() - 1
        })
    }

    pub(crate) fn into_classes(self) -> Vec<Class> {
        let sets = self.sets.into_iter().filter(|set| set.len() > 1);
        let class = |set: Vec<Member>| {
            let mut class = Class::default();
            for member in set {
                match member {
                    Member::Own(column) => drop(class.own.insert(column)),
                    Member::Part(part) => drop(class.parts.insert(part)),
                    Member::Other(column) => drop(class.others.insert(column)),
                }
            }
            class
        };
        sets.map(class).collect()
    }
}
