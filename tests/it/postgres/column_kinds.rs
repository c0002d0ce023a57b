//! The kind of JSON that a column of each type is said to have, and the JSON that comes.

use latido_base::ident::StreamId;
use latido_stream::ColumnKind;
use serde_json::Value;

use super::reading::{plain, read};
use super::schema_database;

/// Types with a cast function of their own to `json`, an enum without one, and domains.
const TYPES: &str = "
    CREATE TYPE color AS ENUM ('rojo'); CREATE TYPE forma AS ENUM ('plana'); CREATE TYPE par AS (x int, y text);
    CREATE FUNCTION to_object(color) RETURNS json LANGUAGE sql AS 'SELECT json_build_object(''es'', $1::text)';
    CREATE CAST (color AS json) WITH FUNCTION to_object(color);
    CREATE CAST (forma AS json) WITH INOUT;
    CREATE DOMAIN tono AS color; CREATE DOMAIN nota AS numeric(3, 1); CREATE DOMAIN lista AS int[];
    CREATE TYPE tonos AS RANGE (subtype = color);";

const VALUES: [&str; 40] = [
    "1::int2",
    "1::int4",
    "1::int8",
    "1.5::numeric",
    "1.5::float4",
    "1.5::float8",
    "1.5::nota",
    "true",
    "'a'::text",
    "'a'::varchar",
    "'a'::char(3)",
    "'a'::\"char\"",
    "'a'::name",
    "'a'",
    "gen_random_uuid()",
    "current_date",
    "localtimestamp",
    "now()",
    "localtime",
    "current_time",
    "interval '1 day'",
    "'{}'::json",
    "'[1]'::jsonb",
    "int4range(1, 2)",
    "int4multirange(int4range(1, 2))",
    "'a'::bytea",
    "inet '10.0.0.1'",
    "1.5::money",
    "B'101'",
    "point(1, 2)",
    "1::oid",
    "'pg_class'::regclass",
    "ARRAY[[1, 2]]",
    "ARRAY['a']",
    "'{1}'::lista",
    "ROW(1, 'a')",
    "ROW(1, 'a')::par",
    "'plana'::forma",
    "'rojo'::tono",
    "ARRAY['rojo']::color[]",
];

#[tokio::test]
async fn kinds_are_those_of_the_json_that_comes() {
    let (_home, client, database) = schema_database().await;
    client.batch_execute(TYPES).await.unwrap();
    let own = ["'rojo'::color", "tonos('rojo', 'rojo')"];
    for (number, value) in VALUES.iter().chain(&own).enumerate() {
        let query = format!("SELECT k, {value} AS v FROM unnest($1::int[]) AS u (k)");
        let catalog = plain(&format!("t{number}"), &query);
        let rows = read(&database, &catalog, &["1"]).await.unwrap();
        let row: Value = serde_json::from_str(&rows[0].columns).unwrap();
        let comes = match &row["v"] {
            Value::Number(_) => "number",
            Value::Bool(_) => "boolean",
            Value::String(_) => "text",
            _ => "any",
        };
        assert_eq!(row.as_object().unwrap().len(), 1, "{value}");
        let columns = database.columns(catalog.get(StreamId(0))).unwrap();
        let said = match columns[0].kind {
            ColumnKind::Integer | ColumnKind::Number => "number",
            ColumnKind::Boolean => "boolean",
            ColumnKind::Text => "text",
            ColumnKind::Any => "any",
        };
        assert_eq!(said, comes, "{value}");
    }
}
