use super::*;
use latido_auth::{Secret, test_keys};
use latido_net::Origins;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const URL: &str = "postgresql://u:s3cret@h:5432/db";

fn read(purpose: Purpose, environment: &[(&str, &str)]) -> Result<Settings, ConfigErrors> {
    Settings::read(&ConfigSources::from_variables(environment), purpose)
}

/// Reads the settings of a server with all required variables and these additional ones.
fn serve(more: &[(&str, &str)]) -> Result<Settings, ConfigErrors> {
    let needed = [
        ("DATABASE_URL", URL),
        ("JWT_SECRET", SECRET),
        ("TIMEZONE", "America/Guayaquil"),
    ];
    let environment: Vec<_> = needed
        .iter()
        .filter(|(name, _)| more.iter().all(|(m, _)| m != name))
        .chain(more)
        .copied()
        .collect();
    read(Purpose::Serve, &environment)
}

#[test]
fn server_needs_three_variables_and_has_defaults_for_the_rest() {
    let settings = serve(&[]).unwrap();
    assert_eq!(settings.warnings, [""; 0]);
    assert_eq!(
        settings.postgres.url.as_ref().map(Secret::expose),
        Some(URL)
    );
    assert_eq!(
        (
            settings.listen.address.ip().to_string().as_str(),
            settings.listen.address.port()
        ),
        ("0.0.0.0", 8080)
    );
    assert_eq!(
        (settings.limits.channels, settings.limits.message_bytes),
        (100, 16_384)
    );
    assert!(
        settings.http.max_connections > 0 && settings.http.max_connections_per_address.is_none()
    );
    assert_eq!(settings.policy.admin_roles, ["admin_sistema"]);
    assert!(
        settings.notify_key.is_none()
            && settings.http.origins == Origins::Any
            && settings.http.metrics_enabled
    );
    let [stream] = &settings.streams[..] else {
        panic!("one stream")
    };
    assert_eq!(
        (&*stream.name, &*stream.event, &*stream.key_fields.concat()),
        ("estadisticas", "stats", "negocio_id")
    );
    assert_eq!(
        stream.zone_rule,
        ZoneRule::Fixed("America/Guayaquil".into())
    );
    assert_eq!(
        (&*stream.tables[0].name, stream.tables[0].columns.len()),
        ("citas", 3)
    );
    assert_eq!(settings.verifier.key_fields, ["negocio_id"]);
}

#[test]
fn all_errors_are_reported_together_without_secrets() {
    let text = read(
        Purpose::Serve,
        &[
            ("DATABASE_URL", "mysql://u:s3cret@h/db"),
            ("JWT_SECRET", "hunter2"),
            ("JWT_PUBLIC_KEY", "/no/such/s3cret"),
            ("JWT_JWKS_URL", "http://id.example/s3cret"),
            ("NOTIFY_API_KEY", "sha256:s3cret"),
            ("JWT_ALLOW_WEAK_SECRET", "maybe"),
            ("PORT", "80a"),
            ("HOST", "example.com"),
            ("TIMEZONE", "Guayaquil"),
            ("ALLOWED_ORIGINS", "panel.example.com"),
            ("SWEEP_SECONDS", "0"),
            ("MAX_MESSAGE_BYTES", "-1"),
            ("LATIDO_CONFIG", "/no/such/latido.toml"),
        ],
    )
    .unwrap_err()
    .to_string();
    for expected in [
        "13 mistakes",
        "DATABASE_URL: expected postgresql://user:password@host:port/database",
        "JWT_SECRET: 7 bytes; expected at least 32 random bytes (openssl rand -base64 48), or JWT_ALLOW_WEAK_SECRET=true",
        "JWT_PUBLIC_KEY: no such file",
        "JWT_JWKS_URL: expected an https:// address",
        "NOTIFY_API_KEY: expected 64 hexadecimal digits",
        "JWT_ALLOW_WEAK_SECRET: \"maybe\" is wrong; expected true or false",
        "PORT: \"80a\" is wrong; expected a whole number from 0 to 65535",
        "HOST: \"example.com\" is wrong; expected an IP address",
        "TIMEZONE: \"Guayaquil\" is wrong; expected an IANA time zone",
        "ALLOWED_ORIGINS: \"panel.example.com\" is wrong; expected origins such as https://",
        "SWEEP_SECONDS: \"0\" is wrong; expected a whole number from 1 to 86400",
        "MAX_MESSAGE_BYTES: \"-1\" is wrong",
        "LATIDO_CONFIG: /no/such/latido.toml could not be read",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(
        !text.contains("s3cret") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn required_settings_depend_on_the_purpose() {
    let missing = |purpose| {
        let text = read(purpose, &[]).map_or_else(|errors| errors.to_string(), |_| String::new());
        (
            text.contains("DATABASE_URL: missing"),
            text.contains("JWT_SECRET: missing"),
        )
    };
    for (purpose, expected) in [
        (Purpose::Serve, (true, true)),
        (Purpose::Demo, (false, false)),
        (Purpose::Install, (true, false)),
        (Purpose::Add, (true, false)),
        (Purpose::Doctor, (true, false)),
        (Purpose::Token, (false, true)),
        (Purpose::Healthcheck, (false, false)),
    ] {
        assert_eq!(missing(purpose), expected, "{purpose:?}");
    }
    assert!(
        serve(&[
            ("JWT_SECRET", " "),
            ("JWT_PUBLIC_KEY", test_keys::P256.public)
        ])
        .is_ok(),
        "another key will do"
    );
    assert!(
        serve(&[
            ("JWT_SECRET", ""),
            ("JWT_JWKS_URL", "https://id.example/keys")
        ])
        .is_ok()
    );
}

#[test]
fn demo_listens_on_loopback() {
    let host = |purpose, environment| {
        let settings = read(purpose, environment).unwrap();
        settings.listen.address.ip().to_string()
    };
    assert_eq!(host(Purpose::Demo, &[]), "127.0.0.1");
    assert_eq!(host(Purpose::Demo, &[("HOST", "0.0.0.0")]), "0.0.0.0");
}

#[test]
fn weak_secret_must_be_allowed_explicitly() {
    assert!(
        serve(&[("JWT_SECRET", "short")])
            .unwrap_err()
            .to_string()
            .contains("JWT_ALLOW_WEAK_SECRET=true")
    );
    let allowed = serve(&[("JWT_SECRET", "short"), ("JWT_ALLOW_WEAK_SECRET", "true")]).unwrap();
    assert!(
        allowed.verifier.allow_weak_secrets
            && allowed.warnings[0].starts_with("JWT_SECRET: 5 bytes")
    );
    let doctor = read(
        Purpose::Doctor,
        &[("DATABASE_URL", URL), ("JWT_SECRET", "short")],
    )
    .unwrap();
    assert!(
        !doctor.verifier.allow_weak_secrets && doctor.verifier.secrets.len() == 1,
        "a finding for its report"
    );
    let pem = serve(&[
        ("JWT_SECRET", test_keys::RSA.public),
        ("JWT_ALLOW_WEAK_SECRET", "true"),
    ])
    .unwrap_err()
    .to_string();
    assert!(
        pem.contains("JWT_SECRET: expected a random secret and not a PEM key"),
        "{pem}"
    );
}

#[test]
fn previous_secret_stays_valid_during_rotation() {
    let secrets = serve(&[("JWT_SECRET_PREVIOUS", "fedcba9876543210fedcba9876543210")])
        .unwrap()
        .verifier
        .secrets;
    assert_eq!(
        secrets.iter().map(Secret::expose).collect::<Vec<_>>(),
        [SECRET, "fedcba9876543210fedcba9876543210"]
    );
}

#[test]
fn public_key_is_text_or_a_path() {
    let escaped = test_keys::RSA.public.replace('\n', "\\n");
    let path = std::env::temp_dir().join(format!("latido-key-{}.pem", std::process::id()));
    std::fs::write(&path, test_keys::RSA.public).unwrap();
    for text in [test_keys::RSA.public, &escaped, path.to_str().unwrap()] {
        let keys = serve(&[("JWT_PUBLIC_KEY", text)])
            .unwrap()
            .verifier
            .public_keys
            .unwrap();
        assert_eq!(keys.trim(), test_keys::RSA.public.trim());
    }
    std::fs::write(&path, test_keys::RSA.private).unwrap();
    let private = serve(&[("JWT_PUBLIC_KEY", path.to_str().unwrap())])
        .unwrap_err()
        .to_string();
    assert!(
        private.contains("JWT_PUBLIC_KEY: expected a public key and not a private one"),
        "{private}"
    );
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn missing_time_zone_causes_a_warning() {
    let settings = serve(&[("TIMEZONE", "")]).unwrap();
    assert_eq!(settings.time_zone, "UTC");
    assert!(
        settings.warnings[0].starts_with("TIMEZONE is not set"),
        "{:?}",
        settings.warnings
    );
}

#[test]
fn all_values_are_parsed() {
    let settings = serve(&[
        ("HOST", "[::1]"),
        ("PORT", "0"),
        (
            "ALLOWED_ORIGINS",
            "https://a.example, http://localhost:4200",
        ),
        ("ADMIN_ROLES", "jefe, root"),
        ("NOTIFY_API_KEY", "k"),
        ("MAX_CONNECTIONS", "7"),
        ("MAX_CONNECTIONS_PER_ADDRESS", "3"),
        ("MAX_MESSAGES_PER_SECOND", "500"),
        ("SHARDS", "2"),
        ("SHUTDOWN_SECONDS", "1"),
        ("METRICS", "off"),
        ("RUST_LOG", "debug"),
        ("LISTEN_DATABASE_URL", "postgres://u@direct/db"),
        ("AUTHORIZE_CACHE_SECONDS", "3"),
    ])
    .unwrap();
    assert_eq!(
        (
            settings.listen.address.ip().to_string().as_str(),
            settings.listen.address.port()
        ),
        ("::1", 0)
    );
    assert_eq!(
        settings.http.origins,
        "https://a.example,http://localhost:4200".parse().unwrap()
    );
    assert_eq!(settings.policy.admin_roles, ["jefe", "root"]);
    assert!(settings.notify_key.unwrap().matches(b"k"));
    assert_eq!(
        (
            settings.http.max_connections,
            settings.http.max_connections_per_address
        ),
        (7, Some(3))
    );
    assert_eq!(
        (
            settings.limits.messages_per_second,
            settings.limits.message_burst
        ),
        (500, 500),
        "never below the average"
    );
    assert_eq!(
        (
            settings.shard.threads,
            settings.shutdown_timeout,
            settings.http.metrics_enabled
        ),
        (2, Duration::from_secs(1), false)
    );
    assert_eq!(settings.log_filter.as_deref(), Some("debug"));
    assert_eq!(
        settings.postgres.listen_url.as_ref().map(Secret::expose),
        Some("postgres://u@direct/db")
    );
    assert_eq!(settings.policy.cache_ttl, Duration::from_secs(3));
    assert!(
        serve(&[("ADMIN_ROLES", "none")])
            .unwrap()
            .policy
            .admin_roles
            .is_empty()
    );
}

#[test]
fn file_replaces_or_adds_streams() {
    let path = std::env::temp_dir().join(format!("latido-streams-{}.toml", std::process::id()));
    let names = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let settings = serve(&[("LATIDO_CONFIG", path.to_str().unwrap())])?;
        let names: Vec<_> = settings
            .streams
            .iter()
            .map(|s| format!("{}/{}", s.name, s.key_fields.concat()))
            .collect();
        Ok::<_, ConfigErrors>((names.join(" "), settings.policy.admin_roles.join(" ")))
    };
    let salas = "[streams.salas]\nquery = \"SELECT 1\"\nkey_field = \"sala_id\"\n";
    let own = "[streams.estadisticas]\nquery = \"SELECT 1\"\nkey_field = \"mio\"\n";
    assert_eq!(
        names(salas).unwrap().0,
        "estadisticas/negocio_id salas/sala_id"
    );
    assert_eq!(
        names(&format!("{own}{salas}")).unwrap().0,
        "estadisticas/mio salas/sala_id"
    );
    assert_eq!(
        names(&format!("builtin_streams = false\n{salas}"))
            .unwrap()
            .0,
        "salas/sala_id"
    );
    assert_eq!(
        names("admin_roles = [\"jefe\"]").unwrap(),
        ("estadisticas/negocio_id".into(), "jefe".into())
    );
    assert!(
        names("builtin_streams = false")
            .unwrap_err()
            .to_string()
            .contains("no stream is left")
    );
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn folder_beside_the_configuration_holds_streams() {
    let folder = std::env::temp_dir().join(format!("latido-beside-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("streams")).unwrap();
    std::fs::write(folder.join("streams/ventas.sql"), "SELECT 1").unwrap();
    std::fs::write(folder.join("streams/cajas.sql"), "SELECT 2").unwrap();
    let path = folder.join("latido.toml");
    let read_with = |text: &str, more: &[(&str, &str)]| {
        std::fs::write(&path, text).unwrap();
        let file = [("LATIDO_CONFIG", path.to_str().unwrap())];
        let settings = serve(&[&file, more].concat())?;
        let names: Vec<_> = settings.streams.iter().map(|s| s.name.clone()).collect();
        Ok::<_, ConfigErrors>((names.join(" "), settings.builtin_is_optional))
    };
    let both = "estadisticas cajas ventas".to_owned();
    assert_eq!(read_with("", &[]).unwrap(), (both.clone(), true));
    assert_eq!(
        read_with("builtin_streams = true", &[]).unwrap(),
        (both, false)
    );
    assert_eq!(
        read_with("builtin_streams = false", &[]).unwrap().0,
        "cajas ventas"
    );
    let points_there = "[streams.ventas]\nquery = \"streams/ventas.sql\"\nevent = \"venta\"";
    assert_eq!(
        read_with(points_there, &[]).unwrap().0,
        "estadisticas ventas cajas"
    );
    let other = "[streams.ventas]\nquery = \"SELECT 3\"";
    let errors = read_with(other, &[]).unwrap_err().to_string();
    assert!(
        errors.contains("ventas.sql: stream ventas has another query"),
        "{errors}"
    );
    let elsewhere = [("STREAMS_DIR", "/no/such/folder")];
    let errors = read_with("", &elsewhere).unwrap_err().to_string();
    assert!(errors.contains("STREAMS_DIR: /no/such/folder"), "{errors}");
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(
        !serve(&[]).unwrap().builtin_is_optional,
        "nothing else is served"
    );
}

#[test]
fn debug_output_contains_no_secret() {
    let settings = serve(&[("NOTIFY_API_KEY", "hook key")]).unwrap();
    let text = format!("{settings:?}");
    assert!(
        !text.contains("s3cret") && !text.contains(SECRET) && !text.contains("hook key"),
        "{text}"
    );
}
