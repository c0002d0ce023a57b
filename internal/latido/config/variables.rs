//! The table of all settings: the variables of every part, in the order of the help.

use latido_settings::{Variable, variables};

use crate::apps::{self, APPS};

variables! {
    /// The variables that belong to no single part.
    const SHARED_VARIABLES;
    "Server" {
        pub(super) plain SHUTDOWN_SECONDS "SECONDS" = seconds(latido_http::DRAIN_GRACE),
            "Time that clients have to leave when the server stops";
    }
    "Streams" {
        pub(super) plain LATIDO_CONFIG "PATH" = none,
            "Path of a latido.toml with streams. Unset: the streams of STREAMS_DIR and the built-in estadisticas";
        pub(super) plain STREAMS_DIR "PATH" = shown("streams beside latido.toml, or in the working folder"),
            "Folder whose SQL files are streams, each named like its file";
        pub(super) plain TIMEZONE "ZONE" = shown("UTC, with a warning"),
            "IANA time zone in which the current day begins, such as America/Guayaquil, for streams that do not set their own";
    }
}

/// The groups before those of single apps.
const FIRST_GROUPS: [&str; 5] = ["Database", "Identity", "Server", "Streams", "Apps"];
/// The groups after those of single apps.
const LAST_GROUPS: [&str; 2] = ["Limits", "Logs"];

/// Returns all variables, in the order of the help.
pub fn all_variables() -> Vec<Variable> {
    let tables = [
        latido_postgres::VARIABLES,
        latido_auth::VARIABLES,
        latido_http::VARIABLES,
        latido_shard::VARIABLES,
        SHARED_VARIABLES,
        apps::VARIABLES,
        latido_engine::VARIABLES,
        latido_session::VARIABLES,
        latido_telemetry::VARIABLES,
    ];
    let mut variables: Vec<_> = tables
        .into_iter()
        .flatten()
        .chain(APPS.variables())
        .copied()
        .collect();
    // The sort is stable: within a group, the order of the tables stays.
    variables.sort_by_key(|variable| group_rank(variable.group));
    variables
}

fn group_rank(group: &str) -> usize {
    let position = |groups: &[&str]| groups.iter().position(|known| *known == group);
    let apps_rank = FIRST_GROUPS.len();
    position(&FIRST_GROUPS)
        .or_else(|| position(&LAST_GROUPS).map(|rank| apps_rank + 1 + rank))
        .unwrap_or(apps_rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_names_are_distinct_and_described() {
        let variables = all_variables();
        let names = |v: &Variable| [Some(v.name), v.file_name];
        let mut names: Vec<_> = variables.iter().flat_map(names).flatten().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(
            variables
                .iter()
                .all(|v| v.help.len() > 10 && !v.help.ends_with('.'))
        );
        assert_eq!(variables[0].flag(), "database-url");
    }

    #[test]
    fn variables_of_a_group_follow_each_other() {
        let mut groups: Vec<_> = all_variables().iter().map(|v| v.group).collect();
        groups.dedup();
        let (first, rest) = groups.split_at(FIRST_GROUPS.len());
        let (apps, last) = rest.split_at(rest.len() - LAST_GROUPS.len());
        assert_eq!((first, last), (&FIRST_GROUPS[..], &LAST_GROUPS[..]));
        assert!(
            apps.iter().all(|group| group.starts_with("App ")),
            "{apps:?}"
        );
    }

    #[cfg(feature = "apps")]
    #[test]
    fn variables_that_may_hold_a_secret_are_marked() {
        let variables = all_variables();
        let secret: Vec<_> = variables
            .iter()
            .filter(|v| v.is_secret)
            .map(|v| v.name)
            .collect();
        let expected = [
            "DATABASE_URL",
            "LISTEN_DATABASE_URL",
            "JWT_SECRET",
            "JWT_SECRET_PREVIOUS",
            "JWT_PUBLIC_KEY",
            "JWT_JWKS_URL",
            "JWT_INTROSPECTION_URL",
            "NOTIFY_API_KEY",
            "WORKSPACE_API_KEY",
            "GATEWAY_API_KEY",
            "MESSAGING_JWT_SECRET",
            "MESSAGING_JWT_PUBLIC_KEY",
            "MESSAGING_JWT_JWKS_URL",
            "MESSAGING_JWT_INTROSPECTION_URL",
            "MESSAGING_API_KEY",
            "MODULES_API_KEY",
            "MODULES_JWT_SECRET",
            "MODULES_JWT_JWKS_URL",
            "MODULES_JWT_INTROSPECTION_URL",
            "MODULES_SESSION_SECRET",
            "MODULES_SESSION_SECRET_PREVIOUS",
        ];
        assert_eq!(secret, expected);
    }
}
