use latido_stream::EnumLabels;

use super::*;

fn column(name: &str, kind: ColumnKind, sql_type: &str) -> Column {
    Column {
        name: name.to_owned(),
        kind,
        sql_type: sql_type.to_owned(),
    }
}

#[test]
fn every_form_of_stream_has_its_types() {
    let params = [
        Param {
            name: "desde".to_owned(),
            kind: ParamKind::Date,
            default: None,
        },
        Param {
            name: "estado".to_owned(),
            kind: ParamKind::Enum(vec!["abierto".to_owned(), "*/\"".to_owned()]),
            default: Some("abierto".to_owned()),
        },
    ];
    let ventas = StreamTypes {
        name: "ventas_por-dia",
        key: vec![
            ("tienda_id", KeyType::Integer),
            ("caja-1", KeyType::Enum(EnumLabels::new(["a", "b"]))),
        ],
        params: &params,
        columns: vec![
            column("total", ColumnKind::Number, "numeric"),
            column("margen", ColumnKind::Number, "float8"),
            column("pedidos hoy", ColumnKind::Integer, "int8"),
            column("abierta", ColumnKind::Boolean, "bool"),
            column("detalle", ColumnKind::Any, "jsonb"),
        ],
        history: Some(vec![column("dia", ColumnKind::Text, "date")]),
    };
    let totales = StreamTypes {
        name: "totales",
        key: Vec::new(),
        params: &[],
        columns: vec![column("n", ColumnKind::Integer, "int4")],
        history: None,
    };
    let expected = include_str!("typescript_expected.ts");
    assert_eq!(typescript(&[ventas, totales]), expected);
}

#[test]
fn names_of_interfaces_are_distinct_words() {
    let mut taken = HashSet::new();
    let streams = [
        "mi_stream",
        "mi-stream",
        "7dias",
        "MiStream",
        "a",
        "a_params",
        "-",
    ];
    let names = streams.map(|stream| interface_name(stream, &mut taken));
    let expected = [
        "MiStream",
        "MiStream2",
        "Stream7dias",
        "MiStream3",
        "A",
        "AParams2",
        "Stream",
    ];
    assert_eq!(names, expected);
}

#[test]
fn labels_of_tuples_are_no_reserved_words() {
    let names = ["clase", "class", "in", "caja-1", "1a", "typeof", "readonly"];
    let expected = [
        "clase", "_class", "_in", "caja_1", "_1a", "_typeof", "readonly",
    ];
    assert_eq!(names.map(tuple_label), expected);
}
