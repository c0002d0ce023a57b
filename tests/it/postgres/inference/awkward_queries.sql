-- Queries over awkward_schema.sql with answers that were written by hand before the first run: for each table the columns that are read,
-- and its lookups, or `?` and the reason why none is proven. `(?)`: 14 and 15 find more columns, of views with UNION.

-- name: cte_of_keys
-- keys: 1
-- table: mt.orders(id,placed_on,status,tenant_id): tenant_id
-- table: mt.lines(amount,order_id,tenant_id): tenant_id
WITH k AS MATERIALIZED (SELECT x.id, x.hoy FROM unnest($1::int[], $2::date[]) AS x (id, hoy))
SELECT k.id AS tenant_id, count(DISTINCT o.id) AS orders, coalesce(sum(l.amount), 0) AS amount
FROM k LEFT JOIN mt.orders o ON o.tenant_id = k.id AND o.status IN ('paid', 'shipped') AND o.placed_on BETWEEN k.hoy - 30 AND k.hoy
LEFT JOIN mt.lines l ON l.tenant_id = o.tenant_id AND l.order_id = o.id
GROUP BY k.id
--- end

-- name: row_comparison
-- keys: 2
-- table: mt.customers(id,tenant_id,vip): tenant_id, id
-- table: mt.orders(customer_id,status,tenant_id): tenant_id, customer_id
SELECT u.t AS tenant_id, u.c AS customer_id, s.n, s.paid, (SELECT c.vip FROM mt.customers c WHERE (c.tenant_id, c.id) = (u.t, u.c)) AS vip
FROM unnest($1::int[], $2::int[], $3::date[]) AS u (t, c, hoy) CROSS JOIN LATERAL (
  SELECT count(*) AS n, count(*) FILTER (WHERE o.status = 'paid') AS paid FROM mt.orders o WHERE (o.tenant_id, o.customer_id) = (u.t, u.c)) s
--- end

-- name: group_by_primary_key
-- keys: 1
-- table: mt.tenants(id,plan,slug): id
-- table: mt.customers(id,tenant_id): tenant_id
SELECT t.id, t.slug, t.plan, count(c.id) AS customers FROM mt.tenants t LEFT JOIN mt.customers c ON c.tenant_id = t.id
WHERE t.id = ANY ($1::int[]) GROUP BY t.id
--- end

-- name: natural_and_using
-- keys: 2
-- table: mt.lines(order_id,qty,sku,tenant_id): tenant_id, sku
-- table: mt.orders(id): id > lines.tenant_id, sku
-- table: mt.products(name,price,sku,tenant_id): tenant_id, sku
SELECT tenant_id, sku, max(p.name) AS name, sum(l.qty) AS qty, max(p.price) AS price
FROM (SELECT x.tenant_id, x.sku FROM unnest($1::int[], $2::text[], $3::date[]) AS x (tenant_id, sku, hoy)) k NATURAL JOIN mt.products p
LEFT JOIN (mt.lines l JOIN mt.orders o (tenant, order_id) USING (order_id)) USING (tenant_id, sku)
GROUP BY tenant_id, sku
--- end

-- name: the_other_role
-- keys: 1
-- table: mt.orders(id,ship_tenant_id,tenant_id): ship_tenant_id
-- table: mt.lines(order_id,qty,tenant_id): tenant_id, order_id > orders.ship_tenant_id
SELECT u.id, coalesce(sum(l.qty), 0) AS qty FROM unnest($1::int[]) AS u (id)
LEFT JOIN mt.orders o ON o.ship_tenant_id = u.id LEFT JOIN mt.lines l ON (l.tenant_id, l.order_id) = (o.tenant_id, o.id) GROUP BY u.id
--- end

-- name: rank_within_the_key
-- keys: 1
-- table: mt.orders(customer_id,id,placed_on,status,tenant_id): tenant_id
-- table: mt.lines(amount,order_id,tenant_id): tenant_id
SELECT u.id, (SELECT max(r.total) FROM (SELECT t.*, rank() OVER (PARTITION BY t.tenant_id ORDER BY t.total DESC NULLS LAST) AS p FROM mt.order_totals t) r
  WHERE r.tenant_id = u.id AND r.p = 2) AS second FROM unnest($1::int[]) AS u (id)
--- end

-- name: rank_in_the_world
-- keys: 1
-- table: mt.orders(customer_id,id,placed_on,status,tenant_id): ? Boundary(Window)
-- table: mt.lines(amount,order_id,tenant_id): ? Boundary(Window)
SELECT u.id, (SELECT min(r.world) FROM mt.ranked r WHERE r.tenant_id = u.id) AS best FROM unnest($1::int[]) AS u (id)
--- end

-- name: limit_in_a_view
-- keys: 1
-- table: mt.orders(customer_id,id,placed_on,status,tenant_id): ? Boundary(Limit)
-- table: mt.lines(amount,order_id,tenant_id): ? Boundary(Limit)
SELECT u.id, (SELECT count(*) FROM mt.top10 t WHERE t.tenant_id = u.id) AS in_top FROM unnest($1::int[]) AS u (id)
--- end

-- name: equal_names
-- keys: 1
-- table: mt.orders(?): tenant_id
-- table: archive.orders(?): tenant_id
SELECT u.id, v.* FROM unnest($1::int[], $2::date[]) AS u (id, hoy) CROSS JOIN LATERAL (
  SELECT count(*) AS n, sum(a.total) AS total FROM mt.all_orders a WHERE a.tenant_id = u.id AND a.status <> 'void' AND a.placed_on <= u.hoy) v
--- end

-- name: except
-- keys: 1
-- table: mt.products(sku,tenant_id): tenant_id
-- table: mt.lines(sku,tenant_id): tenant_id
SELECT u.id, count(x.sku) AS never_sold FROM unnest($1::int[]) AS u (id)
LEFT JOIN (SELECT tenant_id, sku FROM mt.products EXCEPT SELECT tenant_id, sku FROM mt.lines) x ON x.tenant_id = u.id GROUP BY u.id
--- end

-- name: not_in_of_the_key
-- keys: 1
-- table: mt.tenants(id): id
-- table: mt.orders(ship_tenant_id): ? NoPath
SELECT u.id, (SELECT count(*) FROM mt.tenants t WHERE t.id = u.id AND t.id NOT IN (SELECT o.ship_tenant_id FROM mt.orders o)) AS never FROM unnest($1::int[]) AS u (id)
--- end

-- name: is_not_false
-- keys: 1
-- table: mt.orders(ship_tenant_id): ? NoPath
SELECT u.id, (SELECT count(*) FROM mt.orders o WHERE (o.ship_tenant_id = u.id) IS NOT FALSE) AS n FROM unnest($1::int[]) AS u (id)
--- end

-- name: full_join
-- keys: 1
-- table: mt.orders(id,tenant_id): ? NoPath
-- table: archive.orders(id,tenant_id): ? NoPath
SELECT u.id, count(a.id) AS both FROM unnest($1::int[]) AS u (id) JOIN (mt.orders o FULL JOIN archive.orders a ON (a.tenant_id, a.id) = (o.tenant_id, o.id)) ON o.tenant_id = u.id GROUP BY u.id
--- end

-- name: on_of_a_left_join
-- keys: 1
-- table: mt.tenants(id,plan): id
-- table: mt.orders(id,tenant_id): ? NoPath
SELECT u.id, count(o.id) AS orders, count(t.id) AS pro FROM unnest($1::int[]) AS u (id) CROSS JOIN mt.orders o
LEFT JOIN mt.tenants t ON t.id = u.id AND t.id = o.tenant_id AND t.plan = 'pro' GROUP BY u.id
--- end

-- name: key_in_an_array
-- keys: 1
-- table: mt.coupons(off,tenant_ids): ? NoPath
SELECT u.id, (SELECT max(c.off) FROM mt.coupons c WHERE u.id = ANY (c.tenant_ids)) AS best FROM unnest($1::int[]) AS u (id)
--- end

-- name: char_with_a_length
-- keys: 1
-- table: mt.tenants(id,region): region
-- table: mt.orders(status,tenant_id): tenant_id > tenants.region
SELECT u.r AS region, count(*) FILTER (WHERE o.status = 'paid') AS paid FROM unnest($1::char(4)[]) AS u (r) JOIN mt.tenants t ON t.region = u.r
LEFT JOIN mt.orders o ON o.tenant_id = t.id GROUP BY u.r
--- end

-- name: enum_and_day
-- keys: 2
-- table: mt.orders(placed_on,status,tenant_id): tenant_id, status
SELECT u.t AS tenant_id, u.s AS status, (SELECT count(*) FROM mt.orders o WHERE o.tenant_id = u.t AND o.status = u.s AND o.placed_on = u.hoy) AS n
FROM unnest($1::int[], $2::mt.order_status[], $3::date[]) AS u (t, s, hoy)
--- end

-- name: joined_without_the_tenant
-- keys: 1
-- table: mt.products(sku,tenant_id): tenant_id
-- table: mt.price_lists(*): sku > products.tenant_id
SELECT u.id, count(l) FILTER (WHERE l.valid @> u.hoy) AS lists FROM unnest($1::int[], $2::date[]) AS u (id, hoy) JOIN mt.products p ON p.tenant_id = u.id
LEFT JOIN mt.price_lists l ON l.sku = p.sku GROUP BY u.id
--- end

-- name: function_as_text
-- keys: 1
-- table: mt.orders(id,tenant_id): tenant_id
-- table: mt.lines(amount,order_id,tenant_id): ? InFunction
SELECT u.id, (SELECT sum(mt.order_total(o.tenant_id, o.id)) FROM mt.orders o WHERE o.tenant_id = u.id) AS amount FROM unnest($1::int[]) AS u (id)
--- end

-- name: table_named_changed
-- keys: 1
-- table: mt.orders(id,tenant_id): tenant_id
-- table: mt.changed(a"b,order_id,select): order_id > orders.tenant_id
SELECT u.id, count(c."a""b") AS n, sum(c."select") AS s FROM unnest($1::int[]) AS u (id) JOIN mt.orders o ON o.tenant_id = u.id LEFT JOIN mt.changed c ON c.order_id = o.id GROUP BY u.id
--- end

-- name: constant_arm
-- keys: 1
-- table: mt.orders(id,tenant_id): tenant_id
-- table: mt.changed(id): ? NoPath
SELECT u.id, (SELECT sum(x.n) FROM (SELECT o.tenant_id, count(o.id) AS n FROM mt.orders o GROUP BY 1 UNION ALL SELECT 1, count(v.id) FROM mt.changed v) x WHERE x.tenant_id = u.id) AS n
FROM unnest($1::int[]) AS u (id)
--- end

-- name: view_with_a_sub_select
-- keys: 1
-- table: iot.Site(siteId): siteId
-- table: Ops.Ticket(Closed,No,Opened,siteId): siteId
-- table: Ops.ticket_event(ticketNo): ticketNo > Ticket.siteId
SELECT u.id AS "siteId", count(b."No") AS open, coalesce(sum(b.events), 0) AS events, min(b."Opened") AS oldest
FROM unnest($1::uuid[]) AS u (id) LEFT JOIN "Ops"."Board" b ON b."siteId" = u.id GROUP BY u.id
--- end

-- name: middle_of_an_inheritance
-- keys: 1
-- table: iot.vehicle(km,siteId): siteId
SELECT u.id AS site, (SELECT sum(v.km) FROM iot.vehicle v WHERE v."siteId" = u.id) AS km FROM unnest($1::uuid[]) AS u (id)
--- end

-- name: partition_by_name
-- keys: 1
-- table: iot.asset(id,siteId): siteId
-- table: iot.device(asset_id,serial): asset_id > asset.siteId
-- table: iot.reading_old(serial,value): serial > device.asset_id > asset.siteId
SELECT u.id AS site, sum(r.value) AS v FROM unnest($1::uuid[]) AS u (id) JOIN iot.asset a ON a."siteId" = u.id JOIN iot.device d ON d.asset_id = a.id
LEFT JOIN iot.reading_old r ON r.serial = d.serial GROUP BY u.id
--- end

-- name: parts_of_two_tables
-- keys: 2
-- table: iot.alarm(cleared,serial,severity): serial > device.asset_id > asset.siteId, kind
-- table: iot.device(asset_id,kind,serial): asset_id > asset.siteId, kind
-- table: iot.asset(id,siteId): id > device.siteId, kind
SELECT u.id AS site, u.k AS kind, (SELECT count(*) FROM iot.open_alarm o JOIN iot.asset a ON a.id = o.asset_id WHERE a."siteId" = u.id AND o.kind = u.k AND o.severity > 2) AS n
FROM unnest($1::uuid[], $2::iot.kind[], $3::date[]) AS u (id, k, hoy)
--- end

-- name: operator_that_reads
-- keys: 1
-- table: iot.device(asset_id): ? NoPath
-- table: iot.asset(id,siteId): ? InFunction
SELECT u.a AS asset_id, (SELECT count(*) FROM iot.device d WHERE d.asset_id OPERATOR(iot.===) u.a) AS neighbours FROM unnest($1::int[]) AS u (a)
--- end

-- name: columns_with_a_collation
-- keys: 1
-- table: Ops.Ticket(No,assignee): assignee + No > ticket_event.user
-- table: Ops.ticket_event(kind,ticketNo,user): user
SELECT u.who, s.n, e.n AS closes FROM unnest($1::text[]) AS u (who) CROSS JOIN LATERAL (SELECT count(*) AS n FROM "Ops"."Ticket" t WHERE t.assignee = u.who) s
CROSS JOIN LATERAL (SELECT count(*) AS n FROM "Ops".ticket_event e JOIN "Ops"."Ticket" t ON t."No" = e."ticketNo" WHERE e."user" = u.who AND e.kind = 'close') e
--- end

-- name: equality_of_its_own
-- keys: 1
-- table: iot.tagging(tag,weight): ? NoPath
SELECT u.t AS tag, (SELECT sum(g.weight) FROM iot.tagging g WHERE g.tag OPERATOR(iot.=) u.t) AS w FROM unnest($1::text[]) AS u (t)
--- end

-- name: named_window
-- keys: 1
-- table: iot.reading(at,metric,serial,value): serial
SELECT u.s AS serial, (SELECT max(x.d) FROM (SELECT r.serial, r.value - lag(r.value) OVER w AS d FROM iot.reading r WINDOW w AS (PARTITION BY r.serial, r.metric ORDER BY r.at, r.value)) x WHERE x.serial = u.s) AS jump FROM unnest($1::char(8)[]) AS u (s)
--- end

-- name: two_foreign_keys
-- keys: 1
-- table: ledger.split(account_id,amount,transfer_id): account_id
-- table: ledger.transfer(amount,from_id,id,on_day,to_id,voided): from_id + to_id + id > split.account_id
SELECT u.id AS account_id, b.balance, b.last FROM unnest($1::int[]) AS u (id) LEFT JOIN ledger.balance b ON b.account_id = u.id
--- end

-- name: parts_of_two_accounts
-- keys: 2
-- table: ledger.account(book_id,id): ? ChangedTogether
-- table: ledger.transfer(amount,from_id,to_id): ? NoPath
SELECT u.f AS from_book, u.t AS to_book, (SELECT sum(x.amount) FROM ledger.transfer x JOIN ledger.account a ON a.id = x.from_id JOIN ledger.account b ON b.id = x.to_id
  WHERE (a.book_id, b.book_id) = (u.f, u.t)) AS amount FROM unnest($1::int[], $2::int[], $3::date[]) AS u (f, t, hoy)
--- end

-- name: in_of_two_columns
-- keys: 1
-- table: ledger.account(book_id,code,id): book_id
-- table: ledger.approver(account_id,level,who): account_id, who > account.book_id
SELECT u.id AS book_id, (SELECT count(*) FROM ledger.account a WHERE a.book_id = u.id AND (a.id, a.code) IN (SELECT p.account_id, p.who FROM ledger.approver p WHERE p.level > 1)) AS n FROM unnest($1::int[]) AS u (id)
--- end

-- name: any_and_all
-- keys: 1
-- table: ledger.approver(account_id,who): who
-- table: ledger.account(id,kind): id > approver.who
-- table: ledger.budget(account_id): ? NoPath
SELECT u.w AS who, (SELECT count(*) FROM ledger.account a WHERE a.id = ANY (SELECT p.account_id FROM ledger.approver p WHERE p.who = u.w) AND a.kind = 'a'
  AND a.id <> ALL (SELECT b.account_id FROM ledger.budget b)) AS n FROM unnest($1::text[]) AS u (w)
--- end

-- name: output_of_another_column
-- keys: 1
-- table: ledger.transfer(from_id,to_id): ? Key(NotTheKey { part: 1, output: "account_id" })
SELECT t.to_id AS account_id, count(*) AS n FROM ledger.transfer t WHERE t.from_id = ANY ($1::int[]) GROUP BY t.to_id
--- end

-- name: nested_outer_joins
-- keys: 1
-- table: ledger.account(book_id,id): book_id
-- table: ledger.budget(account_id,cap): account_id > account.book_id
-- table: ledger.approver(account_id,who): account_id > account.book_id
SELECT u.id AS book_id, count(b.cap) AS caps, count(p.who) AS people FROM unnest($1::int[]) AS u (id) LEFT JOIN (ledger.account a LEFT JOIN ledger.budget b ON b.account_id = a.id
  LEFT JOIN ledger.approver p ON p.account_id = a.id AND p.account_id = b.account_id) ON a.book_id = u.id GROUP BY u.id
--- end

-- name: or_in_on
-- keys: 1
-- table: mt.orders(id,ship_tenant_id,status,tenant_id): tenant_id + ship_tenant_id
SELECT u.id, count(o.id) FILTER (WHERE o.status = 'paid') AS n FROM unnest($1::int[]) AS u (id)
LEFT JOIN mt.orders o ON o.tenant_id = u.id OR o.ship_tenant_id = u.id GROUP BY u.id
--- end

-- name: or_in_on_of_both_sides
-- keys: 1
-- table: mt.orders(id,ship_tenant_id,tenant_id): tenant_id + ship_tenant_id
-- table: mt.lines(order_id,qty): order_id > orders.tenant_id + order_id > orders.ship_tenant_id
SELECT u.id, sum(l.qty) AS qty FROM unnest($1::int[]) AS u (id)
JOIN (mt.orders o JOIN mt.lines l ON l.order_id = o.id) ON u.id = o.tenant_id OR u.id = o.ship_tenant_id GROUP BY u.id
--- end

-- name: or_in_on_of_the_kept_side
-- keys: 1
-- table: mt.tenants(id,plan): ? NoPath
-- table: mt.orders(id,ship_tenant_id,tenant_id): tenant_id + ship_tenant_id
SELECT u.id, count(t.plan) AS pro, count(o.id) AS n FROM unnest($1::int[]) AS u (id) CROSS JOIN mt.tenants t
LEFT JOIN mt.orders o ON (o.tenant_id = u.id AND t.id = u.id) OR (o.ship_tenant_id = u.id AND t.id = u.id) GROUP BY u.id
--- end
