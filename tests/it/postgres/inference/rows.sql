-- Rows of the eight ordinary schemas, made so that two wrong lookups of a table differ from the right one.

SET search_path = shop;
INSERT INTO shops SELECT i, 's'||i, (array['EUR','USD'])[1+i%2] FROM generate_series(1,6) i;
INSERT INTO customers SELECT i, 1+i%6, 'c'||i, 'x'||i FROM generate_series(1,40) i;
INSERT INTO products SELECT i, 1+i%6, 'p'||i, 1+i%9, i FROM generate_series(1,30) i;
INSERT INTO coupons SELECT 'C'||i, 1+i%6, 5*i FROM generate_series(1,6) i;
INSERT INTO orders SELECT i, 1+(i*7)%6, 1+i%40, (array['open','paid','sent'])[1+i%3], date '2026-11-01'+i%30, CASE WHEN i%5=0 THEN 'C'||(1+i%6) END FROM generate_series(1,120) i;
INSERT INTO order_lines SELECT o, 1+(o*5+l*11)%30, 1+l, 2+l FROM generate_series(1,120) o, generate_series(0,1) l ON CONFLICT DO NOTHING;
INSERT INTO payments SELECT i, i, 10+i, i%2=0 FROM generate_series(1,90) i;
INSERT INTO warehouses SELECT i, 1+(i+2)%6, 'w' FROM generate_series(1,8) i;
INSERT INTO shipments SELECT i, i, 1+i%8, date '2026-11-12'+i%18 FROM generate_series(1,60) i;
INSERT INTO returns SELECT row_number() OVER (), order_id, product_id, 1 FROM order_lines WHERE order_id%10=0;
INSERT INTO fx VALUES ('EUR','2026-11-01',1),('USD','2026-11-01',1.1);

SET search_path = clinic;
INSERT INTO usuarios SELECT u(i), 'e'||i, 'cliente' FROM generate_series(1,30) i;
INSERT INTO negocios SELECT u(i), u(i), 'n'||i, 'America/Guayaquil', true FROM generate_series(1,5) i;
INSERT INTO estaciones SELECT u(i), u(1+i%5), 'e'||i FROM generate_series(1,12) i;
INSERT INTO servicios SELECT u(i), u(1+i%5), 5*i, 's'||i FROM generate_series(1,15) i;
INSERT INTO clientes SELECT u(i), u(i), 'c'||i FROM generate_series(1,30) i;
INSERT INTO citas SELECT u(i), u(1+i%30), u(1+(i*3)%5), u(1+i%12), u(1+i%15), date '2026-11-20'+i%15, '09:00','09:30', (array['pendiente','atendida','cancelada'])[1+i%3]::estado, now() FROM generate_series(1,150) i;
INSERT INTO pagos SELECT u(i), u(i), i, 'x' FROM generate_series(1,80) i;
INSERT INTO horarios SELECT u(i), u(1+i%12), i%7, '08:00','18:00' FROM generate_series(1,24) i;
INSERT INTO resenas SELECT u(i), u(i*2), 1+i%5, '' FROM generate_series(1,50) i;

SET search_path = school;
INSERT INTO schools SELECT i,'s'||i FROM generate_series(1,4) i;
INSERT INTO teachers SELECT i,1+i%4,'t'||i FROM generate_series(1,10) i;
INSERT INTO rooms SELECT i,1+(i+1)%4,20 FROM generate_series(1,8) i;
INSERT INTO courses SELECT i,1+(i*3)%4,1+i%10,'c'||i FROM generate_series(1,16) i;
INSERT INTO students SELECT i,1+i%4,'n'||i FROM generate_series(1,40) i;
INSERT INTO enrollments SELECT s,1+(s*7+c*5)%16,(s+c)%10 FROM generate_series(1,40) s, generate_series(1,2) c ON CONFLICT DO NOTHING;
INSERT INTO lessons SELECT i,1+i%16,1+i%8,date '2026-11-01'+i%28 FROM generate_series(1,48) i;
INSERT INTO attendance SELECT l,1+(l*3+s)%40,s%3>0 FROM generate_series(1,48) l, generate_series(1,3) s;
INSERT INTO exams SELECT i,1+i%12,1+i%3 FROM generate_series(1,20) i;
INSERT INTO results SELECT e,1+(e*5+s)%40,(e*7+s*13)%50 FROM generate_series(1,20) e, generate_series(1,4) s;

SET search_path = blog;
INSERT INTO authors SELECT i,'a'||i FROM generate_series(1,8) i;
INSERT INTO categories SELECT i,CASE WHEN i>3 THEN 1+i%3 END,'k'||i FROM generate_series(1,9) i;
INSERT INTO posts SELECT i,1+i%8,1+(i+3)%8,1+i%9,'t'||i,'b',date '2026-11-01'+i%20 FROM generate_series(1,40) i;
INSERT INTO comments SELECT i,1+(i*3)%40,1+(i*5)%8,CASE WHEN i>50 THEN i-50 END,'',i%7=0 FROM generate_series(1,100) i;
INSERT INTO tags SELECT i,'t'||i FROM generate_series(1,10) i;
INSERT INTO post_tags SELECT p,1+(p+t*3)%10 FROM generate_series(1,40) p, generate_series(1,2) t;
INSERT INTO likes SELECT p,1+(p*3+a)%8 FROM generate_series(1,40) p, generate_series(1,3) a;
INSERT INTO follows SELECT a,1+(a+d)%8 FROM generate_series(1,8) a, generate_series(1,3) d;
INSERT INTO media SELECT i,i,1000*i FROM generate_series(1,30) i;

SET search_path = chat;
INSERT INTO users SELECT i,'u'||i FROM generate_series(1,10) i;
INSERT INTO rooms SELECT i,1+i%10,'r'||i FROM generate_series(1,8) i;
INSERT INTO members SELECT r,1+(r*3+u)%10,5*r FROM generate_series(1,8) r, generate_series(1,4) u;
INSERT INTO messages SELECT i,1+i%8,1+(i*7)%10,'m',i%11=0 FROM generate_series(1,80) i;
INSERT INTO reactions SELECT m,1+(m*3+u)%10,'+' FROM generate_series(1,80) m, generate_series(1,2) u;
INSERT INTO attachments SELECT i,i,i FROM generate_series(1,30) i;
INSERT INTO blocks SELECT u,1+(u+4)%10 FROM generate_series(1,10) u;
INSERT INTO devices SELECT i,1+i%10,'p' FROM generate_series(1,14) i;

SET search_path = bank;
INSERT INTO branches SELECT i,'b' FROM generate_series(1,3) i;
INSERT INTO customers SELECT i,1+i%3,'c' FROM generate_series(1,12) i;
INSERT INTO accounts SELECT i,1+i%12,(array['EUR','USD'])[1+i%2],'2020-01-01' FROM generate_series(1,16) i;
INSERT INTO transfers SELECT i,1+i%16,1+(i*5+2)%16,i,date '2026-11-01'+i%28,(array['done','open'])[1+i%2] FROM generate_series(1,100) i;
INSERT INTO cards SELECT i,1+i%16,1+(i+3)%12,1000 FROM generate_series(1,20) i;
INSERT INTO card_tx SELECT i,1+i%20,i,date '2026-11-01'+i%28 FROM generate_series(1,60) i;
INSERT INTO loans SELECT i,1+i%16,1+(i+6)%16,500 FROM generate_series(1,10) i;
INSERT INTO rates VALUES('EUR','2026-11-28',1),('USD','2026-11-28',1.1); INSERT INTO fees VALUES('EUR',1),('USD',2);

SET search_path = fleet;
INSERT INTO fleets SELECT i,'f'||i,90 FROM generate_series(1,4) i;
INSERT INTO drivers SELECT i,1+i%4,'d' FROM generate_series(1,9) i;
INSERT INTO firmware VALUES('1.0',true),('2.0',false);
INSERT INTO devices SELECT i,1+(i*3)%4,(array['1.0','2.0'])[1+i%2],'p'||i FROM generate_series(1,12) i;
INSERT INTO telemetry SELECT 1+i%12,timestamptz '2026-10-20 00:00Z'+i*interval '5 hours',20+i%20,60+i%60,'{}' FROM generate_series(1,200) i;
INSERT INTO alerts SELECT i,1+i%12,i%4,i%2=0 FROM generate_series(1,30) i;
INSERT INTO trips SELECT i,1+i%12,1+(i*2)%9,i,date '2026-11-01'+i%28 FROM generate_series(1,40) i;
INSERT INTO geofences SELECT i,1+i%4,'((0,0),(1,1),(1,0))' FROM generate_series(1,4) i;
INSERT INTO fuel SELECT i,i,i FROM generate_series(1,30) i;

SET search_path = saas;
INSERT INTO tenants SELECT i,'t'||i,'free' FROM generate_series(1,3) i;
INSERT INTO users SELECT t,u,'e' FROM generate_series(1,3) t, generate_series(1,6) u;
INSERT INTO projects SELECT t,p,'p' FROM generate_series(1,3) t, generate_series(1,4) p;
INSERT INTO tasks SELECT t,i,1+i%4,1+i%6,(array['open','done'])[1+i%2],i%8 FROM generate_series(1,3) t, generate_series(1,30) i;
INSERT INTO notes SELECT t,i,1+i%30,1+i%6,'' FROM generate_series(1,3) t, generate_series(1,40) i;
INSERT INTO time_entries SELECT t,i,1+(i*7)%30,1+i%6,i FROM generate_series(1,3) t, generate_series(1,50) i;
INSERT INTO invoices SELECT t,i,i%2=0 FROM generate_series(1,3) t, generate_series(1,6) i;
INSERT INTO invoice_lines SELECT t,1+i%6,i,1+i%4,i FROM generate_series(1,3) t, generate_series(1,18) i;
INSERT INTO labels SELECT t,i,'l'||i FROM generate_series(1,3) t, generate_series(1,5) i;
INSERT INTO task_labels SELECT t,i,1+i%5 FROM generate_series(1,3) t, generate_series(1,30) i;
