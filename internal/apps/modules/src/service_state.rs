//! The state of the service, which one lock protects.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::admin_stats::AdminStats;
use crate::device_commands::PendingCommands;
use crate::registry::{ModuleId, ModuleRegistry};
use crate::throttle::LatestThrottle;
use crate::time_format::Millis;

/// The delay in which changes of the counts are collected before administrators receive them, in
/// milliseconds.
const STATS_DELAY_MS: Millis = 250;

/// The modules, and what is still to be published or saved about them.
pub(super) struct ServiceState {
    pub(super) registry: ModuleRegistry,
    /// `true` once all rows were read. Earlier rows are initial state and cause no events.
    pub(super) is_loaded: bool,
    pub(super) seen_throttle: LatestThrottle<ModuleId, ()>,
    pub(super) telemetry_throttle: LatestThrottle<ModuleId, ()>,
    pub(super) pending_commands: PendingCommands,
    /// The modules with unsaved changes. `true` if the online flag changed, which other programs
    /// read from the table.
    pub(super) unsaved: HashMap<ModuleId, bool>,
    pub(super) sweep_at: Millis,
    /// The time at which administrators receive changed counts.
    pub(super) stats_due_at: Option<Millis>,
    pub(super) admin_stats: AdminStats,
}

impl ServiceState {
    pub(super) fn new(throttle_ms: Millis, now: Millis, sweep_at: Millis) -> Self {
        Self {
            registry: ModuleRegistry::default(),
            is_loaded: false,
            seen_throttle: LatestThrottle::new(throttle_ms),
            telemetry_throttle: LatestThrottle::new(throttle_ms),
            pending_commands: PendingCommands::default(),
            unsaved: HashMap::new(),
            sweep_at,
            stats_due_at: None,
            admin_stats: AdminStats::new(now),
        }
    }

    pub(super) fn schedule_stats(&mut self, now: Millis) {
        self.stats_due_at.get_or_insert(now + STATS_DELAY_MS);
    }

    /// Forgets pending events, commands and states of a removed module.
    pub(super) fn remove_module(&mut self, id: &ModuleId) {
        self.seen_throttle.remove(id);
        self.telemetry_throttle.remove(id);
        self.pending_commands.remove_module(id);
        self.unsaved.remove(id);
    }

    /// Merges the telemetry of a device's identification into its last known telemetry.
    pub(super) fn merge_telemetry(&mut self, id: &str, fields: &Map<String, Value>) {
        let reported = || {
            fields
                .iter()
                .filter(|(name, _)| matches!(name.as_str(), "uptime" | "position"))
        };
        if reported().next().is_none() {
            return;
        }
        let telemetry = self
            .registry
            .get(id)
            .and_then(|module| module.telemetry.as_deref().cloned());
        let mut telemetry = telemetry.unwrap_or_default();
        telemetry.extend(reported().map(|(name, value)| (name.clone(), value.clone())));
        self.registry.set_telemetry(id, telemetry);
    }
}
