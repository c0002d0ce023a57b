//! Random queries over three small tables, a view and a CTE. Most are odd: they combine clauses that
//! nobody writes together, at places where a proof may go wrong.

use fastrand::Rng;

const COLUMNS: [&str; 4] = ["id", "k", "x", "y"];

/// Generates queries of one stream.
pub(super) struct QueryGenerator<'a> {
    random: &'a mut Rng,
    aliases: u32,
    /// The views and CTEs that may be read beside the tables.
    named: Vec<&'static str>,
}

/// A query with the definitions that it needs.
pub(super) struct RandomQuery {
    /// The definition of the view `v1`.
    pub(super) view: String,
    pub(super) sql: String,
    pub(super) key_parts: usize,
}

impl<'a> QueryGenerator<'a> {
    pub(super) fn new(random: &'a mut Rng) -> Self {
        Self {
            random,
            aliases: 0,
            named: Vec::new(),
        }
    }

    /// Generates a query with all that it needs.
    pub(super) fn generate(mut self) -> RandomQuery {
        let view = self.select(1, &[], false);
        self.named.push("v1");
        let key_parts = if self.chance(0.25) { 2 } else { 1 };
        let mut sql = String::new();
        if self.chance(0.5) {
            let cte = self.select(1, &[], false);
            self.named.push("c1");
            sql = format!("WITH c1 AS ({cte}) ");
        }
        sql += &self.query(key_parts);
        RandomQuery {
            view,
            sql,
            key_parts,
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random.f64() < probability
    }

    fn choice<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("r{}", self.aliases)
    }

    fn column(&mut self, scope: &[String]) -> String {
        let alias = &scope[self.random.usize(..scope.len())];
        // One column is preferred, so that equalities form chains.
        let column = self.random.usize(..COLUMNS.len() + 2);
        format!("{alias}.{}", COLUMNS.get(column).unwrap_or(&"k"))
    }

    fn equality(&mut self, left: &[String], right: &[String]) -> String {
        format!("{} = {}", self.column(left), self.column(right))
    }

    /// Returns an item of FROM with its alias.
    fn relation(&mut self, depth: u32) -> (String, String) {
        let alias = self.alias();
        if !self.named.is_empty() && self.chance(0.25) {
            let name = self.random.usize(..self.named.len());
            return (format!("{} {alias}", self.named[name]), alias);
        }
        if depth == 0 || self.chance(0.45) {
            let table = self.choice(&["ta", "tb", "tc"]);
            return (format!("{table} {alias}"), alias);
        }
        let select = if self.chance(0.2) {
            self.set_operation(depth - 1)
        } else {
            self.select(depth - 1, &[], false)
        };
        (format!("({select}) {alias}"), alias)
    }

    fn set_operation(&mut self, depth: u32) -> String {
        let operation = self.choice(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT"]);
        let (left, right) = (self.select(depth, &[], true), self.select(depth, &[], true));
        let limit = if self.chance(0.2) {
            " ORDER BY 1, 2, 3, 4 LIMIT 2"
        } else {
            ""
        };
        format!("{left} {operation} {right}{limit}")
    }

    /// Returns a SELECT with the four columns. A plain one has no clause but WHERE.
    fn select(&mut self, depth: u32, outer: &[String], is_plain: bool) -> String {
        let (from, scope) = self.join(depth);
        let columns: Vec<_> = COLUMNS.iter().map(|_| self.column(&scope)).collect();
        let condition = self.where_clause(depth, &scope, outer);
        let kinds = [
            "plain", "plain", "group", "group", "limit", "on", "window", "distinct",
        ];
        let kind = if is_plain {
            "plain"
        } else {
            self.choice(&kinds)
        };
        let named = columns
            .iter()
            .zip(COLUMNS)
            .map(|(c, name)| format!("{c} AS {name}"));
        let list = named.collect::<Vec<_>>().join(", ");
        let order = columns.join(", ");
        match kind {
            "group" => self.grouped(&columns, &from, &condition),
            "limit" => {
                let limit = self.random.u8(1..=2);
                format!("SELECT {list} FROM {from}{condition} ORDER BY {order} LIMIT {limit}")
            }
            "on" => format!(
                "SELECT DISTINCT ON ({}) {list} FROM {from}{condition} ORDER BY {order}",
                columns[0]
            ),
            "window" => {
                let partition = self.random.usize(..3);
                format!(
                    "SELECT {} AS id, {} AS k, {} AS x, (rank() OVER (PARTITION BY {} ORDER BY {}))::int AS y FROM {from}{condition}",
                    columns[0], columns[1], columns[2], columns[partition], columns[3]
                )
            }
            "distinct" => format!("SELECT DISTINCT {list} FROM {from}{condition}"),
            _ => format!("SELECT {list} FROM {from}{condition}"),
        }
    }

    /// Returns a SELECT with GROUP BY, whose aggregates and groups stand in any order.
    fn grouped(&mut self, columns: &[String], from: &str, condition: &str) -> String {
        let groups = self.random.usize(1..=3);
        let mut outputs = columns[..groups].to_vec();
        for column in &columns[groups..] {
            let aggregate = self.choice(&["sum", "max", "count"]);
            outputs.push(format!("{aggregate}({column})::int"));
        }
        self.random.shuffle(&mut outputs);
        let named = outputs
            .iter()
            .zip(COLUMNS)
            .map(|(o, name)| format!("{o} AS {name}"));
        let list = named.collect::<Vec<_>>().join(", ");
        let mut groups = columns[..groups].to_vec();
        groups.dedup();
        let having = if self.chance(0.15) {
            " HAVING count(*) > 1"
        } else {
            ""
        };
        let groups = groups.join(", ");
        let groups = if self.chance(0.1) {
            format!("ROLLUP ({groups})")
        } else {
            groups
        };
        format!("SELECT {list} FROM {from}{condition} GROUP BY {groups}{having}")
    }

    fn join(&mut self, depth: u32) -> (String, Vec<String>) {
        let (mut item, alias) = self.relation(depth);
        let mut scope = vec![alias];
        for _ in 0..self.choice(&[0, 1, 1, 2]) {
            let kind = self.choice(&[
                "JOIN",
                "JOIN",
                "JOIN",
                "JOIN",
                "LEFT JOIN",
                "LEFT JOIN",
                "LEFT JOIN",
                "RIGHT JOIN",
                "FULL JOIN",
                "LATERAL",
                "USING",
            ]);
            if kind == "LATERAL" && depth > 0 {
                let select = self.select(depth - 1, &scope.clone(), false);
                let alias = self.alias();
                let join = self.choice(&["CROSS JOIN LATERAL", "LEFT JOIN LATERAL"]);
                let on = if join.starts_with("LEFT") {
                    " ON true"
                } else {
                    ""
                };
                item = format!("{item} {join} ({select}) {alias}{on}");
                scope.push(alias);
                continue;
            }
            let (more, alias) = self.relation(depth);
            let own = std::slice::from_ref(&alias);
            if kind == "USING" && scope.len() == 1 {
                let join = self.choice(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
                let column = self.choice(&COLUMNS);
                item = format!("{item} {join} {more} USING ({column})");
                scope.push(alias);
                continue;
            }
            let kind = if matches!(kind, "LATERAL" | "USING") {
                "JOIN"
            } else {
                kind
            };
            let mut on = self.equality(&scope, own);
            if self.chance(0.15) && kind != "FULL JOIN" {
                on = format!("({on} OR {})", self.equality(&scope, own));
            }
            if self.chance(0.2) {
                on += &format!(" AND {}", self.equality(&scope, own));
            }
            if self.chance(0.2) && kind != "FULL JOIN" {
                on += &format!(" AND {alias}.x > 0");
            }
            item = if scope.len() == 1 || self.chance(0.8) || kind == "FULL JOIN" {
                format!("{item} {kind} {more} ON {on}")
            } else {
                format!("({item}) {kind} {more} ON {on}")
            };
            scope.push(alias);
        }
        (item, scope)
    }

    fn where_clause(&mut self, depth: u32, scope: &[String], outer: &[String]) -> String {
        let count = if outer.is_empty() {
            self.choice(&[0, 1])
        } else {
            self.choice(&[1, 1, 2])
        };
        let conditions: Vec<_> = (0..count)
            .map(|_| self.condition(depth, scope, outer))
            .collect();
        if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        }
    }

    fn condition(&mut self, depth: u32, scope: &[String], outer: &[String]) -> String {
        let both: Vec<_> = scope.iter().chain(outer).cloned().collect();
        let kind = self.random.f64();
        if kind < 0.45 {
            let others = if outer.is_empty() { scope } else { outer };
            return self.equality(scope, others);
        }
        if kind < 0.55 {
            return format!("{} > {}", self.column(scope), self.random.u8(0..=2));
        }
        if kind < 0.62 {
            let (one, other) = (self.equality(scope, &both), self.equality(scope, &both));
            return format!("({one} OR {other})");
        }
        if depth == 0 {
            return self.equality(scope, &both);
        }
        let not = self.choice(&["", "", "NOT "]);
        if kind < 0.82 {
            let (from, inner) = self.join(depth - 1);
            let condition = self.where_clause(depth - 1, &inner, &both);
            let tail = self.choice(&["", "", "", " LIMIT 1", " GROUP BY ()", " HAVING true"]);
            return format!("{not}EXISTS (SELECT 1 FROM {from}{condition}{tail})");
        }
        let tested = self.column(&both);
        let select = self.tested_select(depth - 1, &both);
        format!("{tested} {not}IN ({select})")
    }

    /// Returns a sub-select of one column for IN.
    fn tested_select(&mut self, depth: u32, outer: &[String]) -> String {
        let one = |generator: &mut Self| {
            let (from, scope) = generator.join(depth);
            let condition = generator.where_clause(depth, &scope, outer);
            (
                generator.column(&scope),
                generator.column(&scope),
                format!("{from}{condition}"),
            )
        };
        let (column, other, from) = one(self);
        match self.random.u8(..10) {
            0 => format!("SELECT {column} FROM {from} ORDER BY {other}, {column} LIMIT 1"),
            1 => format!(
                "SELECT DISTINCT ON ({other}) {column} FROM {from} ORDER BY {other}, {column}"
            ),
            2 => format!("SELECT coalesce(max({column}), 1) FROM {from}"),
            3 => format!("SELECT {column} FROM {from} GROUP BY {column} HAVING count(*) > 1"),
            4 => {
                let (second, _, rest) = one(self);
                let operation = self.choice(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT"]);
                format!("SELECT {column} FROM {from} {operation} SELECT {second} FROM {rest}")
            }
            _ => format!("SELECT {column} FROM {from}"),
        }
    }

    fn aggregates(&mut self, scope: &[String]) -> String {
        format!(
            "count(*) AS n, sum({}) AS s, max({}) AS m",
            self.column(scope),
            self.column(scope)
        )
    }

    /// Returns the WITH and the item `kk` of FROM that read the keys. A query with a CTE already has its
    /// WITH.
    fn keys(&mut self, key_parts: usize) -> (String, String) {
        let (arrays, columns) = match key_parts {
            2 => ("$1::int[], $2::int[], $3::date[]", "k, l, d"),
            _ => ("$1::int[], $2::date[]", "k, d"),
        };
        let plain = format!("unnest({arrays}) kk({columns})");
        if !self.chance(0.2) {
            return (String::new(), plain);
        }
        if self.named.contains(&"c1") {
            return (String::new(), format!("(SELECT * FROM {plain}) kk"));
        }
        let head = format!("WITH ks AS (SELECT * FROM {plain}) ");
        (head, "ks kk".to_owned())
    }

    fn query(&mut self, key_parts: usize) -> String {
        let (head, keys) = self.keys(key_parts);
        let outputs = if key_parts == 2 { "kk.k, kk.l" } else { "kk.k" };
        let form = self.random.u8(..5);
        if form == 1 {
            return self.filtered(key_parts);
        }
        let depth = self.choice(&[0, 1, 1, 2]);
        let (from, scope) = self.join(depth);
        let mut bind = format!("{} = kk.k", self.column(&scope));
        if self.chance(0.2) {
            bind = format!("({bind} OR {} = kk.k)", self.column(&scope));
        }
        if key_parts == 2 {
            bind += &format!(" AND {} = kk.l", self.column(&scope));
        }
        let extra = if self.chance(0.4) {
            format!(" AND {}", self.condition(1, &scope, &[]))
        } else {
            String::new()
        };
        match form {
            0 => {
                let join = self.choice(&["JOIN", "LEFT JOIN"]);
                let from = if scope.len() > 1 {
                    format!("({from})")
                } else {
                    from
                };
                let aggregates = self.aggregates(&scope);
                format!(
                    "{head}SELECT {outputs}, {aggregates} FROM {keys} {join} {from} ON {bind}{extra} GROUP BY {outputs}"
                )
            }
            2 => {
                let column = self.column(&scope);
                format!(
                    "{head}SELECT {outputs}, (SELECT count(*) FROM {from} WHERE {bind}{extra}) AS n, (SELECT max({column}) FROM {from} WHERE {bind}) AS m FROM {keys}"
                )
            }
            3 => {
                let aggregates = self.aggregates(&scope);
                format!(
                    "{head}SELECT {outputs}, l.* FROM {keys} CROSS JOIN LATERAL (SELECT {aggregates} FROM {from} WHERE {bind}{extra}) l"
                )
            }
            _ => {
                let column = self.column(&scope);
                format!(
                    "{head}SELECT {outputs}, l.* FROM {keys} LEFT JOIN LATERAL (SELECT {column} AS c, count(*) AS n FROM {from} WHERE {bind}{extra} GROUP BY 1) l ON true"
                )
            }
        }
    }

    /// Returns a query that reads its keys by `= ANY`.
    fn filtered(&mut self, key_parts: usize) -> String {
        let depth = self.choice(&[0, 1, 1, 2]);
        let (from, scope) = self.join(depth);
        let (first, second) = (self.column(&scope), self.column(&scope));
        let aggregates = self.aggregates(&scope);
        let extra = if self.chance(0.4) {
            format!(" AND {}", self.condition(1, &scope, &[]))
        } else {
            String::new()
        };
        if key_parts == 2 {
            format!(
                "SELECT {first} AS k, {second} AS l, {aggregates} FROM {from} WHERE {first} = ANY($1::int[]) AND {second} = ANY($2::int[]) AND $3::date[] IS NOT NULL{extra} GROUP BY 1, 2"
            )
        } else {
            format!(
                "SELECT {first} AS k, {aggregates} FROM {from} WHERE {first} = ANY($1::int[]) AND $2::date[] IS NOT NULL{extra} GROUP BY 1"
            )
        }
    }
}
