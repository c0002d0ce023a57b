//! The compose file, and the example that adds to it.

use std::collections::{BTreeMap, BTreeSet};

use super::image::arguments_of;
use super::{REQUIRED_VARIABLES, exists, help, is_documented, read};

/// The services that run the program.
pub(super) const SERVICES_OF_THE_PROGRAM: [&str; 3] = ["install", "grants", "latido"];

/// The lines of a section, each with its indentation depth.
pub(super) type Lines = Vec<(usize, String)>;

/// The example of apps and a stream of one's own.
pub(super) const OVERRIDE: &str = "examples/stack/docker-compose.override.yml";

/// Returns the lines of a compose file.
fn lines_of(path: &str) -> Lines {
    let text = read(path);
    assert!(!text.contains('\t'));
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    lines
        .map(|line| (line.len() - line.trim_start().len(), line.trim().to_owned()))
        .collect()
}

/// Returns the lines below a title. Of several equal titles it takes the outermost one.
pub(super) fn section(lines: &[(usize, String)], name: &str) -> Lines {
    let titles = lines
        .iter()
        .enumerate()
        .filter(|(_, (_, line))| *line == format!("{name}:"));
    let (start, _) = titles
        .min_by_key(|(_, (depth, _))| *depth)
        .unwrap_or_else(|| panic!("no {name}"));
    let depth = lines[start].0;
    lines[start + 1..]
        .iter()
        .take_while(|(own, _)| *own > depth)
        .cloned()
        .collect()
}

/// Returns the services of docker-compose.yml by name.
pub(super) fn services() -> BTreeMap<String, Lines> {
    services_of("docker-compose.yml")
}

/// Returns the services of a compose file by name.
pub(super) fn services_of(path: &str) -> BTreeMap<String, Lines> {
    let all = section(&lines_of(path), "services");
    let names = all
        .iter()
        .filter(|(depth, _)| *depth == 2)
        .map(|(_, line)| line.trim_end_matches(':').to_owned());
    names
        .map(|name| (name.clone(), section(&all, &name)))
        .collect()
}

/// Returns the direct entries of a section of a service.
pub(super) fn entries(service: &[(usize, String)], name: &str) -> Vec<String> {
    section(service, name)
        .into_iter()
        .filter(|(depth, _)| *depth == 6)
        .map(|(_, line)| line)
        .collect()
}

fn has_section(service: &[(usize, String)], name: &str) -> bool {
    service.iter().any(|(_, line)| *line == format!("{name}:"))
}

#[test]
fn compose_file_mounts_only_existing_files() {
    let declared = top_level_entries("volumes");
    for mount in all_mounts() {
        let source = mount
            .trim_start_matches("- ")
            .split(':')
            .next()
            .unwrap()
            .to_owned();
        let known = source
            .strip_prefix("./")
            .map_or_else(|| declared.contains(&source), exists);
        assert!(known, "{mount}");
    }
}

/// Returns the mounts of all services, also those of the override example.
fn all_mounts() -> Vec<String> {
    let mounts = |service: &Lines| {
        let mounts = has_section(service, "volumes").then(|| entries(service, "volumes"));
        mounts.unwrap_or_default()
    };
    let example = services_of(OVERRIDE);
    let all: Vec<_> = services()
        .values()
        .chain(example.values())
        .flat_map(mounts)
        .collect();
    assert!(all.len() > 6, "{all:?}");
    all
}

fn top_level_entries(name: &str) -> Vec<String> {
    section(&lines_of("docker-compose.yml"), name)
        .into_iter()
        .map(|(_, line)| line.trim_end_matches(':').to_owned())
        .collect()
}

#[test]
fn compose_file_sets_only_documented_variables() {
    let (help, example) = (help(), read(".env.example"));
    for name in SERVICES_OF_THE_PROGRAM {
        for line in entries(&services()[name], "environment") {
            let (variable, value) = line.split_once(": ").unwrap();
            // A password that the service must not see is emptied.
            if REQUIRED_VARIABLES.contains(&variable) && value == r#""""# {
                continue;
            }
            assert!(
                is_documented(variable, &help),
                "{name}: {variable} is not in --help"
            );
        }
    }
    let text = read("docker-compose.yml");
    let both = text.clone() + &read(OVERRIDE);
    for wanted in both.split("${").skip(1) {
        let variable = wanted
            .split(|c: char| !c.is_ascii_uppercase() && c != '_')
            .next()
            .unwrap();
        assert!(
            is_documented(variable, &example),
            "{variable} is not in .env.example"
        );
    }
    for secret in REQUIRED_VARIABLES {
        assert!(
            text.contains(&format!("{secret}: ${{{secret}:?")),
            "{secret} must be asked for, never assumed"
        );
    }
}

#[test]
fn compose_file_gives_the_server_no_privileges() {
    for (name, user) in [
        ("role", "999:999"),
        ("demo", "999:999"),
        ("install", "65532:65532"),
        ("grants", "65532:65532"),
        ("latido", "65532:65532"),
    ] {
        let (service, user) = (&services()[name], format!("user: \"{user}\""));
        for line in [
            &user,
            "read_only: true",
            r#"cap_drop: ["ALL"]"#,
            r#"security_opt: ["no-new-privileges:true"]"#,
        ] {
            assert!(
                service
                    .iter()
                    .any(|(depth, own)| *depth == 4 && own == line),
                "{name} must contain {line}"
            );
        }
    }
}

/// The server connects as the read-only role and knows the password of no other role.
#[test]
fn compose_file_serves_as_the_read_only_role() {
    let (services, contains_word) = (services(), |lines: &[(usize, String)], word: &str| {
        lines.iter().any(|(_, line)| line.contains(word))
    });
    assert!(contains_word(
        &services["latido"],
        "DATABASE_URL: postgresql://latido:${LATIDO_PASSWORD}@postgres:5432/"
    ));
    assert!(!contains_word(&services["latido"], "${POSTGRES_PASSWORD"));
    for name in ["install", "grants"] {
        assert!(contains_word(
            &services[name],
            "DATABASE_URL: postgresql://citas:${POSTGRES_PASSWORD}@postgres:5432/"
        ));
        assert!(!contains_word(&services[name], "${LATIDO_PASSWORD"));
    }
    assert!(contains_word(
        &services["grants"],
        r#"command: ["grants", "--role=latido", "--apply"]"#
    ));
    for (service, name) in [
        ("latido", "grants:"),
        ("grants", "role:"),
        ("grants", "install:"),
    ] {
        let waits = section(&services[service], "depends_on");
        let at = waits.iter().position(|(_, line)| line == name).unwrap();
        assert_eq!(
            waits[at + 1].1,
            "condition: service_completed_successfully",
            "{name}"
        );
    }
}

#[test]
fn compose_file_starts_services_in_order() {
    let services = services();
    for service in services.values() {
        let depends = service.iter().any(|(_, line)| line == "depends_on:");
        let on = if depends {
            entries(service, "depends_on")
        } else {
            Vec::new()
        };
        for name in on {
            assert!(services.contains_key(name.trim_end_matches(':')), "{name}");
        }
    }
    let condition = |condition: &str| {
        section(&services["latido"], "depends_on")
            .iter()
            .any(|(_, line)| line == condition)
    };
    assert!(
        condition("condition: service_healthy")
            && condition("condition: service_completed_successfully")
    );
    assert!(
        services["postgres"]
            .iter()
            .any(|(_, line)| line == "healthcheck:")
    );
}

#[test]
fn compose_file_publishes_the_port_of_the_image() {
    let port = arguments_of("EXPOSE").pop().unwrap();
    assert_eq!(
        entries(&services()["latido"], "ports"),
        [format!(
            "- \"${{PUBLISH_ADDRESS:-127.0.0.1}}:${{PORT:-{port}}}:{port}\""
        )]
    );
    // PORT of .env is the one outside.
    let inside = entries(&services()["latido"], "environment");
    assert!(inside.contains(&format!("PORT: \"{port}\"")), "{inside:?}");
    for name in ["install", "latido"] {
        let service = &services()[name];
        for line in [
            "read_only: true",
            "cap_drop: [\"ALL\"]",
            "security_opt: [\"no-new-privileges:true\"]",
        ] {
            assert!(
                service.iter().any(|(_, own)| own == line),
                "{name} lacks {line}"
            );
        }
    }
}

/// Two services that build one name at once fail on the image store of newer engines.
#[test]
fn compose_file_builds_its_image_once() {
    let services = services();
    let has = |name: &str, line: &str| services[name].contains(&(4, line.to_owned()));
    for name in SERVICES_OF_THE_PROGRAM {
        assert!(has(name, "image: latido"), "{name}");
        assert_eq!(has(name, "build: ."), name == "install", "{name}");
        assert_eq!(has(name, "pull_policy: never"), name != "install", "{name}");
    }
    let builds = services.values().flatten();
    assert_eq!(
        builds.filter(|(_, line)| line.starts_with("build")).count(),
        1
    );
}

/// All of `.env` reaches the program, except what belongs to the composition.
#[test]
fn compose_file_passes_all_settings_and_no_password() {
    for name in SERVICES_OF_THE_PROGRAM {
        let service = &services()[name];
        assert!(
            service.contains(&(4, r#"env_file: [".env"]"#.to_owned())),
            "{name}"
        );
        let environment = entries(service, "environment");
        for variable in [
            "POSTGRES_PASSWORD",
            "LATIDO_PASSWORD",
            "DATABASE_URL_FILE",
            "LISTEN_DATABASE_URL",
            "LISTEN_DATABASE_URL_FILE",
        ] {
            assert!(
                environment.contains(&format!(r#"{variable}: """#)),
                "{name}: {variable}"
            );
        }
    }
}

/// Only the server checks tokens. The other services would need the mount of the secret's file.
#[test]
fn compose_file_gives_the_secret_of_tokens_to_the_server_alone() {
    for name in SERVICES_OF_THE_PROGRAM {
        let environment = entries(&services()[name], "environment");
        for variable in ["JWT_SECRET", "JWT_SECRET_FILE"] {
            let line = if name == "latido" {
                format!("{variable}: ${{{variable}:-}}")
            } else {
                format!(r#"{variable}: """#)
            };
            assert!(environment.contains(&line), "{name}: {line}");
        }
    }
}

/// The image of PostgreSQL declares a volume, which every container would leave behind.
#[test]
fn compose_file_leaves_no_nameless_volume() {
    const DATA: &str = "/var/lib/postgresql/data";
    for (name, service) in services() {
        if service
            .iter()
            .any(|(_, line)| line.starts_with("image: postgres:"))
        {
            let named = format!("- data:{DATA}");
            let memory = format!("tmpfs: [\"{DATA}\"]");
            assert!(
                service
                    .iter()
                    .any(|(_, line)| *line == named || *line == memory),
                "{name}"
            );
        }
    }
}

#[test]
fn demo_runs_only_on_request_and_stops_at_once() {
    let service = &services()["demo"];
    for line in [
        r#"profiles: ["demo"]"#,
        "init: true",
        "stop_signal: SIGTERM",
    ] {
        assert!(service.contains(&(4, line.to_owned())), "{line}");
    }
    let (page, guide) = (
        read("internal/http/src/assets/index.html"),
        read("docs/deploy/docker.md"),
    );
    for text in [page, guide] {
        assert!(text.contains("docker compose --profile demo up"));
    }
}

/// The commands of the page and of the documents work with the names of this composition.
#[test]
fn shown_commands_name_services_of_the_compose_file() {
    let services = services();
    let postgres = entries(&services["postgres"], "environment");
    for path in [
        "internal/http/src/assets/index.html",
        "internal/http/src/assets/dashboard.html",
        "docs/deploy/docker.md",
    ] {
        let text = read(path);
        let mut programs = BTreeSet::new();
        for line in text.split("docker compose exec ").skip(1) {
            let line = line.lines().next().unwrap();
            let line = line.split('<').next().unwrap();
            let mut words = line
                .split_whitespace()
                .skip_while(|word| word.starts_with('-') || word.starts_with("LATIDO_TOKEN="));
            let (service, program) = (words.next().unwrap(), words.next().unwrap());
            assert!(services.contains_key(service), "{path}: {line}");
            programs.insert(program.to_owned());
            if program == "psql" {
                let words: Vec<_> = words.take(3).collect();
                assert_eq!(words, ["-U", "citas", "citas"], "{path}: {line}");
                for line in ["POSTGRES_USER: citas", "POSTGRES_DB: citas"] {
                    assert!(postgres.contains(&line.to_owned()));
                }
            }
        }
        assert!(programs.contains("latido"), "{path}: {programs:?}");
    }
    let hints = entries(&services["latido"], "environment");
    assert!(hints.contains(&"COMMAND_HINTS: compose".to_owned()));
    assert_eq!(arguments_of("ENV"), ["COMMAND_HINTS=container"]);
}
