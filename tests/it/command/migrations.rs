//! `latido install --migration`: its files, and what they do.

use std::path::Path;

use super::CommandSetup;

const SCHEMAS: &str = "SELECT count(*) FROM pg_namespace WHERE nspname = 'latido'";

fn text_of(folder: &Path, part: &str) -> String {
    let mut found = walk(folder);
    found.retain(|path| path.display().to_string().ends_with(part));
    let [path] = &*found else {
        panic!("one file ends with {part}: {found:?}");
    };
    std::fs::read_to_string(path).unwrap()
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let below = |path: std::path::PathBuf| match path.is_dir() {
        true => walk(&path),
        false => vec![path],
    };
    paths.flat_map(below).collect()
}

#[tokio::test]
async fn each_tool_gets_its_files_and_the_database_no_change() {
    let place = CommandSetup::new().await;
    let client = place.database.client().await;
    let schemas = async || {
        let row = client.query_one(SCHEMAS, &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    for (tool, files) in [
        ("sql", 2),
        ("prisma", 2),
        ("flyway", 2),
        ("dbmate", 1),
        ("typeorm", 1),
    ] {
        let folder = place.home.folder().path().join("db").join(tool);
        let folder = folder.to_str().unwrap();
        let written = place
            .home
            .run(
                &["install", "--migration", tool, "--out", folder],
                &place.with_variables(&[]),
            )
            .await;
        assert_eq!(
            written.stdout.matches("written  ").count(),
            files,
            "{written:?}"
        );
        assert!(written.stderr.contains("next: "), "{written:?}");
        assert_eq!(walk(Path::new(folder)).len(), files);
    }
    assert_eq!(schemas().await, 0, "nothing is installed yet");

    let folder = place.home.folder().path().join("db");
    let up = text_of(&folder.join("sql"), ".up.sql");
    client.batch_execute(&up).await.unwrap();
    assert_eq!(schemas().await, 1);
    let again = place
        .print(&["install", "--migration", "dbmate", "--out", "again"])
        .await;
    assert_eq!(again, "nothing to migrate: everything is installed\n");
    assert!(!place.home.folder().path().join("again").exists());
    let down = text_of(&folder.join("prisma"), "/down.sql");
    client.batch_execute(&down).await.unwrap();
    assert_eq!(schemas().await, 0);
}

#[tokio::test]
async fn migrations_need_a_tool_and_a_folder() {
    let place = CommandSetup::new().await;
    for (arguments, expected) in [
        (&["install", "--migration", "dbmate"][..], "--out"),
        (&["install", "--out", "db"], "--migration"),
        (
            &["install", "--migration", "liquibase", "--out", "db"],
            "typeorm",
        ),
        (
            &["install", "--migration", "sql", "--out", "db", "--dry-run"],
            "--dry-run",
        ),
    ] {
        let variables = place.with_variables(&[]);
        let refused = place.home.run(arguments, &variables).await;
        assert!(
            refused.code == Some(2) && refused.stderr.contains(expected),
            "{refused:?}"
        );
    }
}

/// Flyway refuses, and golang-migrate passes over, a migration of a lower version than the last.
#[tokio::test]
async fn migration_goes_on_with_the_numbers_of_its_folder() {
    let place = CommandSetup::new().await;
    let folder = place.home.folder().path().join("mis cosas");
    std::fs::create_dir(&folder).unwrap();
    for file in ["000007_a.up.sql", "V2__b.sql", "V3.1__c.sql"] {
        std::fs::write(folder.join(file), "SELECT 1;").unwrap();
    }
    for (tool, file, next) in [
        (
            "sql",
            "000008_latido.up.sql",
            "-f 'mis cosas/000008_latido.up.sql'",
        ),
        ("flyway", "V4__latido.sql", "flyway migrate"),
        (
            "sql",
            "000009_latido.up.sql",
            "-f 'mis cosas/000009_latido.up.sql'",
        ),
    ] {
        let arguments = ["install", "--migration", tool, "--out", "mis cosas"];
        let written = place.home.run(&arguments, &place.with_variables(&[])).await;
        assert!(written.stdout.contains(file), "{written:?}");
        assert!(written.stderr.contains(next), "{written:?}");
        assert!(folder.join(file).exists());
    }
}
