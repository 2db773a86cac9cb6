-- People, sites and boards, what boards told, and the changes that boards pull.
CREATE TABLE site (id text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,47}$'));
CREATE TABLE board (
    id text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,47}$'),
    site text NOT NULL REFERENCES site, role name NOT NULL UNIQUE,
    created timestamptz NOT NULL DEFAULT now(), revoked timestamptz,
    lease double precision NOT NULL DEFAULT 604800 CHECK (lease >= 60)
);
CREATE TABLE person (
    id text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'), name text NOT NULL UNIQUE CHECK (name <> ''),
    metadata jsonb NOT NULL DEFAULT '{}', created timestamptz NOT NULL DEFAULT now()
);
-- Where a person is known, and when. NULL: without a limit.
CREATE TABLE stay (
    person text NOT NULL REFERENCES person ON DELETE CASCADE, site text NOT NULL REFERENCES site,
    valid_from timestamptz, valid_until timestamptz, PRIMARY KEY (person, site), CHECK (valid_from < valid_until)
);
-- An embedding of 512 numbers stays in its row: stored out of line, reading all of them takes eight times as long.
CREATE TABLE sample (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person text NOT NULL REFERENCES person ON DELETE CASCADE,
    identity text NOT NULL CHECK (identity ~ '^[0-9a-f]{32}$'), embedding vector NOT NULL,
    quality real NOT NULL CHECK (quality BETWEEN 0 AND 1), source text NOT NULL,
    created timestamptz NOT NULL DEFAULT now()
) WITH (toast_tuple_target = 8160);
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
    $$SELECT coalesce(body #>> '{appearance,match,person}', body #>> '{match,person}')$$;
CREATE FUNCTION without_match(body jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
    $$SELECT jsonb_set(jsonb_set(body, '{match}', 'null', false), '{appearance,match}', 'null', false)$$;
CREATE INDEX event_person ON event (named_person(body));
CREATE INDEX event_started ON event (((body ->> 'started')::double precision));
CREATE TABLE heartbeat (
    board text PRIMARY KEY REFERENCES board, seen timestamptz NOT NULL, revision bigint NOT NULL,
    state jsonb NOT NULL
);
-- People whom boards enrolled under the name of somebody else: a human decides whether both are one person.
CREATE TABLE review (
    person text PRIMARY KEY CHECK (person ~ '^[0-9a-f]{32}$'), board text NOT NULL REFERENCES board,
    name text NOT NULL, metadata jsonb NOT NULL, received timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE review_sample (
    person text NOT NULL REFERENCES review ON DELETE CASCADE, identity text NOT NULL, embedding vector NOT NULL,
    quality real NOT NULL CHECK (quality BETWEEN 0 AND 1), source text NOT NULL
);
