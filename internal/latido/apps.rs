//! The apps of this build, and their settings.

pub use latido_app_gateway as gateway;
pub use latido_app_messaging as messaging;
pub use latido_app_modules as modules;
pub use latido_app_workspace as workspace;

/// The names of all apps, as `LATIDO_APPS` accepts them.
pub const NAMES: [&str; 4] = ["workspace", "gateway", "messaging", "modules"];

/// An app that is enabled, with its settings.
#[derive(Debug, Clone)]
pub enum AppSettings {
    /// Rooms over Socket.IO for clients of a Django API.
    Gateway(Box<gateway::Config>),
    /// Messaging over Phoenix Channels, backed by the database.
    Messaging(Box<messaging::Config>),
    /// The workspace app; see [`workspace`](latido_app_workspace).
    Workspace(workspace::Config),
    /// Devices («modules» on the wire), the pages of their owners and those of administrators.
    Modules(Box<modules::Config>),
}

impl AppSettings {
    /// Returns the app's name, one of [`NAMES`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gateway(_) => "gateway",
            Self::Messaging(_) => messaging::NAME,
            Self::Workspace(_) => workspace::NAME,
            Self::Modules(_) => modules::NAME,
        }
    }
}
