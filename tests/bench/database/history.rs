//! One business's read as its history grows, with the index that the doctor proposes and with one on the key alone; and what the former
//! costs those who write.

use std::time::Instant;

use tokio_postgres::types::Type;

use crate::campaign::{Bench, Scenario};
use crate::database::citas;
use crate::database::quantile::Times;
use crate::report::{Bound, Goal};
use crate::store::{Database, Durability, Store, connect};

pub(crate) const SCENARIO: Scenario =
    Scenario {
        name: "history", about: "a read of one business with 10³ to 10⁶ citas, with and without the covering index", run
    };

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const COVERING: &str = "covering index";
const PLAIN: &str = "index on the key";

fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let store = Store::start(Durability::Memory, None)?;
    let database = citas::database(&store, bench.runtime(), "history", 100, 100_000)?;
    let sizes: Vec<_> = SIZES.into_iter().take(if bench.is_quick() { 3 } else { 4 }).collect();
    let mut fill: Vec<_> = sizes.iter().enumerate().map(|(business, size)| grow(business, *size)).collect();
    fill.push("VACUUM (ANALYZE) citas".to_owned());
    citas::run(bench.runtime(), &database, &fill.iter().map(String::as_str).collect::<Vec<_>>())?;
    bench.interleave(&[COVERING, PLAIN], |bench, index| {
        let make: &[&str] = if *index == COVERING {
            &[
                "CREATE INDEX IF NOT EXISTS citas_negocio_fecha_estado ON citas (negocio_id, fecha, estado)",
                "DROP INDEX IF EXISTS plain",
            ]
        } else {
            &["CREATE INDEX IF NOT EXISTS plain ON citas (negocio_id)", "DROP INDEX IF EXISTS citas_negocio_fecha_estado"]
        };
        citas::run(bench.runtime(), &database, make)?;
        for (business, size) in sizes.iter().enumerate() {
            let times = bench.runtime().block_on(read(&database, business, (200_000 / size).clamp(3, 50)))?;
            bench.sample(index, &format!("{size} citas"), "µs", times.quantile(0.5));
        }
        let tps = bench.runtime().block_on(write(&database, bench.seconds(2.0)))?;
        bench.sample(index, "updates of estado", "tx/s", tps);
        Ok(())
    })?;
    for size in sizes {
        bench.goal(Goal::ratio(PLAIN, &format!("{size} citas"), COVERING, Bound::Shown));
    }
    bench.goal(Goal::ratio(COVERING, "updates of estado", PLAIN, Bound::Shown));
    Ok(())
}

fn grow(business: usize, size: usize) -> String {
    format!(
        "DELETE FROM citas WHERE negocio_id = '{0}';
         INSERT INTO citas (negocio_id, fecha, hora_inicio, hora_fin, estado)
           SELECT '{0}', current_date - n % 1000, '10:00', '10:30', (enum_range(NULL::estado_cita))[1 + n % 3] FROM generate_series(1, {size}) AS n",
        crate::keys::key(business)
    )
}

async fn read(database: &Database, business: usize, times: usize) -> anyhow::Result<Times> {
    let client = connect(&database.url).await?;
    client.batch_execute("SET jit = off").await?;
    let statement = client.prepare_typed(&citas::read_sql(), &[Type::UUID_ARRAY, Type::DATE_ARRAY]).await?;
    let (ids, today) = (citas::ids([business])?, vec![jiff::Zoned::now().date()]);
    let mut taken = Times::default();
    for turn in 0..times + 1 {
        let began = Instant::now();
        client.query(&statement, &[&ids, &today]).await?;
        if turn > 0 {
            taken.add(began.elapsed());
        }
    }
    Ok(taken)
}

/// Updates a second of a column that is in the one index and not in the other, over one connection.
async fn write(database: &Database, seconds: f64) -> anyhow::Result<f64> {
    let client = connect(&database.url).await?;
    client.batch_execute("SET synchronous_commit = off").await?;
    let update = client.prepare_typed(
        "UPDATE citas SET estado = CASE estado WHEN 'pendiente' THEN 'atendida'::estado_cita ELSE 'pendiente' END WHERE id = $1",
        &[Type::UUID],
    );
    let update = update.await?;
    let (began, mut done) = (Instant::now(), 0u32);
    while began.elapsed().as_secs_f64() < seconds {
        // Those of the first businesses are gone: their histories were made anew.
        let cita = fastrand::u64(0..100_000);
        let id: uuid::Uuid = format!("00000000-0000-4000-9000-{cita:012x}").parse()?;
        client.execute(&update, &[&id]).await?;
        done += 1;
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}
