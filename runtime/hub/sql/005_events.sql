-- The id of an event belongs to its board: no board can take that of another one.
ALTER TABLE appearance DROP CONSTRAINT appearance_event_fkey;
ALTER TABLE event DROP CONSTRAINT event_pkey, ADD PRIMARY KEY (board, id);
ALTER TABLE appearance ADD FOREIGN KEY (board, event) REFERENCES event (board, id) ON DELETE CASCADE;
DROP INDEX appearance_event, event_started;
CREATE INDEX appearance_event ON appearance (board, event);
CREATE INDEX appearance_newest ON appearance (started, board, id);
UPDATE event SET body = without_match(body) WHERE body #>> '{appearance,match,person}' <> body #>> '{match,person}';
-- When it said last that the hub was restored from a backup.
ALTER TABLE board ADD restored timestamptz;
