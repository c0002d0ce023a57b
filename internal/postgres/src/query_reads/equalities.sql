-- Operators with the B-tree families whose equality they are. The search path is pg_catalog.
SELECT o.oid,
  ARRAY(SELECT a.amopfamily FROM pg_amop a JOIN pg_am m ON m.oid = a.amopmethod
        WHERE a.amopopr = o.oid AND a.amopstrategy = 3 AND a.amoppurpose = 's' AND m.amname = 'btree'),
  p.provolatile = 'i'
FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
WHERE o.oid = ANY ($1)
