//! The services of the compose file as processes on a real PostgreSQL: the same commands with the
//! same variables, with the example of apps and a stream of one's own on top.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::composition::{OVERRIDE, entries, section, services, services_of};
use super::read;
use crate::harness::claims::SECRET;
use crate::harness::cluster::{OwnCluster, TestDatabase, connect};
use crate::harness::{CommandHome, CommandOutput, TestSocket};

const CLIENT: &str = "c9cfce9f-ec5b-4538-af19-bb5e2248e40e";
const BUSINESS: &str = "a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1";
/// The owner's own business, beside those of the demo.
const OTHER_BUSINESS: &str = "11111111-1111-4111-8111-111111111111";

/// The composition on a server of its own, which is reached as `postgres:5432` is in it.
struct Composition {
    /// Stops with this value.
    _cluster: OwnCluster,
    address: String,
    home: CommandHome,
    /// The variables of `.env`.
    dotenv: Vec<(String, String)>,
}

impl Composition {
    /// Starts PostgreSQL as the service `postgres` does, then does what `role` does.
    async fn start() -> Self {
        let cluster = OwnCluster::start_with_tcp(&[]).await;
        let admin = cluster.client().await;
        admin
            .batch_execute("CREATE ROLE citas SUPERUSER LOGIN")
            .await
            .unwrap();
        admin
            .batch_execute("CREATE DATABASE citas OWNER citas")
            .await
            .unwrap();
        let url = cluster.tcp_url();
        let (_, rest) = url.split_once('@').unwrap();
        let address = rest.split('/').next().unwrap().to_owned();
        let own = Self {
            _cluster: cluster,
            address,
            home: CommandHome::new(),
            dotenv: owned(&[
                ("JWT_SECRET", SECRET),
                ("POSTGRES_PASSWORD", "owner"),
                ("LATIDO_PASSWORD", "reader"),
            ]),
        };
        let owner = own.owner().await;
        let mounts = entries(&services()["postgres"], "volumes");
        for path in mounts.iter().filter_map(|mount| mount.strip_prefix("- ./")) {
            let sql = read(path.split(':').next().unwrap());
            owner.batch_execute(&sql).await.unwrap();
        }
        owner.batch_execute(&read("sql/role.sql")).await.unwrap();
        own
    }

    async fn owner(&self) -> Client {
        connect(&format!("postgresql://citas:x@{}/citas", self.address)).await
    }

    /// Sets a variable of `.env`.
    fn set(&mut self, name: &str, value: &str) {
        self.dotenv.retain(|(own, _)| own != name);
        self.dotenv.push((name.to_owned(), value.to_owned()));
    }

    /// Returns the variables of a service: those of `.env`, of the compose file, and of the example.
    fn variables(&self, service: &str) -> Vec<(String, String)> {
        let dotenv = borrowed(&self.dotenv);
        let example = services_of(OVERRIDE);
        let mut variables: BTreeMap<_, _> = self.dotenv.iter().cloned().collect();
        for source in [&services()[service], &example[service]] {
            for line in entries(source, "environment") {
                let (name, value) = line.split_once(": ").unwrap();
                let value = interpolate(value.trim_matches('"'), &dotenv)
                    .replace("postgres:5432", &self.address);
                variables.insert(name.to_owned(), value);
            }
        }
        // The mount of the example.
        let mount = entries(&example[service], "volumes").pop().unwrap();
        let mut parts = mount.trim_start_matches("- ./").split(':');
        let (outside, inside) = (parts.next().unwrap(), parts.next().unwrap());
        let outside = format!("{}/{outside}", env!("CARGO_MANIFEST_DIR"));
        for value in variables.values_mut() {
            *value = value.replace(inside, &outside);
        }
        variables.extend(owned(&[("HOST", "127.0.0.1"), ("PORT", "0")]));
        variables.into_iter().collect()
    }

    /// Runs the command of a service, or another one with its variables.
    async fn run(&self, service: &str, command: Option<&[&str]>) -> CommandOutput {
        let variables = self.variables(service);
        let written = command_of(service);
        let written: Vec<_> = written.iter().map(String::as_str).collect();
        let command = command.unwrap_or(&written);
        self.home.run(command, &borrowed(&variables)).await
    }
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = variables.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    let pairs = variables.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// Replaces `${NAME}`, `${NAME:-default}` and `${NAME:?message}` as docker compose does. For the
/// last one it fails if the variable is unset or empty.
fn interpolate(value: &str, dotenv: &[(&str, &str)]) -> String {
    let mut parts = value.split("${");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let (wanted, rest) = part.split_once('}').unwrap();
        let (name, default) = wanted.split_once(":-").unwrap_or((wanted, ""));
        let (name, message) = name.split_once(":?").unwrap_or((name, ""));
        let set = dotenv.iter().find(|(own, _)| *own == name);
        let value = set
            .map(|(_, value)| *value)
            .filter(|value| !value.is_empty());
        assert!(value.is_some() || message.is_empty(), "{name}: {message}");
        text.push_str(value.unwrap_or(default));
        text.push_str(rest);
    }
    text
}

/// Returns the words of a service's `command`.
fn command_of(service: &str) -> Vec<String> {
    let lines = &services()[service];
    let mut commands = lines
        .iter()
        .filter_map(|(_, line)| line.strip_prefix("command: "));
    let words: Option<Vec<String>> = commands
        .next()
        .map(|command| serde_json::from_str(command).unwrap());
    words.unwrap_or_else(|| vec!["serve".to_owned()])
}

#[tokio::test(flavor = "multi_thread")]
async fn override_example_works_with_the_grants_of_the_composition() {
    let composition = Composition::start().await;
    assert!(section(&services()["grants"], "depends_on").len() >= 2);
    let installed = composition.run("install", None).await;
    assert_eq!(installed.code, Some(0), "{installed:?}");
    // Without the grants the example is refused, and the doctor says so.
    let refused = composition.run("latido", Some(&["doctor"])).await;
    assert!(
        refused.code == Some(1) && refused.stdout.contains("latido grants"),
        "{refused:?}"
    );
    let granted = composition.run("grants", None).await;
    assert_eq!(granted.code, Some(0), "{granted:?}");
    let examined = composition.run("latido", Some(&["doctor"])).await;
    assert_eq!(examined.code, Some(0), "{examined:?}");

    let words = ["token", "--user", CLIENT, "--rol", "admin_sistema"];
    let token = composition.run("latido", Some(&words)).await.stdout;
    let variables = composition.variables("latido");
    let server = composition.home.start(&["serve"], &borrowed(&variables));
    let address = server.ready_address().await;
    let url = format!("ws://{address}/ws");
    let mut socket = TestSocket::connect(&url, token.trim()).await;
    let channel = format!("clientes:{CLIENT}");
    let first = socket.subscribe_as(&channel, "clientes").await;
    let total = first["data"]["total"].as_i64().unwrap();
    let book = format!(
        "INSERT INTO citas (cliente_id, negocio_id, fecha, hora_inicio, hora_fin)
         VALUES ('{CLIENT}', '{BUSINESS}', current_date, '10:00', '10:30')"
    );
    composition
        .owner()
        .await
        .batch_execute(&book)
        .await
        .unwrap();
    let next = socket.next_of_type("clientes").await;
    assert_eq!(next["data"]["total"].as_i64(), Some(total + 1));
    let log = server.stderr_text();
    assert!(
        log.contains(r#""message":"app switched on","app":"messaging""#),
        "{log}"
    );
}

/// Every service gets all of `.env`, but only the server has the mount of the secret's file.
#[tokio::test(flavor = "multi_thread")]
async fn stack_starts_with_the_secret_in_a_file_and_names_a_missing_one() {
    let mut composition = Composition::start().await;
    composition.set("JWT_SECRET", "");
    composition.set("JWT_SECRET_FILE", "/run/secrets/jwt_secret");
    for service in ["install", "grants"] {
        let finished = composition.run(service, None).await;
        assert_eq!(finished.code, Some(0), "{service}: {finished:?}");
    }
    let path = composition.home.folder().write("jwt_secret", SECRET);
    composition.set("JWT_SECRET_FILE", path.to_str().unwrap());
    let variables = composition.variables("latido");
    let server = composition.home.start(&["serve"], &borrowed(&variables));
    server.ready_address().await;

    composition.set("JWT_SECRET_FILE", "");
    let refused = composition.run("latido", None).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let expected = "JWT_SECRET: missing; expected";
    assert!(refused.stderr.contains(expected), "{refused:?}");
}

/// Returns one number.
async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// The profile `demo` runs the two files again and again.
#[tokio::test]
async fn demo_profile_moves_today_and_touches_only_its_businesses() {
    const TODAY: &str = "(now() AT TIME ZONE 'Pacific/Kiritimati')::date";
    let database = TestDatabase::create(&["sql/schema.sql", "sql/demo.sql"]).await;
    let client = database.client().await;
    let other = format!(
        "SET latido.time_zone = 'Pacific/Kiritimati';
         INSERT INTO negocios (id, nombre) VALUES ('{OTHER_BUSINESS}', 'Otro');
         INSERT INTO citas (negocio_id, fecha, hora_inicio, hora_fin)
             SELECT id, {TODAY} - 40, '10:00', '10:30' FROM generate_series(1, 600),
             (VALUES ('{OTHER_BUSINESS}'::uuid), ('{BUSINESS}')) AS n (id);
         DELETE FROM citas WHERE fecha > {TODAY} - 9 AND negocio_id <> '{OTHER_BUSINESS}'"
    );
    client.batch_execute(&other).await.unwrap();
    let of_today = format!("SELECT count(*) FROM citas WHERE fecha = {TODAY}");
    assert_eq!(count(&client, &of_today).await, 0);

    // The volume is some days old: the first run gives each business citas of this day.
    client.batch_execute(&read("sql/demo.sql")).await.unwrap();
    let businesses = format!("SELECT count(DISTINCT negocio_id) FROM citas WHERE fecha = {TODAY}");
    assert_eq!(count(&client, &businesses).await, 4);
    let settled = "SELECT count(*) FROM citas WHERE estado <> 'pendiente'";
    let before = (
        count(&client, &of_today).await,
        count(&client, settled).await,
    );
    for _ in 0..60 {
        client.batch_execute(&read("sql/demo.sql")).await.unwrap();
        client
            .batch_execute(&read("sql/demo_activity.sql"))
            .await
            .unwrap();
    }
    let after = (
        count(&client, &of_today).await,
        count(&client, settled).await,
    );
    assert!(
        after.0 > before.0 && after.1 > before.1,
        "{before:?} {after:?}"
    );
    let of = |id: &str| format!("SELECT count(*) FROM citas WHERE negocio_id = '{id}'");
    assert_eq!(count(&client, &of(BUSINESS)).await, 400);
    assert_eq!(count(&client, &of(OTHER_BUSINESS)).await, 600);
}
