use super::*;
use crate::key_kind::KeyKind;
use crate::quote::quote_ident;
use crate::triggers::column_note::parse_lookup_note;
use crate::triggers::key_part::KeyColumn;
use crate::triggers::script::{MAX_NAME_BYTES, build_script};
use crate::triggers::table_route::{
    Gate, LookupArgument, LookupFacts, MoveKey, PathTable, TableLookup, TableRoute,
};
use crate::triggers::table_triggers::trigger_sets;
use crate::triggers::trigger_event::{TRIGGER_EVENTS, TriggerKind};
use crate::triggers::watched_table::Inheritance;

fn citas_table() -> WatchedTable {
    WatchedTable {
        instance: InstanceName::default(),
        stream: "estadisticas".to_owned(),
        schema: "public".to_owned(),
        table: "citas".to_owned(),
        route: TableRoute::Columns(vec![KeyColumn {
            name: "negocio_id".to_owned(),
            kind: KeyKind::Uuid,
        }]),
        gate: Gate::InWhen,
        change_columns: ["negocio_id", "fecha", "estado"].map(str::to_owned).into(),
        column_types: ["uuid", "date", "estado"].map(str::to_owned).into(),
        column_numbers: [("negocio_id", 3), ("fecha", 6), ("estado", 9)]
            .map(|(name, number)| (name.to_owned(), number))
            .into(),
        relations: vec![("public".to_owned(), "citas".to_owned())],
        inheritance: Inheritance::default(),
        part: None,
        trigger_kind: TriggerKind::Statements,
    }
}

/// The lines of orders, whose key is the shop and the till of their order.
fn lineas_table() -> WatchedTable {
    let column = |name: &str, kind| KeyColumn {
        name: name.to_owned(),
        kind,
    };
    let key = vec![
        column("tienda_id", KeyKind::Integer),
        column("dia", KeyKind::Date),
    ];
    let public = |table: &str| ("public".to_owned(), table.to_owned());
    let facts = LookupFacts {
        parts: vec![KeyKind::Integer, KeyKind::Date],
        names: ["tienda_id", "dia"].map(str::to_owned).into(),
        arguments: vec![LookupArgument::Column {
            name: "pedido_id".to_owned(),
            data_type: "bigint".to_owned(),
            collation: None,
            is_compared_as_text: false,
        }],
        path: vec![PathTable {
            schema: "public".to_owned(),
            table: "pedidos".to_owned(),
            columns: ["id", "tienda_id", "dia"].map(str::to_owned).into(),
            relations: vec![public("pedidos")],
            is_moved_by_insert: false,
            is_moved_by_delete: false,
            moves_elsewhere: false,
            key: MoveKey::Columns(vec![key]),
        }],
        functions: Vec::new(),
    };
    WatchedTable {
        stream: "ventas".to_owned(),
        table: "lineas".to_owned(),
        route: TableRoute::Lookup(TableLookup {
            sql: "SELECT p.tienda_id, p.dia FROM changed c JOIN pedidos p ON p.id = c.pedido_id"
                .to_owned(),
            path_sql: String::new(),
            facts: Some(facts),
        }),
        change_columns: ["pedido_id", "cantidad"].map(str::to_owned).into(),
        column_types: ["int8", "int4"].map(str::to_owned).into(),
        column_numbers: [("pedido_id", 2), ("cantidad", 3)]
            .map(|(name, number)| (name.to_owned(), number))
            .into(),
        relations: vec![public("lineas")],
        ..citas_table()
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
        (
            lineas_table(),
            "golden_via.sql",
            include_str!("golden_via.sql"),
        ),
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
        route: TableRoute::Columns(vec![KeyColumn {
            name: evil.to_owned(),
            kind: KeyKind::Text,
        }]),
        change_columns: vec![evil.to_owned()],
        relations: vec![("public".to_owned(), evil.to_owned())],
        ..citas_table()
    };
    let section = script_section(&watched).sql;
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

#[test]
fn facts_of_a_lookup_are_read_back_from_the_comment() {
    let table = lineas_table();
    let sets = trigger_sets(&table);
    let facts = parse_lookup_note(&sets[0].comment);
    assert_eq!(facts.as_ref(), table.lookup_facts());
    assert_eq!(
        parse_lookup_note(&trigger_sets(&citas_table())[0].comment),
        None
    );
    assert_eq!(trigger_sets(&table.with_facts(None)).len(), 1);
}
