-- People who were merged into another one, also after that one was erased: events and boards may still name them.
CREATE TABLE merged (
    person text PRIMARY KEY CHECK (person ~ '^[0-9a-f]{32}$'), target text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX merged_target ON merged (target);
