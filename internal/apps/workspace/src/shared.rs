//! The state that all connections and requests of the app share, and the names of its topics.

use std::sync::Arc;

use latido_auth::Verifier;
use latido_base::clock::Clock;
use latido_event_bus::{
    EncodingId, EventBus, PresenceDiff, PresenceMode, Publish, TopicName, TopicPolicy,
};
use latido_session::SessionLimits;
use latido_telemetry::AppMetrics;

use crate::config::Config;
use crate::wire;

/// The app's name in settings and metrics.
pub(crate) const NAME: &str = "workspace";
/// The encoding of all clients of this app; each frame has only one form.
pub(crate) const ENCODING: EncodingId = EncodingId(1);
/// The topic-name prefix of workspaces. Users have another prefix, because an id may be in use as
/// both.
pub(crate) const WORKSPACE: &str = "workspace:";
pub(crate) const USER: &str = "user:";

/// The state that all connections and requests of the app share.
pub(crate) struct WorkspaceShared {
    pub(crate) event_bus: EventBus,
    pub(crate) config: Config,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) limits: SessionLimits,
    pub(crate) metrics: AppMetrics,
    pub(crate) clock: Clock,
}

/// The topic policy: the users of a workspace can be listed, but changes are not announced.
struct WorkspaceTopicPolicy;

impl TopicPolicy for WorkspaceTopicPolicy {
    fn presence_mode(&self, topic: &TopicName) -> PresenceMode {
        if topic.as_str().starts_with(WORKSPACE) {
            PresenceMode::Listed
        } else {
            PresenceMode::Off
        }
    }

    fn on_presence_change(&self, _: &TopicName, _: &PresenceDiff) -> Vec<Publish> {
        Vec::new()
    }
}

impl WorkspaceShared {
    pub(crate) fn new(
        config: Config,
        verifier: Arc<Verifier>,
        limits: SessionLimits,
        metrics: AppMetrics,
        clock: Clock,
    ) -> Arc<Self> {
        metrics.init_labels(&wire::MESSAGE_TYPES, &wire::REFUSAL_REASONS);
        let now = clock.clone();
        let exchange = EventBus::new(WorkspaceTopicPolicy, move || now.now().as_microsecond());
        Arc::new(Self {
            event_bus: exchange,
            config,
            verifier,
            limits,
            metrics,
            clock,
        })
    }
}

pub(crate) fn workspace_topic(id: &str) -> TopicName {
    TopicName::new(&format!("{WORKSPACE}{id}"))
}

pub(crate) fn user_topic(id: &str) -> TopicName {
    TopicName::new(&format!("{USER}{id}"))
}
