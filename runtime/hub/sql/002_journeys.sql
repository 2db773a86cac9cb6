-- For journeys and attendance: where people were, and when nobody looked.
-- An appearance at its latest stage. ``event`` is the row that tells of it: without that row, it is gone, too.
-- Times are seconds since 1970, by the clock of the board, but no later than the hub received them.
CREATE TABLE appearance (
    board text NOT NULL REFERENCES board, id text NOT NULL,
    event text NOT NULL REFERENCES event ON DELETE CASCADE, source text NOT NULL, person text,
    started double precision NOT NULL, last double precision NOT NULL, lasts boolean NOT NULL, PRIMARY KEY (board, id)
);
CREATE INDEX appearance_event ON appearance (event);
CREATE INDEX appearance_started ON appearance (started, person) WHERE person IS NOT NULL;
CREATE INDEX appearance_last ON appearance (last) WHERE person IS NOT NULL;
CREATE INDEX appearance_person ON appearance (person, started, board, id, last) WHERE person IS NOT NULL;
-- Long appearances are few, and are looked up apart (LONG in journeys.py).
CREATE INDEX appearance_long ON appearance (person, started, last) WHERE last - started > 3600;
-- When a board ('' as camera) or one camera of it did not look, or could not tell. NULL: until now.
CREATE TABLE silence (
    board text NOT NULL REFERENCES board, camera text NOT NULL, started timestamptz NOT NULL, ended timestamptz
);
CREATE INDEX silence_board ON silence (board, camera, ended);
-- Of the time before this migration, the hub knows only when each board was seen last.
INSERT INTO silence SELECT id, '', created, coalesce(seen, now())
    FROM board LEFT JOIN heartbeat ON heartbeat.board = board.id;
INSERT INTO appearance
    SELECT DISTINCT ON (board, body ->> 'id') board, body ->> 'id', id, left(coalesce(body ->> 'source', ''), 300),
        substring(body #>> '{match,person}' FROM '^[0-9a-f]{32}$'), least((body ->> 'started')::float8, extract(epoch FROM received)),
        least(greatest((body ->> 'started')::float8, (body ->> 'best')::float8, (body ->> 'ended')::float8),
            extract(epoch FROM received)),
        body ->> 'stage' <> 'end'
    FROM event WHERE body ->> 'schema' = 'rkface.appearance' AND length(body ->> 'id') BETWEEN 1 AND 100
        AND (body ->> 'started')::float8 >= 0 AND body ->> 'stage' IN ('start', 'update', 'end') AND jsonb_typeof(body -> 'started') = 'number'
        AND jsonb_typeof(body -> 'best') = 'number' AND jsonb_typeof(body -> 'ended') = 'number'
    ORDER BY board, body ->> 'id', (body ->> 'stage' = 'end') DESC, received DESC;
