//! `latido types`. What TypeScript makes of them is tested in `clients/typescript`.

use super::CommandSetup;

#[tokio::test]
async fn types_are_printed_or_written_to_a_file() {
    let place = CommandSetup::new().await;
    let printed = place.print(&["types", "--typescript"]).await;
    for line in [
        "export interface Estadisticas {",
        "  negocio_id: string;",
        "  citas_hoy: number | null;",
        "  estadisticas: { data: Estadisticas; key: [negocio_id: string]; params: Record<string, never> };",
    ] {
        assert!(printed.contains(line), "{line:?} is not in {printed}");
    }
    let written = place
        .print(&["types", "--typescript", "--out", "streams.ts"])
        .await;
    assert_eq!(written, "");
    let file = place.home.folder().path().join("streams.ts");
    assert_eq!(std::fs::read_to_string(file).unwrap(), printed);
}

#[tokio::test]
async fn a_stream_that_the_database_refuses_has_no_types() {
    let place = CommandSetup::new().await;
    let client = place.database.client().await;
    client
        .batch_execute("ALTER TABLE citas RENAME COLUMN estado TO otro")
        .await
        .unwrap();
    let variables = place.with_variables(&[]);
    let refused = place.home.run(&["types", "--typescript"], &variables).await;
    assert!(
        refused.code == Some(1) && refused.stderr.contains("estado") && refused.stdout.is_empty(),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_built_in_stream_has_types_only_where_its_tables_are() {
    let place = CommandSetup::new().await;
    let client = place.database.client().await;
    client
        .batch_execute("ALTER TABLE citas RENAME TO visitas")
        .await
        .unwrap();
    std::fs::create_dir(place.home.folder().path().join("streams")).unwrap();
    std::fs::write(
        place.home.folder().path().join("streams/totales.sql"),
        "SELECT count(*) AS visitas FROM visitas",
    )
    .unwrap();
    let printed = place.print(&["types", "--typescript"]).await;
    assert!(
        printed.contains("  totales: { data: Totales; key: [];")
            && !printed.contains("estadisticas"),
        "{printed}"
    );
}
