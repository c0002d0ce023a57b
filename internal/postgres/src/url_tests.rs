use std::time::Duration;

use super::*;

fn mode(url: &str) -> TlsMode {
    DatabaseUrl::parse(url).unwrap().tls.mode
}

/// Returns all mistakes in one text.
fn mistakes(url: &str) -> String {
    let mistakes = DatabaseUrl::parse(url).unwrap_err();
    let texts: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    texts.join("; ")
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
    let error = mistakes("postgres://u@h/d?sslmode=on");
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
        let texts = format!("{} {error:?}", mistakes(url));
        assert!(!texts.contains("3cret"), "{texts}");
    }
    assert_eq!(
        mistakes("postgres://u@h/d?nonsense=1&other=2&sslsni=maybe"),
        "unknown parameter `nonsense`; unknown parameter `other`; parameter `sslsni`: expected 1 or 0"
    );
}

#[test]
fn parameters_replace_the_address_before_them() {
    let target = DatabaseUrl::parse("postgres://u@db.example:5433/d?host=/run/pg").unwrap();
    assert_eq!(target.driver.get_hosts(), [Host::Unix("/run/pg".into())]);
    assert_eq!(target.driver.get_ports(), [5433]);
    assert_eq!(target.driver.get_user(), Some("u"));
    let target = DatabaseUrl::parse("postgres://u@a,b/d?port=6000").unwrap();
    assert_eq!(target.driver.get_ports(), [6000, 6000]);
    assert_eq!(target.driver.get_hosts().len(), 2);
    let target = DatabaseUrl::parse("postgres://u@[::1]:7000/d?host=h&port=7001").unwrap();
    assert_eq!(
        (target.driver.get_hosts(), target.driver.get_ports()),
        (&[Host::Tcp("h".to_owned())][..], &[7001][..])
    );
    let target = DatabaseUrl::parse("postgres://u@[::1]:7000/d").unwrap();
    assert_eq!(target.driver.get_ports(), [7000]);
}

#[test]
fn parameters_of_drivers_have_their_meaning() {
    assert_eq!(mode("postgres://u@h/d?sslmode=no-verify"), TlsMode::Require);
    assert_eq!(mode("postgres://u@h/d?ssl=true"), TlsMode::Require);
    assert_eq!(mode("postgres://u@h/d?ssl=false"), TlsMode::Disable);
    assert_eq!(
        mode("postgres://u@h/d?sslmode=require&sslaccept=strict"),
        TlsMode::VerifyFull
    );
    let url = "postgres://u@h/d?currentSchema=app,public&ApplicationName=panel&statement_timeout=2500&sslsni=0";
    let target = DatabaseUrl::parse(url).unwrap();
    assert_eq!(target.search_path.as_deref(), Some("app,public"));
    assert_eq!(target.driver.get_application_name(), Some("panel"));
    assert_eq!(target.statement_timeout, Some(Duration::from_millis(2500)));
    assert!(!target.tls.sends_server_name);
    let prisma = "postgres://u@h/d?connection_limit=5&pool_timeout=3&socket_timeout=9&single_use_connections=true&sslaccept=accept_invalid_certs";
    assert!(DatabaseUrl::parse(prisma).is_ok());
    let unsupported = mistakes("postgres://u@h/d?sslidentity=a.p12&sslpassword=x");
    assert!(
        unsupported.contains("sslcert and sslkey") && unsupported.contains("without a password")
    );
}

#[test]
fn reserved_characters_in_a_password_are_explained() {
    for url in [
        "postgres://u:p@ss@h/d",
        "postgres://u:p/ss@h/d",
        "postgres://u:100%@h/d",
        "postgres://u:p?ss@h/d",
    ] {
        assert!(mistakes(url).contains("@ is %40"), "{url}");
    }
    assert!(DatabaseUrl::parse("postgres://u:p%40ss%25@h/d").is_ok());
}
