//! A Postgres of the benchmark's own.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use latido::postgres::embedded::{Cluster, EmbeddedError, Settings, Storage};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::machine;

/// What a database of businesses begins with: no triggers, which `latido install` adds.
const SCHEMA: &str = include_str!("../../sql/schema.sql");

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Everything in memory, nothing synced: for what is not about Postgres.
    Memory,
    /// A disk, and every commit flushed to it: for what writers pay.
    Disk,
}

/// A running cluster; stops, and deletes itself, when dropped.
#[derive(Debug)]
pub(crate) struct Store {
    cluster: Cluster,
    // Kept data would outlive the run.
    _folder: Option<Folder>,
}

/// A database in it.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    /// Through the cluster's socket.
    pub(crate) url: String,
}

impl Store {
    /// Starts one on a core (none: anywhere); blocks until it accepts connections.
    pub(crate) fn start(durability: Durability, core: Option<usize>) -> anyhow::Result<Self> {
        let mut refused = None;
        for base in bases(durability) {
            let (storage, folder) = match durability {
                Durability::Memory => (Storage::Temporary { base }, None),
                Durability::Disk => {
                    let folder = Folder(base.join(format!("run-{}", std::process::id())));
                    (
                        Storage::Persistent {
                            dir: folder.0.clone(),
                        },
                        Some(folder),
                    )
                }
            };
            let mut settings = Settings::new(storage);
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

    /// Makes a database with the schema, `businesses` businesses and `citas` appointments of today in each of them.
    pub(crate) fn database(
        &self,
        runtime: &Runtime,
        name: &str,
        businesses: usize,
        citas: usize,
    ) -> anyhow::Result<Database> {
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
        Ok(Database { url })
    }
}

/// SQL that makes businesses with the ids of [`keys::key`] and their citas.
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

/// Best place first; a root whose target directory is closed to Postgres' user ends up in `/tmp`.
fn bases(durability: Durability) -> Vec<PathBuf> {
    let name = format!("latido-bench-{}", rustix::process::geteuid().as_raw());
    let memory = (durability == Durability::Memory).then_some("/dev/shm");
    let places = memory
        .into_iter()
        .chain([env!("CARGO_TARGET_TMPDIR"), "/tmp"]);
    places.map(|place| Path::new(place).join(&name)).collect()
}

/// Deleted when dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies in a temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
