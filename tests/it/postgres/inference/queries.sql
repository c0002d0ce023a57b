-- Each query: a header, then SQL up to a line with `--- end`. `path`: search_path. `reads`: written by hand; (*) whole row, () no column.
-- `says`: the notes. `refuse`: the query must be refused with this reason. `min`: the first version that has the syntax.
-- `rule` and `proof` are for keys: what a rule by names would give, and the path of columns to the key.
-- name: shop_sales
-- path: shop
-- reads: shops(id,name) orders(id,shop_id,status) order_lines(order_id,qty,price)
-- rule: shops=own orders=right order_lines=many
-- proof: shops=id orders=shop_id order_lines=order_id>orders.shop_id
SELECT k.shop_id, s.name, x.n, x.total FROM unnest($1::int[], $2::date[]) AS k(shop_id, today) LEFT JOIN shops s ON s.id = k.shop_id
CROSS JOIN LATERAL (SELECT count(DISTINCT o.id) AS n, sum(l.qty * l.price) AS total FROM orders o JOIN order_lines l ON l.order_id = o.id
  WHERE o.shop_id = k.shop_id AND o.status = 'paid') x
--- end
-- name: shop_product_sales
-- path: shop
-- reads: products(id,shop_id) order_lines(product_id,qty)
-- rule: products=right order_lines=many
-- proof: products=shop_id order_lines=product_id>products.shop_id
SELECT p.shop_id, sum(l.qty) AS pieces FROM products p JOIN order_lines l ON l.product_id = p.id WHERE p.shop_id = ANY($1::int[]) AND $2::date[] IS NOT NULL GROUP BY p.shop_id;
--- end
-- name: shop_using_natural
-- path: shop
-- reads: orders(id,shop_id,coupon,day) shipments(order_id,sent) coupons(code,percent)
-- rule: orders=right shipments=many coupons=wrong
-- proof: orders=shop_id shipments=order_id>orders.shop_id coupons=code>orders.shop_id
SELECT k.shop_id, x.late FROM unnest($1::int[], $2::date[]) k(shop_id, today) CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE h.sent > o.day + c.percent) AS late FROM (SELECT id AS order_id, shop_id, coupon AS code, day FROM orders) o
  JOIN (SELECT id AS ship, order_id, sent FROM shipments) h USING (order_id) LEFT JOIN coupons c USING (code) WHERE o.shop_id = k.shop_id) x -- the end
--- end
-- name: shop_rank_global
-- path: shop
-- reads: orders(id,shop_id) order_lines(order_id,qty,price)
-- rule: orders=wrong order_lines=many
-- proof: orders=? order_lines=?
SELECT r.shop_id, r.place FROM unnest($1::int[], $2::date[]) k(shop_id, today) JOIN (SELECT o.shop_id, rank() OVER (ORDER BY sum(l.qty * l.price) DESC) AS place
  FROM orders o JOIN order_lines l ON l.order_id = o.id GROUP BY o.shop_id) r ON r.shop_id = k.shop_id
--- end
-- name: shop_share_of_total
-- path: shop
-- reads: payments(order_id,amount) orders(id,shop_id)
-- rule: payments=wrong orders=wrong
-- proof: payments=? orders=?
WITH t AS (SELECT o.shop_id, sum(p.amount) AS s FROM payments p JOIN orders o ON o.id = p.order_id GROUP BY 1)
SELECT t.shop_id, round(t.s / (SELECT sum(s) FROM t), 4) AS share FROM t WHERE t.shop_id = ANY($1::int[]) AND cardinality($2::date[]) >= 0
--- end
-- name: shop_fx
-- path: shop
-- reads: shops(id,currency) fx(currency,day,rate) orders(id,shop_id) order_lines(order_id,qty,price)
-- rule: shops=own fx=none orders=right order_lines=many
-- proof: shops=id fx=currency>shops.id orders=shop_id order_lines=order_id>orders.shop_id
SELECT k.id AS shop_id, (SELECT sum(l.qty * l.price) FROM order_lines l JOIN orders o ON o.id = l.order_id WHERE o.shop_id = k.id) / (
  SELECT f.rate FROM fx f WHERE f.currency = s.currency ORDER BY f.day DESC LIMIT 1) AS eur FROM unnest($1::int[], $2::date[]) k(id, today) JOIN shops s ON s.id = k.id
--- end
-- name: shop_returns
-- path: shop
-- reads: returns(order_id,product_id,qty) order_lines(order_id,product_id,price) products(id,shop_id)
-- rule: returns=many order_lines=many products=right
-- proof: returns=product_id>products.shop_id order_lines=product_id>products.shop_id products=shop_id
SELECT p.shop_id, sum(r.qty * l.price) AS back FROM unnest($1::int[], $2::date[]) k(shop_id, today) JOIN products p ON p.shop_id = k.shop_id
JOIN order_lines l ON l.product_id = p.id JOIN returns r ON r.order_id = l.order_id AND r.product_id = l.product_id GROUP BY p.shop_id
--- end
-- name: shop_qualified_view
-- path: public
-- reads: customers(id,city) orders(id,shop_id,customer_id,status) order_lines(order_id,qty,price)
-- says: view:v_sales view:v_paid
-- rule: orders=right order_lines=many customers=wrong
-- proof: orders=shop_id order_lines=order_id>orders.shop_id customers=id>orders.shop_id
SELECT k.shop_id, sum(s.value) AS total, max(c.city) AS city FROM unnest($1::int[], $2::date[]) k(shop_id, today) JOIN shop.v_sales s ON s.shop_id = k.shop_id LEFT JOIN shop.customers c ON c.id = s.customer_id GROUP BY k.shop_id
--- end
-- name: clinic_estadisticas
-- path: clinic
-- reads: citas(negocio_id,fecha,estado)
-- rule: citas=right
-- proof: citas=negocio_id
SELECT k.negocio_id, count(c.negocio_id) FILTER (WHERE c.fecha = k.hoy) AS citas_hoy, count(c.negocio_id) AS total_citas, count(c.negocio_id) FILTER (WHERE c.estado = 'atendida') AS citas_completadas
FROM unnest($1::uuid[], $2::date[]) AS k(negocio_id, hoy) LEFT JOIN citas c ON c.negocio_id = k.negocio_id GROUP BY k.negocio_id
--- end
-- name: clinic_free_slots
-- path: clinic
-- reads: estaciones(id,negocio_id) horarios(estacion_id,dia,abre,cierra) citas(estacion_id,fecha,hora_inicio,hora_fin,estado)
-- rule: estaciones=right horarios=right citas=wrong
-- proof: estaciones=negocio_id horarios=estacion_id>estaciones.negocio_id citas=estacion_id>estaciones.negocio_id
SELECT k.negocio_id, x.* FROM unnest($1::uuid[], $2::date[]) k(negocio_id, hoy), LATERAL (SELECT e.id, sum(h.cierra - h.abre) - coalesce((SELECT sum(c.hora_fin - c.hora_inicio) FROM citas c
  WHERE c.estacion_id = e.id AND c.fecha = k.hoy AND c.estado <> 'cancelada'), '0') AS libre FROM estaciones e JOIN horarios h ON h.estacion_id = e.id
  WHERE e.negocio_id = k.negocio_id AND h.dia = extract(dow FROM k.hoy) GROUP BY e.id ORDER BY 2 DESC LIMIT 1) x
--- end
-- name: clinic_reviews
-- path: clinic
-- reads: resenas(cita_id,estrellas) citas(id,negocio_id) negocios(id,nombre)
-- rule: resenas=right citas=right negocios=own
-- proof: resenas=cita_id>citas.negocio_id citas=negocio_id negocios=id
SELECT n.id AS negocio_id, n.nombre, avg(r.estrellas) AS media FROM negocios n LEFT JOIN (citas c JOIN resenas r ON r.cita_id = c.id) ON c.negocio_id = n.id
WHERE n.id = ANY($1::uuid[]) AND $2::date[] IS NOT NULL GROUP BY n.id
--- end
-- name: clinic_income_by_service
-- path: clinic
-- reads: pagos(cita_id,monto) citas(id,servicio_id) servicios(id,negocio_id)
-- rule: pagos=wrong citas=wrong servicios=right
-- proof: pagos=cita_id>citas.servicio_id>servicios.negocio_id citas=servicio_id>servicios.negocio_id servicios=negocio_id
SELECT k.negocio_id, (SELECT sum(p.monto) FROM pagos p, citas c, servicios s WHERE p.cita_id = c.id AND c.servicio_id = s.id AND s.negocio_id = k.negocio_id) AS total FROM unnest($1::uuid[], $2::date[]) k(negocio_id, hoy)
--- end
-- name: school_attendance
-- path: school
-- reads: attendance(lesson_id,student_id,present) students(id,school_id) lessons(id,day)
-- rule: attendance=many students=right lessons=many
-- proof: attendance=student_id>students.school_id students=school_id lessons=id>attendance.student_id>students.school_id
SELECT st.school_id, avg(a.present::int) AS rate FROM unnest($1::int[], $2::date[]) k(school_id, today) JOIN students st ON st.school_id = k.school_id JOIN attendance a ON a.student_id = st.id
JOIN lessons l ON l.id = a.lesson_id AND l.day <= k.today GROUP BY st.school_id
--- end
-- name: school_no_exam
-- path: school
-- reads: courses(id,school_id) exams(course_id)
-- rule: courses=right exams=right
-- proof: courses=school_id exams=course_id>courses.school_id
SELECT c.school_id, count(*) AS without_exam FROM courses c WHERE c.school_id = ANY($1::int[]) AND $2::date[] IS NOT NULL AND NOT EXISTS (SELECT FROM exams e WHERE e.course_id = c.id) GROUP BY c.school_id
--- end
-- name: school_grades_union
-- path: school
-- reads: results(exam_id,student_id,points) exams(id,course_id) courses(id,school_id) enrollments(course_id,grade)
-- rule: results=many exams=right courses=right enrollments=many
-- proof: results=exam_id>exams.course_id>courses.school_id exams=course_id>courses.school_id courses=school_id enrollments=course_id>courses.school_id
SELECT k.school_id, avg(u.p) AS mean, (SELECT count(DISTINCT student_id) FROM results r2 JOIN exams e2 ON e2.id = r2.exam_id JOIN courses c2 ON c2.id = e2.course_id WHERE c2.school_id = k.school_id) AS heads
FROM unnest($1::int[], $2::date[]) k(school_id, today) LEFT JOIN (SELECT c.school_id, r.points AS p FROM results r JOIN exams e ON e.id = r.exam_id JOIN courses c ON c.id = e.course_id
  UNION ALL SELECT c.school_id, n.grade FROM enrollments n JOIN courses c ON c.id = n.course_id) u ON u.school_id = k.school_id GROUP BY k.school_id
--- end
-- name: blog_comments_received
-- path: blog
-- reads: posts(id,author_id) comments(post_id,hidden)
-- rule: posts=right comments=wrong
-- proof: posts=author_id comments=post_id>posts.author_id
SELECT k.author_id, (SELECT count(*) FROM posts p JOIN comments c ON c.post_id = p.id WHERE p.author_id = k.author_id AND NOT c.hidden) AS comments FROM unnest($1::int[], $2::date[]) k(author_id, today)
--- end
-- name: blog_followers
-- path: blog
-- reads: follows(follower_id,followed_id) authors(id,active)
-- rule: follows=none authors=own
-- proof: follows=followed_id authors=id>follows.followed_id
SELECT k.author_id, (SELECT count(*) FROM follows f JOIN authors a ON a.id = f.follower_id AND a.active WHERE f.followed_id = k.author_id) AS followers FROM unnest($1::int[], $2::date[]) k(author_id, today)
--- end
-- name: blog_category_tree
-- path: blog
-- reads: categories(id,parent_id) posts(author_id,category_id)
-- rule: categories=none posts=right
-- proof: categories=? posts=author_id
WITH RECURSIVE tree AS (SELECT id, id AS top FROM categories WHERE parent_id IS NULL UNION ALL SELECT c.id, t.top FROM categories c JOIN tree t ON c.parent_id = t.id)
SELECT k.author_id, (SELECT count(DISTINCT t.top) FROM posts p JOIN tree t ON t.id = p.category_id WHERE p.author_id = k.author_id) AS topics FROM unnest($1::int[], $2::date[]) k(author_id, today)
--- end
-- name: chat_unread
-- path: chat
-- reads: members(room_id,user_id,last_read,muted) messages(id,room_id,sender_id,deleted)
-- rule: members=right messages=none
-- proof: members=user_id messages=room_id>members.user_id
SELECT k.user_id, count(m.id) AS unread FROM unnest($1::int[], $2::date[]) k(user_id, today) LEFT JOIN (members b JOIN messages m ON m.room_id = b.room_id AND m.id > b.last_read AND NOT m.deleted
  AND m.sender_id <> b.user_id) ON b.user_id = k.user_id AND NOT b.muted GROUP BY k.user_id
--- end
-- name: chat_reactions_received
-- path: chat
-- reads: messages(id,sender_id) reactions(message_id,emoji)
-- rule: messages=none reactions=wrong
-- proof: messages=sender_id reactions=message_id>messages.sender_id
SELECT k.user_id, (SELECT count(*) FROM messages m JOIN reactions r ON r.message_id = m.id AND r.emoji = '+' WHERE m.sender_id = k.user_id) AS likes FROM unnest($1::int[], $2::date[]) k(user_id, today)
--- end
-- name: chat_blocked_except
-- path: chat
-- reads: members(room_id,user_id) blocks(user_id,blocked_id)
-- rule: members=wrong blocks=right
-- proof: members=user_id+room_id>members.user_id blocks=user_id
SELECT k.user_id, x.n FROM unnest($1::int[], $2::date[]) k(user_id, today), LATERAL (SELECT count(*) AS n FROM (SELECT o.user_id FROM members me JOIN members o USING (room_id) WHERE me.user_id = k.user_id
  EXCEPT SELECT b.blocked_id FROM blocks b WHERE b.user_id = k.user_id) s) x
--- end
-- name: bank_balance
-- path: bank
-- reads: transfers(from_id,to_id,amount,state)
-- rule: transfers=none
-- proof: transfers=to_id+from_id
SELECT k.account_id, coalesce(i.s, 0) - coalesce(o.s, 0) AS balance FROM unnest($1::int[], $2::date[]) k(account_id, today)
LEFT JOIN (SELECT to_id, sum(amount) AS s FROM transfers WHERE state = 'done' GROUP BY to_id) i ON i.to_id = k.account_id
LEFT JOIN (SELECT from_id, sum(amount) AS s FROM transfers WHERE state = 'done' GROUP BY from_id) o ON o.from_id = k.account_id
--- end
-- name: bank_either_side
-- path: bank
-- reads: transfers(from_id,to_id,day)
-- rule: transfers=none
-- proof: transfers=from_id+to_id
SELECT k.account_id, (SELECT count(*) FROM transfers t WHERE (t.from_id = k.account_id OR t.to_id = k.account_id) AND t.day = k.today) AS moves FROM unnest($1::int[], $2::date[]) k(account_id, today)
--- end
-- name: bank_in_euro
-- path: bank
-- reads: accounts(id,currency) rates(currency,day,rate) card_tx(card_id,amount) cards(id,account_id) fees(currency,percent)
-- rule: accounts=own rates=none card_tx=right cards=right fees=none
-- proof: accounts=id rates=currency>accounts.id card_tx=card_id>cards.account_id cards=account_id fees=?
SELECT a.id AS account_id, sum(t.amount) * max(r.rate) * (1 + (SELECT max(percent) FROM fees WHERE currency <> 'EUR') / 100) AS spent FROM accounts a JOIN cards c ON c.account_id = a.id JOIN card_tx t ON t.card_id = c.id
JOIN LATERAL (SELECT rate FROM rates WHERE rates.currency = a.currency ORDER BY day DESC LIMIT 1) r ON true WHERE a.id = ANY($1::int[]) AND $2::date[] IS NOT NULL GROUP BY a.id
--- end
-- name: bank_guarantees
-- path: bank
-- reads: loans(account_id,guarantor_account_id,open_amount)
-- rule: loans=wrong
-- proof: loans=guarantor_account_id
SELECT g.guarantor_account_id AS account_id, sum(g.open_amount) AS risk, count(DISTINCT g.account_id) AS debtors FROM loans g WHERE g.guarantor_account_id = ANY($1::int[]) AND $2::date[] IS NOT NULL GROUP BY 1
--- end
-- name: fleet_last_seen
-- path: fleet
-- reads: devices(id,fleet_id) telemetry(device_id,at,speed,temp)
-- says: children:telemetry timestamp-date
-- rule: devices=right telemetry=right
-- proof: devices=fleet_id telemetry=device_id>devices.fleet_id
SELECT k.fleet_id, count(*) FILTER (WHERE l.speed > 0) AS moving, max(l.temp) AS hottest FROM unnest($1::int[], $2::date[]) k(fleet_id, today) JOIN devices d ON d.fleet_id = k.fleet_id
LEFT JOIN LATERAL (SELECT DISTINCT ON (t.device_id) t.speed, t.temp FROM telemetry t WHERE t.device_id = d.id AND t.at >= k.today ORDER BY t.device_id, t.at DESC) l ON true GROUP BY k.fleet_id
--- end
-- name: fleet_recalled
-- path: fleet
-- reads: devices(fleet_id,firmware) firmware(version,recalled)
-- rule: devices=right firmware=none
-- proof: devices=fleet_id firmware=version>devices.fleet_id
SELECT d.fleet_id, count(*) AS recalled FROM devices d WHERE d.fleet_id = ANY($1::int[]) AND $2::date[] IS NOT NULL AND d.firmware IN (SELECT version FROM firmware WHERE recalled) GROUP BY d.fleet_id
--- end
-- name: fleet_driver_km
-- path: fleet
-- reads: drivers(id,fleet_id) trips(id,driver_id,km,day) fuel(trip_id,liters)
-- rule: drivers=right trips=many fuel=many
-- proof: drivers=fleet_id trips=driver_id>drivers.fleet_id fuel=trip_id>trips.driver_id>drivers.fleet_id
SELECT r.fleet_id, sum(t.km) AS km, sum(f.liters) AS liters FROM unnest($1::int[], $2::date[]) k(fleet_id, today) JOIN drivers r USING (fleet_id) JOIN trips t ON t.driver_id = r.id AND t.day = k.today
LEFT JOIN fuel f ON f.trip_id = t.id GROUP BY GROUPING SETS ((r.fleet_id))
--- end
-- name: fleet_one_partition
-- path: fleet
-- reads: telemetry_2026_11(device_id,temp) devices(id,fleet_id)
-- rule: telemetry_2026_11=right devices=right
-- proof: telemetry_2026_11=device_id>devices.fleet_id devices=fleet_id
SELECT d.fleet_id, max(t.temp) FROM telemetry_2026_11 t JOIN devices d ON d.id = t.device_id WHERE d.fleet_id = ANY($1::int[]) AND $2::date[] IS NOT NULL GROUP BY 1
--- end
-- name: saas_project_board
-- path: saas
-- reads: tasks(tenant_id,id,project_id,state,points) time_entries(tenant_id,task_id,minutes)
-- rule: tasks=right time_entries=right
-- proof: tasks=tenant_id,project_id time_entries=tenant_id,task_id>tasks.tenant_id,project_id
SELECT k.tenant_id, k.project_id, count(DISTINCT t.id) FILTER (WHERE t.state = 'open') AS open, sum(e.minutes) AS minutes, max(t.points) AS top FROM unnest($1::int[], $2::int[], $3::date[]) k(tenant_id, project_id, today)
LEFT JOIN tasks t ON (t.tenant_id, t.project_id) = (k.tenant_id, k.project_id) LEFT JOIN time_entries e ON e.tenant_id = t.tenant_id AND e.task_id = t.id GROUP BY 1, 2
--- end
-- name: saas_labels
-- path: saas
-- reads: projects(tenant_id,id,name) tasks(tenant_id,id,project_id) task_labels(tenant_id,task_id,label_id) labels(tenant_id,id,name)
-- rule: projects=own tasks=right task_labels=right labels=none
-- proof: projects=tenant_id,id tasks=tenant_id,project_id task_labels=tenant_id,task_id>tasks.tenant_id,project_id labels=tenant_id,id>task_labels.tenant_id,task_id>tasks.tenant_id,project_id
SELECT p.tenant_id, p.id AS project_id, p.name, string_agg(DISTINCT l.name, ',' ORDER BY l.name) AS labels FROM unnest($1::int[], $2::int[], $3::date[]) k(a, b, today) JOIN projects p ON p.tenant_id = k.a AND p.id = k.b
LEFT JOIN tasks t ON t.tenant_id = p.tenant_id AND t.project_id = p.id LEFT JOIN task_labels tl ON tl.tenant_id = t.tenant_id AND tl.task_id = t.id LEFT JOIN labels l ON l.tenant_id = tl.tenant_id AND l.id = tl.label_id GROUP BY 1, 2, 3
--- end
-- name: saas_tenant
-- path: saas
-- reads: tenants(id,plan) users(tenant_id) invoices(tenant_id,no,paid) invoice_lines(tenant_id,invoice_no,amount)
-- rule: tenants=own users=right invoices=right invoice_lines=right
-- proof: tenants=id users=tenant_id invoices=tenant_id invoice_lines=tenant_id
SELECT t.id AS tenant_id, t.plan, (SELECT count(*) FROM users u WHERE u.tenant_id = t.id) AS seats, (SELECT sum(l.amount) FROM invoices i JOIN invoice_lines l ON l.tenant_id = i.tenant_id AND l.invoice_no = i.no
  WHERE i.tenant_id = t.id AND NOT i.paid) AS due FROM tenants t WHERE t.id = ANY($1::int[]) AND $2::date[] IS NOT NULL
--- end
-- name: edge_whole_and_column
-- path: edge
-- reads: t(*)
SELECT k, count(t), max(t.a) FROM t WHERE k = ANY($1::int[]) GROUP BY k
--- end
-- name: edge_whole_alone
-- path: edge
-- reads: t(*)
SELECT 1 AS k, row_to_json(t) FROM t
--- end
-- name: edge_whole_function
-- path: edge
-- reads: t(*)
-- says: function:f_whole
SELECT t.k, t.f_whole FROM t
--- end
-- name: edge_star
-- path: edge
-- reads: base(id,k,x)
-- says: children:base
SELECT * FROM base WHERE k = ANY($1::int[])
--- end
-- name: edge_only
-- path: edge
-- reads: base(k,x)
SELECT k, x FROM ONLY base
--- end
-- name: edge_count_only
-- path: edge
-- reads: t()
SELECT 1 AS k, count(*) FROM t
--- end
-- name: edge_system_columns
-- path: edge
-- reads: t(ctid,xmin,tableoid,k)
-- says: system-column
SELECT k, ctid, xmin, tableoid FROM t
--- end
-- name: edge_names
-- path: edge
-- reads: "Tabla Ñ ""q"""("Clave á","from","日本","a_very_long_column_name_that_is_exactly_sixty_three_bytes_long_")
SELECT "Clave á", sum("from"), max("日本") FROM "Tabla Ñ ""q""" GROUP BY 1 HAVING max("a_very_long_column_name_that_is_exactly_sixty_three_bytes_long_") > 0
--- end
-- name: edge_types
-- path: edge
-- reads: t(k,c,cs,j,m,gen,idn)
SELECT k, (c).amount, (cs[1]).unit, j->>'n', j['n'], m::text, gen, idn FROM t WHERE k = ANY($1::key_t[])
--- end
-- name: edge_dropped_column
-- path: edge
-- reads: dropped(k,x)
SELECT k, x FROM dropped
--- end
-- name: edge_everywhere
-- path: edge
-- reads: t(id,k,a,b,m,gen,idn) base(id,k,x)
-- says: children:base
SELECT k, sum(a) FILTER (WHERE b > '') OVER w FROM t WHERE m IN ('ok') AND EXISTS (SELECT FROM base WHERE base.id = t.id LIMIT (SELECT max(x) FROM base)) WINDOW w AS (PARTITION BY gen ORDER BY idn) ORDER BY (SELECT min(base.k) FROM base)
--- end
-- name: edge_view_over_view
-- path: edge
-- reads: t(id,k,a,m)
-- says: view:v1 view:v2
SELECT k, a FROM v2 WHERE k = ANY($1::int[])
--- end
-- name: edge_view_unused_column
-- path: edge
-- reads: t(k,m)
-- says: view:v1
SELECT k FROM v1
--- end
-- name: edge_view_barrier
-- path: edge
-- reads: t(k,a,b)
-- says: view:v_barrier
SELECT k, sum(a) FROM v_barrier GROUP BY k
--- end
-- name: edge_view_whole
-- path: edge
-- reads: t(*)
-- says: view:v_whole
SELECT k, (whole).a FROM v_whole
--- end
-- name: edge_subselect_unused_column
-- path: edge
-- reads: t(k,a)
SELECT k, a FROM (SELECT k, a, b, unused FROM t) s
--- end
-- name: edge_join_removed
-- path: edge
-- reads: base(id,k) t(id)
-- says: children:base
SELECT base.k FROM base LEFT JOIN t ON t.id = base.id
--- end
-- name: edge_constant_false
-- path: edge
-- reads: t(k,a) base(x)
-- says: children:base
SELECT k, a FROM t WHERE false AND a > (SELECT max(x) FROM base)
--- end
-- name: edge_lockstep_values
-- path: edge
-- reads: t(k,a)
SELECT v.k, s.a FROM (VALUES (1, 2), (2, 3)) v(k, n) NATURAL JOIN (SELECT k::int AS k, a FROM t) s
--- end
-- name: edge_matview
-- path: edge
-- reads: mv(k,s)
-- says: matview:mv view:v_mv
SELECT k, s FROM v_mv
--- end
-- name: edge_function_atomic
-- path: edge
-- reads: t(k) base(k,x)
-- says: function:f_atomic children:base
SELECT k, f_atomic(k) FROM t
--- end
-- name: edge_function_string
-- path: edge
-- reads: t(k) base(k,x)
-- says: function:f_string children:base
SELECT k, f_string(k) FROM t
--- end
-- name: edge_function_srf
-- path: edge
-- reads: base(id,k,x)
-- says: function:f_inline children:base
SELECT b.k, b.x FROM unnest($1::int[]) u(k), f_inline(u.k) b
--- end
-- name: edge_function_plpgsql
-- path: edge
-- reads: t(k)
-- says: hidden:f_plpgsql
SELECT k, f_plpgsql(k) FROM t
--- end
-- name: edge_function_pure
-- path: edge
-- reads: t(k)
SELECT k, f_pure(k) FROM t
--- end
-- name: edge_operator
-- path: edge
-- reads: t(k,a) base()
-- says: function:plus_base children:base
SELECT k, a <~> 1 FROM t
--- end
-- name: edge_view_func
-- path: edge
-- reads: t(k) base(k,x)
-- says: view:v_func function:f_atomic children:base
SELECT k, s FROM v_func
--- end
-- name: edge_policy
-- path: edge
-- reads: guarded(tenant_id,x) tenants(id,owner)
-- says: policy:guarded session
SELECT tenant_id, sum(x) FROM guarded GROUP BY 1
--- end
-- name: edge_catalog
-- path: edge
-- reads: t(k)
-- says: catalog:pg_class
SELECT k, (SELECT reltuples FROM pg_class WHERE relname = 't') FROM t
--- end
-- name: edge_time
-- path: edge
-- reads: t(k,a)
-- says: time
SELECT k, count(*) FILTER (WHERE a > extract(epoch FROM localtimestamp)) FROM t GROUP BY k
--- end
-- name: edge_time_many
-- path: edge
-- reads: t(k)
-- says: time random session sequence
SELECT k, now(), current_date, clock_timestamp(), statement_timestamp(), age(timestamp '2020-01-01'), random(), current_user, current_setting('TimeZone'), (SELECT last_value FROM sq) FROM t
--- end
-- name: edge_time_literal
-- path: edge
-- reads: t(k)
-- says: time-literal
SELECT k FROM t WHERE date 'today' > '2020-01-01'
--- end
-- name: edge_tablesample
-- path: edge
-- reads: t(k)
-- says: random
SELECT k, count(*) FROM t TABLESAMPLE system (50) GROUP BY k
--- end
-- name: edge_large_object
-- path: edge
-- reads: t(k)
-- says: outside
SELECT k, lo_get(k::oid) FROM t
--- end
-- name: edge_ruled
-- path: edge
-- reads: ruled(k,x)
SELECT k, x FROM ruled
--- end
-- name: edge_refuse_several
-- path: edge
-- refuse: several
SELECT 1; SELECT 2
--- end
-- name: edge_refuse_cte_dml
-- path: edge
-- refuse: writes
WITH d AS (DELETE FROM t RETURNING k) SELECT k, count(*) FROM d GROUP BY k
--- end
-- name: edge_refuse_dml_returning
-- path: edge
-- refuse: writes
UPDATE t SET a = a RETURNING k, a
--- end
-- name: edge_refuse_for_update
-- path: edge
-- refuse: locks
SELECT k FROM (SELECT k FROM t FOR SHARE) s
--- end
-- name: edge_refuse_utility
-- path: edge
-- refuse: not-a-query
SHOW search_path
--- end
-- name: edge_refuse_into
-- path: edge
-- refuse: not-a-query
SELECT k INTO q FROM t
--- end
-- name: edge_refuse_untyped
-- path: edge
-- refuse: untyped
SELECT u FROM unnest($1) u
--- end
-- name: edge_refuse_break_out
-- path: edge
-- refuse: several
SELECT 1 AS k; END; CREATE TABLE stolen(); BEGIN
--- end
-- name: edge_refuse_open_comment
-- path: edge
-- refuse: syntax
SELECT 1 AS k /* open
--- end
-- name: edge_refuse_missing
-- path: edge
-- refuse: undefined
SELECT k, nope FROM t
--- end
-- name: edge_refuse_writes_sequence
-- path: edge
-- refuse: writes
SELECT nextval('sq') AS k
--- end
-- name: edge_untyped_equality
-- path: edge
-- reads: t(k,a)
SELECT k, a FROM t WHERE k = ANY($1) /* trailing */ ; -- done
--- end
-- name: edge_function_table
-- path: public
-- reads: base(k,x)
-- says: function:f_table children:base
SELECT f.k, f.n FROM edge.f_table(0) f
--- end
-- name: edge_function_polymorphic
-- path: edge
-- reads: t(k)
-- says: function:f_any hidden:f_any
SELECT k, f_any(k) FROM t
--- end
-- name: edge_virtual_column
-- path: edge
-- min: 18
-- reads: virt(k,a)
SELECT k, v FROM virt
--- end
-- name: edge_security_invoker
-- path: edge
-- reads: guarded(tenant_id,x) tenants(id,owner)
-- says: view:v_invoker policy:guarded session
SELECT tenant_id, sum(x) FROM v_invoker GROUP BY 1
--- end
-- name: edge_information_schema
-- path: edge
-- reads: t(k)
-- says: catalog:columns
SELECT k, (SELECT count(*) FROM information_schema.columns WHERE table_name = 't') FROM t
--- end
-- name: edge_table_command
-- path: edge
-- reads: dropped(id,k,x)
TABLE dropped
--- end
-- name: edge_grouping_sets
-- path: edge
-- reads: t(k,a,m)
SELECT k, m, sum(a) FROM t GROUP BY GROUPING SETS ((k), (k, m), ())
--- end
-- name: edge_join_alias_whole
-- path: edge
-- reads: ruled(*) dropped(*)
SELECT j.id, count(j) FROM (ruled JOIN dropped USING (id)) j GROUP BY j.id
--- end
-- name: edge_full_using
-- path: edge
-- reads: ruled(k,x) dropped(k,x)
SELECT k, ruled.x, dropped.x FROM ruled FULL JOIN dropped USING (k)
--- end
-- name: edge_aggregate
-- path: edge
-- reads: t(k,a)
SELECT k, edge.total(a) FROM t GROUP BY k
--- end
-- name: edge_json_table
-- path: edge
-- min: 17
-- reads: t(k,j)
SELECT k, jt.n FROM t, JSON_TABLE(t.j, '$' COLUMNS (n int PATH '$.n')) jt
--- end
-- name: edge_refuse_merge
-- path: edge
-- min: 17
-- refuse: writes
MERGE INTO dropped r USING ruled d ON r.id = d.id WHEN MATCHED THEN UPDATE SET x = d.x RETURNING r.k
--- end
-- name: edge_refuse_function_writes
-- path: edge
-- refuse: writes
SELECT k, f_writes(k) FROM t
--- end
