"""The tables of the hub in PostgreSQL, and their numbered migrations.

All of them are in the schema ``rkface``, so that the database can have tables of others. Triggers number every change:
a program that writes people with SQL, and knows nothing of rkface, has told all boards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, WorkError
from .connection import hub_errors, import_psycopg

if TYPE_CHECKING:
    import psycopg

OLDEST_SERVER, OLDEST_VECTOR = 150_000, (0, 7)
LOCK = 0x726B6661  # of the migrations, as an advisory lock
ADMIN, BOARD = "rkface_admin", "rkface_board"
ID = r"^[a-z0-9][a-z0-9-]{0,47}$"  # of boards and sites: a part of the name of a role, which has 63 characters at most

# Each entry migrates from version n to n + 1. Never change a released entry: add another.
MIGRATIONS: tuple[str, ...] = (
    f"""
    CREATE TABLE site (id text PRIMARY KEY CHECK (id ~ '{ID}'));
    CREATE TABLE board (
        id text PRIMARY KEY CHECK (id ~ '{ID}'), site text NOT NULL REFERENCES site, role name NOT NULL UNIQUE,
        created timestamptz NOT NULL DEFAULT now(), revoked timestamptz,
        lease double precision NOT NULL DEFAULT 604800 CHECK (lease >= 60)
    );
    CREATE TABLE person (
        id text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{{32}}$'), name text NOT NULL UNIQUE CHECK (name <> ''),
        metadata jsonb NOT NULL DEFAULT '{{}}', created timestamptz NOT NULL DEFAULT now()
    );
    -- Where a person is known, and when. NULL: without a limit.
    CREATE TABLE stay (
        person text NOT NULL REFERENCES person ON DELETE CASCADE, site text NOT NULL REFERENCES site,
        valid_from timestamptz, valid_until timestamptz, PRIMARY KEY (person, site), CHECK (valid_from < valid_until)
    );
    CREATE TABLE sample (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person text NOT NULL REFERENCES person ON DELETE CASCADE,
        identity text NOT NULL CHECK (identity ~ '^[0-9a-f]{{32}}$'), embedding vector NOT NULL,
        quality real NOT NULL CHECK (quality BETWEEN 0 AND 1), source text NOT NULL,
        created timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX sample_person ON sample (person);
    -- The identity of the hub's embeddings, among others.
    CREATE TABLE setting (name text PRIMARY KEY, value text NOT NULL);
    -- One row. Writers wait for it, so revisions are committed in their order, and a board misses none.
    CREATE TABLE revision (last bigint NOT NULL);
    INSERT INTO revision VALUES (0);
    -- The last change of each person at each site. After a move or an erasure only the id stays.
    CREATE TABLE change (
        site text NOT NULL REFERENCES site, person text NOT NULL, revision bigint NOT NULL,
        kind text NOT NULL CHECK (kind IN ('put', 'gone', 'erased')), PRIMARY KEY (site, person)
    );
    CREATE INDEX change_revision ON change (site, revision);
    CREATE TABLE tombstone (person text PRIMARY KEY, erased timestamptz NOT NULL DEFAULT now());
    CREATE TABLE receipt (
        person text NOT NULL REFERENCES tombstone, board text NOT NULL REFERENCES board,
        confirmed timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (person, board)
    );
    CREATE TABLE event (
        id text PRIMARY KEY, board text NOT NULL REFERENCES board, body jsonb NOT NULL,
        received timestamptz NOT NULL DEFAULT now()
    );
    -- An alert has its appearance in a field, any other event is one.
    CREATE FUNCTION named_person(body jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS
        $$SELECT coalesce(body #>> '{{appearance,match,person}}', body #>> '{{match,person}}')$$;
    CREATE FUNCTION without_match(body jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
        $$SELECT jsonb_set(jsonb_set(body, '{{match}}', 'null', false), '{{appearance,match}}', 'null', false)$$;
    CREATE INDEX event_person ON event (named_person(body));
    CREATE INDEX event_started ON event (((body ->> 'started')::double precision));
    CREATE TABLE heartbeat (
        board text PRIMARY KEY REFERENCES board, seen timestamptz NOT NULL, revision bigint NOT NULL,
        state jsonb NOT NULL
    );
    -- People whom boards enrolled under the name of somebody else: a human decides whether both are one person.
    CREATE TABLE review (
        person text PRIMARY KEY CHECK (person ~ '^[0-9a-f]{{32}}$'), board text NOT NULL REFERENCES board,
        name text NOT NULL, metadata jsonb NOT NULL, received timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE review_sample (
        person text NOT NULL REFERENCES review ON DELETE CASCADE, identity text NOT NULL, embedding vector NOT NULL,
        quality real NOT NULL CHECK (quality BETWEEN 0 AND 1), source text NOT NULL
    );

    CREATE FUNCTION next_revision() RETURNS bigint LANGUAGE sql AS
        'UPDATE rkface.revision SET last = last + 1 RETURNING last';
    CREATE FUNCTION note_change(person_id text, at_site text, kind text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO rkface.change VALUES (at_site, person_id, rkface.next_revision(), kind)
            ON CONFLICT (site, person) DO UPDATE SET revision = excluded.revision, kind = excluded.kind;
        PERFORM pg_notify('rkface', at_site);
    END $$;
    CREATE FUNCTION person_changed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM rkface.note_change(NEW.id, site, 'put') FROM rkface.stay WHERE person = NEW.id ORDER BY site;
        RETURN NULL;
    END $$;
    CREATE FUNCTION sample_changed() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE whose text := CASE WHEN TG_OP = 'DELETE' THEN OLD.person ELSE NEW.person END;
    BEGIN
        PERFORM rkface.note_change(whose, site, 'put') FROM rkface.stay WHERE person = whose ORDER BY site;
        RETURN NULL;
    END $$;
    CREATE FUNCTION stay_changed() RETURNS trigger LANGUAGE plpgsql AS $$
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
    CREATE TRIGGER changed AFTER UPDATE ON person FOR EACH ROW EXECUTE FUNCTION person_changed();
    CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON sample FOR EACH ROW EXECUTE FUNCTION sample_changed();
    CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON stay FOR EACH ROW EXECUTE FUNCTION stay_changed();

    -- A person who is deleted with SQL is erased, too.
    CREATE FUNCTION person_erased() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO rkface.tombstone VALUES (OLD.id) ON CONFLICT DO NOTHING;
        PERFORM rkface.note_change(OLD.id, site, 'erased') FROM rkface.change WHERE person = OLD.id ORDER BY site;
        UPDATE rkface.event SET body = rkface.without_match(body) WHERE rkface.named_person(body) = OLD.id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER erased AFTER DELETE ON person FOR EACH ROW EXECUTE FUNCTION person_erased();
    CREATE FUNCTION refuse_erased() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM rkface.tombstone WHERE person = NEW.id) THEN
            RAISE EXCEPTION 'this person was erased: an erased id is never used again' USING ERRCODE = '23505';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse_erased BEFORE INSERT OR UPDATE OF id ON person
        FOR EACH ROW EXECUTE FUNCTION refuse_erased();

    -- A board that was away may still tell of somebody who was erased meanwhile.
    -- SECURITY DEFINER functions search pg_temp last: without it in the list, PostgreSQL searches it first, and a board
    -- could put a table of its own in place of one of these.
    CREATE FUNCTION anonymize_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = rkface, pg_temp AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM tombstone WHERE person = rkface.named_person(NEW.body)) THEN
            NEW.body := rkface.without_match(NEW.body);
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER anonymize BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION anonymize_event();

    CREATE FUNCTION my_board() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = rkface, pg_temp AS
        'SELECT id FROM board WHERE role = session_user AND revoked IS NULL';
    CREATE FUNCTION my_site() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = rkface, pg_temp AS
        'SELECT site FROM board WHERE role = session_user AND revoked IS NULL';
    CREATE FUNCTION my_lease() RETURNS double precision LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = rkface, pg_temp AS
        'SELECT lease FROM board WHERE role = session_user AND revoked IS NULL';
    -- What a board may do to people, and nothing else: enroll at its own site, and forget people of its own site.
    -- Samples are (identity, embedding, quality, source). Returns whether the hub took the person; if not, see review.
    CREATE FUNCTION enroll(person_id text, person_name text, details jsonb, samples jsonb) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = rkface, public, pg_temp AS $$
    DECLARE at_site text := my_site(); own text; waiting text;
    BEGIN
        IF at_site IS NULL THEN
            RAISE EXCEPTION 'the hub does not know this board, or revoked it' USING ERRCODE = '28000';
        END IF;
        INSERT INTO setting SELECT 'identity', samples -> 0 ->> 'identity'
            WHERE jsonb_array_length(samples) > 0 ON CONFLICT DO NOTHING;
        SELECT value INTO own FROM setting WHERE name = 'identity';
        IF EXISTS (SELECT 1 FROM jsonb_array_elements(samples) one WHERE one ->> 'identity' <> own) THEN
            RAISE EXCEPTION 'the embeddings are of another model than those of the hub' USING ERRCODE = '22023';
        END IF;
        IF EXISTS (SELECT 1 FROM tombstone WHERE person = person_id) THEN
            RETURN true;  -- erased meanwhile; the board hears of it at its next sync
        END IF;
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
                INSERT INTO review_sample SELECT person_id, one ->> 'identity', (one ->> 'embedding')::vector,
                    (one ->> 'quality')::real, one ->> 'source' FROM jsonb_array_elements(samples) one;
                RETURN false;
            END IF;
            DELETE FROM review WHERE review.person = person_id AND board = my_board();
            INSERT INTO person (id, name, metadata) VALUES (person_id, person_name, details);
            INSERT INTO stay (person, site) VALUES (person_id, at_site);
        ELSIF NOT EXISTS (SELECT 1 FROM stay WHERE stay.person = person_id AND stay.site = at_site) THEN
            RETURN true;  -- moved away meanwhile; the board hears of it at its next sync
        END IF;
        INSERT INTO sample (person, identity, embedding, quality, source)
            SELECT person_id, one ->> 'identity', (one ->> 'embedding')::vector, (one ->> 'quality')::real,
                one ->> 'source' FROM jsonb_array_elements(samples) one
            WHERE NOT EXISTS (SELECT 1 FROM sample WHERE sample.person = person_id
                AND sample.embedding = (one ->> 'embedding')::vector AND sample.identity = one ->> 'identity');
        RETURN true;
    END $$;
    CREATE FUNCTION forget(person_id text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = rkface, public, pg_temp AS $$
    BEGIN
        IF person_id !~ '^[0-9a-f]{{32}}$' THEN
            RAISE EXCEPTION 'this is not the id of a person' USING ERRCODE = '22023';
        ELSIF my_site() IS NULL THEN
            RAISE EXCEPTION 'the hub does not know this board, or revoked it' USING ERRCODE = '28000';
        END IF;
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

    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rkface FROM PUBLIC;
    GRANT USAGE ON SCHEMA rkface TO {BOARD}, {ADMIN};
    GRANT EXECUTE ON FUNCTION my_board(), my_site(), my_lease(), forget(text), enroll(text, text, jsonb, jsonb),
        named_person(jsonb) TO {BOARD};
    GRANT ALL ON ALL TABLES IN SCHEMA rkface TO {ADMIN};
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rkface TO {ADMIN};
    GRANT SELECT ON person, stay, sample, change, setting TO {BOARD};
    GRANT SELECT, INSERT ON receipt, event TO {BOARD};
    GRANT SELECT, INSERT, UPDATE ON heartbeat TO {BOARD};
    GRANT SELECT ON review TO {BOARD};
    """,
)
# Rows that a board may see or write: those of its site, and its own. Everything else stays invisible.
POLICIES: dict[str, str] = {
    "person": "EXISTS (SELECT 1 FROM rkface.stay WHERE stay.person = person.id AND stay.site = rkface.my_site())",
    "sample": "EXISTS (SELECT 1 FROM rkface.stay WHERE stay.person = sample.person AND stay.site = rkface.my_site())",
    "stay": "site = rkface.my_site()",
    "change": "site = rkface.my_site()",
    "setting": "rkface.my_board() IS NOT NULL",
    "receipt": "board = rkface.my_board()",
    "event": "board = rkface.my_board()",
    "heartbeat": "board = rkface.my_board()",
    "review": "board = rkface.my_board()",
}


def migrate(connection: psycopg.Connection[Any]) -> int:
    """Create or migrate the tables, in one transaction, and return their version. The user must own the database.

    Raises WorkError for a server or a pgvector that is too old, and InputError if a newer rkface made the tables.
    """
    with hub_errors(), connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        _check_server(connection)
        _create_roles(connection)
        connection.execute("CREATE SCHEMA IF NOT EXISTS rkface")
        connection.execute("CREATE TABLE IF NOT EXISTS rkface.version (number int NOT NULL)")
        version = read_version(connection)
        connection.execute("SET LOCAL search_path = rkface, public")
        for migration in MIGRATIONS[version:]:
            connection.execute(migration.encode())  # bytes: psycopg wants to know that the text is not put together
        if version == 0:
            _add_policies(connection)
        connection.execute("DELETE FROM rkface.version")
        connection.execute("INSERT INTO rkface.version VALUES (%s)", [len(MIGRATIONS)])
    return len(MIGRATIONS)


def read_version(connection: psycopg.Connection[Any]) -> int:
    """The version of the tables; 0 if they do not exist. Raises InputError for tables of a newer rkface."""
    row = connection.execute("SELECT number FROM rkface.version").fetchone()
    version = int(row[0]) if row else 0
    if version > len(MIGRATIONS):
        raise InputError(
            f"a newer rkface made the hub's tables (version {version}, here {len(MIGRATIONS)}): update rkface here"
        )
    return version


def check_version(connection: psycopg.Connection[Any]) -> None:
    """Raise InputError unless the hub has the tables of this rkface."""
    psycopg = import_psycopg()
    missing = psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege
    with hub_errors():
        try:
            version = read_version(connection)
        except missing:
            raise InputError("this database is not a hub: make it one with `rkface hub init DSN`") from None
    if version < len(MIGRATIONS):
        raise InputError(
            f"the hub's tables are of an older rkface (version {version}, here {len(MIGRATIONS)}): `rkface hub init "
            "DSN` migrates them"
        )


def _check_server(connection: psycopg.Connection[Any]) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise WorkError(
            f"the hub needs PostgreSQL {OLDEST_SERVER // 10_000} or newer; this server is "
            f"{connection.info.server_version // 10_000}"
        )
    known = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    if known is None:
        raise WorkError(
            "the server has no pgvector: install it there (Debian: postgresql-NN-pgvector from apt.postgresql.org, or "
            "github.com/pgvector/pgvector)"
        )
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    version = str(row[0]) if row else "0"
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VECTOR:
        raise WorkError(
            f"the hub needs pgvector 0.7 or newer; this server has {version}: install a newer one, then run "
            "ALTER EXTENSION vector UPDATE"
        )


def _create_roles(connection: psycopg.Connection[Any]) -> None:
    for role in (ADMIN, BOARD):
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
            connection.execute(f"CREATE ROLE {role} NOLOGIN".encode())


def _add_policies(connection: psycopg.Connection[Any]) -> None:
    tables = connection.execute("SELECT relname FROM pg_class WHERE relnamespace = 'rkface'::regnamespace "
                                "AND relkind = 'r'").fetchall()  # fmt: skip
    for (table,) in tables:
        connection.execute(f"ALTER TABLE rkface.{table} ENABLE ROW LEVEL SECURITY".encode())
        connection.execute(f"CREATE POLICY admin ON rkface.{table} TO {ADMIN} USING (true)".encode())
        if table in POLICIES:
            rule = POLICIES[table]
            statement = f"CREATE POLICY board ON rkface.{table} TO {BOARD} USING ({rule}) WITH CHECK ({rule})"
            connection.execute(statement.encode())
        elif table == "version":
            connection.execute(f"CREATE POLICY board ON rkface.version TO {BOARD} USING (true)".encode())
            connection.execute(f"GRANT SELECT ON rkface.version TO {BOARD}".encode())
