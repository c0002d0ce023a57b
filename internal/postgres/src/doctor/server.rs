//! Checks the server and the connection to it.

use tokio_postgres::Row;

use crate::change_hint::CHANNEL;
use crate::doctor::finding::Finding;
use crate::notification_stream::{DisconnectCause, connect_and_verify};
use crate::pool::Database;
use crate::watch_locks::max_locks;
use latido_stream::Catalog;

/// The oldest supported version, 14: the first with CREATE OR REPLACE TRIGGER.
const MIN_VERSION: i32 = 140_000;

const SERVER_SQL: &str = "SELECT pg_catalog.current_setting('server_version_num')::int, pg_catalog.current_setting('server_version'),
       pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('TimeZone'),
       pg_catalog.current_setting('max_prepared_transactions')::int, pg_catalog.inet_server_addr() IS NULL,
       (SELECT version FROM pg_catalog.pg_stat_ssl WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND ssl),
       pg_catalog.current_setting('max_locks_per_transaction')::bigint OPERATOR(pg_catalog.*)
         (pg_catalog.current_setting('max_connections')::int OPERATOR(pg_catalog.+) pg_catalog.current_setting('max_prepared_transactions')::int)";

pub(super) async fn examine(database: &Database, catalog: &Catalog) -> Vec<Finding> {
    match database.query("the doctor", SERVER_SQL, &[]).await {
        Err(error) => vec![Finding::failure("server", error.to_string())],
        Ok(rows) => rows
            .first()
            .and_then(|row| server_findings(database, catalog, row).ok())
            .unwrap_or_default(),
    }
}

fn server_findings(
    database: &Database,
    catalog: &Catalog,
    row: &Row,
) -> Result<Vec<Finding>, tokio_postgres::Error> {
    let mut findings = vec![check_version(row.try_get(0)?, row.try_get(1)?)];
    findings.push(check_encryption(
        row.try_get(5)?,
        row.try_get(6)?,
        database.is_pooled(),
    ));
    findings.push(check_pooler(database.is_pooled()));
    if row.try_get(2)? {
        let detail =
            "this server is a standby: its data may be older than the notification of a change";
        findings
            .push(Finding::failure("primary", detail).remedy("point DATABASE_URL at the primary"));
    }
    let zone: String = row.try_get(3)?;
    findings.push(Finding::ok(
        "time zone",
        format!("sessions use {zone}; today is computed per business, not by the session"),
    ));
    if database.is_gated() {
        let locks = max_locks(catalog.iter().map(|(_, stream)| &**stream));
        findings.extend(check_lock_table(locks, row.try_get(7)?));
    }
    if row.try_get::<_, i32>(4)? > 0 {
        let detail = "max_prepared_transactions is above 0: PREPARE TRANSACTION fails in a transaction that changed a watched table";
        findings.push(
            Finding::warning("two-phase commit", detail)
                .remedy("writers that need it must call the hook instead"),
        );
    }
    Ok(findings)
}

/// Checks the size of the lock table. If every key is watched, the interest gate may fill half of
/// it; the other half is left to other sessions.
fn check_lock_table(locks: usize, entries: i64) -> Option<Finding> {
    if usize::try_from(entries).is_ok_and(|entries| entries >= 2 * locks) {
        return None;
    }
    let detail =
        format!("room for about {entries} locks, of which the interest gate may use {locks}");
    let remedy = "raise max_locks_per_transaction, or install with INTEREST_GATE=false";
    Some(Finding::warning("lock table", detail).remedy(remedy))
}

fn check_version(number: i32, name: String) -> Finding {
    if number < MIN_VERSION {
        return Finding::failure(
            "server version",
            format!("PostgreSQL {name}; the oldest that works is 14"),
        );
    }
    Finding::ok("server version", format!("PostgreSQL {name}"))
}

fn check_encryption(local: bool, version: Option<String>, pooled: bool) -> Finding {
    match version {
        Some(version) => Finding::ok("TLS", version),
        None if local => Finding::ok("TLS", "none needed: a socket on this machine"),
        None if pooled => Finding::ok("TLS", "unknown: the server sees only the pooler"),
        None => Finding::warning("TLS", "the connection is not encrypted")
            .remedy("add sslmode=verify-full, or at least sslmode=require"),
    }
}

fn check_pooler(pooled: bool) -> Finding {
    if pooled {
        let detail = "a connection pooler answers at DATABASE_URL; reads work through it, each as an unnamed statement";
        return Finding::ok("pooler", detail);
    }
    Finding::ok("pooler", "none: a direct connection, prepared statements")
}

pub(super) async fn check_listen(database: &Database) -> Finding {
    match connect_and_verify(database, &[CHANNEL]).await {
        Ok(_) => Finding::ok(
            "LISTEN",
            "a notification sent over one connection arrived on another",
        ),
        Err(DisconnectCause::NotDelivering) => {
            let detail = "LISTEN succeeds but notifications never arrive: a transaction pooler, or two different databases";
            Finding::warning("LISTEN", detail).remedy(
                "set LISTEN_DATABASE_URL to the server itself (often port 5432 instead of 6543); without it only the hook and the sweep find changes",
            )
        }
        Err(DisconnectCause::Broken(reason)) => Finding::failure("LISTEN", reason)
            .remedy("check LISTEN_DATABASE_URL, or DATABASE_URL if that is not set"),
    }
}

#[cfg(test)]
mod tests {
    use latido_stream::{KeyRoute, SourceTable, Stream};

    use super::*;

    #[test]
    fn half_of_the_lock_table_is_enough_for_keys_and_gates() {
        let plain = Stream::test_stream("a", None);
        let mut gated = Stream::test_stream("b", None);
        gated.tables = vec![SourceTable {
            name: "t".to_owned(),
            route: KeyRoute::Lookup(String::new()),
            columns: Vec::new(),
        }];
        let of_keys = max_locks([&plain].into_iter());
        assert_eq!(of_keys, 2048);
        assert_eq!(max_locks([&plain, &gated, &gated].into_iter()), 2048 + 64);
        assert!(check_lock_table(of_keys, 4096).is_none());
        assert!(check_lock_table(of_keys + 64, 4096).is_some());
    }
}
