//! The apps of a build.

use std::fmt;

use latido_settings::Variable;

use crate::App;

/// The apps that a build contains, and the names of those that it was built without.
#[derive(Clone, Copy)]
pub struct AppList {
    apps: &'static [&'static dyn App],
    known_names: &'static [&'static str],
}

/// The reason why an app cannot be enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppError {
    /// No app has this name. The names of the apps in this build are given.
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names of the apps in this build.
        expected: Vec<&'static str>,
    },
    /// The app exists, but this build was made without its feature.
    NotInBuild(String),
}

impl AppList {
    /// Creates a list. `known_names` also has the names of apps that other builds contain.
    pub const fn new(
        apps: &'static [&'static dyn App],
        known_names: &'static [&'static str],
    ) -> Self {
        Self { apps, known_names }
    }

    /// Iterates over the apps in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &'static dyn App> + use<> {
        self.apps.iter().copied()
    }

    /// Iterates over the settings of all apps.
    pub fn variables(&self) -> impl Iterator<Item = &'static Variable> + use<> {
        self.iter().flat_map(App::variables)
    }

    /// Checks that the list has an app of this name.
    ///
    /// # Errors
    /// Returns the reason why it has none.
    pub fn check(&self, name: &str) -> Result<(), AppError> {
        if self.iter().any(|app| app.name() == name) {
            Ok(())
        } else if self.known_names.contains(&name) {
            Err(AppError::NotInBuild(name.to_owned()))
        } else {
            Err(AppError::Unknown {
                name: name.to_owned(),
                expected: self.iter().map(App::name).collect(),
            })
        }
    }
}

impl fmt::Debug for AppList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(App::name)).finish()
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, expected } if expected.is_empty() => {
                write!(f, "there is no app {name:?}, and this build has none")
            }
            Self::Unknown { name, expected } => write!(
                f,
                "there is no app {name:?}; expected some of {}",
                expected.join(", ")
            ),
            Self::NotInBuild(name) => write!(
                f,
                "this build has no app {name:?}; expected a build with the feature app-{name}"
            ),
        }
    }
}

impl std::error::Error for AppError {}
