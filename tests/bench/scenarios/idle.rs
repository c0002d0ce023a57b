//! The cost of an idle viewer: resident memory of idle connections, plain and with TLS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use crate::campaign::{Bench, Scenario, await_some};
use crate::database::viewer::Viewer;
use crate::report::{Bound, Goal};
use crate::server::{self, Latido, Settings};
use crate::store::{Database, Durability, Store};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "idle-memory",
    about: "2,000 viewers that showed a token, subscribed, had their snapshot and wait: memory of each, plain and with TLS",
    run,
};

const VIEWERS: usize = 2_000;
const BUSINESSES: usize = 500;
/// The viewers before the first figure, so that one-time memory is not counted.
const FIRST: usize = 100;
/// The number of concurrent handshakes.
const AT_ONCE: usize = 32;
const MEMORY: &str = "memory a connection";

fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let store = Store::start(Durability::Memory, None)?;
    let database = store.database(bench.runtime(), "idle", BUSINESSES, 20)?;
    server::install(&Settings::new(&database))?;
    let certified = Certified::new()?;
    bench.interleave(&["plain", "TLS"], |bench, subject| {
        let tls = (*subject == "TLS").then_some(&certified);
        let latido = start(&database, tls)?;
        let client = tls.map(|certified| Arc::clone(&certified.client));
        // With TLS, the readiness has not been checked yet.
        let ready = || {
            bench
                .runtime()
                .block_on(gather(latido.port, client.clone(), 0..1))
                .ok()
        };
        await_some(Duration::from_secs(20), "a first viewer", ready)?;
        let first = bench
            .runtime()
            .block_on(gather(latido.port, client.clone(), 0..FIRST))?;
        let before = latido.process.rss();
        let count = bench.count(VIEWERS);
        let all = bench
            .runtime()
            .block_on(gather(latido.port, client, FIRST..FIRST + count))?;
        std::thread::sleep(Duration::from_secs(1));
        let grown = latido.process.rss().saturating_sub(before);
        bench.sample(subject, MEMORY, "KiB", grown as f64 / 1024.0 / count as f64);
        drop((first, all));
        Ok(())
    })?;
    bench.goal(Goal::ratio("TLS", MEMORY, "plain", Bound::Shown));
    Ok(())
}

fn start(database: &Database, tls: Option<&Certified>) -> anyhow::Result<Latido> {
    match tls {
        None => Latido::start_installed(&Settings::new(database)),
        Some(certified) => {
            let variables = [
                ("TLS_CERT", certified.certificate.as_str()),
                ("TLS_KEY", certified.key.as_str()),
            ];
            let settings = Settings {
                variables: &variables,
                ..Settings::new(database)
            };
            Latido::start_installed(&settings)
        }
    }
}

async fn gather(
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    numbers: std::ops::Range<usize>,
) -> anyhow::Result<Vec<Viewer>> {
    let viewers = stream::iter(numbers).map(|number| {
        let tls = tls.clone();
        async move { Viewer::connected(port, tls, &[number % BUSINESSES]).await }
    });
    viewers.buffer_unordered(AT_ONCE).try_collect().await
}

/// A generated certificate, and a client that trusts only it.
struct Certified {
    certificate: String,
    key: String,
    client: Arc<ClientConfig>,
}

impl Certified {
    fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let own = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        let folder = crate::folder()?;
        let write = |name: &str, text: String| -> anyhow::Result<String> {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("writing {name}"))?;
            Ok(path.to_str().context("a path in UTF-8")?.to_owned())
        };
        let (certificate, private) = (
            write("idle-cert.pem", own.pem())?,
            write("idle-key.pem", key.serialize_pem())?,
        );
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(own.der().to_vec()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
        Ok(Self {
            certificate,
            key: private,
            client,
        })
    }
}
