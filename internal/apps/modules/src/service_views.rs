//! What web clients may read of the service's state.

use serde_json::Value;

use latido_base::ident::UserId;

use crate::events;
use crate::service::ModuleService;
use crate::user::WebUser;

impl ModuleService {
    /// Returns the states of the modules that a user may see.
    pub(super) fn states_for(&self, user: &WebUser) -> Value {
        let state = self.lock();
        match user.is_admin {
            true => self.event_builder.states_payload(state.registry.iter()),
            false => self
                .event_builder
                .states_payload(state.registry.owned_by(&user.id)),
        }
    }

    /// Returns a user's own modules in the list format of the oldest clients.
    pub(super) fn own_modules(&self, user: &UserId) -> Value {
        events::modules_state_payload(self.lock().registry.owned_by(user))
    }

    /// Returns `{totalModules, onlineModules, offlineModules, moduleTypes}` of the modules that a
    /// user may see.
    pub(super) fn summary_for(&self, user: &WebUser) -> Value {
        let state = self.lock();
        match user.is_admin {
            true => events::summary_payload(state.registry.iter()),
            false => events::summary_payload(state.registry.owned_by(&user.id)),
        }
    }

    /// Returns the current `{stats, timestamp}` and `{users, modules, timestamp}`.
    pub(super) fn stats(&self) -> (Value, Value) {
        let (now, state) = (self.now(), self.lock());
        let counts = state.registry.counts();
        (
            state.admin_stats.full_stats(&self.event_bus, counts, now),
            state.admin_stats.simple_stats(&self.event_bus, counts, now),
        )
    }
}
