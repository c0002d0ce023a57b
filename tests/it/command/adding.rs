//! The command `add`, and what the program says to somebody who has configured nothing.

use super::CommandSetup;
use crate::harness::CommandHome;

const QUERY: &str =
    "SELECT u.negocio_id, s.* FROM unnest($1::uuid[], $2::date[]) AS u (negocio_id, hoy)
    CROSS JOIN LATERAL (SELECT count(*) AS citas FROM citas c WHERE c.negocio_id = u.negocio_id) s";

/// A home whose folder `streams` has one stream, beside the built-in one.
async fn place_with_stream() -> CommandSetup {
    let place = CommandSetup::new().await;
    let folder = place.home.folder();
    std::fs::create_dir(folder.path().join("streams")).unwrap();
    folder.write("streams/agenda.sql", QUERY);
    place
}

#[tokio::test]
async fn install_shows_what_it_inferred_and_the_next_command() {
    let place = place_with_stream().await;
    let variables = place.with_variables(&[]);
    let installed = place.home.run(&["install"], &variables).await;
    assert_eq!(installed.code, Some(0), "{installed:?}");
    let inferred = "inferred   stream agenda: key negocio_id; citas (";
    assert!(installed.stdout.contains(inferred), "{installed:?}");
    assert!(
        installed.stderr.ends_with("next: latido serve\n"),
        "{installed:?}"
    );
    let no_key: Vec<_> = variables
        .iter()
        .copied()
        .filter(|(name, _)| *name != "JWT_SECRET")
        .collect();
    std::fs::remove_file(place.home.folder().path().join("streams/agenda.sql")).unwrap();
    let removed = place.home.run(&["install"], &no_key).await;
    assert!(removed.stdout.contains("removed    "), "{removed:?}");
    for expected in [
        "need a LATIDO_INSTANCE each\n",
        "next: export JWT_SECRET=\"$(openssl rand -base64 48)\"\n      latido serve\n",
    ] {
        assert!(removed.stderr.contains(expected), "{removed:?}");
    }
}

#[tokio::test]
async fn install_leaves_out_what_it_cannot_prove_and_ends_with_1() {
    let place = place_with_stream().await;
    let folder = place.home.folder();
    folder.write("streams/azar.sql", "SELECT random() AS azar FROM citas");
    let variables = place.with_variables(&[]);
    let installed = place.home.run(&["install"], &variables).await;
    assert_eq!(installed.code, Some(1), "{installed:?}");
    for line in ["LEFT OUT   stream azar: ", "inferred   stream agenda: "] {
        assert!(installed.stdout.contains(line), "{line}: {installed:?}");
    }
    for expected in [
        "streams left out: 1; the others are installed",
        "; then LATIDO_CONFIG=latido.toml latido install\n",
    ] {
        assert!(installed.stderr.contains(expected), "{installed:?}");
    }
}

#[tokio::test]
async fn entry_means_the_same_as_the_file() {
    let place = place_with_stream().await;
    let config = place.home.folder().path().join("latido.toml");
    place.print(&["install"]).await;
    let printed = place.print(&["add", "--print", "streams/agenda.sql"]).await;
    assert!(
        printed.contains("query = \"streams/agenda.sql\"") && !config.exists(),
        "{printed}"
    );
    let add = async |variables: &[(&'static str, &'static str)]| {
        let variables = place.with_variables(variables);
        let arguments = ["add", "streams/agenda.sql"];
        place.home.run(&arguments, &variables).await
    };
    let added = add(&[]).await;
    assert_eq!(
        (added.code, &added.stdout),
        (Some(0), &printed),
        "{added:?}"
    );
    let check = "stream agenda: keys of changes of ";
    assert!(added.stderr.contains(check), "{added:?}");
    let next = "next: LATIDO_CONFIG=latido.toml latido install\n";
    assert!(added.stderr.ends_with(next), "{added:?}");
    let configured = [("LATIDO_CONFIG", "latido.toml")];
    let variables = place.with_variables(&configured);
    let again = place.home.run_for_stdout(&["install"], &variables).await;
    assert!(
        again.lines().all(|line| line.starts_with("unchanged  ")),
        "the entry has the same triggers as the file: {again}"
    );
    let text = std::fs::read_to_string(&config).unwrap();
    let refused = add(&configured).await;
    assert!(
        refused.code == Some(1) && refused.stderr.contains("is defined already"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_to_string(&config).unwrap(), text);
}

/// Whether `LATIDO_CONFIG` names the file or not.
#[tokio::test]
async fn entry_that_is_there_is_named_with_its_file() {
    let place = place_with_stream().await;
    let folder = place.home.folder();
    let config = folder.path().join("latido.toml");
    let named = place.with_variables(&[("LATIDO_CONFIG", "latido.toml")]);
    let unnamed = place.with_variables(&[]);
    let add = ["add", "streams/agenda.sql"];
    place.home.run_for_stdout(&add, &unnamed).await;
    let text = std::fs::read_to_string(&config).unwrap();
    let refusal = async |variables: &[(&str, &str)], arguments: &[&str]| {
        let refused = place.home.run(arguments, variables).await;
        assert!(matches!(refused.code, Some(1 | 2)), "{refused:?}");
        assert_eq!(refused.stdout, "");
        refused.stderr
    };
    let print = ["add", "--print", "streams/agenda.sql"];
    for variables in [&named, &unnamed] {
        for arguments in [&add[..], &print] {
            let refused = refusal(variables, arguments).await;
            let expected = "the stream agenda is defined already, in latido.toml [streams.agenda]; \
                nothing was changed. Remove it there, or give the file another name";
            assert!(refused.contains(expected), "{refused}");
        }
    }
    folder.write("latido.toml", &format!("{text}\n{text}"));
    let second = text.lines().count() + 2;
    for variables in [&named, &unnamed] {
        let refused = refusal(variables, &add).await;
        let expected = format!(
            "latido.toml [streams.agenda]: is defined twice, in the lines 1 and {second}; expected \
            one definition: remove one of them, or give it another name"
        );
        assert!(refused.contains(&expected), "{refused}");
        assert!(!refused.contains("TOML"), "{refused}");
    }
    // The folder of streams has another file of that name.
    std::fs::remove_file(&config).unwrap();
    std::fs::create_dir(folder.path().join("otra")).unwrap();
    folder.write("otra/agenda.sql", QUERY);
    let refused = refusal(&unnamed, &["add", "otra/agenda.sql"]).await;
    let expected =
        "the stream agenda is defined already, in streams/agenda.sql; nothing was changed";
    assert!(refused.contains(expected), "{refused}");
    assert!(!config.exists());
}

#[tokio::test]
async fn first_stream_is_added_and_the_last_one_uninstalled() {
    let place = CommandSetup::new().await;
    let folder = place.home.folder();
    folder.write("agenda.sql", QUERY);
    let empty = "builtin_streams = false\n";
    folder.write("latido.toml", empty);
    let variables = place.with_variables(&[("LATIDO_CONFIG", "latido.toml")]);
    for arguments in [&["add", "agenda.sql"][..], &["install"]] {
        place.home.run_for_stdout(arguments, &variables).await;
    }
    folder.write("latido.toml", empty);
    let removed = place.home.run_for_stdout(&["uninstall"], &variables).await;
    assert!(removed.starts_with("removed    "), "{removed}");
    // Its entry would be taken for SQL.
    std::fs::create_dir(folder.path().join("a\nb")).unwrap();
    folder.write("a\nb/agenda.sql", QUERY);
    let arguments = ["add", "a\nb/agenda.sql"];
    let refused = place.home.run(&arguments, &variables).await;
    let expected = "expected a path without line breaks";
    assert!(
        refused.code == Some(1) && refused.stderr.contains(expected),
        "{refused:?}"
    );
}

#[tokio::test]
async fn program_without_any_configuration_says_what_it_can_do() {
    let home = CommandHome::new();
    let database = [("DATABASE_URL", "postgresql://u@127.0.0.1:1/d")];
    for shown in [
        home.run_for_stdout(&[], &[]).await,
        home.run_in_terminal(&[], &database),
    ] {
        for command in [
            "DATABASE_URL=",
            "latido try ventas.sql",
            "latido install",
            "latido serve",
        ] {
            assert!(shown.contains(command), "{command}\n{shown}");
        }
    }
    let container = home.run(&[], &database).await;
    assert!(
        container.code == Some(2) && container.stderr.contains("JWT_SECRET: missing"),
        "a container, which has no terminal: {container:?}"
    );
    let configured = CommandHome::new().run(&[], &[("PORT", "1")]).await;
    assert_eq!(
        configured.code,
        Some(2),
        "a container that lacks its URL: {configured:?}"
    );
    assert!(
        configured.stderr.contains("DATABASE_URL: missing"),
        "{configured:?}"
    );
}
