//! The current day of a key, in each form in which a query can compare it with a column.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// One calendar day in a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalDay {
    /// The calendar date.
    pub date: Date,
    /// The first instant of the day.
    pub start: Timestamp,
    /// The first instant of the next day.
    pub end: Timestamp,
}

impl LocalDay {
    /// Returns the day of that date in a zone. If midnight does not exist there, the day starts
    /// with the first instant after the gap; if it occurs twice, with the earlier one
    /// (<https://docs.rs/jiff/latest/jiff/struct.Zoned.html#method.start_of_day>).
    pub fn new(date: Date, zone: &TimeZone) -> Self {
        let start_of = |date: Date| {
            let midnight = date.to_zoned(zone.clone())?.start_of_day()?;
            Ok::<_, jiff::Error>(midnight.timestamp())
        };
        Self {
            date,
            start: start_of(date).unwrap_or(Timestamp::MIN),
            end: date
                .checked_add(1.day())
                .and_then(start_of)
                .unwrap_or(Timestamp::MAX),
        }
    }

    /// Returns the day that contains an instant.
    pub fn at(now: Timestamp, zone: &TimeZone) -> Self {
        Self::new(zone.to_datetime(now).date(), zone)
    }

    /// Returns the date after this one, or the last one that exists.
    pub fn next_date(&self) -> Date {
        self.date.checked_add(1.day()).unwrap_or(Date::MAX)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use jiff::tz::TimeZoneDatabase;

    use super::*;

    /// Checks some years of six zones day by day: the end of a day is the first instant of another
    /// date.
    #[test]
    fn days_end_at_midnight_with_daylight_saving_time() {
        for name in [
            "America/Santiago",
            "America/Havana",
            "Atlantic/Azores",
            "America/Sao_Paulo",
            "Asia/Beirut",
            "Pacific/Apia",
        ] {
            let zone = TimeZoneDatabase::bundled().get(name).unwrap();
            let mut day = date(2010, 1, 1);
            while day.year() < 2027 {
                let next = LocalDay::new(day, &zone).end;
                let instant_before = next.checked_sub(1.nanosecond()).unwrap();
                assert!(
                    zone.to_datetime(instant_before).date() <= day,
                    "{name} {day}"
                );
                assert!(zone.to_datetime(next).date() > day, "{name} {day}");
                day = day.tomorrow().unwrap();
            }
        }
    }

    #[test]
    fn day_of_an_instant_is_that_of_the_zone() {
        let zone = TimeZoneDatabase::bundled()
            .get("America/Guayaquil")
            .unwrap();
        let day = LocalDay::at("2026-11-22T04:59:59Z".parse().unwrap(), &zone);
        assert_eq!(day.date, date(2026, 11, 21));
        assert_eq!(day.start, "2026-11-21T05:00:00Z".parse().unwrap());
        assert_eq!(day.end, "2026-11-22T05:00:00Z".parse().unwrap());
        assert_eq!(day.next_date(), date(2026, 11, 22));
    }

    #[test]
    fn last_dates_have_a_day() {
        for day in [Date::MIN, Date::MAX] {
            let day = LocalDay::new(day, &TimeZone::UTC);
            assert!(day.start < day.end && day.date <= day.next_date());
        }
    }
}
