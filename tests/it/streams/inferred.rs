//! Streams that are nothing but an SQL file: from the files to the frames, as a role that may only
//! read, and what `install` and `doctor` say about them.

use latido::app;
use latido_postgres::InstallChange;
use serde_json::json;

use super::shop::admin_token;
use crate::harness::cluster::OwnCluster;
use crate::harness::{TempFolder, TestApp, disable_sweep, settings};

const TIENDA: &str = "6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11";

/// Orders in partitions, with lines, seen through a view; and names that need quotes.
const SCHEMA: &str = r#"
    CREATE EXTENSION citext;
    CREATE TABLE pedidos (id bigint NOT NULL, tienda_id uuid NOT NULL, caja citext NOT NULL, dia date NOT NULL,
        anulado boolean NOT NULL DEFAULT false, descuento bigint NOT NULL DEFAULT 0, PRIMARY KEY (id, dia)) PARTITION BY RANGE (dia);
    CREATE TABLE pedidos_2025 PARTITION OF pedidos FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE pedidos_2026 PARTITION OF pedidos FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE INDEX ON pedidos (tienda_id, caja);
    CREATE TABLE "Las líneas" ("pedido id" bigint NOT NULL, cantidad bigint NOT NULL, nota text);
    CREATE INDEX ON "Las líneas" ("pedido id");
    CREATE VIEW vigentes AS SELECT id, tienda_id, caja FROM pedidos WHERE NOT anulado;"#;

/// Two key parts over joined tables.
const CAJAS: &str = r#"SELECT u.tienda_id, u.caja, s.* FROM unnest($1::uuid[], $2::citext[], $3::date[]) AS u (tienda_id, caja, hoy)
    CROSS JOIN LATERAL (SELECT coalesce(sum(l.cantidad), 0)::bigint AS unidades
        FROM vigentes v JOIN "Las líneas" l ON l."pedido id" = v.id
        WHERE v.tienda_id = u.tienda_id AND v.caja = u.caja) s -- a comment ends it"#;
const TOTALES: &str = "SELECT count(*) AS pedidos FROM unnest($1::date[]) AS u (hoy), pedidos;";
/// The row of one key depends on the rows of all.
const CUOTAS: &str =
    "SELECT u.tienda_id, s.* FROM unnest($1::uuid[], $2::date[]) AS u (tienda_id, hoy)
    CROSS JOIN LATERAL (SELECT count(*) AS pedidos, (SELECT count(*) FROM pedidos) AS todos
        FROM pedidos p WHERE p.tienda_id = u.tienda_id) s";

/// A database of its own, whose public role may create nothing, and a folder with streams.
struct Place {
    cluster: OwnCluster,
    folder: TempFolder,
    path: String,
}

impl Place {
    async fn new(files: &[(&str, &str)]) -> Self {
        let cluster = OwnCluster::start(&[]).await;
        let db = cluster.client().await;
        let roles = "REVOKE TEMPORARY ON DATABASE latido FROM PUBLIC; CREATE ROLE lector LOGIN;
            GRANT SELECT ON ALL TABLES IN SCHEMA public TO lector";
        for sql in [SCHEMA, roles] {
            db.batch_execute(sql).await.unwrap();
        }
        let folder = TempFolder::new();
        let path = folder.path().to_str().unwrap().to_owned();
        for (name, text) in files {
            folder.write(name, text);
        }
        Self {
            cluster,
            folder,
            path,
        }
    }

    fn variables(&self) -> [(&str, &str); 1] {
        [("STREAMS_DIR", &self.path)]
    }

    async fn install(&self) -> Vec<InstallChange> {
        let settings = settings(&self.cluster.url(), &self.variables());
        app::install(settings).await.unwrap()
    }

    /// Starts a server whose role may only read.
    async fn serve(&self) -> TestApp {
        let url = self.cluster.url().replacen("postgres@", "lector@", 1);
        TestApp::on_database_completed(&url, &self.variables(), disable_sweep).await
    }

    async fn doctor(&self) -> String {
        let settings = settings(&self.cluster.url(), &self.variables());
        let findings = app::doctor(settings, false).await.unwrap();
        let line = |finding: &latido_postgres::Finding| format!("{finding:?}\n");
        findings.iter().map(line).collect()
    }
}

const ALL: [(&str, &str); 3] = [
    ("cajas.sql", CAJAS),
    ("totales.sql", TOTALES),
    ("cuotas.sql", CUOTAS),
];

#[tokio::test(flavor = "multi_thread")]
async fn files_become_frames_for_a_role_that_may_only_read() {
    let place = Place::new(&ALL).await;
    let changes = place.install().await;
    let left_out: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            InstallChange::LeftOut(text) => Some(text),
            _ => None,
        })
        .collect();
    assert!(
        left_out.len() == 1 && left_out[0].starts_with("stream cuotas: "),
        "{changes:?}"
    );
    for part in [
        "[streams.cuotas]\n",
        "keys = [\"tienda_id\"]\n",
        "[[streams.cuotas.tables]]\n",
    ] {
        assert!(left_out[0].contains(part), "{part}\n{}", left_out[0]);
    }
    let app = place.serve().await;
    let db = place.cluster.client().await;
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    let channel = format!("cajas:{TIENDA}/Norte");
    let frame = socket.subscribe_as(&channel, "cajas").await;
    assert_eq!(frame["data"]["tienda_id"], TIENDA);
    assert_eq!(
        (&frame["data"]["caja"], &frame["data"]["unidades"]),
        (&json!("Norte"), &json!(0))
    );
    db.batch_execute(&format!(
        "INSERT INTO pedidos (id, tienda_id, caja, dia) VALUES (1, '{TIENDA}', 'NORTE', '2026-11-01');
         INSERT INTO \"Las líneas\" VALUES (1, 3)"
    ))
    .await
    .unwrap();
    while socket.next_of_type("cajas").await["data"]["unidades"] != 3 {}
    db.batch_execute("UPDATE pedidos_2026 SET anulado = true")
        .await
        .unwrap();
    assert_eq!(socket.next_of_type("cajas").await["data"]["unidades"], 0);
    assert_eq!(
        socket.subscribe_as("totales", "totales").await["data"]["pedidos"],
        1
    );
    db.batch_execute("DELETE FROM pedidos_2026").await.unwrap();
    assert_eq!(socket.next_of_type("totales").await["data"]["pedidos"], 0);
    // The stream that was left out is read all the same, and says that nothing notifies its changes.
    let frame = socket
        .subscribe_as(&format!("cuotas:{TIENDA}"), "cuotas")
        .await;
    assert_eq!(frame["data"]["todos"], 0);
    let (_, ready) = app.get("/ready").await;
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let degraded = ready["streams"]["cuotas"].to_string();
    assert!(degraded.contains("tables are not known"), "{ready}");
    assert!(
        ready["streams"]["estadisticas"].is_null(),
        "it is off: {ready}"
    );
}

#[tokio::test]
async fn second_installation_of_inferred_streams_changes_nothing() {
    let place = Place::new(&ALL).await;
    let installed = |changes: &[InstallChange]| {
        let changed = |c: &&InstallChange| {
            matches!(c, InstallChange::Installed(_) | InstallChange::Removed(_))
        };
        changes.iter().filter(changed).count()
    };
    assert_eq!(installed(&place.install().await), 3);
    let comment = "SELECT obj_description('latido'::regnamespace, 'pg_namespace')";
    let db = place.cluster.client().await;
    let record = async || {
        db.query_one(comment, &[])
            .await
            .unwrap()
            .get::<_, String>(0)
    };
    let before = record().await;
    assert!(
        before.contains(r#""inferred":{"keys":["tienda_id","caja"]"#),
        "{before}"
    );
    assert_eq!(installed(&place.install().await), 0);
    assert_eq!(record().await, before);
}

#[tokio::test]
async fn doctor_shows_what_has_changed_since_the_installation() {
    let place = Place::new(&ALL[..2]).await;
    place.install().await;
    let clean = place.doctor().await;
    assert!(clean.contains("keys tienda_id, caja; "), "{clean}");
    assert!(!clean.contains("now reads"), "{clean}");
    let db = place.cluster.client().await;
    db.batch_execute(
        "CREATE OR REPLACE VIEW vigentes AS SELECT id, tienda_id, caja FROM pedidos WHERE NOT anulado AND descuento = 0",
    )
    .await
    .unwrap();
    let changed = place.doctor().await;
    assert!(
        changed.contains("`cajas` now reads `pedidos.descuento` too"),
        "{changed}"
    );
    place.folder.write(
        "totales.sql",
        &TOTALES.replace("pedidos;", "\"Las líneas\";"),
    );
    let changed = place.doctor().await;
    assert!(
        changed.contains("`totales` now reads `Las líneas` too"),
        "{changed}"
    );
    assert!(
        changed.contains("`totales` no longer reads `pedidos`"),
        "{changed}"
    );
    place.install().await;
    let clean = place.doctor().await;
    assert!(
        !clean.contains("now reads") && !clean.contains("has changed"),
        "{clean}"
    );
}

/// What keeps a query from being watched, and what to say about it.
#[tokio::test]
async fn what_no_trigger_sees_is_named() {
    let hides = "SELECT u.tienda_id, cuenta(u.tienda_id) AS n FROM unnest($1::uuid[], $2::date[]) AS u (tienda_id, hoy)";
    let clock =
        "SELECT count(*) AS n FROM unnest($1::date[]) AS u (hoy), pedidos WHERE dia = current_date";
    let writes = "WITH w AS (DELETE FROM pedidos RETURNING id) SELECT count(*) AS n FROM w";
    let kept = "SELECT n FROM unnest($1::date[]) AS u (hoy), guardado";
    let random = "SELECT random() AS n FROM unnest($1::date[]) AS u (hoy)";
    // The dates may be key parts or what a client chooses.
    let range = "SELECT u.caja, u.desde, u.hasta, s.* FROM unnest($1::citext[], $2::date[], $3::date[], $4::date[]) AS u (caja, hoy, desde, hasta)
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM pedidos p WHERE p.caja = u.caja AND p.dia BETWEEN u.desde AND u.hasta) s";
    let files = [
        ("esconde.sql", hides),
        ("reloj.sql", clock),
        ("escribe.sql", writes),
        ("guardado.sql", kept),
        ("azar.sql", random),
        ("no_hay.sql", "SELECT n FROM no_hay"),
        ("sin_tipo.sql", "SELECT $1 AS a, 1 AS n"),
        ("rango.sql", range),
    ];
    let place = Place::new(&files).await;
    let objects = "CREATE FUNCTION cuenta(uuid) RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT count(*) FROM pedidos); END $$;
        CREATE MATERIALIZED VIEW guardado AS SELECT count(*) AS n FROM pedidos";
    let db = place.cluster.client().await;
    db.batch_execute(objects).await.unwrap();
    let text: String = place
        .install()
        .await
        .iter()
        .map(|c| format!("{c:?}\n"))
        .collect();
    for (kind, stream, part) in [
        ("LeftOut", "esconde", "cuenta hides what it reads"),
        ("Warning", "reloj", "its numbers change without a write"),
        ("LeftOut", "escribe", "it writes"),
        ("Warning", "guardado", "the materialized view guardado"),
        ("LeftOut", "azar", "every read of it gives another result"),
        ("LeftOut", "no_hay", "no_hay"),
        ("LeftOut", "sin_tipo", ""),
    ] {
        let is_told = |line: &str| {
            line.starts_with(kind)
                && line.contains(&format!("stream {stream}"))
                && line.contains(part)
        };
        assert!(text.lines().any(is_told), "{kind} {stream} {part}\n{text}");
    }
    let params = "what a client may choose (desde, hasta) stands in latido.toml: without [streams.rango.params]";
    assert!(text.contains(params), "{text}");
    assert_eq!(
        text.matches("what a client may choose").count(),
        1,
        "{text}"
    );
}
