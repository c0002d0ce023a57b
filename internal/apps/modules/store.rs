//! What is kept in the database, as the app asks for it.

use futures_util::future::BoxFuture;

use crate::auth::Secret;
use crate::postgres::DatabaseError;
use crate::postgres::apps::modules::{Credentials, Database, SessionRow, StateRow, StoredModule};

/// An answer of the store.
pub(super) type Answer<'a, T> = BoxFuture<'a, Result<T, DatabaseError>>;

/// The database, or what stands in for it in tests.
pub(super) trait Store: Send + Sync {
    /// Modules behind that id, in the order of their ids, with what was last known of them; at most so many.
    fn page<'a>(&'a self, after: Option<&'a str>, limit: usize) -> Answer<'a, Vec<StoredModule>>;
    /// Those of these modules that exist.
    fn named<'a>(&'a self, ids: &'a [String]) -> Answer<'a, Vec<StoredModule>>;
    /// What a device must know to be that module.
    fn credentials<'a>(&'a self, module: &'a str) -> Answer<'a, Option<Credentials>>;
    /// Whose a session is, if it lives.
    fn session<'a>(&'a self, id: &'a str) -> Answer<'a, Option<SessionRow>>;
    /// Gives an unclaimed module to a user who knows its code; whether it could.
    fn claim<'a>(&'a self, module: &'a str, code: &'a Secret, user: &'a str) -> Answer<'a, bool>;
    /// Keeps what is known of these modules.
    fn save<'a>(&'a self, states: &'a [StateRow]) -> Answer<'a, ()>;
    /// Notes that none is online: nobody is connected yet.
    fn begin(&self) -> Answer<'_, ()>;
}

impl Store for Database {
    fn page<'a>(&'a self, after: Option<&'a str>, limit: usize) -> Answer<'a, Vec<StoredModule>> {
        Box::pin(self.page(after, limit))
    }

    fn named<'a>(&'a self, ids: &'a [String]) -> Answer<'a, Vec<StoredModule>> {
        Box::pin(self.named(ids))
    }

    fn credentials<'a>(&'a self, module: &'a str) -> Answer<'a, Option<Credentials>> {
        Box::pin(self.credentials(module))
    }

    fn session<'a>(&'a self, id: &'a str) -> Answer<'a, Option<SessionRow>> {
        Box::pin(self.session(id))
    }

    fn claim<'a>(&'a self, module: &'a str, code: &'a Secret, user: &'a str) -> Answer<'a, bool> {
        Box::pin(self.claim(module, code.expose(), user))
    }

    fn save<'a>(&'a self, states: &'a [StateRow]) -> Answer<'a, ()> {
        Box::pin(self.save(states))
    }

    fn begin(&self) -> Answer<'_, ()> {
        Box::pin(self.begin())
    }
}
