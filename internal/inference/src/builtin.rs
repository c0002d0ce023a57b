//! Built-in functions that read something other than their arguments. `provolatile` does not tell:
//! `now()` is stable, and so is `to_char`.

use crate::note::Note;

/// What a built-in function does beside computing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BuiltinEffect {
    None,
    /// It writes, locks, or acts on the server, so a stream must not call it.
    Writes,
    Notes(Note),
}

const CLOCK: [&str; 7] = [
    "now",
    "transaction_timestamp",
    "statement_timestamp",
    "clock_timestamp",
    "timeofday",
    "pg_postmaster_start_time",
    "pg_conf_load_time",
];

const RANDOM: [&str; 8] = [
    "random",
    "random_normal",
    "setseed",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "array_sample",
    "array_shuffle",
];

const SESSION: [&str; 15] = [
    "current_setting",
    "current_database",
    "current_schema",
    "current_schemas",
    "current_user",
    "session_user",
    "system_user",
    "getpgusername",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "pg_backend_pid",
    "pg_client_encoding",
    "version",
];

const WRITES: [&str; 12] = [
    "nextval",
    "setval",
    "set_config",
    "lo_create",
    "lo_creat",
    "lo_import",
    "lo_put",
    "lo_truncate",
    "lo_unlink",
    "lo_from_bytea",
    "pg_notify",
    "lowrite",
];

/// The beginnings of functions that lock or act on the server, also in a transaction that only reads.
const ACTS: [&str; 24] = [
    "pg_advisory_",
    "pg_try_advisory_",
    "pg_terminate_",
    "pg_cancel_",
    "pg_reload_",
    "pg_rotate_",
    "pg_switch_",
    "pg_promote",
    "pg_create_",
    "pg_drop_",
    "pg_copy_",
    "pg_replication_",
    "pg_logical_",
    "pg_wal_replay_",
    "pg_stat_reset",
    "pg_import_",
    "pg_log_",
    "pg_backup_",
    "pg_start_backup",
    "pg_stop_backup",
    "pg_set_",
    "pg_clear_",
    "pg_restore_",
    "pg_sync_",
];

/// The beginnings of functions that read files, statistics, other transactions or rights.
const OUTSIDE: [&str; 26] = [
    "lo_",
    "loread",
    "pg_read",
    "pg_ls",
    "pg_stat",
    "pg_relation",
    "pg_table",
    "pg_total",
    "pg_indexes",
    "pg_database",
    "pg_lock",
    "pg_current",
    "pg_snapshot",
    "pg_last",
    "pg_is_in",
    "pg_export",
    "txid_",
    "query_to_xml",
    "table_to_xml",
    "schema_to_xml",
    "database_to_xml",
    "cursor_to_xml",
    "ts_stat",
    "ts_rewrite",
    "currval",
    "lastval",
];

/// Returns the effect of a function of `pg_catalog`.
pub(crate) fn effect(name: &str, argument_count: i32, arguments: &str) -> BuiltinEffect {
    let call = || format!("{name}()");
    if WRITES.contains(&name) || ACTS.iter().any(|start| name.starts_with(start)) {
        return BuiltinEffect::Writes;
    }
    // With one argument, `age` measures from today; `age(xid)` is about transactions.
    let is_age = name == "age" && argument_count == 1 && !arguments.contains("xid");
    if CLOCK.contains(&name) || is_age {
        return BuiltinEffect::Notes(Note::Clock(call()));
    }
    if RANDOM.contains(&name) {
        return BuiltinEffect::Notes(Note::Random);
    }
    if SESSION.contains(&name) {
        return BuiltinEffect::Notes(Note::Session(call()));
    }
    if compares_timestamp_with_date(name) {
        return BuiltinEffect::Notes(Note::TimestampWithDate);
    }
    if uses_session_zone(name, argument_count, arguments) {
        return BuiltinEffect::Notes(Note::SessionZone(call()));
    }
    if name.starts_with("has_") || OUTSIDE.iter().any(|start| name.starts_with(start)) {
        return BuiltinEffect::Notes(Note::Outside(call()));
    }
    BuiltinEffect::None
}

/// Returns whether this is the function of an operator such as `timestamp = date`: `date_eq_timestamp`
/// or `timestamptz_lt_date`.
fn compares_timestamp_with_date(name: &str) -> bool {
    let mut parts = name.split('_');
    let (Some(left), Some(operator), Some(right), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let is_timestamp = |name: &str| name == "timestamp" || name == "timestamptz";
    matches!(operator, "eq" | "ne" | "lt" | "le" | "gt" | "ge")
        && ((left == "date" && is_timestamp(right)) || (is_timestamp(left) && right == "date"))
}

/// Returns whether this is a cast between a moment and a local time, or another function whose
/// result the session's `TimeZone` decides. `date_trunc` with a third argument names its zone.
fn uses_session_zone(name: &str, argument_count: i32, arguments: &str) -> bool {
    let takes_moment = arguments.contains("timestamp with time zone");
    match name {
        "date" | "timestamp" | "time" | "timetz" | "to_char" => takes_moment,
        "date_trunc" => takes_moment && argument_count == 2,
        "timestamptz" => matches!(arguments, "date" | "timestamp without time zone"),
        _ => false,
    }
}

/// Returns what `SQLVALUEFUNCTION` with this `op` reads, or `None` if the number is unknown.
pub(crate) fn value_function(op: u32) -> Option<Note> {
    Some(match op {
        0 => Note::Clock("current_date".to_owned()),
        1 | 2 => Note::Clock("current_time".to_owned()),
        3 | 4 => Note::Clock("current_timestamp".to_owned()),
        5 | 6 => Note::Clock("localtime".to_owned()),
        7 | 8 => Note::Clock("localtimestamp".to_owned()),
        9 => Note::Session("current_role".to_owned()),
        10 => Note::Session("current_user".to_owned()),
        11 => Note::Session("user".to_owned()),
        12 => Note::Session("session_user".to_owned()),
        13 => Note::Session("current_catalog".to_owned()),
        14 => Note::Session("current_schema".to_owned()),
        _ => return None,
    })
}

/// Returns whether the text of a query has a literal such as `'today'`. The parse tree has only the
/// constant that it became.
pub(crate) fn has_clock_literal(text: &str) -> bool {
    let words = ["now", "today", "tomorrow", "yesterday"];
    // A text stands between quotation marks, or between marks of its own such as `$$`.
    text.match_indices(['\'', '$']).any(|(at, quote)| {
        let inside = text[at + 1..].trim_ascii_start();
        let Some((inside, _)) = inside.split_once(quote) else {
            return false;
        };
        words.iter().any(|word| {
            let found = inside
                .get(..word.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(word));
            let next = inside
                .get(word.len()..)
                .and_then(|rest| rest.chars().next());
            found && !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_classified() {
        let note = |name: &str| effect(name, 0, "");
        assert_eq!(note("lower"), BuiltinEffect::None);
        assert_eq!(note("log"), BuiltinEffect::None);
        for name in ["nextval", "pg_advisory_lock", "pg_stat_reset", "pg_promote"] {
            assert_eq!(note(name), BuiltinEffect::Writes, "{name}");
        }
        assert_eq!(
            note("lo_get"),
            BuiltinEffect::Notes(Note::Outside("lo_get()".to_owned()))
        );
        for name in ["timestamp_eq_date", "date_ge_timestamptz"] {
            assert_eq!(
                note(name),
                BuiltinEffect::Notes(Note::TimestampWithDate),
                "{name}"
            );
        }
        assert_eq!(note("date_eq"), BuiltinEffect::None);
        assert_eq!(
            effect("age", 1, "timestamp with time zone"),
            BuiltinEffect::Notes(Note::Clock("age()".to_owned()))
        );
        assert_eq!(effect("age", 1, "xid"), BuiltinEffect::None);
    }

    #[test]
    fn casts_by_the_session_zone_are_found() {
        const MOMENT: &str = "timestamp with time zone";
        let note = |name: &str| BuiltinEffect::Notes(Note::SessionZone(format!("{name}()")));
        for (name, count, arguments) in [
            ("date", 1, MOMENT),
            ("timestamp", 1, MOMENT),
            ("timestamptz", 1, "date"),
            ("timestamptz", 1, "timestamp without time zone"),
            ("date_trunc", 2, "text, timestamp with time zone"),
        ] {
            assert_eq!(effect(name, count, arguments), note(name), "{name}");
        }
        for (name, count, arguments) in [
            ("date", 1, "timestamp without time zone"),
            ("timezone", 2, "text, timestamp with time zone"),
            ("date_trunc", 3, "text, timestamp with time zone, text"),
            ("timestamptz", 2, "timestamp with time zone, integer"),
        ] {
            assert_eq!(
                effect(name, count, arguments),
                BuiltinEffect::None,
                "{name}"
            );
        }
    }

    #[test]
    fn literals_of_the_clock_are_found() {
        assert!(has_clock_literal("SELECT date 'today'"));
        assert!(has_clock_literal("SELECT timestamp ' NOW '"));
        assert!(has_clock_literal("SELECT date $$today$$, date $a$b$a$"));
        assert!(has_clock_literal("SELECT $1, date $día$tomorrow $día$"));
        assert!(!has_clock_literal("SELECT 'nowhere', 'todayish', now"));
        assert!(!has_clock_literal("SELECT 'to"));
        assert!(!has_clock_literal("SELECT $1 - now($2), $$ $$"));
    }
}
