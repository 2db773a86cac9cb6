"""What a board can do at the hub with SQL of its own, and what of a person stays there: as little as docs/security.md
says."""

import json
from contextlib import ExitStack
from threading import Thread

import psycopg
import pytest

from rkface.runtime.core.errors import WorkError
from rkface.runtime.events.channel import RefusedError
from rkface.runtime.events.event import OutgoingEvent, encode
from rkface.runtime.gallery.backup import forget
from rkface.runtime.hub import migrations
from rkface.runtime.hub.boards import CONNECTIONS, add_site
from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.people import add_person, erase_person, move_person
from rkface.runtime.hub.push import HubEvents, push_people, send_heartbeat
from rkface.runtime.hub.search import open_search

from .conftest import ONE, sample
from .world import PEOPLE

FILES = migrations.find_migrations()
SIGHTING = {"schema": "rkface.appearance", "id": "1", "started": 1.0}


def alert(person, name):
    match = {"person": person, "name": name, "cosine": 0.9}
    return {"schema": "rkface.alert", "id": "a", "rule": "night", "appearance": {**SIGHTING, "match": match}}


def stored(hub):
    return "".join(body for (body,) in hub.execute("SELECT body::text FROM rkface.event"))


@pytest.fixture
def events(database):
    """``events(connection)``: the channel of the board that has ``connection``."""
    opened = []

    def open_channel(own):
        opened.append(HubEvents(f"{own.info.dsn} password={own.info.password}"))
        opened[-1].maintain(lambda: None)
        return opened[-1]

    yield open_channel
    for one in opened:
        one.close()


@pytest.mark.parametrize(
    "table",
    [
        "board (id text, site text, role name, revoked timestamptz, lease float8)",
        "stay (person text, site text)",
    ],
)
def test_a_board_cannot_put_its_own_table_in_place_of_one_of_the_hub(hub, board, table):
    add_site(hub, "west")
    bob = add_person(hub, "Bob", ["west"], [sample(1)], ONE)
    with board("door-1", "east") as (own, _):
        own.execute(f"CREATE TEMP TABLE {table}")
        name = table.partition(" ")[0]
        own.execute(f"GRANT ALL ON pg_temp.{name} TO PUBLIC")
        values = {"board": "('door-1', 'west', session_user, NULL, 1e9)", "stay": f"('{bob}', 'east')"}
        own.execute(f"INSERT INTO pg_temp.{name} VALUES {values[name]}")
        assert own.execute("SELECT rkface.my_site(), rkface.my_lease()").fetchone() == ("east", 3600.0)
        assert own.execute("SELECT name FROM rkface.person").fetchall() == []
        own.execute("SELECT rkface.forget(%s)", [bob])
        assert hub.execute("SELECT name FROM rkface.person").fetchall() == [("Bob",)]


def test_every_table_hides_rows_from_boards(hub):
    open_tables = hub.execute("SELECT relname FROM pg_class WHERE relnamespace = 'rkface'::regnamespace "
                              "AND relkind = 'r' AND NOT relrowsecurity").fetchall()  # fmt: skip
    assert open_tables == []


def test_no_function_with_the_rights_of_the_owner_searches_what_a_board_can_write(hub):
    """A new function with SECURITY DEFINER must end its search path with pg_temp, which is searched first otherwise."""
    found = hub.execute(
        "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'rkface'::regnamespace AND prosecdef"
    ).fetchall()
    assert len(found) >= 6
    for name, settings in found:
        assert settings and settings[0].startswith("search_path=rkface") and settings[0].endswith(", pg_temp"), name


def test_a_board_cannot_change_what_another_board_has_enrolled(hub, board):
    with board("door-1", "east") as (own, gallery), board("door-2", "east") as (other, _):
        add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        ada = gallery.add("Ada", [sample(2)])
        assert push_people(own, gallery) == [ada.id]
        with pytest.raises(psycopg.errors.InsufficientPrivilege), other.transaction():
            other.execute("SELECT rkface.enroll(%s, 'Ada', '{}', '[]')", [ada.id])
        assert hub.execute("SELECT count(*) FROM rkface.review_sample").fetchone() == (1,)


def test_alerts_at_the_hub_lose_an_erased_person_too(hub, board, events):
    with board("door-1", "east") as (own, _):
        ada = add_person(hub, "Ada", ["east"], [], ONE)
        channel = events(own)
        channel.deliver(OutgoingEvent(encode(alert(ada, "Ada"))))
        assert "Ada" in stored(hub)
        erase_person(hub, ada)
        assert "Ada" not in stored(hub) and ada not in stored(hub)
        channel.deliver(OutgoingEvent(encode({**alert(ada, "Ada"), "id": "late"})))
        assert "Ada" not in stored(hub) and ada not in stored(hub)
        assert hub.execute("SELECT count(*) FROM rkface.event").fetchone() == (2,)


@pytest.mark.parametrize("pushed", [False, True], ids=["never told to the hub", "not taken by the hub"])
def test_events_lose_somebody_whom_the_hub_never_took(hub, board, events, pushed):
    """Enrolled and forgotten between two syncs, or under a name that the hub has already."""
    with board("door-1", "east") as (own, gallery):
        add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        ada = gallery.add("Ada", [sample(2)])
        if pushed:
            assert push_people(own, gallery) == [ada.id]
        channel = events(own)
        channel.deliver(OutgoingEvent(encode({**SIGHTING, "match": {"person": ada.id, "name": "Ada", "cosine": 0.9}})))
        channel.deliver(OutgoingEvent(encode(alert(ada.id, "Ada"))))
        forget(gallery, ada)
        channel.deliver(OutgoingEvent(b"{}", forgotten_person=ada.id))
        assert "Ada" not in stored(hub) and ada.id not in stored(hub)
        assert hub.execute("SELECT count(*) FROM rkface.review").fetchone() == (0,)
        assert hub.execute("SELECT name FROM rkface.person").fetchall() == [("Ada",)], "the other Ada stays"


@pytest.mark.parametrize("field", ["note", "id"])
def test_an_event_that_is_too_large_is_refused_for_good(hub, board, events, field):
    with board("door-1", "east") as (own, _):
        channel = events(own)
        with pytest.raises(RefusedError, match="256 KiB"):
            channel.deliver(OutgoingEvent(encode({**SIGHTING, field: "x" * 262_144})))
        channel.deliver(OutgoingEvent(encode({**SIGHTING, "note": "x" * 200_000})))
        assert hub.execute("SELECT count(*) FROM rkface.event").fetchone() == (1,)


def test_the_server_never_sees_the_password_of_a_board(hub, board, monkeypatch):
    """Servers write statements into their log, if they are told to or if a statement fails."""
    seen = []
    execute = type(hub).execute

    def note(self, query, *more, **options):
        seen.append(query if isinstance(query, str) else query.decode())
        return execute(self, query, *more, **options)

    monkeypatch.setattr(type(hub), "execute", note)
    with board("door-1", "east") as (own, _):
        password = own.info.password
        assert own.execute("SELECT rkface.my_board()").fetchone() == ("door-1",)
    assert any("CREATE ROLE" in query for query in seen)
    assert not any(password in query for query in seen)


def test_a_board_cannot_say_when_it_was_here(hub, board):
    with board("door-1", "east") as (own, gallery):
        for seen in ("infinity", "9999-01-01"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute("INSERT INTO rkface.heartbeat VALUES ('door-1', %s, 0, '{}')", [seen])
        send_heartbeat(own, gallery, {})
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            own.execute("UPDATE rkface.heartbeat SET seen = 'infinity'")
        send_heartbeat(own, gallery, {})


@pytest.mark.parametrize("change", ["DELETE FROM rkface.person WHERE id = %s", "SELECT rkface.merge_people(%s, %s)"])
def test_an_event_that_arrives_while_its_person_is_erased_or_merged_does_not_keep_the_person(
    hub, board, events, database, change
):
    with board("door-1", "east") as (own, _):
        ada, bob = (add_person(hub, name, ["east"], [], ONE) for name in ("Ada", "Bob"))
        channel = events(own)
        event = {**SIGHTING, "match": {"person": ada, "name": "Ada", "cosine": 0.9}}
        with connect(database) as other, other.transaction():
            other.execute("SET search_path = rkface, public")
            other.execute(change, [ada, bob][: change.count("%s")])
            arriving = Thread(target=channel.deliver, args=[OutgoingEvent(encode(event))])
            arriving.start()
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while arriving.is_alive() and hub.execute(waiting).fetchone() == (0,):
                pass
        arriving.join()
        assert hub.execute("SELECT count(*) FROM rkface.event").fetchone() == (1,) and ada not in stored(hub)
        erase_person(hub, bob)
        assert bob not in stored(hub)


@pytest.mark.parametrize("embedding", ["[1, 0, 0]", str([0.0] * 32)], ids=["shorter", "zeros"])
def test_a_board_cannot_enroll_what_would_end_each_search(hub, board, embedding):
    with board("door-1", "east") as (own, _):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        samples = json.dumps([{"identity": ONE, "embedding": embedding, "quality": 0.5, "source": ""}])
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="cannot be compared"):
            own.execute("SELECT rkface.enroll(%s, 'Eve', '{}', %s)", ["e" * 32, samples])
        assert [one.person for one in open_search(hub, ONE).find(sample(1).embedding).matches] == [ada]


def test_no_board_can_take_the_id_of_an_event_of_another_board(hub, board, events):
    with board("door-1", "east") as (thief, _), board("door-2", "east") as (own, _):
        body = encode({**SIGHTING, "source": "hall"})
        thief.execute("INSERT INTO rkface.event VALUES (%s, 'door-1', '{}')", [json.loads(body)["event"]])
        events(own).deliver(OutgoingEvent(body))
        assert hub.execute("SELECT board FROM rkface.event WHERE body ->> 'source' = 'hall'").fetchall() == [
            ("door-2",)
        ]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            thief.execute("INSERT INTO rkface.event VALUES ('x', 'door-2', '{}')")


def test_a_board_cannot_claim_to_have_seen_somebody_whom_it_cannot_know(hub, board, events):
    add_site(hub, "west")
    add_site(hub, "east")
    bob = add_person(hub, "Bob", ["west"], [], ONE)
    cyd = add_person(hub, "Cyd", ["east", "west"], [], ONE)
    with board("door-1", "east") as (own, _):
        move_person(hub, cyd, ["west"])  # what door-1 saw before may come later
        channel = events(own)
        for person, name in ((bob, "Bob"), (cyd, "Cyd")):
            channel.deliver(OutgoingEvent(encode(alert(person, name))))
        assert bob not in stored(hub) and "Bob" not in stored(hub) and cyd in stored(hub)


@pytest.mark.parametrize("erased", [0, 1])
def test_an_event_that_names_two_people_keeps_nothing_of_who_is_erased(hub, board, events, erased):
    with board("door-1", "east") as (own, _):
        ids = [add_person(hub, name, ["east"], [], ONE) for name in ("Ada", "Bob")]
        match = {"person": ids[0], "name": "Ada", "cosine": 0.9}
        events(own).deliver(OutgoingEvent(encode({**alert(ids[1], "Bob"), "match": match})))
        erase_person(hub, ids[erased])
    for table in PEOPLE:
        text = "".join(row for (row,) in hub.execute(f"SELECT t::text FROM rkface.{table} t"))
        assert ids[erased] not in text and ("Ada", "Bob")[erased] not in text, table


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO rkface.heartbeat VALUES ('door-1', now(), 0, jsonb_build_object('a', repeat('x', 100000)))",
        "SELECT rkface.enroll(repeat('a', 32), repeat('x', 1000), '{}', '[]')",
        "SELECT rkface.enroll(repeat('a', 32), 'Ada', jsonb_build_object('a', repeat('x', 1000000)), '[]')",
        "SELECT rkface.rename(repeat('a', 32), 'Ada', repeat('x', 1000))",
    ],
)
def test_a_board_cannot_write_what_no_board_writes(hub, board, statement):
    with board("door-1", "east") as (own, _), pytest.raises(psycopg.errors.InvalidParameterValue):
        own.execute(statement)


def test_a_board_can_claim_only_now_and_then_that_the_hub_was_restored(hub, board):
    with board("door-1", "east") as (own, _):
        last = "SELECT last FROM rkface.revision"
        own.execute("SELECT rkface.notice_restored(1000)")
        assert hub.execute(last).fetchone() == (1000,)
        own.execute("SELECT rkface.notice_restored(2000)")
        assert hub.execute(last).fetchone() == (1000,)
        hub.execute("UPDATE rkface.board SET restored = restored - interval '2 hours'")
        own.execute("SELECT rkface.notice_restored(2000)")
        assert hub.execute(last).fetchone() == (2000,)


def test_a_board_has_few_connections(hub, board):
    with (
        board("door-1", "east") as (own, _),
        ExitStack() as opened,
        pytest.raises(WorkError, match="too many connections"),
    ):
        for _ in range(CONNECTIONS):
            opened.enter_context(connect(f"{own.info.dsn} password={own.info.password}"))


def test_events_of_an_older_hub_stay_and_lose_a_second_person(database, monkeypatch):
    with connect(database) as hub:
        with monkeypatch.context() as older:
            older.setattr(migrations, "find_migrations", lambda: tuple(sorted(FILES)[:4]))
            migrations.migrate(hub)
        add_site(hub, "east")
        hub.execute("INSERT INTO rkface.board (id, site, role) VALUES ('door-1', 'east', 'door-1')")
        ada, bob = (add_person(hub, name, ["east"], [], ONE) for name in ("Ada", "Bob"))
        seen = {**SIGHTING, "stage": "end", "best": 1.0, "ended": 2.0, "match": {"person": ada, "name": "Ada"}}
        both = alert(bob, "Bob") | {"match": {"person": ada, "name": "Ada"}}
        with hub.transaction():
            hub.execute("INSERT INTO rkface.event VALUES ('1', 'door-1', %s)", [json.dumps(seen)])
            hub.execute("ALTER TABLE rkface.event DISABLE TRIGGER anonymize")  # as before
            hub.execute("INSERT INTO rkface.event VALUES ('2', 'door-1', %s)", [json.dumps(both)])
            hub.execute("ALTER TABLE rkface.event ENABLE TRIGGER anonymize")
        migrations.migrate(hub)
        assert hub.execute("SELECT person FROM rkface.appearance").fetchall() == [(ada,)]
        assert ada in stored(hub) and "Bob" not in stored(hub)
        erase_person(hub, ada)
        assert hub.execute("SELECT person FROM rkface.appearance").fetchall() == [(None,)] and "Ada" not in stored(hub)
