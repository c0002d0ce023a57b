//! The origin of the configuration.

use std::fmt;
use std::sync::Arc;

use latido_app_kit::{App, AppList};
use latido_settings::{ConfigErrors, ConfigSources};

use crate::config::Settings;

/// The origin of a server's configuration, which can be read again.
#[derive(Clone)]
pub struct ReloadSource {
    app_list: AppList,
    read: Arc<dyn Fn() -> ConfigSources + Send + Sync>,
}

impl ReloadSource {
    /// Creates the origin of the configuration of a server with these apps.
    pub fn new(
        app_list: AppList,
        read: impl Fn() -> ConfigSources + Send + Sync + 'static,
    ) -> Self {
        Self {
            app_list,
            read: Arc::new(read),
        }
    }

    /// Reads the variables, without the files that they name.
    pub(super) fn sources(&self) -> ConfigSources {
        (self.read)()
    }

    /// Reads and checks all settings for a server in which these apps run.
    ///
    /// # Errors
    /// Returns all errors together.
    pub(super) fn settings(
        &self,
        sources: &ConfigSources,
        running: &[&'static dyn App],
    ) -> Result<Settings, ConfigErrors> {
        Settings::read_again(&self.app_list, sources, running)
    }
}

impl fmt::Debug for ReloadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadSource").finish_non_exhaustive()
    }
}
