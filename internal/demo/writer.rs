//! The demo's life: every second or two somebody books, comes or does not come.

use std::sync::Arc;
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;
use tokio::time::sleep;
use tracing::{info, warn};

use super::businesses::{BUSINESSES, Business};
use super::{Demo, sql};
use crate::drain::Drain;

/// How lively it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Shortest pause between two changes.
    pub pause_min: Duration,
    /// Longest.
    pub pause_max: Duration,
    /// Pause after a failure.
    pub pause_failed: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            pause_min: Duration::from_millis(900),
            pause_max: Duration::from_millis(2_000),
            pause_failed: Duration::from_secs(3),
        }
    }
}

/// Starts the writer; it ends with the server, at any point, since each of its steps is one statement.
pub fn write(demo: Arc<Demo>, pace: Pace, drain: &Drain) {
    drain.spawn_until_stop(async move {
        let mut failing = false;
        loop {
            let outcome = step(&demo, &mut fastrand::Rng::new()).await;
            // Told once when it begins and once when it is over, not every three seconds of an outage.
            match &outcome {
                Err(error) if !failing => {
                    warn!(error = %format!("{error:#}"), "the demo writer can't write and will keep trying")
                }
                Ok(()) if failing => info!("the demo writer writes again"),
                _ => {}
            }
            failing = outcome.is_err();
            sleep(pause(pace, failing)).await;
        }
    });
}

fn pause(pace: Pace, failing: bool) -> Duration {
    if failing {
        return pace.pause_failed;
    }
    pace.pause_min
        + pace
            .pause_max
            .saturating_sub(pace.pause_min)
            .mul_f64(fastrand::f64())
}

/// One change that can be seen.
async fn step(demo: &Demo, random: &mut fastrand::Rng) -> anyhow::Result<()> {
    let business = &BUSINESSES[random.usize(..BUSINESSES.len())];
    let today = demo.today();
    let statement = match random.u8(..100) {
        0..46 => booking(business, today, random),
        46..82 => sql::attend(business, today),
        82..94 => sql::cancel(business, today),
        _ => {
            demo.execute(&sql::trim(business)).await?;
            booking(business, today, random)
        }
    };
    if demo.execute(&statement).await? == 0 {
        // Nobody was waiting: then somebody books.
        demo.execute(&booking(business, today, random)).await?;
    }
    Ok(())
}

/// Three of four want to come today, the others some day of the week to come.
fn booking(business: &Business, today: Date, random: &mut fastrand::Rng) -> String {
    let ahead = if random.u8(..4) == 0 {
        random.i32(1..=7)
    } else {
        0
    };
    let start = sql::slot(random.i8(0..sql::SLOTS));
    sql::book(
        business,
        random.usize(..),
        today.saturating_add(ahead.days()),
        start,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use jiff::tz::TimeZone;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::clock::Clock;
    use crate::demo::Statements;

    /// A database that is away for the first statements, and has nobody waiting.
    struct Moody {
        seen: Mutex<Vec<String>>,
        failures: usize,
        /// One permit a statement.
        progress: Semaphore,
    }

    impl Statements for Moody {
        fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, anyhow::Result<u64>> {
            let mut seen = self.seen.lock().unwrap();
            seen.push(sql.to_owned());
            self.progress.add_permits(1);
            let answer = if seen.len() <= self.failures {
                Err(anyhow::anyhow!("away"))
            } else {
                Ok(u64::from(sql.starts_with("INSERT")))
            };
            async move { answer }.boxed()
        }
    }

    #[tokio::test]
    async fn it_outlives_an_outage_and_ends_with_the_server() {
        let moody = Arc::new(Moody {
            seen: Mutex::default(),
            failures: 5,
            progress: Semaphore::new(0),
        });
        let statements = Arc::clone(&moody) as Arc<dyn Statements>;
        let demo = Demo::new(statements, Clock::system(), TimeZone::UTC, || {
            Ok(String::new())
        });
        let drain = Drain::new();
        let pace = Pace {
            pause_min: Duration::ZERO,
            pause_max: Duration::ZERO,
            pause_failed: Duration::ZERO,
        };
        write(Arc::new(demo), pace, &drain);
        moody.progress.acquire_many(400).await.unwrap().forget();
        assert_eq!(drain.finish(Duration::from_secs(10)).await, 0);

        let seen = moody.seen.lock().unwrap();
        let verbs: HashSet<_> = seen
            .iter()
            .map(|sql| sql.split(' ').next().unwrap())
            .collect();
        assert_eq!(verbs, HashSet::from(["INSERT", "UPDATE", "DELETE"]));
        // Where nobody waits, a booking follows for the same business.
        let after = seen.iter().skip(5).zip(seen.iter().skip(6));
        for (_, next) in after.filter(|(sql, _)| sql.starts_with("UPDATE")) {
            assert!(next.starts_with("INSERT"), "{next}");
        }
    }

    #[test]
    fn bookings_are_for_today_or_the_week_to_come() {
        let (today, mut random) = (jiff::civil::date(2026, 12, 30), fastrand::Rng::with_seed(1));
        let days: HashSet<_> = (0..500)
            .map(|_| booking(&BUSINESSES[0], today, &mut random))
            .map(|sql| sql[sql.find("DATE").unwrap()..][..17].to_owned())
            .collect();
        assert!(
            days.len() == 8
                && days.contains("DATE '2026-12-30'")
                && days.contains("DATE '2027-01-06'"),
            "{days:?}"
        );
    }

    #[test]
    fn pauses_stay_within_their_bounds() {
        let pace = Pace::default();
        assert!((0..100).all(|_| (pace.pause_min..=pace.pause_max).contains(&pause(pace, false))));
        assert_eq!(pause(pace, true), pace.pause_failed);
    }
}
