-- Two businesses, who owns the first, who administers all, and six more for the convergence test.
INSERT INTO usuarios (id, nombre, email, rol) VALUES
  ('aaaaaaaa-0000-4000-8000-000000000001', 'Ana',  'ana@example.com',  'negocio'),
  ('aaaaaaaa-0000-4000-8000-000000000002', 'Otto', 'otto@example.com', 'cliente'),
  ('aaaaaaaa-0000-4000-8000-000000000003', 'Sara', 'sara@example.com', 'admin_sistema');
INSERT INTO negocios (id, admin_negocio_id, nombre) VALUES
  ('6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11', 'aaaaaaaa-0000-4000-8000-000000000001', 'Uno'),
  ('6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a22', NULL, 'Dos');
INSERT INTO negocios (id, nombre)
  SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'Negocio ' || n FROM generate_series(0, 5) AS n;
