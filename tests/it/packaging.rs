//! The packaging names only existing files, ports, variables and commands. A test has no container
//! engine, so it reads the packaging files instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The variables that the compose file requires and gives no default value.
const REQUIRED_VARIABLES: [&str; 3] = ["JWT_SECRET", "POSTGRES_PASSWORD", "LATIDO_PASSWORD"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn exists(path: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()
}

/// Returns the help of every command of the program, in one text.
fn help() -> String {
    let help_of = |arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_latido"));
        let output = program
            .args(arguments)
            .env_clear()
            .current_dir(std::env::temp_dir())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help_of(&["--help"]);
    let commands = all
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty());
    let commands: Vec<_> = commands
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    commands
        .iter()
        .map(|command| help_of(&[command, "--help"]))
        .chain([all.clone()])
        .collect()
}

/// Returns whether the help documents a variable: clap writes `[env: NAME=…]`, and a variable
/// without a flag has its own line.
fn is_documented(name: &str, help: &str) -> bool {
    let ends = |rest: &str| {
        !rest.starts_with(|c: char| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())
    };
    let begins = |before: &str| {
        !before.ends_with(|c: char| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())
    };
    help.match_indices(name)
        .any(|(at, _)| begins(&help[..at]) && ends(&help[at + name.len()..]))
}

/// Returns the Dockerfile's instructions with continued lines joined and comments removed.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn arguments_of(kind: &str) -> Vec<String> {
    instructions()
        .into_iter()
        .filter(|(word, _)| word == kind)
        .map(|(_, rest)| rest)
        .collect()
}

#[test]
fn image_copies_only_existing_files() {
    let ignored = read(".dockerignore");
    let reaches = |path: &str| ignored.lines().any(|line| line == format!("!{path}"));
    assert!(
        ignored.lines().any(|line| line == "*"),
        ".dockerignore must begin with nothing"
    );
    for copy in arguments_of("COPY") {
        let words: Vec<_> = copy.split_whitespace().collect();
        let (_, sources) = words.split_last().unwrap();
        match sources[0].strip_prefix("--from=") {
            Some(stage) => {
                assert!(
                    arguments_of("FROM")
                        .iter()
                        .any(|from| from.ends_with(&format!(" AS {stage}"))),
                    "{copy}: no such stage"
                );
                let program = sources[1];
                assert!(
                    arguments_of("RUN").iter().any(|run| run.ends_with(&format!("&& cp target/release/latido {program}"))),
                    "{copy}: no stage writes it"
                );
            }
            None => sources
                .iter()
                .for_each(|path| assert!(exists(path) && reaches(path), "{copy}: {path}")),
        }
    }
    let binary = read("Cargo.toml").contains("name = \"latido\"\npath = \"cmd/latido/main.rs\"");
    assert!(
        binary && exists("cmd/latido/main.rs"),
        "the program is not where Cargo.toml expects it"
    );
}

/// Every file that the code embeds must be copied into the builder stage.
#[test]
fn image_build_copies_every_included_file() {
    let copied: BTreeSet<String> = arguments_of("COPY")
        .join(" ")
        .split_whitespace()
        .map(Into::into)
        .collect();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("internal")];
    let mut included = 0;
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                for name in text.split("include_").skip(1).filter_map(|rest| {
                    let call = rest
                        .strip_prefix("str!(")
                        .or_else(|| rest.strip_prefix("bytes!("))?;
                    call.trim_start().strip_prefix('"')?.split('"').next()
                }) {
                    let target = path
                        .parent()
                        .unwrap()
                        .join(name)
                        .canonicalize()
                        .unwrap_or_else(|_| panic!("{}: {name}", path.display()));
                    let inside = target
                        .strip_prefix(
                            Path::new(env!("CARGO_MANIFEST_DIR"))
                                .canonicalize()
                                .unwrap(),
                        )
                        .unwrap();
                    let top = inside.iter().next().unwrap().to_string_lossy().into_owned();
                    assert!(
                        copied.contains(&top),
                        "{} includes {name}, which the image lacks",
                        path.display()
                    );
                    included += 1;
                }
            }
        }
    }
    assert!(included > 0);
}

#[test]
fn image_builds_with_the_lock_file() {
    let builds = arguments_of("RUN");
    assert!(
        builds
            .iter()
            .any(|run| run.contains("cargo build --release --locked ")),
        "{builds:?}"
    );
    assert!(
        read("Makefile").contains("\tcargo run --release --locked "),
        "`make run` builds the same way"
    );
}

#[test]
fn image_runs_without_privileges() {
    let user = arguments_of("USER").pop().unwrap();
    assert!(user != "root" && user != "0");
    assert_eq!(arguments_of("STOPSIGNAL"), ["SIGTERM"]);
    let secrets = instructions().into_iter().filter(|(word, rest)| {
        (word == "ENV" || word == "ARG")
            && ["SECRET", "PASSWORD", "KEY", "DATABASE_URL"]
                .iter()
                .any(|name| rest.contains(name))
    });
    assert_eq!(secrets.count(), 0, "a secret in an image is no secret");
}

#[test]
fn image_uses_only_documented_commands() {
    let help = help();
    assert_eq!(arguments_of("ENTRYPOINT"), [r#"["latido"]"#]);
    let mut commands = arguments_of("CMD");
    commands.extend(arguments_of("HEALTHCHECK").iter().map(|check| {
        check
            .split_once(" CMD ")
            .unwrap()
            .1
            .replace("\"latido\", ", "")
    }));
    assert_eq!(commands.len(), 2);
    for command in commands {
        let name = command.trim_matches(['[', ']', '"']);
        assert!(
            help.contains(&format!("\n  {name} ")),
            "`latido {name}` does not exist"
        );
    }
    let port = arguments_of("EXPOSE").pop().unwrap();
    assert!(
        help.contains(&format!("[default: {port}]")),
        "{port} is not the default port"
    );
}

/// Returns the lines of the compose file, each with its indentation depth.
fn composition() -> Vec<(usize, String)> {
    let text = read("docker-compose.yml");
    assert!(!text.contains('\t'));
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    lines
        .map(|line| (line.len() - line.trim_start().len(), line.trim().to_owned()))
        .collect()
}

/// Returns the lines below a title. Of several equal titles it takes the outermost one.
fn section(lines: &[(usize, String)], name: &str) -> Vec<(usize, String)> {
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

fn services() -> BTreeMap<String, Vec<(usize, String)>> {
    let all = section(&composition(), "services");
    let names = all
        .iter()
        .filter(|(depth, _)| *depth == 2)
        .map(|(_, line)| line.trim_end_matches(':').to_owned());
    names
        .map(|name| (name.clone(), section(&all, &name)))
        .collect()
}

/// Returns the direct entries of a section of a service.
fn entries(service: &[(usize, String)], name: &str) -> Vec<String> {
    section(service, name)
        .into_iter()
        .filter(|(depth, _)| *depth == 6)
        .map(|(_, line)| line)
        .collect()
}

#[test]
fn compose_file_mounts_only_existing_files() {
    let declared = top_level_entries("volumes");
    for mount in ["postgres", "role"]
        .iter()
        .flat_map(|name| entries(&services()[*name], "volumes"))
    {
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

fn top_level_entries(name: &str) -> Vec<String> {
    section(&composition(), name)
        .into_iter()
        .map(|(_, line)| line.trim_end_matches(':').to_owned())
        .collect()
}

#[test]
fn compose_file_sets_only_documented_variables() {
    let (help, example) = (help(), read(".env.example"));
    for name in ["install", "latido"] {
        for line in entries(&services()[name], "environment") {
            let variable = line.split(':').next().unwrap();
            assert!(
                is_documented(variable, &help),
                "{name}: {variable} is not in --help"
            );
        }
    }
    let text = read("docker-compose.yml");
    for wanted in text.split("${").skip(1) {
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
    assert!(!contains_word(&services["latido"], "POSTGRES_PASSWORD"));
    for name in ["install", "grants"] {
        assert!(contains_word(
            &services[name],
            "DATABASE_URL: postgresql://citas:${POSTGRES_PASSWORD}@postgres:5432/"
        ));
        assert!(!contains_word(&services[name], "LATIDO_PASSWORD"));
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
fn example_names_only_documented_variables() {
    let help = help();
    for line in read(".env.example")
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with("# "))
    {
        let name = line.trim_start_matches('#').split('=').next().unwrap();
        assert!(
            REQUIRED_VARIABLES.contains(&name) || is_documented(name, &help),
            "{name} is not in --help"
        );
    }
    // The file as shipped must not start anything with a publicly known secret.
    for secret in REQUIRED_VARIABLES {
        assert!(
            read(".env.example")
                .lines()
                .any(|line| line == format!("{secret}="))
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
        [format!("- \"${{PORT:-{port}}}:{port}\"")]
    );
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

#[test]
fn each_readme_starts_with_two_commands() {
    let targets = read("Makefile");
    for name in ["README.md", "docs/es/README.md"] {
        let text = read(name);
        let blocks: Vec<_> = text
            .split("```")
            .skip(1)
            .step_by(2)
            .take(2)
            .map(|block| block.split_once('\n').unwrap().1.trim())
            .collect();
        assert_eq!(blocks, ["make run", "make test"], "{name}");
        for target in ["run", "test"] {
            assert!(targets.contains(&format!("\n{target}: ")), "make {target}");
        }
    }
}
