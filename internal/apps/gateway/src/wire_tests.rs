use super::*;

fn at() -> Timestamp {
    "2026-01-02T03:04:05.006789Z".parse().unwrap()
}

const AT: &str = "2026-01-02T03:04:05.006Z";

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn reservation_is_encoded_for_both_versions() {
    let data = json!({"clienteId": 7, "proveedorId": 9, "servicioId": 3, "fecha": "2026-01-01", "estado": "pendiente"});
    let user = GatewayUser {
        id: "7".into(),
        role: Role::Cliente,
    };
    let EncodedEvent {
        first,
        second,
        entry,
    } = business_event("reservation_created", &data, Some(&user), at());
    let both_spellings = with_both_spellings(&data);
    let event = json!({"type": "reservation_created", "data": both_spellings, "from": "7", "timestamp": AT});
    assert_eq!(
        first,
        [
            ("event".into(), event),
            ("reservation_created".into(), both_spellings.clone())
        ]
    );
    assert_eq!(
        names(&second),
        ["negocio:evento", "reserva:nueva", "reservation_created"]
    );
    let negocio = json!({"type": "reservation_created", "payload": both_spellings, "timestamp": AT, "source": "SOCKET_IO"});
    assert_eq!(second[0].1, negocio);
    assert_eq!(json!(entry), negocio);
}

/// A published event, its names for everybody, and its name for one role.
type V2Names = (
    &'static str,
    &'static [&'static str],
    Option<(Role, &'static str)>,
);

const V2_NAMES: [V2Names; 13] = [
    (
        "reserva:creada",
        &["reserva:nueva", "reservation_created"],
        Some((Role::Admin, "reserva:notificacion")),
    ),
    (
        "reservation_created",
        &["reserva:nueva", "reservation_created"],
        Some((Role::Admin, "reserva:notificacion")),
    ),
    (
        "reserva:actualizada",
        &["reserva:cambio", "reservation_updated"],
        None,
    ),
    (
        "reservation_updated",
        &["reserva:cambio", "reservation_updated"],
        None,
    ),
    (
        "reserva:cancelada",
        &["reserva:cancelacion", "reservation_deleted"],
        None,
    ),
    (
        "reservation_deleted",
        &["reserva:cancelacion", "reservation_deleted"],
        None,
    ),
    (
        "servicio:creado",
        &["servicio:disponible"],
        Some((Role::Cliente, "servicio:nuevo")),
    ),
    ("calificacion:creada", &["calificacion:nueva"], None),
    (
        "cliente:nuevo",
        &[],
        Some((Role::Admin, "cliente:registrado")),
    ),
    (
        "pago:procesado",
        &["pago:confirmado", "payment_created", "payment_updated"],
        None,
    ),
    (
        "payment_created",
        &["pago:confirmado", "payment_created", "payment_updated"],
        None,
    ),
    (
        "payment_updated",
        &["pago:confirmado", "payment_created", "payment_updated"],
        None,
    ),
    ("algo:nuevo", &["algo:nuevo"], None),
];

#[test]
fn version_2_names_follow_the_contract_table() {
    for (published, everybody, role) in V2_NAMES {
        let data = json!({"cliente_id": 1});
        let packed = business_event(published, &data, None, at());
        let expected: Vec<_> = std::iter::once("negocio:evento")
            .chain(everybody.iter().copied())
            .collect();
        assert_eq!(names(&packed.second), expected, "{published}");
        assert_eq!(packed.second[0].1["source"], "REST_API");
        assert_eq!(packed.second[0].1["type"], published);
        let of_role =
            role_event(published, &data).map(|(role, packed)| (role, packed.second[0].0.clone()));
        assert_eq!(
            of_role,
            role.map(|(role, name)| (role, name.to_owned())),
            "{published}"
        );
    }
}

#[test]
fn version_1_names_follow_the_contract_table() {
    for (published, bare) in [
        ("reservation_created", "reservation_created"),
        ("reserva:actualizada", "reservation_updated"),
        ("reserva:cancelada", "reservation_deleted"),
        ("reservation_accepted", "reservation_accepted"),
        ("payment_created", "payment_created"),
        ("payment_updated", "payment_updated"),
        ("comment_created", "comment_created"),
    ] {
        let packed = business_event(published, &json!({}), None, at());
        assert_eq!(names(&packed.first), ["event", bare]);
        assert_eq!(
            packed.first[0].1,
            json!({"type": bare, "data": {}, "timestamp": AT})
        );
    }
}

#[test]
fn client_and_system_notices() {
    let user = GatewayUser {
        id: "7".into(),
        role: Role::Proveedor,
    };
    let packed = client_event("client_authenticated", "abc", Some(&user), at());
    let data = json!({"userId": "7", "role": "proveedor", "socketId": "abc", "timestamp": AT});
    assert_eq!(
        packed.first,
        [(
            "event".into(),
            json!({"type": "client_authenticated", "data": data, "timestamp": AT})
        )]
    );
    let packed = client_event("client_connected", "abc", None, at());
    assert_eq!(
        packed.first[0].1["data"],
        json!({"socketId": "abc", "timestamp": AT})
    );
    let packed = system_notification(&json!({"message": "hola", "type": "info"}), at());
    assert_eq!(
        packed.second,
        [(
            "system_notification".into(),
            json!({"message": "hola", "type": "info"})
        )]
    );
    assert_eq!(names(&packed.first), ["event", "system_notification"]);
}

#[test]
fn replies_and_reserved_names() {
    let expected = json!({"message": "Autenticación exitosa", "userId": 7, "role": "cliente", "socketId": "abc"});
    assert_eq!(
        auth_success_payload(&json!(7), Role::Cliente, "abc"),
        expected
    );
    assert_eq!(
        message_payload("No autenticado"),
        json!({"message": "No autenticado"})
    );
    for name in RESERVED_NAMES.into_iter().chain(["", "a\nb"]) {
        assert!(!is_event_name(name), "{name}");
    }
    assert!(
        is_event_name("reserva:creada")
            && is_event_name("error")
            && !is_event_name(&"x".repeat(200))
    );
}
