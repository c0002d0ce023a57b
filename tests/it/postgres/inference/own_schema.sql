-- Tables for lookups at which a proof can go wrong.
CREATE SCHEMA propio; SET search_path = propio;

CREATE TABLE "Caja ""ñ""" ("Id" int PRIMARY KEY, "Región" text, "order" int);
CREATE TABLE "Venta" (id int PRIMARY KEY, "caja Id" int, "select" int);
INSERT INTO "Caja ""ñ""" SELECT i, 'r' || i % 3, i FROM generate_series(1, 9) i;
INSERT INTO "Venta" SELECT i, 1 + i % 9, i FROM generate_series(1, 40) i;
CREATE TABLE "Envío [""x""]" (id int PRIMARY KEY, "[re""gión]" text, "Peso [kg]" int);
INSERT INTO "Envío [""x""]" SELECT i, 'r' || i % 3, i FROM generate_series(1, 9) i;

CREATE TABLE sensores (id int PRIMARY KEY, planta_id int);
CREATE TABLE medidas (sensor_id int, dia date, valor int) PARTITION BY RANGE (dia);
CREATE TABLE medidas_1 PARTITION OF medidas FOR VALUES FROM ('2026-01-01') TO ('2026-11-15');
CREATE TABLE medidas_2 PARTITION OF medidas FOR VALUES FROM ('2026-11-15') TO ('2027-01-01');
INSERT INTO sensores SELECT i, i % 4 FROM generate_series(1, 12) i;
INSERT INTO medidas SELECT 1 + i % 12, date '2026-11-10' + i % 10, i FROM generate_series(1, 60) i;

-- Two foreign keys lead from a shipment to a region.
CREATE TABLE bodegas (id int PRIMARY KEY, region_id int);
CREATE TABLE envios (id int PRIMARY KEY, origen_id int REFERENCES bodegas, destino_id int REFERENCES bodegas, peso int);
INSERT INTO bodegas SELECT i, i % 3 FROM generate_series(1, 9) i;
INSERT INTO envios SELECT i, 1 + i % 9, 1 + (i * 5) % 9, i FROM generate_series(1, 40) i;

CREATE TABLE tiendas (id bigint PRIMARY KEY, zona text, abierta_en timestamp);
CREATE TABLE pedidos (id bigint PRIMARY KEY, tienda_id bigint REFERENCES tiendas, caja text, dia date, creado timestamptz, total int,
  madre bigint);
CREATE TABLE lineas (pedido_id bigint REFERENCES pedidos ON DELETE CASCADE, producto int, cantidad int);
CREATE TABLE productos (producto int PRIMARY KEY, categoria text);
CREATE TABLE avisos (pedido_id bigint, nivel int);
INSERT INTO tiendas SELECT i, 'z' || i % 2, timestamp '2026-11-20 08:00' + i * interval '1 day' FROM generate_series(1, 6) i;
INSERT INTO pedidos SELECT i, 1 + i % 6, (array['a', 'b'])[1 + i % 2], date '2026-11-20' + i % 4, timestamptz '2026-11-20' + i * interval '1 hour', i,
  CASE WHEN i % 3 = 0 THEN i / 2 END FROM generate_series(1, 50) i;
INSERT INTO lineas SELECT 1 + i % 50, 1 + i % 8, i % 5 FROM generate_series(1, 100) i;
INSERT INTO productos SELECT i, 'c' || i % 3 FROM generate_series(1, 8) i;
INSERT INTO avisos SELECT 1 + i % 50, i % 4 FROM generate_series(1, 30) i;

CREATE VIEW v_pedidos AS SELECT id, tienda_id AS tienda, total FROM pedidos WHERE total > 3;
CREATE VIEW v_ranking AS SELECT tienda, sum(total) AS suma, rank() OVER (ORDER BY sum(total)) AS puesto FROM v_pedidos GROUP BY tienda;
CREATE VIEW v_mejor AS SELECT DISTINCT ON (tienda_id) tienda_id, id, total FROM pedidos ORDER BY tienda_id, total DESC;
CREATE FUNCTION f_lineas(p bigint) RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT count(*) FROM propio.lineas WHERE pedido_id = p; END;
CREATE FUNCTION f_oculta(p bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM propio.lineas WHERE pedido_id = p); END';
