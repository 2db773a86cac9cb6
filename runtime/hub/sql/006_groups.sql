-- The groups that a person belongs to, as galleries have them.
ALTER TABLE person ADD groups text[] NOT NULL DEFAULT '{}';
ALTER TABLE review ADD groups text[] NOT NULL DEFAULT '{}';
-- Names that boards gave to people before others erased them.
DELETE FROM review USING tombstone WHERE tombstone.person = review.person;
