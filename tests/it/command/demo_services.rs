//! The services of the demo's businesses, with the demo on a database that its user names.

use crate::harness::CommandHome;
use crate::harness::cluster::TestDatabase;

#[tokio::test(flavor = "multi_thread")]
async fn demo_leaves_a_database_with_services_of_another_application_alone() {
    let foreign = [
        "CREATE TABLE servicios (id bigint, titulo text)",
        "CREATE TABLE servicios (id uuid, negocio_id uuid, nombre text, precio numeric);
         INSERT INTO servicios VALUES (gen_random_uuid(), gen_random_uuid(), 'Otro', 1)",
    ];
    for table in foreign {
        let database = TestDatabase::create(&[]).await;
        let client = database.client().await;
        client.batch_execute(table).await.expect("a table");
        let variables = [("DATABASE_URL", database.url()), ("PORT", "0")];
        let finished = CommandHome::new().run(&["demo"], &variables).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let expected = "businesses or services of its own";
        assert!(finished.stderr.contains(expected), "{finished:?}");
        let relations = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace
             OR relnamespace::regnamespace::text = 'latido'";
        let count: i64 = client
            .query_one(relations, &[])
            .await
            .expect("a count")
            .get(0);
        assert_eq!(count, 1, "only the table that was there");
    }
}
