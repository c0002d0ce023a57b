-- The changes behind a cursor, with what the tables say about each of them now. A row of the log is only a hint: its
-- conversation must be the one that the table names, and what it reports must be true. $1 and $3 are snapshots as text.
SELECT s.bound::pg_catalog.text, c.id, c.kind, c.conversation_id, c.message_id, c.user_id,
       coalesce(n.payload::pg_catalog.text, CASE
         WHEN c.kind OPERATOR(pg_catalog.=) 'message_deleted' THEN pg_catalog.jsonb_build_object('everyone', coalesce((
           SELECT m.delete_for_everyone FROM messages m WHERE m.id OPERATOR(pg_catalog.=) c.message_id LIMIT 1), true))
         -- The log says which of the settings changed, the table to what.
         WHEN c.kind OPERATOR(pg_catalog.=) 'settings_updated' THEN (
           SELECT pg_catalog.jsonb_build_object('settings', p.settings,
             'archived', CASE WHEN c.detail OPERATOR(pg_catalog.->>) 'archived' IS NOT NULL
                              THEN coalesce(p.settings OPERATOR(pg_catalog.->) 'archived', 'false') END,
             'pinned', CASE WHEN c.detail OPERATOR(pg_catalog.->>) 'pinned' IS NOT NULL
                            THEN coalesce(p.settings OPERATOR(pg_catalog.->) 'pinned', 'false') END)
             FROM conversation_members p
            WHERE p.conversation_id OPERATOR(pg_catalog.=) c.conversation_id AND p.user_id OPERATOR(pg_catalog.=) c.user_id LIMIT 1)
         ELSE c.detail
       END::pg_catalog.text),
       (extract(epoch FROM c.at) OPERATOR(pg_catalog.*) 1000000)::bigint,
       CASE
         WHEN c.kind OPERATOR(pg_catalog.=) ANY (ARRAY['message_added', 'message_edited']) THEN (
           SELECT m.conversation_id OPERATOR(pg_catalog.=) c.conversation_id
             FROM messages m WHERE m.id OPERATOR(pg_catalog.=) c.message_id LIMIT 1)
         WHEN c.kind OPERATOR(pg_catalog.=) 'message_deleted' THEN coalesce((
           SELECT m.conversation_id OPERATOR(pg_catalog.=) c.conversation_id AND m.is_deleted
             FROM messages m WHERE m.id OPERATOR(pg_catalog.=) c.message_id LIMIT 1), true)
         WHEN c.kind OPERATOR(pg_catalog.=) ANY (ARRAY['message_read', 'message_delivered']) THEN (
           SELECT m.conversation_id OPERATOR(pg_catalog.=) c.conversation_id AND (
                    SELECT d.read_at IS NOT NULL OR (d.delivered_at IS NOT NULL AND c.kind OPERATOR(pg_catalog.=) 'message_delivered')
                      FROM delivery_statuses d
                     WHERE d.message_id OPERATOR(pg_catalog.=) m.id AND d.user_id OPERATOR(pg_catalog.=) c.user_id LIMIT 1)
             FROM messages m WHERE m.id OPERATOR(pg_catalog.=) c.message_id LIMIT 1)
         WHEN c.kind OPERATOR(pg_catalog.=) ANY (ARRAY['reaction_added', 'reaction_removed']) THEN (
           SELECT m.conversation_id OPERATOR(pg_catalog.=) c.conversation_id AND (
                    (SELECT true FROM message_reactions r
                      WHERE r.message_id OPERATOR(pg_catalog.=) m.id AND r.user_id OPERATOR(pg_catalog.=) c.user_id
                        AND r.reaction OPERATOR(pg_catalog.=) (c.detail OPERATOR(pg_catalog.->>) 'reaction') LIMIT 1) IS NOT NULL
                  ) OPERATOR(pg_catalog.=) (c.kind OPERATOR(pg_catalog.=) 'reaction_added')
             FROM messages m WHERE m.id OPERATOR(pg_catalog.=) c.message_id LIMIT 1)
         WHEN c.kind OPERATOR(pg_catalog.=) ANY (ARRAY['member_added', 'conversation_read', 'settings_updated', 'member_removed']) THEN
           coalesce((
             SELECT p.is_active FROM conversation_members p
              WHERE p.conversation_id OPERATOR(pg_catalog.=) c.conversation_id AND p.user_id OPERATOR(pg_catalog.=) c.user_id LIMIT 1
           ), false) OPERATOR(pg_catalog.<>) (c.kind OPERATOR(pg_catalog.=) 'member_removed')
         WHEN c.kind OPERATOR(pg_catalog.=) 'notification' THEN n.payload IS NOT NULL
         ELSE true
       END
  FROM (SELECT $1::pg_catalog.text::pg_catalog.pg_snapshot AS seen,
               ARRAY(SELECT pg_catalog.pg_snapshot_xip($1::pg_catalog.text::pg_catalog.pg_snapshot)) AS running,
               coalesce($3::pg_catalog.text::pg_catalog.pg_snapshot, pg_catalog.pg_current_snapshot()) AS bound) s
  LEFT JOIN LATERAL (
    -- Transactions that the cursor's snapshot saw running may have lower ids than its last one; all others have higher ids. The lower
    -- bound of both keeps the scan short, and «+ 0» keeps the search for it on the index of xid.
    SELECT * FROM messaging_changes l
     WHERE l.id OPERATOR(pg_catalog.>) $4
       AND l.id OPERATOR(pg_catalog.>) least($2, (
             SELECT pg_catalog.min(r.id OPERATOR(pg_catalog.+) 0::bigint) OPERATOR(pg_catalog.-) 1::bigint FROM messaging_changes r
              WHERE r.xid OPERATOR(pg_catalog.=) ANY (s.running)))
       AND (l.id OPERATOR(pg_catalog.>) $2 OR l.xid OPERATOR(pg_catalog.=) ANY (s.running))
       AND NOT pg_catalog.pg_visible_in_snapshot(l.xid, s.seen) AND pg_catalog.pg_visible_in_snapshot(l.xid, s.bound)
     ORDER BY l.id LIMIT $5) c ON true
  LEFT JOIN messaging_notifications n
    ON c.kind OPERATOR(pg_catalog.=) 'notification' AND n.id OPERATOR(pg_catalog.=) c.message_id
   AND n.user_id OPERATOR(pg_catalog.=) c.user_id
 ORDER BY c.id
