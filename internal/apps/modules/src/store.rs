//! The database operations of the app.

use futures_util::future::BoxFuture;

use latido_auth::Secret;
use latido_postgres::DatabaseError;
use latido_postgres::apps::modules::{
    DeviceCredentials, ModuleStateRow, ModulesDatabase, SessionRow, StoredModule,
};

/// A pending response of the store.
pub(super) type StoreFuture<'a, T> = BoxFuture<'a, Result<T, DatabaseError>>;

/// The database, or a substitute for it in tests.
pub(super) trait ModuleStore: Send + Sync {
    /// Returns at most `limit` modules after this id, in id order, with their stored state.
    fn read_page<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<StoredModule>>;
    /// Returns those of the named modules that exist.
    fn read_modules<'a>(&'a self, ids: &'a [String]) -> StoreFuture<'a, Vec<StoredModule>>;
    /// Returns the credentials that a device of this module must present.
    fn credentials<'a>(&'a self, module: &'a str) -> StoreFuture<'a, Option<DeviceCredentials>>;
    /// Returns the user of a session, if the session is valid.
    fn session<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<SessionRow>>;
    /// Assigns an unclaimed module to a user that knows its code. Returns `false` if no such module
    /// matches.
    fn claim<'a>(
        &'a self,
        module: &'a str,
        code: &'a Secret,
        user: &'a str,
    ) -> StoreFuture<'a, bool>;
    /// Saves the states of these modules.
    fn save_states<'a>(&'a self, states: &'a [ModuleStateRow]) -> StoreFuture<'a, ()>;
    /// Marks all modules as offline, because no device is connected at the start.
    fn mark_all_offline(&self) -> StoreFuture<'_, ()>;
}

impl ModuleStore for ModulesDatabase {
    fn read_page<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<StoredModule>> {
        Box::pin(self.page_after(after, limit))
    }

    fn read_modules<'a>(&'a self, ids: &'a [String]) -> StoreFuture<'a, Vec<StoredModule>> {
        Box::pin(self.by_ids(ids))
    }

    fn credentials<'a>(&'a self, module: &'a str) -> StoreFuture<'a, Option<DeviceCredentials>> {
        Box::pin(self.credentials(module))
    }

    fn session<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<SessionRow>> {
        Box::pin(self.session(id))
    }

    fn claim<'a>(
        &'a self,
        module: &'a str,
        code: &'a Secret,
        user: &'a str,
    ) -> StoreFuture<'a, bool> {
        Box::pin(self.claim(module, code.expose(), user))
    }

    fn save_states<'a>(&'a self, states: &'a [ModuleStateRow]) -> StoreFuture<'a, ()> {
        Box::pin(self.save_states(states))
    }

    fn mark_all_offline(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.mark_all_offline())
    }
}
