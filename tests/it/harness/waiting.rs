//! Metrics of a test server, and waits for states that do not depend on the machine's speed.

use serde_json::json;

use crate::harness::{B2, OTHER_USER, TestApp, claims, wait_until};

impl TestApp {
    /// Returns the sum of a metric over its labels, or one sample if the labels are given.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200);
        let is_it = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        text.lines()
            .filter(is_it)
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Waits until a metric has this value.
    pub(crate) async fn assert_metric_settles(&self, name: &str, value: f64) {
        wait_until(&format!("{name} is {value}"), async || {
            self.metric(name).await == value
        })
        .await;
    }

    /// Waits until the server is ready and notifications arrive.
    pub(crate) async fn wait_until_ready(&self) {
        wait_until("ready", async || {
            self.get("/ready").await.0 == 200 && self.metric("latido_listener_up").await == 1.0
        })
        .await;
    }

    /// Waits until the server knows that all triggers are installed. Until then it sweeps more
    /// often, and reads a key again several times after a hook.
    pub(crate) async fn wait_until_covered(&self) {
        wait_until("the triggers are found", async || {
            self.running().engine().has_complete_triggers()
        })
        .await;
    }

    /// Waits until the writers of every watched key notify, and until the read after that is done.
    /// From then on a key is read only for a new reason.
    ///
    /// The first frame of a channel proves less: if the watch locks are late, the key is read for
    /// that frame and once more when the locks are held.
    pub(crate) async fn wait_until_settled(&self) {
        wait_until("every watched key is confirmed", async || {
            self.running().engine().unsettled_keys() == 0
        })
        .await;
    }

    /// Waits until every change committed so far has been read. A later change of a separate
    /// business arrives after all of them.
    pub(crate) async fn quiesce(&self) {
        self.assert_metric_settles("latido_listener_up", 1.0).await;
        let channel = format!("estadisticas:{B2}");
        let mut socket = self
            .connect_socket(
                &self.sign(&json!({"id": OTHER_USER, "negocio_id": B2, "exp": claims::now() + 60})),
            )
            .await;
        let total = socket.subscribe(&channel).await["data"]["total_citas"]
            .as_i64()
            .expect("a number");
        self.book(&self.connect_database().await, B2, "pendiente", 0)
            .await;
        socket
            .stats_until(&channel, |data| data["total_citas"].as_i64() > Some(total))
            .await;
        self.wait_until_settled().await;
    }
}
