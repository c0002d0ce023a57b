//! The service behind the demo's two HTTP routes, independent of HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::time::timeout;

use super::businesses::{BUSINESSES, find_business};
use super::services::{SERVICES_HISTORY, SERVICES_QUERY};
use super::{SqlExecutor, sql};
use latido_base::clock::Clock;

/// The time limit of one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

type TokenSigner = Box<dyn Fn() -> anyhow::Result<String> + Send + Sync>;

/// The demo service of one server.
pub struct Demo {
    executor: Arc<dyn SqlExecutor>,
    clock: Clock,
    zone: TimeZone,
    sign_token: TokenSigner,
    sign_operator_token: Option<TokenSigner>,
    serves_services: bool,
}

/// A demo session with its token.
#[derive(Clone, PartialEq, Eq)]
pub struct DemoSession {
    /// The access token, which is never logged.
    token: String,
    /// Today in the demo's time zone, if the stream of services is served.
    services_today: Option<Date>,
}

/// The reason why a cita could not be booked.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// No business of the demo has this id.
    #[error("no such business in the demo")]
    UnknownBusiness,
    /// The database is unavailable or rejects the statement.
    #[error("the cita could not be booked")]
    Unavailable(#[source] anyhow::Error),
}

impl Demo {
    /// Creates a demo whose days follow `zone`. `mint` signs a token for [`super::ADMIN_USER`].
    pub fn new(
        executor: Arc<dyn SqlExecutor>,
        clock: Clock,
        zone: TimeZone,
        mint: impl Fn() -> anyhow::Result<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            executor,
            clock,
            zone,
            sign_token: Box::new(mint),
            sign_operator_token: None,
            serves_services: false,
        }
    }

    /// Tells the page that the server has the stream [`super::SERVICES`].
    #[must_use]
    pub fn with_services(mut self) -> Self {
        self.serves_services = true;
        self
    }

    /// Adds a function that signs tokens for operators.
    #[must_use]
    pub fn with_operator_tokens(
        mut self,
        mint: impl Fn() -> anyhow::Result<String> + Send + Sync + 'static,
    ) -> Self {
        self.sign_operator_token = Some(Box::new(mint));
        self
    }

    /// Returns a session for the operators' page. Returns `None` if no role is an administrator's.
    ///
    /// # Errors
    /// Returns an error if no token can be signed.
    pub fn operator_session(&self) -> anyhow::Result<Option<DemoSession>> {
        self.sign_operator_token
            .as_ref()
            .map(|mint| {
                Ok(DemoSession {
                    token: mint()?,
                    services_today: None,
                })
            })
            .transpose()
    }

    /// Returns a session with a new token.
    ///
    /// # Errors
    /// Returns an error if no token can be signed.
    pub fn session(&self) -> anyhow::Result<DemoSession> {
        Ok(DemoSession {
            token: (self.sign_token)()?,
            services_today: self.serves_services.then(|| self.today()),
        })
    }

    /// Books a cita for today, at a random hour.
    ///
    /// # Errors
    /// Returns a [`BookError`] if the business is unknown or the database fails.
    pub async fn book(&self, negocio_id: &str) -> Result<(), BookError> {
        let business = find_business(negocio_id).ok_or(BookError::UnknownBusiness)?;
        let start = sql::slot_start(fastrand::i8(0..sql::SLOTS_PER_DAY));
        self.execute(&sql::book_sql(
            business,
            fastrand::usize(..),
            self.today(),
            start,
        ))
        .await
        .map_err(BookError::Unavailable)?;
        Ok(())
    }

    /// Returns today's date in the demo's time zone.
    pub(super) fn today(&self) -> Date {
        self.clock.now().to_zoned(self.zone.clone()).date()
    }

    /// Runs a statement within [`STATEMENT_TIMEOUT`].
    pub(super) async fn execute(&self, sql: &str) -> anyhow::Result<u64> {
        match timeout(STATEMENT_TIMEOUT, self.executor.execute(sql)).await {
            Ok(result) => result,
            Err(_) => anyhow::bail!("no answer within {} s", STATEMENT_TIMEOUT.as_secs()),
        }
    }
}

impl fmt::Debug for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demo")
            .field("zone", &self.zone.iana_name())
            .finish_non_exhaustive()
    }
}

impl DemoSession {
    /// Returns the token alone, for printing a command line.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns the JSON body that the page requests.
    pub fn to_json(&self) -> String {
        let businesses =
            BUSINESSES.map(|business| json!({"id": business.id, "nombre": business.name}));
        let mut session = json!({"token": self.token, "negocios": businesses});
        if let Some(today) = self.services_today {
            session["servicios"] = json!({
                "hoy": today.to_string(),
                "consulta": SERVICES_QUERY,
                "historia": SERVICES_HISTORY,
            });
        }
        session.to_string()
    }
}

impl fmt::Debug for DemoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DemoSession")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;

    #[derive(Default)]
    struct RecordingExecutor(Mutex<Vec<String>>);

    impl SqlExecutor for RecordingExecutor {
        fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, anyhow::Result<u64>> {
            self.0.lock().unwrap().push(sql.to_owned());
            async { Ok(1) }.boxed()
        }
    }

    fn demo(statements: Arc<dyn SqlExecutor>) -> Demo {
        let clock = Clock::system();
        // 04:55 UTC is five minutes to midnight in Guayaquil, so the local day is still the 21st.
        clock.set("2026-11-22T04:55:00Z".parse().unwrap());
        Demo::new(
            statements,
            clock,
            TimeZone::get("America/Guayaquil").unwrap(),
            || Ok("aaa.bbb.ccc".into()),
        )
    }

    #[test]
    fn golden_session() {
        let session = demo(Arc::new(RecordingExecutor::default()))
            .session()
            .unwrap();
        let text = session.to_json();
        assert!(text.starts_with(
            r#"{"token":"aaa.bbb.ccc","negocios":[{"id":"a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1","nombre":"Peluquería Los Ceibos"},"#
        ));
        assert!(!format!("{session:?}").contains("aaa"));
        assert!(!text.contains("servicios"));
    }

    #[test]
    fn session_with_services_has_the_local_day_and_the_queries() {
        let demo = demo(Arc::new(RecordingExecutor::default())).with_services();
        let text = demo.session().unwrap().to_json();
        let session: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(session["servicios"]["hoy"], "2026-11-21");
        for query in ["consulta", "historia"] {
            let sql = session["servicios"][query].as_str().unwrap();
            // One comment line, and then the query.
            assert!(
                sql.starts_with("-- ") && sql.matches("--").count() == 1,
                "{sql}"
            );
            assert!(
                sql.contains("\nSELECT u.negocio_id, u.desde, u.hasta"),
                "{sql}"
            );
        }
    }

    #[tokio::test]
    async fn cita_is_booked_for_the_local_day() {
        let recorder = Arc::new(RecordingExecutor::default());
        let demo = demo(Arc::clone(&recorder) as Arc<dyn SqlExecutor>);
        demo.book(BUSINESSES[2].id).await.unwrap();
        assert!(matches!(
            demo.book("nowhere").await,
            Err(BookError::UnknownBusiness)
        ));
        let statements = recorder.0.lock().unwrap();
        assert!(
            statements.len() == 1 && statements[0].contains("DATE '2026-11-21'"),
            "{statements:?}"
        );
    }
}
