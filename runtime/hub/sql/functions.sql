-- Functions and triggers. Written again by each migration.
CREATE OR REPLACE FUNCTION next_revision() RETURNS bigint LANGUAGE sql AS
    'UPDATE rkface.revision SET last = last + 1 RETURNING last';
-- Who changes people locks the revision before anything else. The revision is locked until the end of a transaction in
-- any case: one that had locked people before would end in a deadlock with another one that waits for them.
CREATE OR REPLACE FUNCTION lock_revision() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = rkface, pg_temp AS $$
BEGIN
    PERFORM 1 FROM revision FOR UPDATE;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER first BEFORE INSERT OR UPDATE OR DELETE ON person FOR EACH STATEMENT EXECUTE FUNCTION lock_revision();
CREATE OR REPLACE TRIGGER first BEFORE INSERT OR UPDATE OR DELETE ON sample FOR EACH STATEMENT EXECUTE FUNCTION lock_revision();
CREATE OR REPLACE TRIGGER first BEFORE INSERT OR UPDATE OR DELETE ON stay FOR EACH STATEMENT EXECUTE FUNCTION lock_revision();
CREATE OR REPLACE TRIGGER first BEFORE INSERT OR UPDATE OR DELETE ON review FOR EACH STATEMENT EXECUTE FUNCTION lock_revision();
CREATE OR REPLACE FUNCTION note_change(person_id text, at_site text, kind text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rkface.change VALUES (at_site, person_id, rkface.next_revision(), kind)
        ON CONFLICT (site, person) DO UPDATE SET revision = excluded.revision, kind = excluded.kind;
    PERFORM pg_notify('rkface', at_site);
END $$;
CREATE OR REPLACE FUNCTION person_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rkface.note_change(NEW.id, site, 'put') FROM rkface.stay WHERE person = NEW.id ORDER BY site;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION sample_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE whose text := CASE WHEN TG_OP = 'DELETE' THEN OLD.person ELSE NEW.person END;
BEGIN
    PERFORM rkface.note_change(whose, site, 'put') FROM rkface.stay WHERE person = whose ORDER BY site;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION stay_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND (TG_OP = 'DELETE' OR (OLD.person, OLD.site) <> (NEW.person, NEW.site)) THEN
        PERFORM rkface.note_change(OLD.person, OLD.site, CASE WHEN EXISTS (
            SELECT 1 FROM rkface.tombstone WHERE tombstone.person = OLD.person) THEN 'erased' ELSE 'gone' END);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM rkface.note_change(NEW.person, NEW.site, 'put');
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER changed AFTER UPDATE ON person FOR EACH ROW EXECUTE FUNCTION person_changed();
CREATE OR REPLACE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON sample FOR EACH ROW EXECUTE FUNCTION sample_changed();
CREATE OR REPLACE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON stay FOR EACH ROW EXECUTE FUNCTION stay_changed();

-- Nobody writes an event about a person who is being erased or merged: it would not see yet that the person is gone, and
-- would not be seen by who changes the events. ``anonymize_event`` has the other half.
CREATE OR REPLACE FUNCTION wait_for_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(NEW.person, 0));
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER wait BEFORE INSERT ON tombstone FOR EACH ROW EXECUTE FUNCTION wait_for_events();
CREATE OR REPLACE TRIGGER wait BEFORE INSERT ON merged FOR EACH ROW EXECUTE FUNCTION wait_for_events();
-- A person who is deleted with SQL is erased, too, with all who were merged into this one: backups may have them. Who
-- was just merged into somebody else is not.
CREATE OR REPLACE FUNCTION person_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM rkface.merged WHERE person = OLD.id) THEN
        RETURN NULL;
    END IF;
    INSERT INTO rkface.tombstone SELECT OLD.id UNION SELECT person FROM rkface.merged WHERE target = OLD.id
        ON CONFLICT DO NOTHING;
    PERFORM rkface.note_change(person, site, 'erased') FROM rkface.change
        WHERE person = OLD.id OR person IN (SELECT merged.person FROM rkface.merged WHERE target = OLD.id)
        ORDER BY site, person;
    UPDATE rkface.event SET body = rkface.without_match(body) WHERE rkface.named_person(body) = OLD.id;
    DELETE FROM rkface.review USING rkface.tombstone WHERE tombstone.person = review.person;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER erased AFTER DELETE ON person FOR EACH ROW EXECUTE FUNCTION person_erased();
-- A board that asks for a decision about somebody who is being erased: nothing is kept. ``wait_for_events`` has the
-- other half.
CREATE OR REPLACE FUNCTION refuse_review() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = rkface, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(NEW.person, 0));
    RETURN CASE WHEN NOT EXISTS (SELECT 1 FROM tombstone WHERE person = NEW.person) THEN NEW END;
END $$;
CREATE OR REPLACE TRIGGER refuse_erased BEFORE INSERT ON review FOR EACH ROW EXECUTE FUNCTION refuse_review();
CREATE OR REPLACE FUNCTION refuse_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM rkface.tombstone WHERE person = NEW.id)
            OR EXISTS (SELECT 1 FROM rkface.merged WHERE person = NEW.id) THEN
        RAISE EXCEPTION 'this person was erased or merged: the id is never used again' USING ERRCODE = '23505';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER refuse_erased BEFORE INSERT OR UPDATE OF id ON person
    FOR EACH ROW EXECUTE FUNCTION refuse_erased();

-- An encrypted hub takes no embedding that it could read, also not from a board or a program that lacks the key.
CREATE OR REPLACE FUNCTION check_sealed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = rkface, public, pg_temp AS $$
BEGIN
    IF (NEW.embedding IS NULL) <> EXISTS (SELECT 1 FROM setting WHERE name = 'sealed') THEN
        RAISE EXCEPTION '%', CASE WHEN NEW.embedding IS NULL THEN 'this hub is not encrypted, but the embedding is'
            ELSE 'this hub is encrypted: it takes only encrypted embeddings' END USING ERRCODE = '22023';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER sealed BEFORE INSERT OR UPDATE OF embedding, sealed ON sample
    FOR EACH ROW EXECUTE FUNCTION check_sealed();
CREATE OR REPLACE TRIGGER sealed BEFORE INSERT OR UPDATE OF embedding, sealed ON review_sample
    FOR EACH ROW EXECUTE FUNCTION check_sealed();

-- A board that was away may still tell of somebody who was erased meanwhile.
-- SECURITY DEFINER functions search pg_temp last: without it in the list, PostgreSQL searches it first, and a board
-- could put a table of its own in place of one of these.
CREATE OR REPLACE FUNCTION anonymize_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = rkface, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(rkface.named_person(NEW.body), 0));  -- NULL: nothing
    IF octet_length(NEW.body::text) > 262144 OR octet_length(NEW.id) > 1000 THEN
        RAISE EXCEPTION 'an event has at most 256 KiB' USING ERRCODE = '22023';
    ELSIF NEW.body #>> '{appearance,match,person}' <> NEW.body #>> '{match,person}' THEN
        NEW.body := rkface.without_match(NEW.body);  -- no event names two people: one of them would outlive an erasure
    ELSIF EXISTS (SELECT 1 FROM person WHERE id = rkface.named_person(NEW.body)) AND NOT EXISTS (
            SELECT 1 FROM change WHERE person = rkface.named_person(NEW.body)
            AND site = (SELECT site FROM board WHERE id = NEW.board)) THEN
        NEW.body := rkface.without_match(NEW.body);  -- somebody whom this board cannot know
    ELSIF EXISTS (SELECT 1 FROM tombstone WHERE person = rkface.named_person(NEW.body)) THEN
        NEW.body := rkface.without_match(NEW.body);
    ELSIF EXISTS (SELECT 1 FROM merged WHERE person = rkface.named_person(NEW.body)) THEN
        NEW.body := rkface.with_person(NEW.body,
            (SELECT target FROM merged WHERE person = rkface.named_person(NEW.body)));
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER anonymize BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION anonymize_event();

CREATE OR REPLACE FUNCTION my_board() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = rkface, pg_temp AS
    'SELECT id FROM board WHERE role = session_user AND revoked IS NULL';
CREATE OR REPLACE FUNCTION my_site() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = rkface, pg_temp AS
    'SELECT site FROM board WHERE role = session_user AND revoked IS NULL';
CREATE OR REPLACE FUNCTION my_lease() RETURNS double precision LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = rkface, pg_temp AS
    'SELECT lease FROM board WHERE role = session_user AND revoked IS NULL';
-- Above the limits of a gallery: what is larger comes from no gallery.
CREATE OR REPLACE FUNCTION check_sizes(person_name text, details jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF length(person_name) > 300 OR length(details::text) > 250000 THEN
        RAISE EXCEPTION 'a name or metadata is larger than a gallery can hold' USING ERRCODE = '22023';
    END IF;
END $$;
-- What a board may do to people, and nothing else: enroll at its own site, and forget people of its own site.
-- Samples are (identity, embedding or sealed, quality, source). Returns whether the hub took the person; if not, see review.
CREATE OR REPLACE FUNCTION enroll(person_id text, person_name text, details jsonb, samples jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = rkface, public, pg_temp AS $$
DECLARE at_site text := my_site(); own text; waiting text; numbers int;
BEGIN
    IF at_site IS NULL THEN
        RAISE EXCEPTION 'the hub does not know this board, or revoked it' USING ERRCODE = '28000';
    END IF;
    PERFORM check_sizes(person_name, details);
    PERFORM 1 FROM revision FOR UPDATE;  -- see lock_revision: what follows sees all that others have changed
    IF octet_length(samples::text) > 134217728 OR EXISTS (SELECT 1 FROM jsonb_array_elements(samples) one
            WHERE length(one ->> 'source') > 10000) THEN
        RAISE EXCEPTION 'these samples are larger than those of a gallery' USING ERRCODE = '22023';
    END IF;
    INSERT INTO setting SELECT 'identity', samples -> 0 ->> 'identity'
        WHERE jsonb_array_length(samples) > 0 ON CONFLICT DO NOTHING;
    SELECT value INTO own FROM setting WHERE name = 'identity';
    IF EXISTS (SELECT 1 FROM jsonb_array_elements(samples) one WHERE one ->> 'identity' <> own) THEN
        RAISE EXCEPTION 'the embeddings are of another model than those of the hub' USING ERRCODE = '22023';
    END IF;
    -- One embedding that cannot be compared would end each search, of everybody.
    SELECT vector_dims(embedding) INTO numbers FROM sample WHERE identity = own AND embedding IS NOT NULL LIMIT 1;
    IF EXISTS (SELECT 1 FROM jsonb_array_elements(samples) one WHERE vector_dims((one ->> 'embedding')::vector) <> numbers
            OR vector_norm((one ->> 'embedding')::vector) = 0) THEN
        RAISE EXCEPTION 'an embedding cannot be compared with those of the hub' USING ERRCODE = '22023';
    END IF;
    IF EXISTS (SELECT 1 FROM tombstone WHERE person = person_id) THEN
        RETURN true;  -- erased meanwhile; the board hears of it at its next sync
    END IF;
    person_id := coalesce((SELECT target FROM merged WHERE merged.person = person_id), person_id);
    -- The board put a number behind the name of somebody who waits for a decision. Another name is a decision.
    SELECT name INTO waiting FROM review WHERE review.person = person_id AND board = my_board();
    IF starts_with(person_name, waiting || ' (') THEN
        person_name := waiting;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM person WHERE id = person_id) THEN
        IF EXISTS (SELECT 1 FROM person WHERE name = person_name) THEN
            INSERT INTO review (person, board, name, metadata) VALUES (person_id, my_board(), person_name, details)
                ON CONFLICT (person) DO UPDATE SET name = excluded.name, metadata = excluded.metadata
                WHERE review.board = excluded.board;
            IF NOT EXISTS (SELECT 1 FROM review WHERE review.person = person_id AND board = my_board()) THEN
                RAISE EXCEPTION 'another board enrolled this person' USING ERRCODE = '42501';
            END IF;
            DELETE FROM review_sample WHERE review_sample.person = person_id;
            INSERT INTO review_sample (person, identity, embedding, sealed, quality, source)
                SELECT person_id, one ->> 'identity', (one ->> 'embedding')::vector, decode(one ->> 'sealed', 'hex'),
                    (one ->> 'quality')::real, one ->> 'source' FROM jsonb_array_elements(samples) one;
            RETURN false;
        END IF;
        DELETE FROM review WHERE review.person = person_id AND board = my_board();
        INSERT INTO person (id, name, metadata) VALUES (person_id, person_name, details);
        INSERT INTO stay (person, site) VALUES (person_id, at_site);
    ELSIF NOT EXISTS (SELECT 1 FROM stay WHERE stay.person = person_id AND stay.site = at_site) THEN
        RETURN true;  -- moved away meanwhile; the board hears of it at its next sync
    END IF;
    INSERT INTO sample (person, identity, embedding, sealed, quality, source)
        SELECT person_id, one ->> 'identity', (one ->> 'embedding')::vector, decode(one ->> 'sealed', 'hex'),
            (one ->> 'quality')::real, one ->> 'source' FROM jsonb_array_elements(samples) one
        WHERE NOT EXISTS (SELECT 1 FROM sample WHERE sample.person = person_id AND sample.identity = one ->> 'identity'
            AND (sample.embedding = (one ->> 'embedding')::vector OR sample.sealed = decode(one ->> 'sealed', 'hex')));
    RETURN true;
END $$;
CREATE OR REPLACE FUNCTION forget(person_id text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = rkface, public, pg_temp AS $$
BEGIN
    IF person_id !~ '^[0-9a-f]{32}$' THEN
        RAISE EXCEPTION 'this is not the id of a person' USING ERRCODE = '22023';
    ELSIF my_site() IS NULL THEN
        RAISE EXCEPTION 'the hub does not know this board, or revoked it' USING ERRCODE = '28000';
    END IF;
    -- Who was merged into somebody else is that person, unless the board was told to forget somebody of another site.
    person_id := coalesce((SELECT target FROM merged WHERE merged.person = person_id
        AND EXISTS (SELECT 1 FROM change WHERE change.person = person_id AND change.site = my_site())), person_id);
    DELETE FROM review WHERE review.person = person_id AND board = my_board();
    -- Also somebody who has moved away since the board was told to forget.
    DELETE FROM person WHERE id = person_id
        AND EXISTS (SELECT 1 FROM change WHERE change.person = person_id AND change.site = my_site());
    IF NOT EXISTS (SELECT 1 FROM person WHERE id = person_id) THEN  -- or the hub never took this person
        INSERT INTO tombstone VALUES (person_id) ON CONFLICT DO NOTHING;
        IF NOT EXISTS (SELECT 1 FROM change WHERE change.person = person_id AND change.site = my_site()) THEN
            PERFORM note_change(person_id, my_site(), 'erased');
        END IF;
    END IF;
    -- The board may have named somebody whom the hub never took.
    UPDATE event SET body = rkface.without_match(body)
        WHERE board = my_board() AND rkface.named_person(body) = person_id;
END $$;

-- The latest stage of an appearance, for journeys. What is not an appearance as docs/events.md has it is left out.
CREATE OR REPLACE FUNCTION note_appearance() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = rkface, pg_temp AS $$
DECLARE now_here double precision := extract(epoch FROM now());
BEGIN
    IF TG_OP = 'UPDATE' THEN  -- somebody was erased
        UPDATE appearance SET person = substring(NEW.body #>> '{match,person}' FROM '^[0-9a-f]{32}$')
            WHERE board = NEW.board AND event = NEW.id;
    ELSIF NEW.body ->> 'schema' = 'rkface.appearance' AND length(NEW.body ->> 'id') BETWEEN 1 AND 100
            AND (NEW.body ->> 'started')::float8 >= 0 AND NEW.body ->> 'stage' IN ('start', 'update', 'end') AND jsonb_typeof(NEW.body -> 'started') = 'number'
            AND jsonb_typeof(NEW.body -> 'best') = 'number' AND jsonb_typeof(NEW.body -> 'ended') = 'number' THEN
        INSERT INTO appearance VALUES (
            NEW.board, NEW.body ->> 'id', NEW.id, left(coalesce(NEW.body ->> 'source', ''), 300),
            substring(NEW.body #>> '{match,person}' FROM '^[0-9a-f]{32}$'),
            least((NEW.body ->> 'started')::float8, now_here),
            least(greatest((NEW.body ->> 'started')::float8, (NEW.body ->> 'best')::float8,
                (NEW.body ->> 'ended')::float8), now_here),
            NEW.body ->> 'stage' <> 'end')
        ON CONFLICT (board, id) DO UPDATE SET event = excluded.event, source = excluded.source,
            person = excluded.person, started = excluded.started, last = excluded.last, lasts = excluded.lasts
            WHERE appearance.lasts OR NOT excluded.lasts;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER noted AFTER INSERT OR UPDATE OF body ON event
    FOR EACH ROW EXECUTE FUNCTION note_appearance();

-- Pauses of heartbeats become rows of ``silence``, and so do the cameras that a heartbeat names as blind. A board that
-- the hub did not hear may have gone on looking: if its service ran, it lost no event, and its lease had not ended, then
-- its events come later, and it was not silent.
CREATE OR REPLACE FUNCTION note_silence() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = rkface, pg_temp AS $$
DECLARE
    own board := board FROM board WHERE id = NEW.board;
    heard timestamptz := CASE WHEN TG_OP = 'UPDATE' THEN OLD.seen ELSE own.created END;
    is_pause boolean := NEW.seen - heard > interval '5 minutes';
    begun timestamptz := NEW.seen - make_interval(secs => least(1e9, CASE jsonb_typeof(NEW.state -> 'running')
        WHEN 'number' THEN (NEW.state ->> 'running')::float8 ELSE 0 END));
    lost text := NEW.state ->> 'lost';  -- since its service began
BEGIN
    IF octet_length(NEW.state::text) > 65536 THEN
        RAISE EXCEPTION 'a heartbeat has at most 64 KiB' USING ERRCODE = '22023';
    END IF;
    IF is_pause AND (TG_OP = 'INSERT' OR lost IS DISTINCT FROM
            CASE WHEN begun > heard THEN '0' ELSE OLD.state ->> 'lost' END) THEN
        INSERT INTO silence VALUES (NEW.board, '', heard, NEW.seen);
    ELSIF is_pause THEN
        INSERT INTO silence SELECT NEW.board, '', heard, begun WHERE begun > heard;
        INSERT INTO silence SELECT NEW.board, '', ended, NEW.seen
            FROM (SELECT heard + make_interval(secs => own.lease)) AS own_lease (ended) WHERE ended < NEW.seen;
    END IF;
    IF jsonb_typeof(NEW.state -> 'blind') = 'array' THEN
        UPDATE silence SET ended = NEW.seen WHERE board = NEW.board AND camera <> '' AND ended IS NULL
            AND NOT NEW.state -> 'blind' ? camera;
        INSERT INTO silence SELECT DISTINCT NEW.board, name, CASE WHEN is_pause THEN NEW.seen ELSE heard END, NULL::timestamptz
            FROM jsonb_array_elements_text(NEW.state -> 'blind') AS blind (name)
            WHERE length(name) BETWEEN 1 AND 300 AND NOT EXISTS (SELECT 1 FROM silence
                WHERE silence.board = NEW.board AND camera = name AND ended IS NULL) LIMIT 100;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER noted AFTER INSERT OR UPDATE ON heartbeat FOR EACH ROW EXECUTE FUNCTION note_silence();
