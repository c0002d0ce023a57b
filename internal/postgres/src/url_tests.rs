use std::time::Duration;

use super::*;

fn mode(url: &str) -> TlsMode {
    DatabaseUrl::parse(url).unwrap().tls.mode
}

#[test]
fn sslmode_has_the_meaning_of_libpq() {
    assert_eq!(mode("postgres://u@h/d"), TlsMode::Prefer);
    assert_eq!(mode("postgres://u@h/d?sslmode=disable"), TlsMode::Disable);
    assert_eq!(mode("postgres://u@h/d?sslmode=require"), TlsMode::Require);
    assert_eq!(
        mode("postgres://u@h/d?sslmode=require&sslrootcert=/ca.pem"),
        TlsMode::VerifyCa
    );
    assert_eq!(
        mode("postgres://u@h/d?sslmode=verify-ca&sslrootcert=/ca.pem"),
        TlsMode::VerifyCa
    );
    assert_eq!(
        mode("postgres://u@h/d?sslmode=verify-full"),
        TlsMode::VerifyFull
    );
    assert_eq!(
        mode("postgres://u@h/d?sslrootcert=system"),
        TlsMode::VerifyFull
    );
    assert_eq!(
        mode("postgres://u@/d?host=/run/pg&sslmode=require"),
        TlsMode::Disable
    );
    assert!(DatabaseUrl::parse("postgres://u@h/d?sslmode=require&sslrootcert=system").is_err());
    let error = DatabaseUrl::parse("postgres://u@h/d?sslmode=on")
        .unwrap_err()
        .to_string();
    assert!(error.contains("verify-full"), "{error}");
}

#[test]
fn parameters_of_other_libraries_are_accepted() {
    let target =
        DatabaseUrl::parse("postgresql://u:p@h:6543/d?schema=public&pgbouncer=true&connection_limit=1&prepareThreshold=0")
            .unwrap();
    assert!(target.is_pooled && target.search_path.is_none());
    assert!(
        DatabaseUrl::parse("postgresql://u:p@h:6543/d")
            .unwrap()
            .is_pooled
    );
    assert!(
        !DatabaseUrl::parse("postgresql://u:p@h/d")
            .unwrap()
            .is_pooled
    );
    let target = DatabaseUrl::parse("postgresql://u:p@h/d?schema=app").unwrap();
    assert_eq!(target.search_path.as_deref(), Some("\"app\""));
}

#[test]
fn sockets_and_time_outs() {
    let target = DatabaseUrl::parse("postgresql://postgres@/db?host=/tmp/x&port=5544").unwrap();
    assert_eq!(target.driver.get_hosts(), [Host::Unix("/tmp/x".into())]);
    assert_eq!(target.driver.get_ports(), [5544]);
    assert_eq!(target.driver.get_keepalives_idle(), Duration::from_secs(5));
    let target = DatabaseUrl::parse("postgresql://postgres@h/db?keepalives_idle=60").unwrap();
    assert_eq!(target.driver.get_keepalives_idle(), Duration::from_secs(60));
    assert_eq!(
        target.driver.get_tcp_user_timeout(),
        Some(&Duration::from_secs(6))
    );
}

#[test]
fn errors_never_show_the_password() {
    let urls = [
        "mysql://u:s3cret@h/d",
        "s3cret",
        "host=h password=s3cret",
        "postgres://u:s3cret@x@h/d",
        "postgres://u:s3c?ret=s3cret@h/d",
        "postgres://u:s3cret@h:port/d",
        "postgres://u:s3cret@/d",
        "postgres://u:s3cret@h/d?s3cret",
        "postgres://u:s3cret@h/d?S3cret=1",
        "postgres://u:s3cret@h/d?sslmode=s3cret",
        "postgres://u:s3cret@h/d?connect_timeout=s3cret",
        "postgres://u:s3cret@h/d?options=%zz",
    ];
    for url in urls {
        let error = DatabaseUrl::parse(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("3cret"), "{error}");
    }
    assert_eq!(
        DatabaseUrl::parse("postgres://u@h/d?nonsense=1")
            .unwrap_err()
            .to_string(),
        "unknown parameter `nonsense`"
    );
}
