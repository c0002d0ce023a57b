//! Quiet businesses that are changed one after the other, and the time of each change to its
//! viewer. They measure the effect of other load.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::cluster::{BenchDatabase, connect};
use crate::database::durations::Durations;
use crate::database::viewer::{BenchViewer, field};
use crate::keys;

/// The pause between two commits.
const PAUSE: Duration = Duration::from_millis(5);

/// A viewer of some businesses, and a writer to them.
pub(crate) struct QuietKeys {
    viewer: BenchViewer,
    writer: Client,
    businesses: Vec<usize>,
    /// Returns the statement that changes a business.
    statement: fn(usize) -> String,
    turn: usize,
    /// The number in the last frame of each business.
    displayed: HashMap<usize, Option<i64>>,
    /// The times of the statements alone since the last call: the share of the database and its
    /// writer in a frame's time.
    statements: Durations,
}

impl QuietKeys {
    /// Connects both and waits for a first frame of each business.
    pub(crate) async fn connect(
        database: &BenchDatabase,
        port: u16,
        businesses: Range<usize>,
        statement: fn(usize) -> String,
    ) -> anyhow::Result<Self> {
        let businesses: Vec<_> = businesses.collect();
        let viewer = BenchViewer::connect(port, &businesses).await?;
        Ok(Self {
            viewer,
            writer: connect(&database.url).await?,
            businesses,
            statement,
            turn: 0,
            displayed: HashMap::new(),
            statements: Durations::default(),
        })
    }

    /// Commits for that long. Returns the times from sending a statement to its frame.
    pub(crate) async fn measure(&mut self, seconds: f64) -> anyhow::Result<Durations> {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        self.measure_while(|| Instant::now() < until).await
    }

    /// Commits while `goes_on` returns true, and at least once.
    pub(crate) async fn measure_while(
        &mut self,
        should_continue: impl Fn() -> bool,
    ) -> anyhow::Result<Durations> {
        let mut times = Durations::default();
        loop {
            let business = self.businesses[self.turn % self.businesses.len()];
            self.turn += 1;
            let began = Instant::now();
            let sql = (self.statement)(business);
            let writing = async {
                self.writer
                    .batch_execute(&sql)
                    .await
                    .map(|()| began.elapsed())
            };
            let (written, frame) = tokio::join!(writing, self.viewer.next());
            self.statements.add(written?);
            self.displayed
                .insert(business, field(&frame?, "citas_completadas"));
            times.add(began.elapsed());
            if !should_continue() {
                return Ok(times);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Takes the times of the statements alone, from sending one to its response, since the last
    /// call.
    pub(crate) fn statements(&mut self) -> Durations {
        std::mem::take(&mut self.statements)
    }

    /// Returns the number of businesses whose last frame differs from the database.
    pub(crate) async fn count_wrong(&self) -> anyhow::Result<usize> {
        let mut wrong = 0;
        for (business, shown) in &self.displayed {
            let sql = format!(
                "SELECT count(*) FROM citas WHERE estado = 'atendida' AND negocio_id = '{}'",
                keys::key(*business)
            );
            let truth: i64 = self.writer.query_one(&sql, &[]).await?.try_get(0)?;
            wrong += usize::from(*shown != Some(truth));
        }
        Ok(wrong)
    }
}
