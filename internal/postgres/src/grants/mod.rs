//! The privileges that the serving role needs: their list, the SQL that grants them, and the check
//! whether a role has them.

mod collect;
mod grant;
mod missing;
mod query_tables;
mod table_grant;

pub use collect::ServingNeeds;
pub use grant::{Grant, grant_script};
pub use table_grant::TableGrant;
