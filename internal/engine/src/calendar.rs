//! The local date of each key, and the time at which it changes.
//!
//! A zone's date can change without a change of any row, so a timer must check it. Dates are
//! computed from the zone's rules and never from «the hour is zero»: midnight may be skipped or
//! occur twice.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};

use latido_base::ident::{IterMap, StreamId, Topic};
use latido_stream::{Catalog, ZoneRule};

/// The time zones of all watched keys.
pub(super) struct Calendar {
    database: TimeZoneDatabase,
    /// The zone of keys without a zone of their own, indexed by stream.
    default_zones: Vec<Arc<str>>,
    zones: IterMap<Arc<str>, CalendarZone>,
    /// The zones that a stream's zone query returned for watched keys.
    zone_by_key: IterMap<Topic, Arc<str>>,
}

struct CalendarZone {
    rules: TimeZone,
    today: Date,
    /// The first instant of the next day, computed together with `today`.
    next_midnight: Timestamp,
}

impl Calendar {
    pub(super) fn new(catalog: &Catalog, now: Timestamp) -> Self {
        let name = |rule: &ZoneRule| match rule {
            ZoneRule::Fixed(name) | ZoneRule::Query { default: name, .. } => {
                Arc::<str>::from(name.as_str())
            }
        };
        let defaults = catalog
            .iter()
            .map(|(_, stream)| name(&stream.zone_rule))
            .collect();
        let mut calendar = Self {
            database: TimeZoneDatabase::bundled(),
            default_zones: defaults,
            zones: IterMap::default(),
            zone_by_key: IterMap::default(),
        };
        for name in calendar.default_zones.clone() {
            if !calendar.load_zone(&name, now) {
                tracing::warn!(zone = &*name, "unknown time zone; UTC is taken instead");
                calendar
                    .zones
                    .insert(name, CalendarZone::new(TimeZone::UTC, now));
            }
        }
        calendar
    }

    /// Loads a zone's rules. Returns `false` if the zone does not exist.
    fn load_zone(&mut self, name: &Arc<str>, now: Timestamp) -> bool {
        if self.zones.contains_key(name) {
            return true;
        }
        let Ok(rules) = self.database.get(name) else {
            return false;
        };
        self.zones
            .insert(Arc::clone(name), CalendarZone::new(rules, now));
        true
    }

    /// Returns the current local date of a key.
    pub(super) fn today(&mut self, topic: &Topic, now: Timestamp) -> Date {
        let name = self
            .zone_by_key
            .get(topic)
            .unwrap_or(&self.default_zones[usize::from(topic.stream.0)]);
        match self.zones.get(name) {
            Some(zone) => zone.rules.to_datetime(now).date(),
            None => TimeZone::UTC.to_datetime(now).date(),
        }
    }

    /// Sets the zones that the stream's query returned for these keys. A key without a zone, or
    /// with an unknown zone name, gets the default.
    pub(super) fn set_zones(
        &mut self,
        topics: &[Topic],
        names: &HashMap<latido_base::ident::Key, String>,
        now: Timestamp,
    ) {
        for topic in topics {
            let default = Arc::clone(&self.default_zones[usize::from(topic.stream.0)]);
            let name = names
                .get(&topic.key)
                .map_or(Arc::clone(&default), |name| name.as_str().into());
            let known = self.load_zone(&name, now);
            if !known {
                tracing::warn!(
                    zone = &*name,
                    key = topic.key.as_str(),
                    "unknown time zone; the default is taken instead"
                );
            }
            self.zone_by_key
                .insert(topic.clone(), if known { name } else { default });
        }
    }

    /// Returns whether the key's zone must be read from the database.
    pub(super) fn lacks_zone(&self, topic: &Topic) -> bool {
        !self.zone_by_key.contains_key(topic)
    }

    /// Drops the queried zone of one key, or of every key if `topic` is `None`, so that it is read
    /// again.
    pub(super) fn forget_zones(&mut self, topic: Option<&Topic>) {
        match topic {
            Some(topic) => drop(self.zone_by_key.swap_remove(topic)),
            None => self.zone_by_key.clear(),
        }
    }

    /// Returns the earliest end of a day in any zone.
    pub(super) fn next_midnight(&self) -> Option<Timestamp> {
        self.zones.values().map(|zone| zone.next_midnight).min()
    }

    /// Updates all zones to `now`. Returns the streams whose default zone has a new date, and the
    /// keys with a zone of their own that has one. A clock that was set back also counts.
    pub(super) fn advance(&mut self, now: Timestamp) -> (Vec<StreamId>, Vec<Topic>) {
        let mut changed = Vec::new();
        for (name, zone) in &mut self.zones {
            let fresh = CalendarZone::new(zone.rules.clone(), now);
            if fresh.today != zone.today {
                changed.push(Arc::clone(name));
            }
            *zone = fresh;
        }
        let streams = (0..)
            .map(StreamId)
            .zip(&self.default_zones)
            .filter(|(_, name)| changed.contains(name))
            .map(|(id, _)| id);
        let keys = self
            .zone_by_key
            .iter()
            .filter(|(_, name)| changed.contains(name))
            .map(|(topic, _)| topic.clone());
        (streams.collect(), keys.collect())
    }
}

impl CalendarZone {
    fn new(rules: TimeZone, now: Timestamp) -> Self {
        let today = rules.to_datetime(now).date();
        let next_midnight = start_of_next_day(&rules, today).unwrap_or(Timestamp::MAX);
        Self {
            rules,
            today,
            next_midnight,
        }
    }
}

/// Returns the first instant whose date in the zone is later than `today`. If midnight does not
/// exist, this is the first instant after the gap; if it occurs twice, the earlier one
/// (<https://docs.rs/jiff/latest/jiff/struct.Zoned.html#method.start_of_day>).
fn start_of_next_day(rules: &TimeZone, today: Date) -> Result<Timestamp, jiff::Error> {
    Ok(today
        .checked_add(1.day())?
        .to_zoned(rules.clone())?
        .start_of_day()?
        .timestamp())
}

#[cfg(test)]
mod tests {

    use super::*;
    use latido_base::ident::Key;
    use latido_stream::Stream;

    fn catalog(zone: ZoneRule) -> Catalog {
        Catalog::new(vec![Stream {
            zone_rule: zone,
            ..Stream::test_stream("s", None)
        }])
    }

    fn topic(key: &str) -> Topic {
        Topic {
            stream: StreamId(0),
            key: Key::from_canonical(key),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn date_in_guayaquil_changes_at_five_utc() {
        let before = at("2026-11-22T04:55:00Z");
        let mut calendar = Calendar::new(
            &catalog(ZoneRule::Fixed("America/Guayaquil".into())),
            before,
        );
        assert_eq!(
            calendar.today(&topic("1"), before),
            jiff::civil::date(2026, 11, 21)
        );
        assert_eq!(calendar.next_midnight(), Some(at("2026-11-22T05:00:00Z")));
        assert_eq!(
            calendar.advance(at("2026-11-22T04:59:59Z")),
            (vec![], vec![])
        );
        assert_eq!(
            calendar.advance(at("2026-11-22T05:00:00Z")),
            (vec![StreamId(0)], vec![])
        );
        assert_eq!(
            calendar.today(&topic("1"), at("2026-11-22T05:00:00Z")),
            jiff::civil::date(2026, 11, 22)
        );
        assert_eq!(
            calendar.advance(at("2026-11-22T05:00:01Z")),
            (vec![], vec![]),
            "once"
        );
    }

    #[test]
    fn key_has_its_own_zone_or_the_default() {
        let now = at("2026-11-22T04:55:00Z");
        let rule = ZoneRule::Query {
            sql: String::new(),
            default: "America/Guayaquil".into(),
        };
        let mut calendar = Calendar::new(&catalog(rule), now);
        let topics = [topic("tokyo"), topic("bad"), topic("none")];
        let names = [("tokyo", "Asia/Tokyo"), ("bad", "America/Quito")];
        let names = names
            .map(|(key, zone)| (Key::from_canonical(key), zone.to_owned()))
            .into();
        calendar.set_zones(&topics, &names, now);
        let days = topics.map(|topic| calendar.today(&topic, now).day());
        assert_eq!(days, [22, 21, 21]);
        let (streams, keys) = calendar.advance(at("2026-11-22T15:00:00Z"));
        assert_eq!((streams.len(), keys.len()), (1, 3));
    }

    /// Checks some years of six zones day by day: the next midnight is the first instant of another
    /// date.
    #[test]
    fn midnight_is_right_with_daylight_saving_time() {
        for name in [
            "America/Santiago",
            "America/Havana",
            "Atlantic/Azores",
            "America/Sao_Paulo",
            "Asia/Beirut",
            "Pacific/Apia",
        ] {
            let rules = TimeZoneDatabase::bundled().get(name).unwrap();
            let mut day = jiff::civil::date(2010, 1, 1);
            while day.year() < 2027 {
                let next = start_of_next_day(&rules, day).unwrap();
                let instant_before = next.checked_sub(1.nanosecond()).unwrap();
                assert!(
                    rules.to_datetime(instant_before).date() <= day,
                    "{name} {day}"
                );
                assert!(rules.to_datetime(next).date() > day, "{name} {day}");
                day = day.tomorrow().unwrap();
            }
        }
    }
}
