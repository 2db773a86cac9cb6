-- Embeddings that boards encrypted before they sent them: all of a hub, or none (setting 'sealed').
ALTER TABLE sample ALTER embedding DROP NOT NULL, ADD sealed bytea, ADD CHECK ((embedding IS NULL) <> (sealed IS NULL));
ALTER TABLE review_sample ALTER embedding DROP NOT NULL, ADD sealed bytea,
    ADD CHECK ((embedding IS NULL) <> (sealed IS NULL));
