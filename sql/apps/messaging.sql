-- What the messaging app keeps: conversations, members, messages, receipts, reactions; and the triggers that tell of every change.
--
-- `latido install` runs this file when the app is enabled (`--dry-run` prints it), in the first schema of the connection's search_path.
-- Safe to run again, and on a database that has these tables already: it adds what is missing. PostgreSQL 14 or later.
--
-- Every change of these tables, whoever makes it, also adds a row to messaging_changes in the same transaction, under the lock of the
-- conversation's row: so within a conversation the numbers have the order of the commits, and whoever reads them in that order sees
-- what happened in the order in which it happened. A transaction that writes to several conversations should do so in the order of
-- their ids, or two such may wait for each other and one of them fail.

-- The functions below keep this path. Temporary tables come last in it, or any session could put its own in the place of ours.
SELECT set_config('search_path', current_setting('search_path') || ', pg_temp', false)
WHERE current_setting('search_path') NOT LIKE '%pg_temp%';

CREATE TABLE IF NOT EXISTS conversations (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    type        text        NOT NULL DEFAULT 'direct',
    metadata    jsonb       NOT NULL DEFAULT '{}',
    is_active   boolean     NOT NULL DEFAULT true,
    inserted_at timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS conversation_members (
    conversation_id uuid        NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id         uuid        NOT NULL,
    settings        jsonb       NOT NULL DEFAULT '{}', -- archived, pinned, …
    joined_at       timestamptz NOT NULL DEFAULT now(),
    last_read_at    timestamptz,
    is_active       boolean     NOT NULL DEFAULT true,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX IF NOT EXISTS conversation_members_user ON conversation_members (user_id) WHERE is_active;

CREATE SEQUENCE IF NOT EXISTS messaging_position;

CREATE TABLE IF NOT EXISTS messages (
    id                  uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id     uuid        NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
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
ALTER TABLE messages ADD COLUMN IF NOT EXISTS position bigint NOT NULL DEFAULT nextval('messaging_position');
ALTER TABLE messages ALTER COLUMN position SET DEFAULT 0; -- from now on a trigger gives it
-- Of the content as it was sent: a retry is known by it even when the message was edited or deleted meanwhile.
ALTER TABLE messages ADD COLUMN IF NOT EXISTS digest bytea;
ALTER TABLE messages ADD COLUMN IF NOT EXISTS signature text;
ALTER TABLE messages ADD COLUMN IF NOT EXISTS sender_public_key text;
-- An older system took every repetition of such a number for a retry, and lost messages by it.
ALTER TABLE messages DROP CONSTRAINT IF EXISTS messages_sender_id_client_random_key;
DROP INDEX IF EXISTS messages_sender_id_client_random_index;
CREATE INDEX IF NOT EXISTS messages_position ON messages (conversation_id, position);
CREATE INDEX IF NOT EXISTS messages_retry ON messages (sender_id, conversation_id, client_random);

CREATE TABLE IF NOT EXISTS delivery_statuses (
    message_id   uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    user_id      uuid NOT NULL,
    delivered_at timestamptz,
    read_at      timestamptz,
    PRIMARY KEY (message_id, user_id)
);

CREATE TABLE IF NOT EXISTS message_reactions (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    message_id  uuid        NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    user_id     uuid        NOT NULL,
    reaction    text        NOT NULL CHECK (char_length(reaction) BETWEEN 1 AND 10),
    inserted_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (message_id, user_id, reaction)
);

-- What happened. `xid` tells a reader which rows its last look could not see yet: it misses none and takes none twice, however the
-- transactions overlap. Servers delete what is older than a day.
CREATE TABLE IF NOT EXISTS messaging_changes (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid             xid8        NOT NULL DEFAULT pg_current_xact_id(),
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind            text        NOT NULL,
    conversation_id uuid        NOT NULL,
    message_id      uuid,
    user_id         uuid,
    detail          jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS messaging_changes_xid ON messaging_changes (xid);
CREATE INDEX IF NOT EXISTS messaging_changes_at ON messaging_changes USING brin (at);

-- Notes a change. One notification a transaction: the server reads the rest.
CREATE OR REPLACE FUNCTION messaging_note(kind text, conversation uuid, message uuid, who uuid, detail jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM 1 FROM conversations c WHERE c.id = conversation FOR NO KEY UPDATE;
    INSERT INTO messaging_changes (kind, conversation_id, message_id, user_id, detail)
    VALUES (kind, conversation, message, who, coalesce(detail, '{}'));
    PERFORM pg_catalog.pg_notify('latido', '["app:messaging",""]');
END $$;
REVOKE ALL ON FUNCTION messaging_note(text, uuid, uuid, uuid, jsonb) FROM PUBLIC;

CREATE OR REPLACE FUNCTION messaging_on_message() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_WHEN = 'BEFORE' THEN
        PERFORM 1 FROM conversations c WHERE c.id = NEW.conversation_id FOR NO KEY UPDATE;
        NEW.position := nextval('messaging_position');
        NEW.digest := sha256(NEW.content);
        RETURN NEW;
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM messaging_note('message_added', NEW.conversation_id, NEW.id, NEW.sender_id, NULL);
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM messaging_note('message_deleted', OLD.conversation_id, OLD.id, OLD.sender_id, '{"everyone": true}');
    ELSIF NEW.is_deleted AND (NOT OLD.is_deleted OR NEW.delete_for_everyone <> OLD.delete_for_everyone) THEN
        PERFORM messaging_note('message_deleted', NEW.conversation_id, NEW.id, NEW.sender_id,
                               jsonb_build_object('everyone', NEW.delete_for_everyone));
    ELSIF (NEW.content, NEW.metadata, NEW.message_type) IS DISTINCT FROM (OLD.content, OLD.metadata, OLD.message_type) THEN
        PERFORM messaging_note('message_edited', NEW.conversation_id, NEW.id, NEW.sender_id, NULL);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION messaging_on_receipt() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    before delivery_statuses;
    conversation uuid;
    kind text;
BEGIN
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
    SELECT m.conversation_id INTO conversation FROM messages m WHERE m.id = NEW.message_id;
    PERFORM messaging_note(kind, conversation, NEW.message_id, NEW.user_id, NULL);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION messaging_on_reaction() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    subject message_reactions;
    conversation uuid;
BEGIN
    IF TG_OP = 'DELETE' THEN subject := OLD; ELSE subject := NEW; END IF;
    SELECT m.conversation_id INTO conversation FROM messages m WHERE m.id = subject.message_id;
    IF conversation IS NOT NULL THEN -- else the message itself goes
        PERFORM messaging_note(CASE TG_OP WHEN 'DELETE' THEN 'reaction_removed' ELSE 'reaction_added' END, conversation,
                               subject.message_id, subject.user_id,
                               jsonb_build_object('id', subject.id, 'reaction', subject.reaction));
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION messaging_on_member() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    was boolean := TG_OP <> 'INSERT' AND OLD.is_active;
    is_now boolean := TG_OP <> 'DELETE' AND NEW.is_active;
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.conversation_id, NEW.user_id) <> (OLD.conversation_id, OLD.user_id) THEN
        RAISE EXCEPTION 'a membership can''t become another one: delete it and add one';
    ELSIF is_now AND NOT was THEN
        PERFORM messaging_note('member_added', NEW.conversation_id, NULL, NEW.user_id, NULL);
    ELSIF was AND NOT is_now THEN
        PERFORM messaging_note('member_removed', OLD.conversation_id, NULL, OLD.user_id, NULL);
    ELSIF TG_OP = 'UPDATE' AND is_now AND NEW.last_read_at IS DISTINCT FROM OLD.last_read_at THEN
        PERFORM messaging_note('conversation_read', NEW.conversation_id, NULL, NEW.user_id, NULL);
    ELSIF TG_OP = 'UPDATE' AND is_now AND NEW.settings <> OLD.settings THEN
        PERFORM messaging_note('settings_updated', NEW.conversation_id, NULL, NEW.user_id, jsonb_build_object(
            'settings', NEW.settings,
            'archived', CASE WHEN NEW.settings->'archived' IS DISTINCT FROM OLD.settings->'archived'
                             THEN coalesce(NEW.settings->'archived', 'false') END,
            'pinned', CASE WHEN NEW.settings->'pinned' IS DISTINCT FROM OLD.settings->'pinned'
                           THEN coalesce(NEW.settings->'pinned', 'false') END));
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION messaging_on_conversation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF (NEW.type, NEW.metadata, NEW.is_active) IS DISTINCT FROM (OLD.type, OLD.metadata, OLD.is_active) THEN
        PERFORM messaging_note('conversation_updated', NEW.id, NULL, NULL, NULL);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER messaging_place BEFORE INSERT ON messages
    FOR EACH ROW EXECUTE FUNCTION messaging_on_message();
CREATE OR REPLACE TRIGGER messaging_tell AFTER INSERT OR UPDATE OR DELETE ON messages
    FOR EACH ROW EXECUTE FUNCTION messaging_on_message();
CREATE OR REPLACE TRIGGER messaging_tell AFTER INSERT OR UPDATE ON delivery_statuses
    FOR EACH ROW EXECUTE FUNCTION messaging_on_receipt();
CREATE OR REPLACE TRIGGER messaging_tell AFTER INSERT OR DELETE ON message_reactions
    FOR EACH ROW EXECUTE FUNCTION messaging_on_reaction();
CREATE OR REPLACE TRIGGER messaging_tell AFTER INSERT OR UPDATE OR DELETE ON conversation_members
    FOR EACH ROW EXECUTE FUNCTION messaging_on_member();
CREATE OR REPLACE TRIGGER messaging_tell AFTER UPDATE ON conversations
    FOR EACH ROW EXECUTE FUNCTION messaging_on_conversation();

-- Whether this user is in this conversation: every operation asks this and nothing less.
CREATE OR REPLACE FUNCTION messaging_member(who uuid, conversation uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT EXISTS (SELECT FROM conversation_members m JOIN conversations c ON c.id = m.conversation_id
                   WHERE m.conversation_id = conversation AND m.user_id = who AND m.is_active AND c.is_active)
$$;

-- The same, once whoever changes the conversation has ended: it stays as it is until our transaction ends.
CREATE OR REPLACE FUNCTION messaging_enter(who uuid, conversation uuid) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM 1 FROM conversations c WHERE c.id = conversation FOR NO KEY UPDATE;
    -- A statement of its own, which sees what was committed while we waited.
    RETURN messaging_member(who, conversation);
END $$;

-- Stores a message, unless it is a retry: the same sender, conversation and number, and the same content, within the window.
CREATE OR REPLACE FUNCTION messaging_send(who uuid, conversation uuid, kind text, body bytea, meta jsonb, random integer,
                                          answers uuid, mark text, key text, retry_window interval)
RETURNS TABLE (reason text, fresh boolean, message messages)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- Two attempts at once wait for each other here, so the second finds what the first has stored.
    IF NOT messaging_enter(who, conversation) THEN
        reason := 'forbidden'; RETURN NEXT; RETURN;
    END IF;
    SELECT m.* INTO message FROM messages m
    WHERE m.sender_id = who AND m.conversation_id = conversation AND m.client_random = random
      AND coalesce(m.digest, sha256(m.content)) = sha256(body) AND m.sent_at > now() - retry_window
    ORDER BY m.position DESC LIMIT 1;
    IF FOUND THEN
        fresh := false; RETURN NEXT; RETURN;
    END IF;
    IF answers IS NOT NULL AND NOT EXISTS (SELECT FROM messages m WHERE m.id = answers AND m.conversation_id = conversation) THEN
        reason := 'reply_to_id'; RETURN NEXT; RETURN;
    END IF;
    INSERT INTO messages (conversation_id, sender_id, reply_to_id, message_type, content, metadata, client_random, signature, sender_public_key)
    VALUES (conversation, who, answers, kind, body, meta, random, mark, key) RETURNING * INTO message;
    fresh := true; RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION messaging_edit(who uuid, conversation uuid, which uuid, body bytea, meta jsonb, allowed interval)
RETURNS TABLE (reason text, fresh boolean, message messages)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM 1 FROM conversations c WHERE c.id = conversation FOR NO KEY UPDATE;
    SELECT m.* INTO message FROM messages m WHERE m.id = which AND m.conversation_id = conversation;
    reason := CASE WHEN NOT messaging_member(who, conversation) THEN 'unauthorized'
                   WHEN message.id IS NULL THEN 'not_found'
                   WHEN message.sender_id <> who THEN 'forbidden'
                   WHEN message.is_deleted OR message.sent_at < now() - allowed THEN 'message_not_editable' END;
    IF reason IS NULL THEN
        UPDATE messages m SET content = body, metadata = coalesce(meta, m.metadata), edited_at = now()
        WHERE m.id = which RETURNING * INTO message;
        fresh := true;
    END IF;
    RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION messaging_delete(who uuid, conversation uuid, which uuid, everyone boolean, allowed interval)
RETURNS TABLE (reason text, fresh boolean, message messages)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM 1 FROM conversations c WHERE c.id = conversation FOR NO KEY UPDATE;
    SELECT m.* INTO message FROM messages m WHERE m.id = which AND m.conversation_id = conversation;
    reason := CASE WHEN message.id IS NULL THEN 'message_not_found'
                   WHEN message.sender_id <> who OR NOT messaging_member(who, conversation) THEN 'forbidden'
                   WHEN message.is_deleted AND message.delete_for_everyone THEN 'message_not_deletable'
                   WHEN message.sent_at < now() - allowed THEN 'message_not_deletable' END;
    IF reason IS NULL THEN
        UPDATE messages m SET is_deleted = true, delete_for_everyone = everyone,
                              content = CASE WHEN everyone THEN '' ELSE m.content END,
                              metadata = CASE WHEN everyone THEN '{}' ELSE m.metadata END
        WHERE m.id = which RETURNING * INTO message;
        fresh := true;
    END IF;
    RETURN NEXT;
END $$;

-- Notes that somebody got or read a message; `reason` NULL: done, or done before.
CREATE OR REPLACE FUNCTION messaging_receipt(who uuid, conversation uuid, which uuid, has_read boolean) RETURNS TABLE (reason text)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT messaging_enter(who, conversation) THEN
        reason := 'forbidden';
    ELSIF NOT EXISTS (SELECT FROM messages m WHERE m.id = which AND m.conversation_id = conversation) THEN
        reason := 'message_not_found';
    -- One's own messages have no receipts.
    ELSIF EXISTS (SELECT FROM messages m WHERE m.id = which AND m.sender_id <> who) THEN
        INSERT INTO delivery_statuses AS d (message_id, user_id, delivered_at, read_at)
        VALUES (which, who, now(), CASE WHEN has_read THEN now() END)
        ON CONFLICT (message_id, user_id) DO UPDATE
            SET delivered_at = coalesce(d.delivered_at, excluded.delivered_at), read_at = coalesce(d.read_at, excluded.read_at)
            WHERE d.delivered_at IS NULL OR (d.read_at IS NULL AND excluded.read_at IS NOT NULL);
    END IF;
    RETURN NEXT;
END $$;

-- Marks everything in a conversation as read; NULL: not a member.
CREATE OR REPLACE FUNCTION messaging_read_all(who uuid, conversation uuid) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    marked bigint;
BEGIN
    IF NOT messaging_enter(who, conversation) THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('messaging.quiet', 'on', true);
    INSERT INTO delivery_statuses AS d (message_id, user_id, delivered_at, read_at)
    SELECT m.id, who, now(), now() FROM messages m WHERE m.conversation_id = conversation AND m.sender_id <> who
        AND NOT EXISTS (SELECT FROM delivery_statuses s WHERE s.message_id = m.id AND s.user_id = who AND s.read_at IS NOT NULL)
    ON CONFLICT (message_id, user_id) DO UPDATE
        SET delivered_at = coalesce(d.delivered_at, excluded.delivered_at), read_at = excluded.read_at;
    GET DIAGNOSTICS marked = ROW_COUNT;
    PERFORM set_config('messaging.quiet', 'off', true);
    UPDATE conversation_members m SET last_read_at = now() WHERE marked > 0 AND m.conversation_id = conversation AND m.user_id = who;
    RETURN marked;
END $$;

-- Adds a reaction; without one added, `reason` says why.
CREATE OR REPLACE FUNCTION messaging_react(who uuid, conversation uuid, which uuid, what text)
RETURNS TABLE (reason text, id uuid, at timestamptz)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT messaging_enter(who, conversation) THEN
        reason := 'forbidden';
    ELSIF NOT EXISTS (SELECT FROM messages m WHERE m.id = which AND m.conversation_id = conversation AND NOT m.is_deleted) THEN
        reason := 'message_not_found';
    ELSE
        INSERT INTO message_reactions AS r (message_id, user_id, reaction) VALUES (which, who, what)
        ON CONFLICT DO NOTHING RETURNING r.id, r.inserted_at INTO id, at;
        IF id IS NULL THEN reason := 'duplicate'; END IF;
    END IF;
    RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION messaging_unreact(who uuid, conversation uuid, which uuid, what text) RETURNS TABLE (reason text)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT messaging_enter(who, conversation) THEN
        reason := 'forbidden';
    ELSE
        DELETE FROM message_reactions r USING messages m
        WHERE r.message_id = which AND r.user_id = who AND r.reaction = what AND m.id = which AND m.conversation_id = conversation;
        IF NOT FOUND THEN reason := 'reaction_not_found'; END IF;
    END IF;
    RETURN NEXT;
END $$;
