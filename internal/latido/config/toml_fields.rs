//! Takes the fields of a table of `latido.toml` one by one, so that all its mistakes are reported
//! together: of several, `Deserialize` tells the first.

use serde::de::DeserializeOwned;

/// The fields of a table, and the mistakes that were found among them.
#[derive(Debug)]
pub(super) struct Fields {
    table: toml::Table,
    /// The names that were asked for, in that order.
    known: Vec<&'static str>,
    /// The field, if the mistake concerns one that is known, and the problem.
    mistakes: Vec<(Option<&'static str>, String)>,
}

impl Fields {
    pub(super) fn new(table: toml::Table) -> Self {
        Self {
            table,
            known: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// Returns whether the table has the field, whatever its value. Only a field that was not taken
    /// yet counts.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Takes a field that may be absent. A value of another type is a mistake, and `None`.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        self.known.push(name);
        let taken = self.table.remove(name)?.try_into();
        taken
            .map_err(|error| self.add_mistake(name, error.message()))
            .ok()
    }

    /// Takes a field that must be there.
    pub(super) fn require<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        if !self.has(name) {
            self.mistakes
                .push((None, format!("missing field `{name}`")));
        }
        self.take(name)
    }

    fn add_mistake(&mut self, name: &'static str, problem: &str) {
        self.mistakes.push((Some(name), problem.to_owned()));
    }

    /// Returns all mistakes. What nobody asked for is one.
    pub(super) fn finish(mut self) -> Vec<(Option<&'static str>, String)> {
        let known: Vec<_> = self.known.iter().map(|name| format!("`{name}`")).collect();
        let known = known.join(", ");
        let unknown = self.table.iter();
        let unknown = unknown.map(|(name, _)| {
            (
                None,
                format!("unknown field `{name}`, expected one of {known}"),
            )
        });
        self.mistakes.extend(unknown);
        self.mistakes
    }
}
