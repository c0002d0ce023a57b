//! Streams of the convergence run beside those of the shop: one whose keys can fail, one with its own
//! interval, and one for each type of key.

use std::time::Duration;

/// The branches and tills whose means are watched.
pub(super) const MEAN_KEYS: [(u8, &str); 4] = [(1, "a"), (1, "b/c"), (2, "a"), (2, "b/c")];
/// The shortest time between two frames of a channel of `ritmos`.
pub(super) const INTERVAL: Duration = Duration::from_millis(300);

const SCHEMA: &str = "
    CREATE TABLE valores (tienda_id bigint, caja text, n bigint NOT NULL, PRIMARY KEY (tienda_id, caja));
    INSERT INTO valores VALUES (1, 'a', 1), (1, 'b/c', 2), (2, 'a', 3), (2, 'b/c', 4);
    -- The times that a key began to fail.
    CREATE TABLE fallas (tienda_id bigint, caja text);
    CREATE FUNCTION falla() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO fallas VALUES (NEW.tienda_id, NEW.caja); RETURN NULL; END $$;
    CREATE TRIGGER falla AFTER UPDATE ON valores FOR EACH ROW WHEN (OLD.n <> 0 AND NEW.n = 0) EXECUTE FUNCTION falla();
    CREATE DOMAIN corto AS smallint; CREATE TYPE animo AS ENUM ('bien', 'muy mal');";

const TOML: &str = r#"
    [streams.medias]
    query = '''
        SELECT u.tienda, u.caja, u.factor, s.media
        FROM unnest($1::bigint[], $2::text[], $3::date[], $4::bigint[]) AS u (tienda, caja, hoy, factor)
        CROSS JOIN LATERAL (SELECT sum(u.factor * 60 / v.n)::bigint AS media FROM valores v
                            WHERE v.tienda_id = u.tienda AND v.caja = u.caja) s'''
    keys = ["tienda_id", "caja"]
    [streams.medias.params]
    factor = { type = "integer", default = 1 }
    [[streams.medias.tables]]
    table = "valores"
    key = ["tienda_id", "caja"]

    [streams.ritmos]
    query = '''
        SELECT u.id, s.* FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy)
        CROSS JOIN LATERAL (SELECT coalesce(sum(p.total), 0)::bigint AS total FROM pedidos p WHERE p.tienda_id = u.id) s'''
    keys = ["tienda_id"]
    interval_ms = 300
    [[streams.ritmos.tables]]
    table = "pedidos"
    key = "tienda_id"
    columns = ["tienda_id", "total"]
"#;

/// A column of the table `piezas`, which is the key of a stream of its name.
pub(super) struct PieceColumn {
    pub(super) name: &'static str,
    column: &'static str,
    parameter: &'static str,
    /// The spelling of each value in a client's channel and in a writer's statement.
    pub(super) values: &'static [(&'static str, &'static str)],
}

const COLUMNS: [PieceColumn; 9] = [
    PieceColumn {
        name: "codigos",
        column: "uuid",
        parameter: "uuid",
        values: &[
            (
                "6F1C9C1E-50A5-4B1F-9D53-0C9D6F0A7A11",
                "6f1c9c1e50a54b1f9d530c9d6f0a7a11",
            ),
            (
                "00000000-0000-4000-8000-000000000001",
                "00000000-0000-4000-8000-000000000001",
            ),
        ],
    },
    PieceColumn {
        name: "numeros",
        column: "numeric(30,0)",
        parameter: "numeric",
        values: &[
            ("0012345678901234567890123", "12345678901234567890123"),
            ("-5", "-5.0"),
        ],
    },
    PieceColumn {
        name: "cortos",
        column: "corto",
        parameter: "bigint",
        values: &[("007", "7"), ("-1", "-1"), ("8", "8")],
    },
    PieceColumn {
        name: "textos",
        column: "varchar(40)",
        parameter: "text",
        values: &[("a/b ñ", "a/b ñ"), ("A", "A"), ("a", "a")],
    },
    PieceColumn {
        name: "blancos",
        column: "char(6)",
        parameter: "bpchar",
        values: &[("AB", "AB"), ("B ", "B")],
    },
    PieceColumn {
        name: "dias",
        column: "date",
        parameter: "date",
        values: &[("2026-11-30", "30.11.2026"), ("2026-12-01", "1.12.2026")],
    },
    PieceColumn {
        name: "activos",
        column: "boolean",
        parameter: "boolean",
        values: &[("true", "yes"), ("false", "off")],
    },
    PieceColumn {
        name: "animos",
        column: "animo",
        parameter: "animo",
        values: &[("muy mal", "muy mal"), ("bien", "bien")],
    },
    PieceColumn {
        name: "correos",
        column: "citext",
        parameter: "citext",
        values: &[
            ("Ana@Example.com", "aNA@example.COM"),
            ("eva@example.com", "EVA@example.com"),
        ],
    },
];

/// The streams of a run, with or without a column of citext.
pub(super) struct Extras {
    pub(super) columns: Vec<PieceColumn>,
}

impl Extras {
    pub(super) fn new(has_citext: bool) -> Self {
        let columns = COLUMNS.into_iter();
        Self {
            columns: columns
                .filter(|column| has_citext || column.column != "citext")
                .collect(),
        }
    }

    pub(super) fn schema(&self) -> String {
        let extension = match self.columns.iter().any(|column| column.column == "citext") {
            true => "CREATE EXTENSION citext;",
            false => "",
        };
        let columns = self.columns.iter();
        let columns: Vec<_> = columns
            .map(|column| format!("{} {}", column.name, column.column))
            .collect();
        format!(
            "{extension} {SCHEMA} CREATE TABLE piezas (id bigserial PRIMARY KEY, n bigint NOT NULL, {})",
            columns.join(", ")
        )
    }

    pub(super) fn toml(&self) -> String {
        let stream = |PieceColumn {
                          name, parameter, ..
                      }: &PieceColumn| {
            format!(
                r#"
                [streams.{name}]
                query = "SELECT u.k, (SELECT coalesce(sum(p.n), 0)::bigint FROM piezas p WHERE p.{name} = u.k) AS n FROM unnest($1::{parameter}[]) AS u (k)"
                keys = ["k"]
                [[streams.{name}.tables]]
                table = "piezas"
                key = "{name}"
                columns = ["{name}", "n"]
                "#
            )
        };
        let streams: String = self.columns.iter().map(stream).collect();
        format!("{TOML}{streams}")
    }

    /// The channels of these streams, with the SQL for their data.
    pub(super) fn channels(&self) -> Vec<(String, String)> {
        let means = MEAN_KEYS.into_iter().flat_map(|(branch, till)| {
            let name = format!("medias:{branch}/{}", till.replace('/', "%2F"));
            [(name.clone(), 1), (format!("{name}?factor=03"), 3)].map(|(name, factor)| {
                let sql = format!(
                    "SELECT json_build_object('media', {factor} * 60 / n) FROM valores WHERE tienda_id = {branch} AND caja = '{till}'"
                );
                (name, sql)
            })
        });
        let paced = (1..=4).map(|branch| {
            let sql = format!(
                "SELECT json_build_object('total', coalesce(sum(total), 0)) FROM pedidos WHERE tienda_id = {branch}"
            );
            (format!("ritmos:{branch}"), sql)
        });
        let pieces = self.columns.iter().flat_map(|column| {
            let name = column.name;
            column.values.iter().map(move |(channel, value)| {
                let sql = format!(
                    "SELECT json_build_object('n', coalesce(sum(n), 0)) FROM piezas WHERE {name} = '{value}'"
                );
                (format!("{name}:{channel}"), sql)
            })
        });
        means.chain(paced).chain(pieces).collect()
    }

    /// Returns a statement on the tables of these streams.
    pub(super) fn statement(&self, random: &mut fastrand::Rng) -> String {
        let column = &self.columns[random.usize(0..self.columns.len())];
        let mut value_of = |column: &PieceColumn| {
            let (_, value) = column.values[random.usize(0..column.values.len())];
            format!("'{value}'")
        };
        let (value, names): (_, Vec<_>) = (
            value_of(column),
            self.columns.iter().map(|c| c.name).collect(),
        );
        let values: Vec<_> = self.columns.iter().map(value_of).collect();
        let (branch, till) = MEAN_KEYS[random.usize(0..MEAN_KEYS.len())];
        let some = format!(
            "id IN (SELECT id FROM piezas ORDER BY random() LIMIT {})",
            random.u8(1..4)
        );
        match random.u8(0..14) {
            0..5 => format!(
                "INSERT INTO piezas (n, {}) VALUES ({}, {})",
                names.join(", "),
                random.u8(1..9),
                values.join(", ")
            ),
            5..7 => format!("UPDATE piezas SET n = n + 1 WHERE {some}"),
            7..9 => format!("UPDATE piezas SET {} = {value} WHERE {some}", column.name),
            9 => format!("DELETE FROM piezas WHERE {some}"),
            _ => format!(
                "UPDATE valores SET n = {} WHERE tienda_id = {branch} AND caja = '{till}'",
                random.u8(0..4)
            ),
        }
    }
}
