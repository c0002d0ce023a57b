use super::*;

fn citas_table() -> WatchedTable {
    WatchedTable {
        instance: InstanceName::default(),
        stream: "estadisticas".to_owned(),
        schema: "public".to_owned(),
        table: "citas".to_owned(),
        key: Some(KeyColumn {
            name: "negocio_id".to_owned(),
            is_text: false,
        }),
        change_columns: ["negocio_id", "fecha", "estado"].map(str::to_owned).into(),
        column_types: ["uuid", "date", "estado"].map(str::to_owned).into(),
        column_numbers: [("negocio_id", 3), ("fecha", 6), ("estado", 9)]
            .map(|(name, number)| (name.to_owned(), number))
            .into(),
        relations: vec![("public".to_owned(), "citas".to_owned())],
        trigger_kind: TriggerKind::Statements,
    }
}

#[test]
fn script_equals_the_reviewed_one() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/triggers/");
    let by_rows = WatchedTable {
        trigger_kind: TriggerKind::Rows,
        ..citas_table()
    };
    let forms = [
        (citas_table(), "golden.sql", include_str!("golden.sql")),
        (by_rows, "golden_rows.sql", include_str!("golden_rows.sql")),
    ];
    let scripts = forms.map(|(watched, name, reviewed)| {
        let script = build_script(
            "SET LOCAL lock_timeout = '800ms';",
            &script_sections(&InstanceName::default(), &[watched], true),
        );
        if std::env::var_os("LATIDO_UPDATE_GOLDEN").is_some() {
            std::fs::write(format!("{folder}{name}"), &script).unwrap();
        }
        (script, reviewed)
    });
    for (script, reviewed) in scripts {
        assert_eq!(
            script, reviewed,
            "run with LATIDO_UPDATE_GOLDEN=1 and review the difference"
        );
    }
}

#[test]
fn names_never_leave_their_quotes() {
    let evil = r#"a"); DROP TABLE x; --$latido$ {body} {key} \'"#;
    let watched = WatchedTable {
        stream: evil.to_owned(),
        table: format!("t\n{evil}"),
        key: Some(KeyColumn {
            name: evil.to_owned(),
            is_text: true,
        }),
        change_columns: vec![evil.to_owned()],
        relations: vec![("public".to_owned(), evil.to_owned())],
        ..citas_table()
    };
    let section = watched.script_section().sql;
    let quoted = quote_ident(evil);
    assert!(
        section.contains(&format!("latido_r.{quoted}::text COLLATE")),
        "{section}"
    );
    assert!(
        section.contains("$latido1$"),
        "the body's tag differs from all that it holds"
    );
    assert_eq!(
        section
            .lines()
            .filter(|line| line.starts_with("-- Stream"))
            .count(),
        1
    );
}

#[test]
fn names_are_short_unique_and_stable() {
    let long = WatchedTable {
        stream: "ñ".repeat(60),
        table: "t".repeat(63),
        ..citas_table()
    };
    for name in TRIGGER_EVENTS
        .map(|event| long.trigger_name(event))
        .into_iter()
        .chain([long.function_name()])
    {
        assert!(name.len() <= MAX_NAME_BYTES, "{name}");
    }
    let other = WatchedTable {
        schema: "otra".to_owned(),
        ..long.clone()
    };
    assert_ne!(long.function_name(), other.function_name());
    assert_eq!(citas_table().function_name(), "estadisticas_citas_ff86264d");
}
