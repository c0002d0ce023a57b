-- What the messaging app keeps: conversations, members, messages, receipts, reactions, notifications; and the triggers that report every
-- change.
--
-- `latido install` runs this file when the app is enabled (`--dry-run` prints it), in the first schema of the connection's search_path.
-- Safe to run again, and on a database that has these tables already: it adds what is missing. PostgreSQL 14 or later.
--
-- Every change of these tables, whoever makes it, also adds a row to messaging_changes in the same transaction, under the lock of the
-- conversation's row: so within a conversation the numbers have the order of the commits, and whoever reads them in that order sees
-- what happened in the order in which it happened. A transaction that writes to several conversations should do so in the order of
-- their ids, or two such may wait for each other and one of them fail.
--
-- Names: «@home@» stands for that schema. Everything else is found in pg_catalog alone, here and in every function, so nothing in another
-- schema can take the place of a function, an operator or a type. The trigger functions run with their owner's rights, because a writer
-- may not write the log. Therefore only their owner may make a trigger of them, and each of them serves its own table only.
DO $latido$
DECLARE
    home pg_catalog.text := pg_catalog.quote_ident(pg_catalog.current_schema());
    path pg_catalog.text := pg_catalog.current_setting('search_path');
BEGIN
PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
IF home IS NULL THEN
    RAISE EXCEPTION 'the search path (%) names no schema to install in', path USING ERRCODE = 'invalid_schema_name';
ELSIF home ~ '[@$'']' THEN
    RAISE EXCEPTION 'the name of schema % has one of the characters @ $ ''', home USING ERRCODE = 'invalid_schema_name';
END IF;
EXECUTE replace($sql$
CREATE TABLE IF NOT EXISTS @home@.conversations (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    type        text        NOT NULL DEFAULT 'direct',
    metadata    jsonb       NOT NULL DEFAULT '{}',
    is_active   boolean     NOT NULL DEFAULT true,
    inserted_at timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS @home@.conversation_members (
    conversation_id uuid        NOT NULL REFERENCES @home@.conversations (id) ON DELETE CASCADE,
    user_id         uuid        NOT NULL,
    settings        jsonb       NOT NULL DEFAULT '{}', -- archived, pinned, …
    joined_at       timestamptz NOT NULL DEFAULT now(),
    last_read_at    timestamptz,
    is_active       boolean     NOT NULL DEFAULT true,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX IF NOT EXISTS conversation_members_user ON @home@.conversation_members (user_id) WHERE is_active;

CREATE SEQUENCE IF NOT EXISTS @home@.messaging_position;

CREATE TABLE IF NOT EXISTS @home@.messages (
    id                  uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id     uuid        NOT NULL REFERENCES @home@.conversations (id) ON DELETE CASCADE,
    sender_id           uuid        NOT NULL,
    reply_to_id         uuid,
    message_type        text        NOT NULL DEFAULT 'text',
    content             bytea       NOT NULL,
    metadata            jsonb       NOT NULL DEFAULT '{}',
    client_random       integer     NOT NULL DEFAULT 0,
    sent_at             timestamptz NOT NULL DEFAULT now(),
    edited_at           timestamptz,
    is_deleted          boolean     NOT NULL DEFAULT false,
    delete_for_everyone boolean     NOT NULL DEFAULT false
);
-- The order within a conversation; given under its lock. On a table that was there before, that of the rows.
ALTER TABLE @home@.messages ADD COLUMN IF NOT EXISTS position bigint NOT NULL DEFAULT nextval('@home@.messaging_position');
ALTER TABLE @home@.messages ALTER COLUMN position SET DEFAULT 0; -- from now on a trigger gives it
-- Of the content as it was sent: a retry is known by it even when the message was edited or deleted meanwhile.
ALTER TABLE @home@.messages ADD COLUMN IF NOT EXISTS digest bytea;
ALTER TABLE @home@.messages ADD COLUMN IF NOT EXISTS signature text;
ALTER TABLE @home@.messages ADD COLUMN IF NOT EXISTS sender_public_key text;
-- An older system took every repetition of such a number for a retry, and lost messages by it.
ALTER TABLE @home@.messages DROP CONSTRAINT IF EXISTS messages_sender_id_client_random_key;
DROP INDEX IF EXISTS @home@.messages_sender_id_client_random_index;
CREATE INDEX IF NOT EXISTS messages_position ON @home@.messages (conversation_id, position);
CREATE INDEX IF NOT EXISTS messages_retry ON @home@.messages (sender_id, conversation_id, client_random);

CREATE TABLE IF NOT EXISTS @home@.delivery_statuses (
    message_id   uuid NOT NULL REFERENCES @home@.messages (id) ON DELETE CASCADE,
    user_id      uuid NOT NULL,
    delivered_at timestamptz,
    read_at      timestamptz,
    PRIMARY KEY (message_id, user_id)
);

CREATE TABLE IF NOT EXISTS @home@.message_reactions (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    message_id  uuid        NOT NULL REFERENCES @home@.messages (id) ON DELETE CASCADE,
    user_id     uuid        NOT NULL,
    reaction    text        NOT NULL CHECK (char_length(reaction) BETWEEN 1 AND 10),
    inserted_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (message_id, user_id, reaction)
);

-- What happened. `xid` tells a reader which rows its last look could not see yet: it misses none and takes none twice, however the
-- transactions overlap. Servers delete what is older than a day.
CREATE TABLE IF NOT EXISTS @home@.messaging_changes (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid             xid8        NOT NULL DEFAULT pg_current_xact_id(),
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind            text        NOT NULL,
    conversation_id uuid        NOT NULL,
    message_id      uuid,
    user_id         uuid,
    detail          jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS messaging_changes_xid ON @home@.messaging_changes (xid);
CREATE INDEX IF NOT EXISTS messaging_changes_at ON @home@.messaging_changes USING brin (at);

-- Notifications to users. The payload is any JSON object, sent as it was written. The same id twice is the same notification. Servers
-- delete what is older than a day.
CREATE TABLE IF NOT EXISTS @home@.messaging_notifications (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id     uuid        NOT NULL,
    payload     json        NOT NULL CHECK (json_typeof(payload) = 'object' AND octet_length(payload::text) <= 65536),
    inserted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS messaging_notifications_at ON @home@.messaging_notifications USING brin (inserted_at);

-- Only the owner writes the log: a server publishes what it finds there. Default privileges may have given it to others.
DO $$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS name
          FROM pg_class c, aclexplode(c.relacl) a
         WHERE c.oid = '@home@.messaging_changes'::regclass AND a.grantee <> c.relowner AND a.privilege_type <> 'SELECT'
    LOOP
        EXECUTE format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON @home@.messaging_changes FROM %s', item.name);
    END LOOP;
END $$;

-- Deletes what is older than a day. No running server is that far behind.
CREATE OR REPLACE FUNCTION @home@.messaging_forget() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM @home@.messaging_notifications WHERE inserted_at < now() - interval '1 day';
    DELETE FROM @home@.messaging_changes WHERE at < now() - interval '1 day'
$$;

-- Refuses a trigger on any other table than the app's own, or a partition of it.
CREATE OR REPLACE FUNCTION @home@.messaging_refuse(place regclass, own regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_partition_ancestors(place) a WHERE a.relid = own) THEN
        RAISE EXCEPTION 'the trigger functions of % serve no other table, and not %', own, place
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;
REVOKE ALL ON FUNCTION @home@.messaging_refuse(regclass, regclass) FROM PUBLIC;

-- Notes a change. One notification a transaction: the server reads the rest.
CREATE OR REPLACE FUNCTION @home@.messaging_note(kind text, conversation uuid, message uuid, who uuid, detail jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM @home@.conversations c WHERE c.id = conversation FOR NO KEY UPDATE;
    INSERT INTO @home@.messaging_changes (kind, conversation_id, message_id, user_id, detail)
    VALUES (kind, conversation, message, who, coalesce(detail, '{}'));
    -- A commit that notifies fails if the server's queue is full. The row above suffices: the server looks for rows meanwhile.
    IF pg_catalog.pg_notification_queue_usage() < 0.75 THEN
        PERFORM pg_catalog.pg_notify('latido', '["app:messaging",""]');
    END IF;
END $$;
REVOKE ALL ON FUNCTION @home@.messaging_note(text, uuid, uuid, uuid, jsonb) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @home@.messaging_on_message() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID <> '@home@.messages'::regclass THEN
        PERFORM @home@.messaging_refuse(TG_RELID, '@home@.messages');
    END IF;
    IF TG_WHEN = 'BEFORE' THEN
        PERFORM 1 FROM @home@.conversations c WHERE c.id = NEW.conversation_id FOR NO KEY UPDATE;
        NEW.position := nextval('@home@.messaging_position');
        NEW.digest := sha256(NEW.content);
        RETURN NEW;
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM @home@.messaging_note('message_added', NEW.conversation_id, NEW.id, NEW.sender_id, NULL);
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM @home@.messaging_note('message_deleted', OLD.conversation_id, OLD.id, OLD.sender_id, '{"everyone": true}');
    ELSIF NEW.is_deleted AND (NOT OLD.is_deleted OR NEW.delete_for_everyone <> OLD.delete_for_everyone) THEN
        PERFORM @home@.messaging_note('message_deleted', NEW.conversation_id, NEW.id, NEW.sender_id,
                               jsonb_build_object('everyone', NEW.delete_for_everyone));
    ELSIF (NEW.content, NEW.metadata, NEW.message_type) IS DISTINCT FROM (OLD.content, OLD.metadata, OLD.message_type) THEN
        PERFORM @home@.messaging_note('message_edited', NEW.conversation_id, NEW.id, NEW.sender_id, NULL);
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION @home@.messaging_on_message() FROM PUBLIC;

CREATE OR REPLACE FUNCTION @home@.messaging_on_receipt() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before @home@.delivery_statuses;
    conversation uuid;
    kind text;
BEGIN
    IF TG_RELID <> '@home@.delivery_statuses'::regclass THEN
        PERFORM @home@.messaging_refuse(TG_RELID, '@home@.delivery_statuses');
    END IF;
    -- Whoever reads a whole conversation is told of once.
    IF current_setting('messaging.quiet', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        before := OLD;
    END IF;
    IF NEW.read_at IS NOT NULL AND before.read_at IS NULL THEN
        kind := 'message_read';
    ELSIF NEW.delivered_at IS NOT NULL AND before.delivered_at IS NULL THEN
        kind := 'message_delivered';
    ELSE
        RETURN NULL;
    END IF;
    SELECT m.conversation_id INTO conversation FROM @home@.messages m WHERE m.id = NEW.message_id;
    PERFORM @home@.messaging_note(kind, conversation, NEW.message_id, NEW.user_id, NULL);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION @home@.messaging_on_receipt() FROM PUBLIC;

CREATE OR REPLACE FUNCTION @home@.messaging_on_reaction() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    subject @home@.message_reactions;
    conversation uuid;
BEGIN
    IF TG_RELID <> '@home@.message_reactions'::regclass THEN
        PERFORM @home@.messaging_refuse(TG_RELID, '@home@.message_reactions');
    END IF;
    IF TG_OP = 'DELETE' THEN subject := OLD; ELSE subject := NEW; END IF;
    SELECT m.conversation_id INTO conversation FROM @home@.messages m WHERE m.id = subject.message_id;
    IF conversation IS NOT NULL THEN -- else the message itself goes
        PERFORM @home@.messaging_note(CASE TG_OP WHEN 'DELETE' THEN 'reaction_removed' ELSE 'reaction_added' END, conversation,
                               subject.message_id, subject.user_id,
                               jsonb_build_object('id', subject.id, 'reaction', subject.reaction));
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION @home@.messaging_on_reaction() FROM PUBLIC;

CREATE OR REPLACE FUNCTION @home@.messaging_on_member() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was boolean := TG_OP <> 'INSERT' AND OLD.is_active;
    is_now boolean := TG_OP <> 'DELETE' AND NEW.is_active;
BEGIN
    IF TG_RELID <> '@home@.conversation_members'::regclass THEN
        PERFORM @home@.messaging_refuse(TG_RELID, '@home@.conversation_members');
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.conversation_id, NEW.user_id) <> (OLD.conversation_id, OLD.user_id) THEN
        RAISE EXCEPTION 'a membership can''t become another one: delete it and add one';
    ELSIF is_now AND NOT was THEN
        PERFORM @home@.messaging_note('member_added', NEW.conversation_id, NULL, NEW.user_id, NULL);
    ELSIF was AND NOT is_now THEN
        PERFORM @home@.messaging_note('member_removed', OLD.conversation_id, NULL, OLD.user_id, NULL);
    ELSIF TG_OP = 'UPDATE' AND is_now AND NEW.last_read_at IS DISTINCT FROM OLD.last_read_at THEN
        PERFORM @home@.messaging_note('conversation_read', NEW.conversation_id, NULL, NEW.user_id, NULL);
    ELSIF TG_OP = 'UPDATE' AND is_now AND NEW.settings <> OLD.settings THEN
        PERFORM @home@.messaging_note('settings_updated', NEW.conversation_id, NULL, NEW.user_id, jsonb_build_object(
            'settings', NEW.settings,
            'archived', CASE WHEN NEW.settings->'archived' IS DISTINCT FROM OLD.settings->'archived'
                             THEN coalesce(NEW.settings->'archived', 'false') END,
            'pinned', CASE WHEN NEW.settings->'pinned' IS DISTINCT FROM OLD.settings->'pinned'
                           THEN coalesce(NEW.settings->'pinned', 'false') END));
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION @home@.messaging_on_member() FROM PUBLIC;

CREATE OR REPLACE FUNCTION @home@.messaging_on_conversation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID <> '@home@.conversations'::regclass THEN
        PERFORM @home@.messaging_refuse(TG_RELID, '@home@.conversations');
    END IF;
    IF (NEW.type, NEW.metadata, NEW.is_active) IS DISTINCT FROM (OLD.type, OLD.metadata, OLD.is_active) THEN
        PERFORM @home@.messaging_note('conversation_updated', NEW.id, NULL, NULL, NULL);
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION @home@.messaging_on_conversation() FROM PUBLIC;

-- A notification has no conversation: its change names the nil id, and so locks none.
CREATE OR REPLACE FUNCTION @home@.messaging_on_notification() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID <> '@home@.messaging_notifications'::regclass THEN
        PERFORM @home@.messaging_refuse(TG_RELID, '@home@.messaging_notifications');
    END IF;
    PERFORM @home@.messaging_note('notification', '00000000-0000-0000-0000-000000000000', NEW.id, NEW.user_id, NULL);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION @home@.messaging_on_notification() FROM PUBLIC;

CREATE OR REPLACE TRIGGER messaging_place BEFORE INSERT ON @home@.messages
    FOR EACH ROW EXECUTE FUNCTION @home@.messaging_on_message();
CREATE OR REPLACE TRIGGER messaging_tell AFTER INSERT OR UPDATE OR DELETE ON @home@.messages
    FOR EACH ROW EXECUTE FUNCTION @home@.messaging_on_message();
CREATE OR REPLACE TRIGGER messaging_tell AFTER INSERT OR UPDATE ON @home@.delivery_statuses
    FOR EACH ROW EXECUTE FUNCTION @home@.messaging_on_receipt();
CREATE OR REPLACE TRIGGER messaging_tell AFTER INSERT OR DELETE ON @home@.message_reactions
    FOR EACH ROW EXECUTE FUNCTION @home@.messaging_on_reaction();
CREATE OR REPLACE TRIGGER messaging_tell AFTER INSERT OR UPDATE OR DELETE ON @home@.conversation_members
    FOR EACH ROW EXECUTE FUNCTION @home@.messaging_on_member();
CREATE OR REPLACE TRIGGER messaging_tell AFTER UPDATE ON @home@.conversations
    FOR EACH ROW EXECUTE FUNCTION @home@.messaging_on_conversation();
CREATE OR REPLACE TRIGGER messaging_tell AFTER INSERT ON @home@.messaging_notifications
    FOR EACH ROW EXECUTE FUNCTION @home@.messaging_on_notification();

-- Sends a notification to the devices of a user that are connected when the transaction commits. It runs with the rights of its caller,
-- who needs EXECUTE on it and INSERT on the table.
CREATE OR REPLACE FUNCTION @home@.messaging_notify(who uuid, body jsonb, notification uuid DEFAULT gen_random_uuid()) RETURNS uuid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO @home@.messaging_notifications (id, user_id, payload) VALUES (notification, who, body) ON CONFLICT DO NOTHING;
    RETURN notification;
END $$;
REVOKE ALL ON FUNCTION @home@.messaging_notify(uuid, jsonb, uuid) FROM PUBLIC;

-- Whether this user is in this conversation: every operation asks this and nothing less.
CREATE OR REPLACE FUNCTION @home@.messaging_member(who uuid, conversation uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM @home@.conversation_members m JOIN @home@.conversations c ON c.id = m.conversation_id
                   WHERE m.conversation_id = conversation AND m.user_id = who AND m.is_active AND c.is_active)
$$;

-- The same, once whoever changes the conversation has ended: it stays as it is until our transaction ends.
CREATE OR REPLACE FUNCTION @home@.messaging_enter(who uuid, conversation uuid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM @home@.conversations c WHERE c.id = conversation FOR NO KEY UPDATE;
    -- A statement of its own, which sees what was committed while we waited.
    RETURN @home@.messaging_member(who, conversation);
END $$;

-- Stores a message, unless it is a retry: the same sender, conversation and number, and the same content, within the window.
CREATE OR REPLACE FUNCTION @home@.messaging_send(who uuid, conversation uuid, kind text, body bytea, meta jsonb, random integer,
                                          answers uuid, mark text, key text, retry_window interval)
RETURNS TABLE (reason text, fresh boolean, message @home@.messages)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Two attempts at once wait for each other here, so the second finds what the first has stored.
    IF NOT @home@.messaging_enter(who, conversation) THEN
        reason := 'forbidden'; RETURN NEXT; RETURN;
    END IF;
    SELECT m.* INTO message FROM @home@.messages m
    WHERE m.sender_id = who AND m.conversation_id = conversation AND m.client_random = random
      AND coalesce(m.digest, sha256(m.content)) = sha256(body) AND m.sent_at > now() - retry_window
    ORDER BY m.position DESC LIMIT 1;
    IF FOUND THEN
        fresh := false; RETURN NEXT; RETURN;
    END IF;
    IF answers IS NOT NULL AND NOT EXISTS (SELECT FROM @home@.messages m WHERE m.id = answers AND m.conversation_id = conversation) THEN
        reason := 'reply_to_id'; RETURN NEXT; RETURN;
    END IF;
    INSERT INTO @home@.messages (conversation_id, sender_id, reply_to_id, message_type, content, metadata, client_random, signature,
                                 sender_public_key)
    VALUES (conversation, who, answers, kind, body, meta, random, mark, key) RETURNING * INTO message;
    fresh := true; RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION @home@.messaging_edit(who uuid, conversation uuid, which uuid, body bytea, meta jsonb, allowed interval)
RETURNS TABLE (reason text, fresh boolean, message @home@.messages)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM @home@.conversations c WHERE c.id = conversation FOR NO KEY UPDATE;
    SELECT m.* INTO message FROM @home@.messages m WHERE m.id = which AND m.conversation_id = conversation;
    reason := CASE WHEN NOT @home@.messaging_member(who, conversation) THEN 'unauthorized'
                   WHEN message.id IS NULL THEN 'not_found'
                   WHEN message.sender_id <> who THEN 'forbidden'
                   WHEN message.is_deleted OR message.sent_at < now() - allowed THEN 'message_not_editable' END;
    IF reason IS NULL THEN
        UPDATE @home@.messages m SET content = body, metadata = coalesce(meta, m.metadata), edited_at = now()
        WHERE m.id = which RETURNING * INTO message;
        fresh := true;
    END IF;
    RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION @home@.messaging_delete(who uuid, conversation uuid, which uuid, everyone boolean, allowed interval)
RETURNS TABLE (reason text, fresh boolean, message @home@.messages)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM @home@.conversations c WHERE c.id = conversation FOR NO KEY UPDATE;
    SELECT m.* INTO message FROM @home@.messages m WHERE m.id = which AND m.conversation_id = conversation;
    reason := CASE WHEN message.id IS NULL THEN 'message_not_found'
                   WHEN message.sender_id <> who OR NOT @home@.messaging_member(who, conversation) THEN 'forbidden'
                   WHEN message.is_deleted AND message.delete_for_everyone THEN 'message_not_deletable'
                   WHEN message.sent_at < now() - allowed THEN 'message_not_deletable' END;
    IF reason IS NULL THEN
        UPDATE @home@.messages m SET is_deleted = true, delete_for_everyone = everyone,
                              content = CASE WHEN everyone THEN '' ELSE m.content END,
                              metadata = CASE WHEN everyone THEN '{}' ELSE m.metadata END
        WHERE m.id = which RETURNING * INTO message;
        fresh := true;
    END IF;
    RETURN NEXT;
END $$;

-- Notes that somebody got or read a message; `reason` NULL: done, or done before.
CREATE OR REPLACE FUNCTION @home@.messaging_receipt(who uuid, conversation uuid, which uuid, has_read boolean) RETURNS TABLE (reason text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT @home@.messaging_enter(who, conversation) THEN
        reason := 'forbidden';
    ELSIF NOT EXISTS (SELECT FROM @home@.messages m WHERE m.id = which AND m.conversation_id = conversation) THEN
        reason := 'message_not_found';
    -- One's own messages have no receipts.
    ELSIF EXISTS (SELECT FROM @home@.messages m WHERE m.id = which AND m.sender_id <> who) THEN
        INSERT INTO @home@.delivery_statuses AS d (message_id, user_id, delivered_at, read_at)
        VALUES (which, who, now(), CASE WHEN has_read THEN now() END)
        ON CONFLICT (message_id, user_id) DO UPDATE
            SET delivered_at = coalesce(d.delivered_at, excluded.delivered_at), read_at = coalesce(d.read_at, excluded.read_at)
            WHERE d.delivered_at IS NULL OR (d.read_at IS NULL AND excluded.read_at IS NOT NULL);
    END IF;
    RETURN NEXT;
END $$;

-- Marks everything in a conversation as read; NULL: not a member.
CREATE OR REPLACE FUNCTION @home@.messaging_read_all(who uuid, conversation uuid) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    marked bigint;
BEGIN
    IF NOT @home@.messaging_enter(who, conversation) THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('messaging.quiet', 'on', true);
    INSERT INTO @home@.delivery_statuses AS d (message_id, user_id, delivered_at, read_at)
    SELECT m.id, who, now(), now() FROM @home@.messages m WHERE m.conversation_id = conversation AND m.sender_id <> who
        AND NOT EXISTS (SELECT FROM @home@.delivery_statuses s WHERE s.message_id = m.id AND s.user_id = who AND s.read_at IS NOT NULL)
    ON CONFLICT (message_id, user_id) DO UPDATE
        SET delivered_at = coalesce(d.delivered_at, excluded.delivered_at), read_at = excluded.read_at;
    GET DIAGNOSTICS marked = ROW_COUNT;
    PERFORM set_config('messaging.quiet', 'off', true);
    UPDATE @home@.conversation_members m SET last_read_at = now() WHERE marked > 0 AND m.conversation_id = conversation AND m.user_id = who;
    RETURN marked;
END $$;

-- Adds a reaction; without one added, `reason` says why.
CREATE OR REPLACE FUNCTION @home@.messaging_react(who uuid, conversation uuid, which uuid, what text)
RETURNS TABLE (reason text, id uuid, at timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT @home@.messaging_enter(who, conversation) THEN
        reason := 'forbidden';
    ELSIF NOT EXISTS (SELECT FROM @home@.messages m WHERE m.id = which AND m.conversation_id = conversation AND NOT m.is_deleted) THEN
        reason := 'message_not_found';
    ELSE
        INSERT INTO @home@.message_reactions AS r (message_id, user_id, reaction) VALUES (which, who, what)
        ON CONFLICT DO NOTHING RETURNING r.id, r.inserted_at INTO id, at;
        IF id IS NULL THEN reason := 'duplicate'; END IF;
    END IF;
    RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION @home@.messaging_unreact(who uuid, conversation uuid, which uuid, what text) RETURNS TABLE (reason text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT @home@.messaging_enter(who, conversation) THEN
        reason := 'forbidden';
    ELSE
        DELETE FROM @home@.message_reactions r USING @home@.messages m
        WHERE r.message_id = which AND r.user_id = who AND r.reaction = what AND m.id = which AND m.conversation_id = conversation;
        IF NOT FOUND THEN reason := 'reaction_not_found'; END IF;
    END IF;
    RETURN NEXT;
END $$;
$sql$, '@home@', home);
PERFORM set_config('search_path', path, true);
END
$latido$;
