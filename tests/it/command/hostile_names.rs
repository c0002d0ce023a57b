//! Names that break out of quotes, comments and files where they are written carelessly.

use super::CommandSetup;

/// The names of the schema, the parent, its key, the child, its reference and its number.
const NAMES: [&str; 6] = [
    "we\"ird $$ s'\rSELECT error;",
    "padre */ $flyway1$ \n-- migrate:down",
    "k\"e'y\\\n-- migrate:up\n[\"x",
    "t`${1+1}\\ $latido$ */\r-- [streams.x]",
    "$$",
    "v:x [kg]",
];

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A database with such tables, and a stream over them.
async fn place_with_hostile_names() -> CommandSetup {
    let place = CommandSetup::new().await;
    let [schema, parent, key, child, reference, number] = NAMES.map(quoted);
    let (parent, child) = (format!("{schema}.{parent}"), format!("{schema}.{child}"));
    let sql = format!(
        "CREATE SCHEMA {schema};
         CREATE TABLE {parent} (id bigint PRIMARY KEY, {key} text NOT NULL);
         CREATE TABLE {child} (id bigserial PRIMARY KEY, {reference} bigint REFERENCES {parent}, {number} bigint NOT NULL);
         INSERT INTO {parent} SELECT n, 'k' || n FROM generate_series(1, 5) n;
         INSERT INTO {child} ({reference}, {number}) SELECT 1 + n % 5, n FROM generate_series(1, 50) n;"
    );
    let client = place.database.client().await;
    client.batch_execute(&sql).await.unwrap();
    let query = format!(
        "SELECT u.clave, s.* FROM unnest($1::text[], $2::date[]) AS u (clave, hoy) CROSS JOIN LATERAL (
            SELECT sum(c.{number}) AS \"*/ export const x = 1; /*\", count(*) AS \"a`${{b}}\\\n\"\"\"
            FROM {parent} p JOIN {child} c ON c.{reference} = p.id WHERE p.{key} = u.clave) s"
    );
    let folder = place.home.folder();
    std::fs::create_dir(folder.path().join("streams")).unwrap();
    folder.write("streams/malo.sql", &query);
    place
}

#[tokio::test]
async fn installation_takes_any_names() {
    let place = place_with_hostile_names().await;
    let client = place.database.client().await;
    let script = place.print(&["install", "--dry-run"]).await;
    client
        .batch_execute(&script)
        .await
        .expect("the script is SQL");
    let again = place.print(&["install"]).await;
    let is_kept = |line: &str| !line.starts_with("installed");
    assert!(again.lines().all(is_kept), "{again}");
    let doctor = place.print(&["doctor", "--lookups"]).await;
    assert!(!doctor.contains("FAILURE"), "{doctor}");
    place.print(&["uninstall"]).await;
    let installed = place.print(&["install"]).await;
    assert_eq!(installed.matches("installed  ").count(), 3, "{installed}");
}

#[tokio::test]
async fn migrations_take_any_names_or_say_which_tool_cannot() {
    let place = place_with_hostile_names().await;
    let arguments = ["install", "--migration", "dbmate", "--out", "m"];
    let variables = place.with_variables(&[]);
    let refused = place.home.run(&arguments, &variables).await;
    let reason = "the SQL has a line that dbmate takes for a mark of its own";
    assert!(
        refused.code == Some(1) && refused.stderr.contains(reason),
        "{refused:?}"
    );
    let folder = place.home.folder().path().join("m");
    assert!(!folder.exists());
    place
        .print(&["install", "--migration", "sql", "--out", "m"])
        .await;
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let client = place.database.client().await;
    // The way back has a name that comes before that of the way there.
    for file in files.iter().rev() {
        let sql = std::fs::read_to_string(file).unwrap();
        client.batch_execute(&sql).await.expect("a migration");
    }
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'latido'";
    let left: i64 = client.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
}
