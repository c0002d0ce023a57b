//! The list of apps. An app is its folder in `internal/apps`, its line here, and its feature in
//! `Cargo.toml`. Nothing else in the server names an app.

pub use latido_app_kit::AppList;

use latido_settings::variables;

/// Declares the list: `"name" if "feature" => app`.
macro_rules! apps {
    ($($name:literal if $feature:literal => $app:expr;)*) => {
        /// Every app of this build, in the order in which the apps are started.
        pub static APPS: AppList = AppList::new(
            &[$(#[cfg(feature = $feature)] &$app),*],
            &[$($name),*],
        );
    };
}

apps! {
    "workspace" if "app-workspace" => latido_app_workspace::Workspace;
    "gateway" if "app-gateway" => latido_app_gateway::Gateway;
    "messaging" if "app-messaging" => latido_app_messaging::Messaging;
    "modules" if "app-modules" => latido_app_modules::Modules;
}

variables! {
    /// The variable that enables apps.
    pub(crate) const VARIABLES;
    "Apps" {
        pub(crate) plain LATIDO_APPS "LIST" = shown("none"),
            "Other systems to serve beside the streams, separated by commas: workspace, gateway, messaging, modules. A latido.toml can give each a port of its own ([apps.NAME])";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_names_are_those_of_the_apps() {
        for app in APPS.iter() {
            assert_eq!(APPS.check(app.name()), Ok(()));
            assert!(LATIDO_APPS.help.contains(app.name()), "{app:?}");
        }
    }
}
