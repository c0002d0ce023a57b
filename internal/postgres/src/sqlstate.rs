//! The SQLSTATEs of errors that are told apart (PostgreSQL, appendix A).

/// `insufficient_privilege`.
pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// `read_only_sql_transaction`: a write, or one on a standby.
pub const READ_ONLY_TRANSACTION: &str = "25006";
/// `query_canceled`, which a statement's time-out raises.
pub const QUERY_CANCELED: &str = "57014";
/// `lock_not_available`.
pub const LOCK_NOT_AVAILABLE: &str = "55P03";
