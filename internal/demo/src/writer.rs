//! The writer of the demo: every one or two seconds it books, completes or cancels a cita.

use std::sync::Arc;
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;
use tokio::time::sleep;
use tracing::{info, warn};

use super::businesses::{BUSINESSES, DemoBusiness};
use super::{Demo, sql};
use latido_base::drain::Drain;

/// The rate at which the writer changes data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivityRate {
    /// The minimum pause between two changes.
    pub min_pause: Duration,
    /// The maximum pause between two changes.
    pub max_pause: Duration,
    /// The pause after a failed change.
    pub failure_pause: Duration,
}

impl Default for ActivityRate {
    fn default() -> Self {
        Self {
            min_pause: Duration::from_millis(900),
            max_pause: Duration::from_millis(2_000),
            failure_pause: Duration::from_secs(3),
        }
    }
}

/// Starts the writer. It may stop at any point, because each step is a single statement.
pub fn start_writer(demo: Arc<Demo>, rate: ActivityRate, drain: &Drain) {
    drain.spawn_until_stop(async move {
        let mut failing = false;
        loop {
            let outcome = make_change(&demo, &mut fastrand::Rng::new()).await;
            // Logged once when an outage begins and once when it ends, not every three seconds.
            match &outcome {
                Err(error) if !failing => {
                    warn!(error = %format!("{error:#}"), "the demo writer cannot write and keeps trying")
                }
                Ok(()) if failing => info!("the demo writer writes again"),
                _ => {}
            }
            failing = outcome.is_err();
            sleep(pause(rate, failing)).await;
        }
    });
}

fn pause(rate: ActivityRate, failing: bool) -> Duration {
    if failing {
        return rate.failure_pause;
    }
    rate.min_pause
        + rate
            .max_pause
            .saturating_sub(rate.min_pause)
            .mul_f64(fastrand::f64())
}

/// Makes one visible change.
async fn make_change(demo: &Demo, random: &mut fastrand::Rng) -> anyhow::Result<()> {
    let business = &BUSINESSES[random.usize(..BUSINESSES.len())];
    let today = demo.today();
    let statement = match random.u8(..100) {
        0..46 => random_booking(business, today, random),
        46..82 => sql::complete_sql(business, today),
        82..94 => sql::cancel_sql(business, today),
        _ => {
            demo.execute(&sql::delete_oldest_sql(business, today))
                .await?;
            random_booking(business, today, random)
        }
    };
    if demo.execute(&statement).await? == 0 {
        // No cita was pending, so a new one is booked instead.
        demo.execute(&random_booking(business, today, random))
            .await?;
    }
    Ok(())
}

/// Returns a booking: three of four are for today, the others for a day within the next week.
fn random_booking(business: &DemoBusiness, today: Date, random: &mut fastrand::Rng) -> String {
    let days_ahead = if random.u8(..4) == 0 {
        random.i32(1..=7)
    } else {
        0
    };
    let start = sql::slot_start(random.i8(0..sql::SLOTS_PER_DAY));
    sql::book_sql(
        business,
        random.usize(..),
        today.saturating_add(days_ahead.days()),
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
    use crate::SqlExecutor;
    use latido_base::clock::Clock;

    /// A database that fails the first statements and never has a pending cita.
    struct FlakyExecutor {
        statements: Mutex<Vec<String>>,
        failures: usize,
        /// One permit for each executed statement.
        progress: Semaphore,
    }

    impl SqlExecutor for FlakyExecutor {
        fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, anyhow::Result<u64>> {
            let mut seen = self.statements.lock().unwrap();
            seen.push(sql.to_owned());
            self.progress.add_permits(1);
            let result = if seen.len() <= self.failures {
                Err(anyhow::anyhow!("away"))
            } else {
                Ok(u64::from(sql.starts_with("INSERT")))
            };
            async move { result }.boxed()
        }
    }

    #[tokio::test]
    async fn writer_survives_an_outage_and_stops_with_the_server() {
        let executor = Arc::new(FlakyExecutor {
            statements: Mutex::default(),
            failures: 5,
            progress: Semaphore::new(0),
        });
        let statements = Arc::clone(&executor) as Arc<dyn SqlExecutor>;
        let demo = Demo::new(statements, Clock::system(), TimeZone::UTC, || {
            Ok(String::new())
        });
        let drain = Drain::new();
        let rate = ActivityRate {
            min_pause: Duration::ZERO,
            max_pause: Duration::ZERO,
            failure_pause: Duration::ZERO,
        };
        start_writer(Arc::new(demo), rate, &drain);
        executor.progress.acquire_many(400).await.unwrap().forget();
        assert_eq!(drain.drain(Duration::from_secs(10)).await, 0);

        let seen = executor.statements.lock().unwrap();
        let verbs: HashSet<_> = seen
            .iter()
            .map(|sql| sql.split(' ').next().unwrap())
            .collect();
        assert_eq!(verbs, HashSet::from(["INSERT", "UPDATE", "DELETE"]));
        // An update that matches no row is followed by a booking.
        let after = seen.iter().skip(5).zip(seen.iter().skip(6));
        for (_, next) in after.filter(|(sql, _)| sql.starts_with("UPDATE")) {
            assert!(next.starts_with("INSERT"), "{next}");
        }
    }

    #[test]
    fn bookings_are_for_today_or_the_next_week() {
        let (today, mut random) = (jiff::civil::date(2026, 12, 30), fastrand::Rng::with_seed(1));
        let days: HashSet<_> = (0..500)
            .map(|_| random_booking(&BUSINESSES[0], today, &mut random))
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
    fn pauses_stay_within_bounds() {
        let rate = ActivityRate::default();
        assert!((0..100).all(|_| (rate.min_pause..=rate.max_pause).contains(&pause(rate, false))));
        assert_eq!(pause(rate, true), rate.failure_pause);
    }
}
