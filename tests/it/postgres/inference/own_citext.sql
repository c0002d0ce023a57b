-- Tables with citext, which a server may lack.
SET search_path = propio, public;
CREATE DOMAIN correo AS citext;
CREATE TABLE usuarios (correo correo, nombre text, alias citext);
CREATE TABLE accesos (de citext, veces int, texto text);
INSERT INTO usuarios SELECT 'U' || i, 'n' || i % 3, 'n' || i % 3 FROM generate_series(1, 9) i;
INSERT INTO accesos SELECT (array['u', 'U'])[1 + i % 2] || 1 + i % 9, i, 'N' || i % 3 FROM generate_series(1, 20) i;
