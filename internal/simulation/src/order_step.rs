//! The steps that concern orders.

/// A step that concerns orders.
#[derive(Debug, Clone, Copy)]
pub(super) enum OrderStep {
    /// Subscribes a viewer to a topic of orders, by one of its two names.
    Subscribe(u8, u8, bool),
    Unsubscribe(u8, u8, bool),
    /// Begins a transaction with a snapshot of its own: REPEATABLE READ.
    BeginSnapshot(u8),
    /// Adds a line of this quantity to an order.
    AddLine(u8, u8, u8),
    /// Moves an order to a shop.
    Move(u8, u8, u8),
    /// Transfers goods from a shop to a shop.
    Transfer(u8, u8, u8),
    /// Makes every read of this topic fail.
    Poison(u8),
    Cure(u8),
    /// Makes the database refuse the query of this topic's stream, or accept it again.
    Break(u8),
    Mend(u8),
    /// Prepares a transaction for a two-phase commit.
    Prepare(u8),
    /// Delivers the notification of a move that never was.
    ForgeMove(u8),
}
