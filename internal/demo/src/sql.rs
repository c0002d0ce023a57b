//! The demo's statements as text. Pure: all random values are arguments.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::businesses::{BUSINESSES, CLIENT_IDS, DemoBusiness};

/// The maximum number of citas of a business on one day. Beyond it, those booked first are deleted,
/// so that a busy day never drives the days before it out of the charts.
pub(super) const KEPT_PER_DAY: u32 = 60;

/// The number of past days whose citas are kept.
pub(super) const KEPT_DAYS: u32 = 60;

/// The tables that [`seed_sql`] creates.
const DEMO_TABLES: [&str; 4] = ["usuarios", "negocios", "citas", "servicios"];

/// The number of half-hour slots in a working day.
pub(super) const SLOTS_PER_DAY: i8 = 20;

/// Returns the start time of a half-hour slot. The first slot starts at 08:00.
pub(super) fn slot_start(number: i8) -> Time {
    jiff::civil::time(8 + number / 2, 30 * (number % 2), 0, 0)
}

/// Returns the schema and the demo data as several statements. They run before anything else, and
/// running them again is harmless.
///
/// `zone` determines «today» for the data. A zone without an IANA name (a fixed offset) leaves the
/// data's own default.
pub fn seed_sql(zone: &TimeZone) -> String {
    let zone = zone.iana_name().filter(|name| {
        name.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b))
    });
    let zone = zone.unwrap_or_default();
    let (schema, data, services) = (
        include_str!("../../../sql/schema.sql"),
        include_str!("../../../sql/demo.sql"),
        include_str!("../../../sql/demo/data.sql"),
    );
    format!("{schema}\nSELECT set_config('latido.time_zone', '{zone}', false);\n{data}\n{services}")
}

/// Returns whether the demo creates a table of this name.
#[must_use]
pub fn is_demo_table(name: &str) -> bool {
    DEMO_TABLES.contains(&name)
}

/// Returns statements that each find a row if a table belongs to another application: users,
/// businesses, services or citas of others. A table that does not exist, or has other columns, makes
/// its statement fail.
pub fn foreign_data_sql() -> [String; 4] {
    let ids = BUSINESSES
        .map(|business| format!("'{}'", business.id))
        .join(",");
    [
        "SELECT 1 FROM usuarios WHERE email NOT LIKE '%@demo.invalid' LIMIT 1".to_owned(),
        format!("SELECT 1 FROM negocios WHERE id::text NOT IN ({ids}) LIMIT 1"),
        format!(
            "SELECT 1 FROM servicios \
             WHERE negocio_id::text NOT IN ({ids}) OR (nombre, precio) IS NULL LIMIT 1"
        ),
        format!(
            "SELECT 1 FROM citas \
             WHERE negocio_id::text NOT IN ({ids}) OR (fecha, hora_inicio, estado) IS NULL LIMIT 1"
        ),
    ]
}

/// Returns a statement that books half an hour of a random service for one of the clients.
pub(super) fn book_sql(business: &DemoBusiness, client: usize, day: Date, start: Time) -> String {
    let client = CLIENT_IDS[client % CLIENT_IDS.len()];
    let id = business.id;
    format!(
        "INSERT INTO citas (cliente_id, negocio_id, servicio_id, fecha, hora_inicio, hora_fin) \
         VALUES ('{client}', '{id}', \
         (SELECT id FROM servicios WHERE negocio_id = '{id}' ORDER BY random() LIMIT 1), \
         DATE '{day}', TIME '{start}', TIME '{start}' + interval '30 minutes')"
    )
}

/// Returns a statement that completes the earliest pending cita of a day.
pub(super) fn complete_sql(business: &DemoBusiness, day: Date) -> String {
    set_status_sql(business, day, "atendida", "hora_inicio, id")
}

/// Returns a statement that cancels a random pending cita of a day.
pub(super) fn cancel_sql(business: &DemoBusiness, day: Date) -> String {
    set_status_sql(business, day, "cancelada", "random()")
}

fn set_status_sql(business: &DemoBusiness, day: Date, state: &str, order: &str) -> String {
    let id = business.id;
    format!(
        "UPDATE citas SET estado = '{state}' WHERE id = (\
         SELECT id FROM citas WHERE negocio_id = '{id}' AND fecha = DATE '{day}' AND estado = 'pendiente' \
         ORDER BY {order} LIMIT 1 FOR UPDATE SKIP LOCKED)"
    )
}

/// Returns a statement that deletes the oldest citas and those of days with too many, so that a demo
/// can run for weeks.
pub(super) fn delete_oldest_sql(business: &DemoBusiness, today: Date) -> String {
    let id = business.id;
    format!(
        "DELETE FROM citas WHERE id IN (SELECT id FROM (\
         SELECT id, fecha, row_number() OVER (PARTITION BY fecha ORDER BY creado_en DESC, id) AS numero \
         FROM citas WHERE negocio_id = '{id}') AS numeradas \
         WHERE numero > {KEPT_PER_DAY} OR fecha < DATE '{today}' - {KEPT_DAYS})"
    )
}

#[cfg(test)]
mod tests {
    use jiff::civil::{date, time};

    use super::*;

    #[test]
    fn booking_is_one_statement() {
        assert_eq!(
            book_sql(&BUSINESSES[0], 5, date(2026, 11, 22), time(9, 30, 0, 0)),
            "INSERT INTO citas (cliente_id, negocio_id, servicio_id, fecha, hora_inicio, hora_fin) \
             VALUES ('6c59af7f-369e-468c-9f30-518e8812beb9', 'a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1', \
             (SELECT id FROM servicios WHERE negocio_id = 'a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1' \
             ORDER BY random() LIMIT 1), DATE '2026-11-22', \
             TIME '09:30:00', TIME '09:30:00' + interval '30 minutes')"
        );
    }

    #[test]
    fn only_demo_businesses_are_changed() {
        let day = date(2026, 11, 22);
        for business in &BUSINESSES {
            for sql in [
                book_sql(business, 0, day, Time::midnight()),
                complete_sql(business, day),
                cancel_sql(business, day),
                delete_oldest_sql(business, day),
            ] {
                assert!(sql.contains(business.id) && !sql.contains(';'), "{sql}");
            }
        }
    }

    #[test]
    fn every_slot_is_a_time_of_day() {
        assert_eq!(
            (0..SLOTS_PER_DAY).map(slot_start).next_back(),
            Some(time(17, 30, 0, 0))
        );
    }

    #[test]
    fn services_belong_to_demo_businesses() {
        let data = include_str!("../../../sql/demo/data.sql");
        for business in &BUSINESSES {
            assert!(data.contains(&format!("', '{}', '", business.id)));
        }
        assert!(foreign_data_sql().iter().all(|sql| !sql.contains(';')));
    }

    #[test]
    fn seed_creates_only_demo_tables() {
        let sql = seed_sql(&TimeZone::UTC);
        let created = sql.split("CREATE TABLE IF NOT EXISTS ").skip(1);
        let created: Vec<_> = created.filter_map(|rest| rest.split(' ').next()).collect();
        assert_eq!(created, DEMO_TABLES);
        assert_eq!(sql.matches("CREATE TABLE").count(), DEMO_TABLES.len());
    }

    #[test]
    fn seed_sets_its_time_zone() {
        let zone = TimeZone::get("America/Mexico_City").unwrap();
        assert!(
            seed_sql(&zone)
                .contains("set_config('latido.time_zone', 'America/Mexico_City', false)")
        );
        assert!(
            seed_sql(&TimeZone::fixed(jiff::tz::offset(-5)))
                .contains("set_config('latido.time_zone', '', false)")
        );
    }
}
