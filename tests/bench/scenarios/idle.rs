//! The cost of an idle viewer: resident memory of idle connections, plain and with TLS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use crate::cluster::{BenchCluster, BenchDatabase, Durability};
use crate::database::viewer::BenchViewer;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario, poll_until};
use crate::server::{self, LatidoServer, LatidoSettings};

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
const CONCURRENT_HANDSHAKES: usize = 32;
const MEMORY: &str = "memory a connection";

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, None)?;
    let database = store.database(bench.runtime(), "idle", BUSINESSES, 20)?;
    server::install(&LatidoSettings::new(&database))?;
    let certified = TlsIdentity::new()?;
    bench.interleave(&["plain", "TLS"], |bench, subject| {
        let tls = (*subject == "TLS").then_some(&certified);
        let latido = start(&database, tls)?;
        let client = tls.map(|certified| Arc::clone(&certified.client));
        // With TLS, the readiness has not been checked yet.
        let ready = || {
            bench
                .runtime()
                .block_on(connect_viewers(latido.port, client.clone(), 0..1))
                .ok()
        };
        poll_until(Duration::from_secs(20), "a first viewer", ready)?;
        let first =
            bench
                .runtime()
                .block_on(connect_viewers(latido.port, client.clone(), 0..FIRST))?;
        let before = latido.process.rss();
        let count = bench.count(VIEWERS);
        let all =
            bench
                .runtime()
                .block_on(connect_viewers(latido.port, client, FIRST..FIRST + count))?;
        std::thread::sleep(Duration::from_secs(1));
        let grown = latido.process.rss().saturating_sub(before);
        bench.sample(subject, MEMORY, "KiB", grown as f64 / 1024.0 / count as f64);
        drop((first, all));
        Ok(())
    })?;
    bench.goal(Goal::ratio("TLS", MEMORY, "plain", GoalBound::Unlimited));
    Ok(())
}

fn start(database: &BenchDatabase, tls: Option<&TlsIdentity>) -> anyhow::Result<LatidoServer> {
    match tls {
        None => LatidoServer::start_installed(&LatidoSettings::new(database)),
        Some(certified) => {
            let variables = [
                ("TLS_CERT", certified.certificate.as_str()),
                ("TLS_KEY", certified.key.as_str()),
            ];
            let settings = LatidoSettings {
                variables: &variables,
                ..LatidoSettings::new(database)
            };
            LatidoServer::start_installed(&settings)
        }
    }
}

async fn connect_viewers(
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    numbers: std::ops::Range<usize>,
) -> anyhow::Result<Vec<BenchViewer>> {
    let viewers = stream::iter(numbers).map(|number| {
        let tls = tls.clone();
        async move { BenchViewer::connect_with(port, tls, &[number % BUSINESSES]).await }
    });
    viewers
        .buffer_unordered(CONCURRENT_HANDSHAKES)
        .try_collect()
        .await
}

/// A generated certificate, and a client that trusts only it.
struct TlsIdentity {
    certificate: String,
    key: String,
    client: Arc<ClientConfig>,
}

impl TlsIdentity {
    fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let own = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        let folder = crate::output::output_folder()?;
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
