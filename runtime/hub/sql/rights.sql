-- What each role may do. Written again by each migration, so a right that is not here is gone.
-- Boards see the rows of their site, and write rows of their own.
DO $$
DECLARE one record;
BEGIN
    FOR one IN SELECT tablename, policyname FROM pg_policies WHERE schemaname = 'rkface' LOOP
        EXECUTE format('DROP POLICY %I ON rkface.%I', one.policyname, one.tablename);
    END LOOP;
    FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'rkface' LOOP
        EXECUTE format('ALTER TABLE rkface.%I ENABLE ROW LEVEL SECURITY', one.tablename);
        EXECUTE format('CREATE POLICY admin ON rkface.%I TO rkface_admin USING (true)', one.tablename);
    END LOOP;
END $$;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rkface FROM PUBLIC, rkface_board;
REVOKE ALL ON ALL TABLES IN SCHEMA rkface FROM PUBLIC, rkface_board;
GRANT USAGE ON SCHEMA rkface TO rkface_board, rkface_admin;
GRANT ALL ON ALL TABLES IN SCHEMA rkface TO rkface_admin;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rkface TO rkface_admin;

GRANT EXECUTE ON FUNCTION my_board(), my_site(), my_lease(), forget(text), enroll(text, text, jsonb, jsonb),
    named_person(jsonb), standing(), notice_restored(bigint), rename(text, text, text), merge(text, text), remove_samples(text, bigint[]),
    set_groups(text, text[])
    TO rkface_board;
GRANT SELECT ON version, person, stay, sample, change, setting, review TO rkface_board;
GRANT SELECT, INSERT ON receipt, event TO rkface_board;
GRANT SELECT, INSERT, UPDATE ON heartbeat TO rkface_board;

CREATE POLICY board ON version TO rkface_board USING (true);
CREATE POLICY board ON setting TO rkface_board USING (my_board() IS NOT NULL);
CREATE POLICY board ON person TO rkface_board
    USING (EXISTS (SELECT 1 FROM stay WHERE stay.person = person.id AND stay.site = my_site()));
CREATE POLICY board ON sample TO rkface_board
    USING (EXISTS (SELECT 1 FROM stay WHERE stay.person = sample.person AND stay.site = my_site()));
CREATE POLICY board ON stay TO rkface_board USING (site = my_site());
CREATE POLICY board ON change TO rkface_board USING (site = my_site());
CREATE POLICY board ON receipt TO rkface_board USING (board = my_board());
CREATE POLICY board ON event TO rkface_board USING (board = my_board());
-- With the time of the hub: with another one, a board that is gone could count as here for ever.
CREATE POLICY board ON heartbeat TO rkface_board USING (board = my_board())
    WITH CHECK (board = my_board() AND seen = now());
CREATE POLICY board ON review TO rkface_board USING (board = my_board());
