-- Eight schemas of ordinary applications and one of odd objects.
CREATE SCHEMA shop; SET search_path = shop;
CREATE TABLE shops(id int PRIMARY KEY, name text NOT NULL, currency text DEFAULT 'EUR', logo text);
CREATE TABLE customers(id int PRIMARY KEY, shop_id int NOT NULL REFERENCES shops, email text, city text);
CREATE TABLE products(id int PRIMARY KEY, shop_id int NOT NULL REFERENCES shops, title text, price numeric(10,2), stock int);
CREATE TABLE coupons(code text PRIMARY KEY, shop_id int REFERENCES shops, percent int);
CREATE TABLE orders(id int PRIMARY KEY, shop_id int NOT NULL REFERENCES shops, customer_id int REFERENCES customers, status text, day date, coupon text REFERENCES coupons, note text);
CREATE TABLE order_lines(order_id int REFERENCES orders ON DELETE CASCADE, product_id int REFERENCES products, qty int, price numeric(10,2), PRIMARY KEY(order_id, product_id));
CREATE TABLE payments(id int PRIMARY KEY, order_id int REFERENCES orders, amount numeric(10,2), paid boolean);
CREATE TABLE warehouses(id int PRIMARY KEY, shop_id int REFERENCES shops, city text);
CREATE TABLE shipments(id int PRIMARY KEY, order_id int REFERENCES orders, warehouse_id int REFERENCES warehouses, sent date);
CREATE TABLE returns(id int PRIMARY KEY, order_id int, product_id int, qty int, FOREIGN KEY(order_id, product_id) REFERENCES order_lines);
CREATE TABLE fx(currency text, day date, rate numeric, PRIMARY KEY(currency, day));
CREATE VIEW v_paid AS SELECT id, shop_id, customer_id, day FROM orders WHERE status = 'paid';
CREATE VIEW v_sales AS SELECT o.shop_id, o.id, o.customer_id, l.qty * l.price AS value, l.product_id FROM v_paid o JOIN order_lines l ON l.order_id = o.id;

CREATE SCHEMA clinic; SET search_path = clinic;
CREATE TYPE rol AS ENUM('cliente','negocio','admin_sistema'); CREATE TYPE estado AS ENUM('pendiente','atendida','cancelada');
CREATE FUNCTION u(i int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT ('00000000-0000-0000-0000-'||lpad(i::text,12,'0'))::uuid $$;
CREATE TABLE usuarios(id uuid PRIMARY KEY, email text, rol rol);
CREATE TABLE negocios(id uuid PRIMARY KEY, admin_negocio_id uuid REFERENCES usuarios, nombre text, zona text DEFAULT 'America/Guayaquil', estado bool);
CREATE TABLE estaciones(id uuid PRIMARY KEY, negocio_id uuid REFERENCES negocios, nombre text);
CREATE TABLE servicios(id uuid PRIMARY KEY, negocio_id uuid REFERENCES negocios, precio numeric, nombre text);
CREATE TABLE clientes(id uuid PRIMARY KEY, usuario_id uuid REFERENCES usuarios, nombre text);
CREATE TABLE citas(id uuid PRIMARY KEY, cliente_id uuid REFERENCES clientes, negocio_id uuid REFERENCES negocios, estacion_id uuid REFERENCES estaciones,
  servicio_id uuid REFERENCES servicios, fecha date, hora_inicio time, hora_fin time, estado estado DEFAULT 'pendiente', creado_en timestamp);
CREATE TABLE pagos(id uuid PRIMARY KEY, cita_id uuid REFERENCES citas, monto numeric, metodo text);
CREATE TABLE horarios(id uuid PRIMARY KEY, estacion_id uuid REFERENCES estaciones, dia int, abre time, cierra time);
CREATE TABLE resenas(id uuid PRIMARY KEY, cita_id uuid REFERENCES citas, estrellas int, texto text);

CREATE SCHEMA school; SET search_path = school;
CREATE TABLE schools(id int PRIMARY KEY, name text);
CREATE TABLE teachers(id int PRIMARY KEY, school_id int REFERENCES schools, name text);
CREATE TABLE rooms(id int PRIMARY KEY, school_id int REFERENCES schools, seats int);
CREATE TABLE courses(id int PRIMARY KEY, school_id int REFERENCES schools, teacher_id int REFERENCES teachers, title text);
CREATE TABLE students(id int PRIMARY KEY, school_id int REFERENCES schools, name text);
CREATE TABLE enrollments(student_id int REFERENCES students, course_id int REFERENCES courses, grade numeric, PRIMARY KEY(student_id, course_id));
CREATE TABLE lessons(id int PRIMARY KEY, course_id int REFERENCES courses, room_id int REFERENCES rooms, day date);
CREATE TABLE attendance(lesson_id int REFERENCES lessons, student_id int REFERENCES students, present bool, PRIMARY KEY(lesson_id, student_id));
CREATE TABLE exams(id int PRIMARY KEY, course_id int REFERENCES courses, weight numeric);
CREATE TABLE results(exam_id int REFERENCES exams, student_id int REFERENCES students, points numeric, PRIMARY KEY(exam_id, student_id));

CREATE SCHEMA blog; SET search_path = blog;
CREATE TABLE authors(id int PRIMARY KEY, name text, active bool DEFAULT true);
CREATE TABLE categories(id int PRIMARY KEY, parent_id int REFERENCES categories, name text);
CREATE TABLE posts(id int PRIMARY KEY, author_id int REFERENCES authors, editor_id int REFERENCES authors, category_id int REFERENCES categories, title text, body text, published date);
CREATE TABLE comments(id int PRIMARY KEY, post_id int REFERENCES posts, author_id int REFERENCES authors, parent_id int REFERENCES comments, body text, hidden bool DEFAULT false);
CREATE TABLE tags(id int PRIMARY KEY, label text);
CREATE TABLE post_tags(post_id int REFERENCES posts, tag_id int REFERENCES tags, PRIMARY KEY(post_id, tag_id));
CREATE TABLE likes(post_id int REFERENCES posts, author_id int REFERENCES authors, PRIMARY KEY(post_id, author_id));
CREATE TABLE follows(follower_id int REFERENCES authors, followed_id int REFERENCES authors, PRIMARY KEY(follower_id, followed_id));
CREATE TABLE media(id int PRIMARY KEY, post_id int REFERENCES posts, bytes bigint);

CREATE SCHEMA chat; SET search_path = chat;
CREATE TABLE users(id int PRIMARY KEY, handle text);
CREATE TABLE rooms(id int PRIMARY KEY, owner_id int REFERENCES users, title text);
CREATE TABLE members(room_id int REFERENCES rooms, user_id int REFERENCES users, last_read int DEFAULT 0, muted bool DEFAULT false, PRIMARY KEY(room_id, user_id));
CREATE TABLE messages(id int PRIMARY KEY, room_id int REFERENCES rooms, sender_id int REFERENCES users, body text, deleted bool DEFAULT false);
CREATE TABLE reactions(message_id int REFERENCES messages, user_id int REFERENCES users, emoji text, PRIMARY KEY(message_id, user_id));
CREATE TABLE attachments(id int PRIMARY KEY, message_id int REFERENCES messages, bytes int);
CREATE TABLE blocks(user_id int REFERENCES users, blocked_id int REFERENCES users, PRIMARY KEY(user_id, blocked_id));
CREATE TABLE devices(id int PRIMARY KEY, user_id int REFERENCES users, push text);

CREATE SCHEMA bank; SET search_path = bank;
CREATE TABLE branches(id int PRIMARY KEY, city text);
CREATE TABLE customers(id int PRIMARY KEY, branch_id int REFERENCES branches, name text);
CREATE TABLE accounts(id int PRIMARY KEY, customer_id int REFERENCES customers, currency text, opened date);
CREATE TABLE transfers(id int PRIMARY KEY, from_id int REFERENCES accounts, to_id int REFERENCES accounts, amount numeric, day date, state text);
CREATE TABLE cards(id int PRIMARY KEY, account_id int REFERENCES accounts, holder_id int REFERENCES customers, cap numeric);
CREATE TABLE card_tx(id int PRIMARY KEY, card_id int REFERENCES cards, amount numeric, day date);
CREATE TABLE loans(id int PRIMARY KEY, account_id int REFERENCES accounts, guarantor_account_id int REFERENCES accounts, open_amount numeric);
CREATE TABLE rates(currency text, day date, rate numeric, PRIMARY KEY(currency, day));
CREATE TABLE fees(currency text PRIMARY KEY, percent numeric);

CREATE SCHEMA fleet; SET search_path = fleet;
CREATE TABLE fleets(id int PRIMARY KEY, name text, speed_limit int);
CREATE TABLE drivers(id int PRIMARY KEY, fleet_id int REFERENCES fleets, name text);
CREATE TABLE firmware(version text PRIMARY KEY, recalled bool);
CREATE TABLE devices(id int PRIMARY KEY, fleet_id int REFERENCES fleets, firmware text REFERENCES firmware, plate text);
CREATE TABLE telemetry(device_id int REFERENCES devices, at timestamptz NOT NULL, temp numeric, speed int, raw jsonb) PARTITION BY RANGE(at);
CREATE TABLE telemetry_2026_10 PARTITION OF telemetry FOR VALUES FROM ('2026-10-01') TO ('2026-11-01');
CREATE TABLE telemetry_2026_11 PARTITION OF telemetry FOR VALUES FROM ('2026-11-01') TO ('2026-12-01');
CREATE TABLE telemetry_old PARTITION OF telemetry DEFAULT;
CREATE TABLE alerts(id int PRIMARY KEY, device_id int REFERENCES devices, level int, closed bool);
CREATE TABLE trips(id int PRIMARY KEY, device_id int REFERENCES devices, driver_id int REFERENCES drivers, km numeric, day date);
CREATE TABLE geofences(id int PRIMARY KEY, fleet_id int REFERENCES fleets, area polygon);
CREATE TABLE fuel(id int PRIMARY KEY, trip_id int REFERENCES trips, liters numeric);

CREATE SCHEMA saas; SET search_path = saas;
CREATE TABLE tenants(id int PRIMARY KEY, name text, plan text);
CREATE TABLE users(tenant_id int REFERENCES tenants, id int, email text, PRIMARY KEY(tenant_id, id));
CREATE TABLE projects(tenant_id int REFERENCES tenants, id int, name text, archived bool DEFAULT false, PRIMARY KEY(tenant_id, id));
CREATE TABLE tasks(tenant_id int, id int, project_id int, assignee_id int, state text, points int, PRIMARY KEY(tenant_id, id),
  FOREIGN KEY(tenant_id, project_id) REFERENCES projects, FOREIGN KEY(tenant_id, assignee_id) REFERENCES users);
CREATE TABLE notes(tenant_id int, id int, task_id int, user_id int, body text, PRIMARY KEY(tenant_id, id), FOREIGN KEY(tenant_id, task_id) REFERENCES tasks, FOREIGN KEY(tenant_id, user_id) REFERENCES users);
CREATE TABLE time_entries(tenant_id int, id int, task_id int, user_id int, minutes int, PRIMARY KEY(tenant_id, id), FOREIGN KEY(tenant_id, task_id) REFERENCES tasks, FOREIGN KEY(tenant_id, user_id) REFERENCES users);
CREATE TABLE invoices(tenant_id int REFERENCES tenants, no int, paid bool, PRIMARY KEY(tenant_id, no));
CREATE TABLE invoice_lines(tenant_id int, invoice_no int, line int, project_id int, amount numeric, PRIMARY KEY(tenant_id, invoice_no, line),
  FOREIGN KEY(tenant_id, invoice_no) REFERENCES invoices, FOREIGN KEY(tenant_id, project_id) REFERENCES projects);
CREATE TABLE labels(tenant_id int REFERENCES tenants, id int, name text, PRIMARY KEY(tenant_id, id));
CREATE TABLE task_labels(tenant_id int, task_id int, label_id int, PRIMARY KEY(tenant_id, task_id, label_id), FOREIGN KEY(tenant_id, task_id) REFERENCES tasks, FOREIGN KEY(tenant_id, label_id) REFERENCES labels);

CREATE SCHEMA edge; SET search_path = edge;
CREATE TYPE money_t AS (amount numeric, unit text); CREATE DOMAIN key_t AS int CHECK (value > 0); CREATE TYPE mood AS ENUM('ok','bad');
CREATE TABLE t(id int PRIMARY KEY, k key_t, a int, b text, c money_t, cs money_t[], j jsonb, m mood, unused text, gen int GENERATED ALWAYS AS (a * 2) STORED, idn int GENERATED BY DEFAULT AS IDENTITY);
CREATE TABLE "Tabla Ñ ""q"""("Clave á" int, "from" int, "日本" text, "a_very_long_column_name_that_is_exactly_sixty_three_bytes_long_" int);
CREATE TABLE base(id int, k int, x int); CREATE TABLE child(extra int) INHERITS (base); CREATE TABLE grandchild() INHERITS (child);
CREATE TABLE dropped(id int, gone int, k int, x int); ALTER TABLE dropped DROP COLUMN gone;
CREATE VIEW v1 AS SELECT id, k, a, b, upper(b) AS ub FROM t WHERE m = 'ok';
CREATE VIEW v2 AS SELECT k, a FROM v1 WHERE id > 0;
CREATE VIEW v_barrier WITH (security_barrier) AS SELECT k, a FROM t WHERE b <> 'secret';
CREATE VIEW v_star AS SELECT * FROM base;
CREATE VIEW v_whole AS SELECT k, t AS whole FROM t;
CREATE MATERIALIZED VIEW mv AS SELECT k, sum(a) AS s FROM t GROUP BY k;
CREATE VIEW v_mv AS SELECT * FROM mv;
CREATE FUNCTION f_string(int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT sum(x) FROM edge.base WHERE k = $1';
CREATE FUNCTION f_inline(p int) RETURNS SETOF edge.base LANGUAGE sql STABLE AS 'SELECT * FROM edge.base b WHERE b.k = p';
CREATE FUNCTION f_atomic(int) RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT sum(x) FROM edge.base WHERE k = $1; END;
CREATE FUNCTION f_plpgsql(int) RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT sum(x) FROM edge.base WHERE k = $1); END $$;
CREATE FUNCTION f_pure(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 + 1; END $$;
CREATE FUNCTION f_whole(edge.t) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.b';
CREATE VIEW v_func AS SELECT k, edge.f_atomic(k) AS s FROM t;
CREATE FUNCTION plus_base(int, int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT $1 + $2 + count(*) FROM edge.base';
CREATE OPERATOR <~> (FUNCTION = edge.plus_base, LEFTARG = int, RIGHTARG = int);
CREATE SEQUENCE sq;
CREATE TABLE tenants(id int PRIMARY KEY, owner text); CREATE TABLE guarded(id int, tenant_id int, x int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON guarded USING (tenant_id IN (SELECT id FROM edge.tenants WHERE owner = current_user));
CREATE TABLE ruled(id int, k int, x int); CREATE RULE r AS ON INSERT TO ruled DO ALSO INSERT INTO base VALUES (new.id, new.k, new.x);
CREATE FUNCTION f_table(p int) RETURNS TABLE(k int, n bigint) LANGUAGE sql STABLE SET search_path = edge AS 'SELECT b.k, count(*) FROM base b WHERE b.x > p GROUP BY b.k';
CREATE FUNCTION f_writes(int) RETURNS int LANGUAGE sql AS 'INSERT INTO edge.base(k) VALUES ($1) RETURNING k';
CREATE FUNCTION f_any(anyelement) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM edge.base';
CREATE VIEW v_invoker AS SELECT id, tenant_id, x FROM guarded; CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int, initcond = '0');
-- from: 15
ALTER VIEW edge.v_invoker SET (security_invoker);
-- from: 18
CREATE TABLE edge.virt(id int, k int, a int, b int, v int GENERATED ALWAYS AS (a * 3) VIRTUAL);
-- from: 14
RESET search_path;
CREATE ROLE latido_reader LOGIN;
-- No SELECT: what a query reads is known without the right to read it.
GRANT USAGE ON SCHEMA shop, clinic, school, blog, chat, bank, fleet, saas, edge TO latido_reader;
