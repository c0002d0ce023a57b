//! The kinds of triggers, and the events that fire them.

/// The kind of trigger that finds a table's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TriggerKind {
    /// Row triggers, which try the gate for the key of each row.
    Rows,
    /// Statement triggers, which read the sets of rows that a statement wrote.
    Statements,
}

/// One of the four trigger events.
#[derive(Debug, Clone, Copy)]
pub(super) struct TriggerEvent {
    pub(super) suffix: &'static str,
    /// The value of `pg_trigger.tgtype` for an AFTER trigger FOR EACH STATEMENT.
    tgtype_for: i16,
}

impl TriggerEvent {
    /// Returns the value of `pg_trigger.tgtype`; TRUNCATE has statement triggers only.
    pub(super) fn tgtype(self, form: TriggerKind) -> i16 {
        const ROW: i16 = 1;
        const TRUNCATE: i16 = 32;
        if form == TriggerKind::Rows && self.tgtype_for != TRUNCATE {
            self.tgtype_for | ROW
        } else {
            self.tgtype_for
        }
    }
}

pub(super) const INSERT: TriggerEvent = TriggerEvent {
    suffix: "ins",
    tgtype_for: 4,
};
pub(super) const UPDATE: TriggerEvent = TriggerEvent {
    suffix: "upd",
    tgtype_for: 16,
};
pub(super) const DELETE: TriggerEvent = TriggerEvent {
    suffix: "del",
    tgtype_for: 8,
};
pub(super) const TRIGGER_EVENTS: [TriggerEvent; 4] = [
    INSERT,
    UPDATE,
    DELETE,
    TriggerEvent {
        suffix: "tru",
        tgtype_for: 32,
    },
];
