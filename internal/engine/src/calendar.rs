//! The local day of each key, and the time at which it changes.
//!
//! A zone's date can change without a change of any row, so a timer must check it. Dates are
//! computed from the zone's rules and never from «the hour is zero»: midnight may be skipped or
//! occur twice.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use latido_base::ident::{IterMap, StreamId, Topic};
use latido_stream::{Catalog, LocalDay, ZoneRule};

/// The time zones of all watched keys.
pub(super) struct Calendar {
    database: TimeZoneDatabase,
    /// The zone of keys without a zone of their own, indexed by stream.
    default_zones: Vec<Arc<str>>,
    zones: IterMap<Arc<str>, CalendarZone>,
    /// The zones that a stream's zone query returned for watched keys, which are topics without
    /// parameters: clients may choose any number of those.
    zone_by_key: IterMap<Topic, Arc<str>>,
}

struct CalendarZone {
    rules: TimeZone,
    today: LocalDay,
}

impl Calendar {
    pub(super) fn new(catalog: &Catalog, now: Timestamp) -> Self {
        let mut calendar = Self {
            database: TimeZoneDatabase::bundled(),
            default_zones: Vec::new(),
            zones: IterMap::default(),
            zone_by_key: IterMap::default(),
        };
        calendar.add_streams(catalog, now);
        calendar
    }

    /// Adds the streams that the catalog has beyond those known here.
    pub(super) fn add_streams(&mut self, catalog: &Catalog, now: Timestamp) {
        for (_, stream) in catalog.all_from(self.default_zones.len()) {
            let name: Arc<str> = match &stream.zone_rule {
                ZoneRule::Fixed(name) | ZoneRule::Query { default: name, .. } => {
                    name.as_str().into()
                }
            };
            if !self.load_zone(&name, now) {
                tracing::warn!(zone = &*name, "unknown time zone; UTC is taken instead");
                let utc = CalendarZone::new(TimeZone::UTC, now);
                self.zones.insert(Arc::clone(&name), utc);
            }
            self.default_zones.push(name);
        }
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

    /// Returns the current local day of a key.
    pub(super) fn today(&self, topic: &Topic, now: Timestamp) -> LocalDay {
        let own = self.zone_by_key.get(&topic.without_params());
        let name = own.or_else(|| self.default_zones.get(usize::from(topic.stream.0)));
        match name.and_then(|name| self.zones.get(name)) {
            Some(zone) => zone.day_at(now),
            None => LocalDay::at(now, &TimeZone::UTC),
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
        for key in topics.iter().map(Topic::without_params) {
            let default = Arc::clone(&self.default_zones[usize::from(key.stream.0)]);
            let name = names
                .get(&key.key)
                .map_or(Arc::clone(&default), |name| name.as_str().into());
            let known = self.load_zone(&name, now);
            if !known {
                tracing::warn!(
                    zone = &*name,
                    key = %key.key,
                    "unknown time zone; the default is taken instead"
                );
            }
            self.zone_by_key
                .insert(key, if known { name } else { default });
        }
    }

    /// Returns whether the key's zone must be read from the database.
    pub(super) fn lacks_zone(&self, topic: &Topic) -> bool {
        !self.zone_by_key.contains_key(&topic.without_params())
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
        self.zones.values().map(|zone| zone.today.end).min()
    }

    /// Updates all zones to `now`. Returns the streams whose default zone has a new date, and the
    /// keys with a zone of their own that has one. A clock that was set back also counts.
    pub(super) fn advance(&mut self, now: Timestamp) -> (Vec<StreamId>, Vec<Topic>) {
        let mut changed = Vec::new();
        for (name, zone) in &mut self.zones {
            let fresh = CalendarZone::new(zone.rules.clone(), now);
            if fresh.today.date != zone.today.date {
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
        let today = LocalDay::at(now, &rules);
        Self { rules, today }
    }

    /// Returns the day of an instant, which is mostly the day that is known already.
    fn day_at(&self, now: Timestamp) -> LocalDay {
        if self.rules.to_datetime(now).date() == self.today.date {
            self.today
        } else {
            LocalDay::at(now, &self.rules)
        }
    }
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
            calendar.today(&topic("1"), before).date,
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
            calendar.today(&topic("1"), at("2026-11-22T05:00:00Z")).date,
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
        let days = topics.map(|topic| calendar.today(&topic, now).date.day());
        assert_eq!(days, [22, 21, 21]);
        let (streams, keys) = calendar.advance(at("2026-11-22T15:00:00Z"));
        assert_eq!((streams.len(), keys.len()), (1, 3));
    }
}
