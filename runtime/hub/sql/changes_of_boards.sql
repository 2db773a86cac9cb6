-- What boards change of people whom the hub has: renamed, merged, removed samples. Written again by each migration.
-- A change at the hub that the board has not seen yet wins: the board hears of it at its next sync.
CREATE OR REPLACE FUNCTION with_person(body jsonb, person_id text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_set(jsonb_set(body, '{match,person}', to_jsonb(person_id), false),
        '{appearance,match,person}', to_jsonb(person_id), false)
$$;

CREATE OR REPLACE FUNCTION both_groups(one text[], other text[]) RETURNS text[] LANGUAGE sql IMMUTABLE AS
    'SELECT coalesce(array_agg(name ORDER BY name), ''{}'') FROM (SELECT unnest(one) UNION SELECT unnest(other)) both_of (name)';
-- Give everything of one person to another one, and remove the first. Both are people of the hub.
CREATE OR REPLACE FUNCTION merge_people(person_id text, into_id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sample WHERE person = person_id AND EXISTS (SELECT 1 FROM sample other WHERE other.person = into_id
        AND other.identity = sample.identity AND (other.embedding = sample.embedding OR other.sealed = sample.sealed));
    UPDATE sample SET person = into_id WHERE person = person_id;
    INSERT INTO stay SELECT into_id, site, valid_from, valid_until FROM stay WHERE person = person_id
        ON CONFLICT DO NOTHING;
    UPDATE person SET metadata = one.metadata || person.metadata, groups = both_groups(one.groups, person.groups)
        FROM person one WHERE one.id = person_id AND person.id = into_id;
    PERFORM note_merged(person_id, into_id);
    DELETE FROM person WHERE id = person_id;
END $$;
CREATE OR REPLACE FUNCTION note_merged(person_id text, into_id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO merged VALUES (person_id, into_id);
    UPDATE merged SET target = into_id WHERE target = person_id;
    DELETE FROM review WHERE review.person = person_id;
    UPDATE event SET body = rkface.with_person(body, into_id) WHERE rkface.named_person(body) = person_id;
END $$;

-- Whether this is the database that a board knows: the epoch is another one after a dump was restored into another
-- database, or a backup of the server up to some time; and ``last`` is less than what a board has after an older copy
-- of the server's files was started.
CREATE OR REPLACE FUNCTION standing(OUT epoch text, OUT last bigint) LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = rkface, pg_temp AS $$
BEGIN
    SELECT oid::text INTO epoch FROM pg_database WHERE datname = current_database();
    SELECT revision.last INTO last FROM revision;
    epoch := concat_ws('-', epoch, (SELECT value FROM setting WHERE name = 'epoch'));
    epoch := concat_ws('-', epoch, (pg_control_system()).system_identifier, (pg_control_checkpoint()).timeline_id);
EXCEPTION WHEN insufficient_privilege THEN  -- of the last statement: then the database alone must do
    SELECT oid::text INTO epoch FROM pg_database WHERE datname = current_database();
    SELECT revision.last INTO last FROM revision;
END $$;
-- A board has change ``known``, which this database does not have: it was restored. What changes from now on is newer
-- than all that any board has, as far as this board knows, and the others hear that they must compare everybody. Each
-- board can cause that once an hour.
CREATE OR REPLACE FUNCTION notice_restored(known bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = rkface, pg_temp AS $$
BEGIN
    IF my_site() IS NOT NULL AND known < (SELECT last + 1000000000 FROM revision) AND EXISTS (SELECT 1 FROM board
            WHERE id = my_board() AND coalesce(restored < now() - interval '1 hour', true)) THEN
        UPDATE revision SET last = known WHERE last < known;
        IF FOUND THEN
            UPDATE board SET restored = now() WHERE id = my_board();
            INSERT INTO setting VALUES ('epoch', gen_random_uuid())
                ON CONFLICT (name) DO UPDATE SET value = excluded.value;
        END IF;
    END IF;
END $$;
CREATE OR REPLACE FUNCTION is_mine(person_id text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = rkface, pg_temp AS
    'SELECT EXISTS (SELECT 1 FROM stay WHERE person = person_id AND site = my_site())';
-- Returns false if somebody else has the name: a human at the hub must decide.
CREATE OR REPLACE FUNCTION rename(person_id text, before text, new_name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = rkface, pg_temp AS $$
BEGIN
    PERFORM check_sizes(new_name, NULL);
    PERFORM 1 FROM revision FOR UPDATE;
    IF NOT is_mine(person_id) THEN
        RETURN true;
    ELSIF EXISTS (SELECT 1 FROM person WHERE name = new_name AND id <> person_id) THEN
        INSERT INTO review (person, board, name, metadata) VALUES (person_id, my_board(), new_name, '{}')
            ON CONFLICT (person) DO UPDATE SET name = excluded.name WHERE review.board = excluded.board;
        RETURN false;
    END IF;
    DELETE FROM review WHERE review.person = person_id;
    UPDATE person SET name = new_name WHERE id = person_id AND name = before;
    RETURN true;
END $$;
-- Returns whether both stay apart, because the other one is known at other sites only: then the board gets this person
-- again.
DROP FUNCTION IF EXISTS merge(text, text);
CREATE FUNCTION merge(person_id text, into_id text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = rkface, public, pg_temp AS $$
DECLARE free text;
BEGIN
    PERFORM 1 FROM revision FOR UPDATE;
    IF is_mine(into_id) AND is_mine(person_id) AND person_id <> into_id THEN
        PERFORM merge_people(person_id, into_id);
    ELSIF is_mine(into_id) AND EXISTS (SELECT 1 FROM review WHERE review.person = person_id AND board = my_board())
            AND NOT EXISTS (SELECT 1 FROM person WHERE id = person_id) THEN
        PERFORM note_merged(person_id, into_id);
    ELSIF is_mine(person_id) AND EXISTS (SELECT 1 FROM review WHERE review.person = into_id AND board = my_board())
            AND NOT EXISTS (SELECT 1 FROM person WHERE id = into_id) THEN  -- into somebody who waited for a decision
        SELECT name INTO free FROM person WHERE id = person_id;
        INSERT INTO person (id, name, metadata, groups)
            SELECT into_id, into_id, metadata, groups FROM review WHERE review.person = into_id;
        INSERT INTO stay (person, site) VALUES (into_id, my_site());
        INSERT INTO sample (person, identity, embedding, sealed, quality, source)
            SELECT into_id, identity, embedding, sealed, quality, source FROM review_sample WHERE person = into_id;
        DELETE FROM review WHERE review.person = into_id;
        PERFORM merge_people(person_id, into_id);
        UPDATE person SET name = free WHERE id = into_id;
    ELSIF is_mine(person_id) AND EXISTS (SELECT 1 FROM person WHERE id = into_id) THEN
        PERFORM note_change(person_id, my_site(), 'put');
        RETURN true;
    END IF;
    RETURN false;
END $$;
CREATE OR REPLACE FUNCTION set_groups(person_id text, names text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = rkface, pg_temp AS $$
BEGIN
    IF cardinality(names) > 100 OR EXISTS (SELECT 1 FROM unnest(names) one WHERE length(one) > 200) THEN
        RAISE EXCEPTION 'these groups are larger than a gallery can hold' USING ERRCODE = '22023';
    END IF;
    UPDATE person SET groups = names WHERE id = person_id AND groups <> names AND is_mine(person_id);
    UPDATE review SET groups = names WHERE person = person_id AND board = my_board();
END $$;
CREATE OR REPLACE FUNCTION remove_samples(person_id text, numbers bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = rkface, public, pg_temp AS $$
BEGIN
    DELETE FROM sample WHERE person = person_id AND id = ANY(numbers) AND is_mine(person_id);
END $$;
