//! The findings of the doctor command.

use latido_postgres::{Config, Database, Finding, FindingLevel, examine};
use latido_stream::{Catalog, Stream};

use super::pooler_proxy::{PoolerBehaviour, PoolerProxy};
use super::{builtin, catalog, empty_database, estadisticas, schema_database, table};
use crate::harness::cluster::OwnCluster;

fn find_finding<'a>(findings: &'a [Finding], subject: &str) -> &'a Finding {
    findings
        .iter()
        .find(|finding| finding.subject.contains(subject))
        .unwrap_or_else(|| panic!("{subject} in {findings:#?}"))
}

#[tokio::test]
async fn well_configured_database_has_no_warnings() {
    // Roles belong to the cluster, not to a database.
    let cluster = OwnCluster::start(&[]).await;
    let client = cluster.client().await;
    client.batch_execute(super::SCHEMA).await.unwrap();
    client.batch_execute("CREATE INDEX ON citas (negocio_id, fecha, estado); CREATE ROLE plain LOGIN; GRANT SELECT ON citas, negocios, usuarios TO plain; REVOKE CREATE ON SCHEMA public FROM PUBLIC").await.unwrap();
    Database::open(&Config::new(cluster.url()))
        .unwrap()
        .install(&builtin())
        .await
        .unwrap();
    let url = cluster.url().replace("postgres@", "plain@");
    let findings = examine(&Database::open(&Config::new(url)).unwrap(), &builtin()).await;
    assert!(
        findings
            .iter()
            .all(|finding| finding.level == FindingLevel::Ok),
        "{findings:#?}"
    );
    assert!(find_finding(&findings, "plan").detail.contains("ms"));
}

#[tokio::test]
async fn each_problem_is_reported_with_its_fix() {
    let (_home, client, database) = schema_database().await;
    let fill = "INSERT INTO citas (negocio_id) SELECT gen_random_uuid() FROM generate_series(1, 30000); ANALYZE citas";
    client.batch_execute(fill).await.unwrap();
    let findings = examine(&database, &builtin()).await;
    assert_eq!(find_finding(&findings, "role").level, FindingLevel::Warning);
    assert_eq!(
        find_finding(&findings, "triggers on citas")
            .with_remedy
            .as_deref(),
        Some("run `latido install`")
    );
    let index = find_finding(&findings, "index on citas");
    let create =
        r#"CREATE INDEX CONCURRENTLY ON "public"."citas" ("negocio_id", "fecha", "estado");"#;
    assert_eq!(
        (index.level, index.with_remedy.as_deref()),
        (FindingLevel::Warning, Some(create))
    );
    let plan = find_finding(&findings, "plan");
    assert!(
        plan.level == FindingLevel::Warning && plan.detail.contains("all of public.citas"),
        "{plan:?}"
    );
    let named = "create the index that is named for the table, then ANALYZE it";
    assert_eq!(plan.with_remedy.as_deref(), Some(named));
    // Nothing names an index of a table without a key.
    let findings = examine(&database, &catalog(vec![table("citas", None, &[])])).await;
    let plan = find_finding(&findings, "plan");
    let remedy = plan.with_remedy.as_deref().unwrap_or_default();
    assert!(
        remedy.starts_with(r#"ANALYZE "public"."citas""#) && !remedy.contains("named"),
        "{plan:?}"
    );
    client.batch_execute(create).await.unwrap();
    client.batch_execute("ANALYZE citas").await.unwrap();
    let findings = examine(&database, &builtin()).await;
    assert_eq!(
        (
            find_finding(&findings, "index on citas").level,
            find_finding(&findings, "plan").level
        ),
        (FindingLevel::Ok, FindingLevel::Ok)
    );

    let missing = examine(&database, &catalog(vec![table("nada", None, &[])])).await;
    assert_eq!(
        find_finding(&missing, "triggers on nada").level,
        FindingLevel::Failure
    );
}

#[tokio::test]
async fn unusable_database_is_a_failure() {
    let database = Database::open(&Config::new("postgresql://postgres@/x?host=/nowhere")).unwrap();
    let findings = examine(&database, &builtin()).await;
    assert_eq!(
        (findings.len(), findings[0].level),
        (1, FindingLevel::Failure)
    );
    let (_home, _client, url) = empty_database().await;
    let findings = examine(&Database::open(&Config::new(&url)).unwrap(), &builtin()).await;
    assert_eq!(
        find_finding(&findings, "query").level,
        FindingLevel::Failure
    );
    let proxy = PoolerProxy::start(
        &url,
        PoolerBehaviour {
            refuse_options: true,
            drop_notifications: true,
            ..PoolerBehaviour::default()
        },
    )
    .await;
    let findings = examine(
        &Database::open(&Config::new(&proxy.url)).unwrap(),
        &builtin(),
    )
    .await;
    assert!(
        find_finding(&findings, "pooler")
            .detail
            .contains("answers at DATABASE_URL")
    );
    assert!(
        find_finding(&findings, "LISTEN")
            .with_remedy
            .as_ref()
            .unwrap()
            .contains("LISTEN_DATABASE_URL")
    );
}

#[tokio::test]
async fn partitions_that_no_condition_leaves_out_are_named() {
    let (_home, client, url) = empty_database().await;
    let schema = "
        CREATE TABLE citas (negocio_id uuid, fecha date, estado text) PARTITION BY RANGE (fecha);
        CREATE TABLE citas_0 PARTITION OF citas FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
        CREATE TABLE citas_1 PARTITION OF citas FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
        CREATE TABLE citas_2 PARTITION OF citas FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
        CREATE TABLE citas_3 PARTITION OF citas FOR VALUES FROM ('2026-03-01') TO (MAXVALUE);";
    client.batch_execute(schema).await.unwrap();
    let database = Database::open(&Config::new(url)).unwrap();
    let found = async |name: &str, condition: &str| {
        let query = format!(
            "SELECT u.id, s.* FROM unnest($1::uuid[], $2::date[]) AS u (id, hoy)
             CROSS JOIN LATERAL (SELECT count(*) AS citas FROM citas c WHERE c.negocio_id = u.id AND {condition}) s"
        );
        let stream = Stream {
            name: name.to_owned(),
            query,
            authorize_query: None,
            tables: vec![table("citas", Some("negocio_id"), &[])],
            ..estadisticas()
        };
        let findings = examine(&database, &Catalog::new(vec![stream])).await;
        let is_meant = |finding: &&Finding| finding.subject.contains("partitions of citas");
        findings
            .iter()
            .filter(is_meant)
            .map(|f| f.level)
            .collect::<Vec<_>>()
    };
    let pruned = found("un_dia", "c.fecha = u.hoy").await;
    assert_eq!(pruned, []);
    let all = found("por_texto", "c.fecha::text = u.hoy::text").await;
    assert_eq!(all, [FindingLevel::Warning]);
}
