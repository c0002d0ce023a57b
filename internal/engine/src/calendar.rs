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
    defaults: Vec<Arc<str>>,
    zones: IterMap<Arc<str>, Zone>,
    /// The zones that a stream's zone query returned for watched keys.
    by_key: IterMap<Topic, Arc<str>>,
}

struct Zone {
    rules: TimeZone,
    today: Date,
    /// The first instant of the next day, computed together with `today`.
    ends: Timestamp,
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
            defaults,
            zones: IterMap::default(),
            by_key: IterMap::default(),
        };
        for name in calendar.defaults.clone() {
            if !calendar.open(&name, now) {
                tracing::warn!(zone = &*name, "unknown time zone; UTC is taken instead");
                calendar.zones.insert(name, Zone::new(TimeZone::UTC, now));
            }
        }
        calendar
    }

    /// Loads a zone's rules. Returns `false` if the zone does not exist.
    fn open(&mut self, name: &Arc<str>, now: Timestamp) -> bool {
        if self.zones.contains_key(name) {
            return true;
        }
        let Ok(rules) = self.database.get(name) else {
            return false;
        };
        self.zones.insert(Arc::clone(name), Zone::new(rules, now));
        true
    }

    /// Returns the current local date of a key.
    pub(super) fn today(&mut self, topic: &Topic, now: Timestamp) -> Date {
        let name = self
            .by_key
            .get(topic)
            .unwrap_or(&self.defaults[usize::from(topic.stream.0)]);
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
            let default = Arc::clone(&self.defaults[usize::from(topic.stream.0)]);
            let name = names
                .get(&topic.key)
                .map_or(Arc::clone(&default), |name| name.as_str().into());
            let known = self.open(&name, now);
            if !known {
                tracing::warn!(
                    zone = &*name,
                    key = topic.key.as_str(),
                    "unknown time zone; the default is taken instead"
                );
            }
            self.by_key
                .insert(topic.clone(), if known { name } else { default });
        }
    }

    /// Returns whether the key's zone must be read from the database.
    pub(super) fn lacks_zone(&self, topic: &Topic) -> bool {
        !self.by_key.contains_key(topic)
    }

    /// Drops the queried zone of one key, or of every key if `topic` is `None`, so that it is read
    /// again.
    pub(super) fn forget(&mut self, topic: Option<&Topic>) {
        match topic {
            Some(topic) => drop(self.by_key.swap_remove(topic)),
            None => self.by_key.clear(),
        }
    }

    /// Returns the earliest end of a day in any zone.
    pub(super) fn next_midnight(&self) -> Option<Timestamp> {
        self.zones.values().map(|zone| zone.ends).min()
    }

    /// Updates all zones to `now`. Returns the streams whose default zone has a new date, and the
    /// keys with a zone of their own that has one. A clock that was set back also counts.
    pub(super) fn roll(&mut self, now: Timestamp) -> (Vec<StreamId>, Vec<Topic>) {
        let mut changed = Vec::new();
        for (name, zone) in &mut self.zones {
            let fresh = Zone::new(zone.rules.clone(), now);
            if fresh.today != zone.today {
                changed.push(Arc::clone(name));
            }
            *zone = fresh;
        }
        let streams = (0..)
            .map(StreamId)
            .zip(&self.defaults)
            .filter(|(_, name)| changed.contains(name))
            .map(|(id, _)| id);
        let keys = self
            .by_key
            .iter()
            .filter(|(_, name)| changed.contains(name))
            .map(|(topic, _)| topic.clone());
        (streams.collect(), keys.collect())
    }
}

impl Zone {
    fn new(rules: TimeZone, now: Timestamp) -> Self {
        let today = rules.to_datetime(now).date();
        let ends = start_of_next_day(&rules, today).unwrap_or(Timestamp::MAX);
        Self { rules, today, ends }
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
            zone_rule,
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
        assert_eq!(calendar.roll(at("2026-11-22T04:59:59Z")), (vec![], vec![]));
        assert_eq!(
            calendar.roll(at("2026-11-22T05:00:00Z")),
            (vec![StreamId(0)], vec![])
        );
        assert_eq!(
            calendar.today(&topic("1"), at("2026-11-22T05:00:00Z")),
            jiff::civil::date(2026, 11, 22)
        );
        assert_eq!(
            calendar.roll(at("2026-11-22T05:00:01Z")),
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
        let (streams, keys) = calendar.roll(at("2026-11-22T15:00:00Z"));
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
