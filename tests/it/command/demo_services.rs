//! The demo's stream of services, with the demo on a database that its user names.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::harness::cluster::TestDatabase;
use crate::harness::{CommandHome, RunningCommand, TestSocket};

const BUSINESSES: [&str; 2] = [latido_demo::BUSINESSES[0].id, latido_demo::BUSINESSES[1].id];

/// A demo on an empty database, and a range of past days, which the demo's writer leaves alone.
struct ServicesDemo {
    _process: RunningCommand,
    client: Client,
    socket: TestSocket,
    today: String,
    days: [String; 2],
}

impl ServicesDemo {
    async fn start(home: &CommandHome, database: &TestDatabase) -> Self {
        Self::start_with(home, database, &[]).await
    }

    async fn start_with(
        home: &CommandHome,
        database: &TestDatabase,
        more: &[(&'static str, &str)],
    ) -> Self {
        let variables = [
            ("DATABASE_URL", database.url()),
            ("PORT", "0"),
            ("SHUTDOWN_SECONDS", "60"),
            ("SWEEP_SECONDS", "3600"),
        ];
        let process = home.start(&["demo"], &[&variables[..], more].concat());
        let mark = "The token, good for an hour: ";
        let line = process
            .wait_for_stdout(mark, |line| line.contains(mark))
            .await;
        let token = line.split_once(mark).expect("the mark is in the line").1;
        let url = format!("ws://{}/ws", process.ready_address().await);
        let client = database.client().await;
        let day = async |ago: i32| -> String {
            let sql = "SELECT ((now() AT TIME ZONE 'America/Guayaquil')::date - $1::int4)::text";
            client.query_one(sql, &[&ago]).await.expect("a day").get(0)
        };
        Self {
            socket: TestSocket::connect(&url, token.trim()).await,
            today: day(0).await,
            days: [day(10).await, day(1).await],
            _process: process,
            client,
        }
    }

    fn channel(&self, business: &str) -> String {
        let [from, to] = &self.days;
        format!("servicios:{business}?desde={from}&hasta={to}")
    }

    async fn subscribe(&mut self, business: &str) {
        let data = json!({"channel": self.channel(business), "history": true});
        self.socket
            .send(&json!({"type": "subscribe", "data": data}))
            .await;
    }

    /// Returns the data of the next frame, which must be of this business.
    async fn next_of(&mut self, business: &str) -> Value {
        let frame = self.socket.next_of_type("servicios").await;
        assert_eq!(frame["channel"], self.channel(business));
        assert_eq!(frame["data"]["hoy"], self.today.as_str());
        frame["data"].clone()
    }

    /// Returns what a query that knows nothing of the stream finds for a business, as JSON.
    async fn counted(&self, business: &str, columns: &str, end: &str) -> Value {
        let [from, to] = &self.days;
        let sql = format!(
            "SELECT {columns} FROM citas c JOIN servicios v ON v.id = c.servicio_id
             WHERE v.negocio_id = '{business}' AND c.fecha BETWEEN '{from}' AND '{to}' {end}"
        );
        let sql = format!("SELECT coalesce(json_agg(t), '[]')::text FROM ({sql}) AS t");
        let row = self.client.query_one(&sql, &[]).await.expect("a count");
        serde_json::from_str(row.get(0)).expect("JSON")
    }

    /// Returns the numbers of a business as the database has them now.
    async fn totals(&self, business: &str) -> (Value, Value) {
        let columns = "count(*) AS citas, coalesce(sum(v.precio) FILTER (WHERE c.estado = 'atendida'), 0) AS importe";
        let row = self.counted(business, columns, "").await[0].take();
        (row["citas"].clone(), row["importe"].clone())
    }

    /// Asserts that the next frame is of this business and has the numbers of the database.
    async fn assert_next(&mut self, business: &str) {
        let data = self.next_of(business).await;
        let (citas, importe) = self.totals(business).await;
        assert_eq!((&data["citas"], &data["importe"]), (&citas, &importe));
    }

    /// Returns the number of triggers that the stream has.
    async fn installed_triggers(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_trigger WHERE tgname ~ '_servicios_'";
        self.client
            .query_one(sql, &[])
            .await
            .expect("a count")
            .get(0)
    }

    async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.expect(sql);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_the_demo_have_their_numbers_and_follow_each_change() {
    let home = CommandHome::new();
    let database = TestDatabase::create(&[]).await;
    let mut demo = ServicesDemo::start(&home, &database).await;
    for business in BUSINESSES {
        demo.subscribe(business).await;
        let history = demo.socket.next_of_type("history").await;
        let of_days = "c.fecha AS dia, count(*) AS citas";
        let by_day = "GROUP BY c.fecha ORDER BY c.fecha";
        let expected = demo.counted(business, of_days, by_day).await;
        assert_eq!(history["data"], expected, "{history}");
        assert_eq!(expected.as_array().map(Vec::len), Some(10), "{expected}");
        demo.assert_next(business).await;
    }
    // Another installation in the same database, as in the tutorial, leaves the triggers alone.
    let variables = [("DATABASE_URL", database.url())];
    let installed = demo.installed_triggers().await;
    assert!(installed > 0);
    for command in ["install", "uninstall"] {
        home.run_for_stdout(&[command], &variables).await;
        assert_eq!(demo.installed_triggers().await, installed, "{command}");
    }
    let [first, second] = BUSINESSES;
    let [_, day] = demo.days.clone();
    let service = |business: &str| {
        format!("(SELECT min(id::text)::uuid FROM servicios WHERE negocio_id = '{business}')")
    };
    // Each change makes one frame, of the business that it concerns. The writer changes today.
    for business in BUSINESSES {
        let booking = format!(
            "INSERT INTO citas (negocio_id, servicio_id, fecha, hora_inicio, hora_fin, estado)
             VALUES ('{business}', {}, '{day}', '10:00', '10:30', 'atendida')",
            service(business)
        );
        demo.execute(&booking).await;
        demo.assert_next(business).await;
    }
    demo.execute(&format!(
        "UPDATE servicios SET precio = precio + 1 WHERE id = {}",
        service(second)
    ))
    .await;
    demo.assert_next(second).await;
    demo.execute(&format!(
        "DELETE FROM citas WHERE fecha = '{day}' AND servicio_id = {}",
        service(first)
    ))
    .await;
    demo.assert_next(first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_completes_the_streams_of_its_user_from_their_queries() {
    let home = CommandHome::new();
    let query = "SELECT u.negocio_id, s.* FROM unnest($1::uuid[]) AS u (negocio_id)
        CROSS JOIN LATERAL (SELECT count(*) AS precios FROM servicios v WHERE v.negocio_id = u.negocio_id) s";
    std::fs::create_dir(home.folder().path().join("mine")).expect("a folder");
    home.folder().write("mine/precios.sql", query);
    let database = TestDatabase::create(&[]).await;
    let mut demo = ServicesDemo::start_with(&home, &database, &[("STREAMS_DIR", "mine")]).await;
    let [business, _] = BUSINESSES;
    let channel = format!("precios:{business}");
    let frame = demo.socket.subscribe_as(&channel, "precios").await;
    let before = frame["data"]["precios"].as_i64().expect("a number");
    demo.execute(&format!(
        "INSERT INTO servicios VALUES (gen_random_uuid(), '{business}', 'Otro', 1)"
    ))
    .await;
    let frame = demo.socket.next_of_type("precios").await;
    assert_eq!(frame["data"]["precios"], before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_starts_again_in_a_database_that_it_has_filled() {
    let home = CommandHome::new();
    let database = TestDatabase::create(&[]).await;
    let apps = [
        ("LATIDO_APPS", "messaging,modules"),
        ("MODULES_API_KEY", "a key of this test"),
    ];
    drop(ServicesDemo::start_with(&home, &database, &apps).await);
    home.run_for_stdout(&["install"], &[("DATABASE_URL", database.url())])
        .await;
    let mut demo = ServicesDemo::start(&home, &database).await;
    let [business, _] = BUSINESSES;
    demo.subscribe(business).await;
    demo.assert_next(business).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_leaves_a_database_of_another_application_alone() {
    let (tables, data) = ("tables of its own", "services of its own");
    let foreign = [
        ("CREATE TABLE servicios (id bigint, titulo text)", data),
        (
            "CREATE TABLE servicios (id uuid, negocio_id uuid, nombre text, precio numeric);
             INSERT INTO servicios VALUES (gen_random_uuid(), gen_random_uuid(), 'Otro', 1)",
            data,
        ),
        (
            "CREATE TABLE usuarios (email text); INSERT INTO usuarios VALUES ('ana@example.com')",
            data,
        ),
        ("CREATE TABLE citas (negocio_id bigint, dia date)", data),
        ("CREATE TABLE \"Pedidos\" (id bigint)", "(\"Pedidos\")"),
        (
            "CREATE SCHEMA otro; CREATE TABLE otro.citas (id bigint) PARTITION BY RANGE (id)",
            "(otro.citas)",
        ),
        // The names of an app's tables, without the mark that Latido has made them.
        ("CREATE TABLE users (id bigint)", tables),
    ];
    for (table, expected) in foreign {
        let database = TestDatabase::create(&[]).await;
        let client = database.client().await;
        client.batch_execute(table).await.expect("a table");
        let variables = [("DATABASE_URL", database.url()), ("PORT", "0")];
        let finished = CommandHome::new().run(&["demo"], &variables).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        for expected in [expected, "unset DATABASE_URL", "name an empty database"] {
            assert!(finished.stderr.contains(expected), "{finished:?}");
        }
        let relations = "SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text ~ '^(public$|otro|latido)'";
        let count: i64 = client
            .query_one(relations, &[])
            .await
            .expect("a count")
            .get(0);
        assert_eq!(count, 1, "only the table that was there");
    }
}
