//! A PostgreSQL cluster for the benchmark.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use latido_embedded_postgres::{Cluster, EmbeddedError, EmbeddedSettings, StorageMode};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::machine;

/// The initial schema of a business database, without triggers; `latido install` adds them.
const SCHEMA: &str = include_str!("../../sql/schema.sql");

/// The durability of a commit in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Keeps everything in memory and syncs nothing, for scenarios that are not about PostgreSQL.
    Memory,
    /// Flushes every commit to a disk, for scenarios about the cost of writes.
    Disk,
}

/// A running cluster, which stops and deletes itself when dropped.
#[derive(Debug)]
pub(crate) struct BenchCluster {
    cluster: Cluster,
    // Removes the data folder, which would otherwise outlive the run.
    _folder: Option<ScratchFolder>,
}

/// A database in the cluster.
#[derive(Debug, Clone)]
pub(crate) struct BenchDatabase {
    /// The URL of the database over the Unix socket.
    pub(crate) url: String,
}

impl BenchCluster {
    /// Starts a cluster on a core (`None`: any) and blocks until it accepts connections.
    pub(crate) fn start(durability: Durability, core: Option<usize>) -> anyhow::Result<Self> {
        let mut refused = None;
        for base in base_folders(durability) {
            let (storage, folder) = match durability {
                Durability::Memory => (StorageMode::Temporary { base }, None),
                Durability::Disk => {
                    let folder = ScratchFolder(base.join(format!("run-{}", std::process::id())));
                    (
                        StorageMode::Persistent {
                            dir: folder.0.clone(),
                        },
                        Some(folder),
                    )
                }
            };
            let mut settings = EmbeddedSettings::new(storage);
            settings.bin_dir = std::env::var_os("PG_BIN")
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from);
            match machine::on_core(core, || Cluster::start(&settings))? {
                Ok(cluster) => {
                    return Ok(Self {
                        cluster,
                        _folder: folder,
                    });
                }
                Err(error @ EmbeddedError::Unreachable { .. }) => refused = Some(error),
                Err(error) => return Err(error).context("starting a private Postgres"),
            }
        }
        bail!("no place for a private Postgres: {refused:?}")
    }

    /// Creates a database with the schema, with `businesses` businesses and `citas` appointments of
    /// today in each.
    pub(crate) fn database(
        &self,
        runtime: &Runtime,
        name: &str,
        businesses: usize,
        citas: usize,
    ) -> anyhow::Result<BenchDatabase> {
        let url = self.cluster.url(name);
        runtime.block_on(async {
            let admin = connect(&self.cluster.url("postgres")).await?;
            admin
                .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
                .await?;
            admin
                .batch_execute(&format!("CREATE DATABASE {name}"))
                .await?;
            let client = connect(&url).await?;
            client.batch_execute(SCHEMA).await?;
            client.batch_execute(&seed(businesses, citas)).await?;
            anyhow::Ok(())
        })?;
        Ok(BenchDatabase { url })
    }
}

/// Returns SQL that creates businesses with the ids of [`keys::key`] and their citas.
fn seed(businesses: usize, citas: usize) -> String {
    format!(
        "INSERT INTO negocios (id, nombre) SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'negocio ' || n
           FROM generate_series(0, {businesses} - 1) AS n;
         INSERT INTO citas (negocio_id, fecha, hora_inicio, hora_fin)
           SELECT n.id, current_date, '10:00', '10:30' FROM negocios n, generate_series(1, {citas});
         ANALYZE;"
    )
}

/// Connects, and drives the connection on the current runtime.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .context("connecting to the private Postgres")?;
    tokio::spawn(connection);
    Ok(client)
}

/// Returns the base folders, best first. For a root whose target directory is closed to the
/// PostgreSQL user, that is `/tmp`.
fn base_folders(durability: Durability) -> Vec<PathBuf> {
    let name = format!("latido-bench-{}", rustix::process::geteuid().as_raw());
    let memory = (durability == Durability::Memory).then_some("/dev/shm");
    let places = memory
        .into_iter()
        .chain([env!("CARGO_TARGET_TMPDIR"), "/tmp"]);
    places.map(|place| Path::new(place).join(&name)).collect()
}

/// A folder that is deleted when dropped.
#[derive(Debug)]
struct ScratchFolder(PathBuf);

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // Remaining files are in a temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
