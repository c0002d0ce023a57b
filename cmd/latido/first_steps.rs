//! The text that `latido` prints for somebody who has configured nothing.

use crate::output::print;

/// What Latido can do for somebody who has a database.
const FIRST_STEPS: &str = "\
Latido keeps the numbers of a SELECT live: every browser that shows them sees a change within
milliseconds of the commit. All that it needs is your database and one SQL file.

  export DATABASE_URL=postgresql://user:password@host:5432/database

  latido try ventas.sql     shows the query on a local page, reading only
  latido install            makes it instant: creates triggers for the files in streams/
  latido serve              serves it to your users, with JWT_SECRET for their tokens

A file such as streams/ventas.sql is a stream. It returns a row for each key:

  SELECT u.tienda_id, s.* FROM unnest($1::bigint[], $2::date[]) AS u (tienda_id, hoy)
  CROSS JOIN LATERAL (
    SELECT count(*) AS pedidos FROM pedidos p WHERE p.tienda_id = u.tienda_id) s

No database at hand? `latido demo` brings its own. All commands: latido --help
";

/// Prints what Latido can do for somebody who has a database.
pub(crate) fn print_first_steps() -> anyhow::Result<()> {
    print(FIRST_STEPS)
}
