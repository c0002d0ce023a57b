//! The metrics of the apps. Every app has the same metrics, distinguished by the `app` label.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type LabelPairs<const N: usize> = [(&'static str, &'static str); N];

/// The metric families shared by all apps.
#[derive(Debug, Clone, Default)]
pub(super) struct AppMetricFamilies {
    connections: Family<LabelPairs<1>, Gauge>,
    publishes: Family<LabelPairs<2>, Counter>,
    reached: Family<LabelPairs<1>, Counter>,
    refusals: Family<LabelPairs<2>, Counter>,
}

impl AppMetricFamilies {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "app_connections",
            "Open connections of an app's clients",
            self.connections.clone(),
        );
        r.register(
            "app_publishes",
            "Events that an app was given to publish, by kind",
            self.publishes.clone(),
        );
        r.register(
            "app_reached",
            "Connections that an app's events were on their way to",
            self.reached.clone(),
        );
        r.register(
            "app_refusals",
            "What an app refused, by reason",
            self.refusals.clone(),
        );
    }

    pub(super) fn for_app(&self, app: &'static str) -> AppMetrics {
        AppMetrics {
            app,
            connections: self.connections.get_or_create(&[("app", app)]).clone(),
            reached: self.reached.get_or_create(&[("app", app)]).clone(),
            publishes: self.publishes.clone(),
            refusals: self.refusals.clone(),
        }
    }
}

/// The metrics of one app.
#[derive(Debug, Clone)]
pub struct AppMetrics {
    app: &'static str,
    /// The number of open connections.
    pub connections: Gauge,
    /// The number of recipients of published events. An event to three connections counts three.
    pub reached: Counter,
    publishes: Family<LabelPairs<2>, Counter>,
    refusals: Family<LabelPairs<2>, Counter>,
}

impl AppMetrics {
    /// Creates these labels at zero, so that Prometheus sees their first increase.
    pub fn init_labels(&self, kinds: &[&'static str], reasons: &[&'static str]) {
        for kind in kinds {
            drop(
                self.publishes
                    .get_or_create(&[("app", self.app), ("kind", kind)]),
            );
        }
        for reason in reasons {
            drop(
                self.refusals
                    .get_or_create(&[("app", self.app), ("reason", reason)]),
            );
        }
    }

    /// Counts one published event with `reached` recipients. `kind` must come from a closed list.
    pub fn count_publish(&self, kind: &'static str, reached: usize) {
        self.publishes
            .get_or_create(&[("app", self.app), ("kind", kind)])
            .inc();
        self.reached.inc_by(reached as u64);
    }

    /// Counts one refusal. `reason` must come from a closed list.
    pub fn count_refusal(&self, reason: &'static str) {
        self.refusals
            .get_or_create(&[("app", self.app), ("reason", reason)])
            .inc();
    }
}
