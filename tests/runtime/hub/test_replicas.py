"""People flow from the hub to boards, are erased there, and only the boards of their sites see them."""

import time

import psycopg
import pytest

from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.events.event import OutgoingEvent, encode
from rkface.runtime.gallery.backup import back_up, forget, forgotten
from rkface.runtime.gallery.lease import Lease
from rkface.runtime.hub import pull
from rkface.runtime.hub.boards import add_board, add_site, revoke_board
from rkface.runtime.hub.fleet import read_fleet
from rkface.runtime.hub.people import add_person, erase_person, insert_samples, list_erased, move_person
from rkface.runtime.hub.pull import sync
from rkface.runtime.hub.push import HubEvents, must_push, push_people

from .conftest import ONE, sample


def names(gallery):
    return [person.name for person in gallery.people()]


def test_a_board_has_the_people_of_its_site_and_their_samples(hub, board):
    add_site(hub, "west")
    with board("door-1", "east") as (own, gallery):
        add_person(hub, "Ada", ["east"], [sample(1), sample(2)], ONE)
        add_person(hub, "Bob", ["west"], [sample(3)], ONE)
        sync(own, gallery)
        assert names(gallery) == ["Ada"]
        found = gallery.samples(gallery.person("Ada"))
        assert [one.embedding.tobytes() for one in found] == [sample(n).embedding.tobytes() for n in (1, 2)]
        assert gallery.search(sample(2).embedding[None])[0][0].name == "Ada"


def test_somebody_who_moves_is_gone_from_the_first_site_and_may_come_back(hub, board):
    add_site(hub, "west")
    with board("door-1", "east") as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        sync(own, gallery)
        move_person(hub, ada, ["west"])
        sync(own, gallery)
        assert names(gallery) == []
        assert not forgotten(gallery)
        move_person(hub, ada, ["east", "west"])
        sync(own, gallery)
        assert names(gallery) == ["Ada"]


def test_an_erased_person_is_gone_everywhere_and_each_board_confirms_it(hub, board):
    with board("door-1", "east") as (first, one), board("door-2", "east") as (second, two):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        sync(first, one)
        sync(second, two)
        erase_person(hub, ada)
        sync(first, one)
        assert names(one) == []
        assert list(forgotten(one)) == [ada]
        (found,) = list_erased(hub)
        assert (found.person, found.confirmed, found.missing) == (ada, ("door-1",), ("door-2",))
        sync(second, two)
        assert list_erased(hub)[0].missing == ()
        with pytest.raises(psycopg.errors.UniqueViolation, match="erased"), hub.transaction():
            hub.execute("INSERT INTO rkface.person (id, name) VALUES (%s, 'Ada')", [ada])


def test_what_is_outside_the_gallery_is_erased_while_it_can_still_be_found_and_before_it_is_confirmed(hub, board):
    with board("door-1", "east") as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        steps = []

        def note(*_):
            steps.append((names(gallery), list_erased(hub)[0].confirmed))
            return ()

        sync(own, gallery, before=note, after=note)
        assert not steps
        erase_person(hub, ada)
        sync(own, gallery, before=note, after=note)
        assert steps == [(["Ada"], ()), ([], ())] and list_erased(hub)[0].confirmed == ("door-1",)


def test_a_board_that_could_not_confirm_does_so_at_its_next_sync(hub, board, monkeypatch):
    with board("door-1", "east") as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        sync(own, gallery)
        erase_person(hub, ada)
        with monkeypatch.context() as patch:
            patch.setattr(pull, "confirm_erased", lambda *_: (_ for _ in ()).throw(WorkError("the connection broke")))
            with pytest.raises(WorkError):
                sync(own, gallery)
        assert names(gallery) == [] and list_erased(hub)[0].missing == ("door-1",)
        sync(own, gallery)
        assert list_erased(hub)[0].confirmed == ("door-1",)


def test_a_board_with_a_backup_out_of_reach_confirms_nothing(hub, board, tmp_path):
    with board("door-1", "east") as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        sync(own, gallery)
        stick = tmp_path / "stick"
        stick.mkdir()
        back_up(gallery, stick / "copy.sqlite")
        stick.rename(tmp_path / "away")
        erase_person(hub, ada)
        sync(own, gallery)
        assert names(gallery) == [] and list_erased(hub)[0].missing == ("door-1",)
        (tmp_path / "away").rename(stick)
        sync(own, gallery)
        assert list_erased(hub)[0].confirmed == ("door-1",)


def test_a_board_with_something_left_outside_the_gallery_confirms_nothing(hub, board):
    with board("door-1", "east") as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        sync(own, gallery)
        erase_person(hub, ada)
        assert sync(own, gallery, after=lambda: ["events that wait"]) == ["events that wait"]
        assert list_erased(hub)[0].missing == ("door-1",)
        assert sync(own, gallery) == []
        assert list_erased(hub)[0].confirmed == ("door-1",)


def test_who_is_erased_during_a_sync_is_confirmed_by_the_next_one(hub, board, monkeypatch):
    with board("door-1", "east") as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        read = pull.pull

        def erase_meanwhile(*arguments):
            pulled = read(*arguments)
            erase_person(hub, ada)
            return pulled

        with monkeypatch.context() as patch:
            patch.setattr(pull, "pull", erase_meanwhile)
            sync(own, gallery)
        assert names(gallery) == ["Ada"] and list_erased(hub)[0].missing == ("door-1",)
        sync(own, gallery)
        assert names(gallery) == [] and list_erased(hub)[0].confirmed == ("door-1",)


def test_a_sync_that_is_interrupted_goes_on_and_renews_the_lease_only_at_its_end(hub, board, monkeypatch):
    monkeypatch.setattr(pull, "BATCH", 2)
    with board("door-1", "east") as (own, gallery):
        for seed in range(5):
            add_person(hub, f"Person {seed}", ["east"], [sample(seed)], ONE)
        applied = pull.apply_changes

        def stop_after_one(*arguments):
            applied(*arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(pull, "apply_changes", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            sync(own, gallery)
        assert len(names(gallery)) == 2
        assert Lease(gallery).left() == 0
        monkeypatch.setattr(pull, "apply_changes", applied)
        lease = gallery.lease
        sync(own, gallery)
        assert len(names(gallery)) == 5
        assert lease.left() > 3000


def test_somebody_whom_no_gallery_can_hold_does_not_keep_erasures_from_a_board(hub, board, caplog):
    with board("door-1", "east") as (own, gallery):
        ada, bob = (add_person(hub, name, ["east"], [sample(seed)], ONE) for seed, name in enumerate(("Ada", "Bob")))
        sync(own, gallery)
        hub.execute("INSERT INTO rkface.person (id, name) VALUES (%s, %s)", ["e" * 32, "Eve\n" + "x" * 1000])
        hub.execute("INSERT INTO rkface.stay VALUES (%s, 'east')", ["e" * 32])
        hub.execute("INSERT INTO rkface.sample (person, identity, embedding, quality, source) "
                    "VALUES (%s, %s, '[1, 0, 0]', 1, '')", [bob, ONE])  # fmt: skip
        insert_samples(hub, bob, [sample(7)], ONE)
        erase_person(hub, ada)
        push_people(own, gallery)
        sync(own, gallery)
        assert names(gallery) == ["Bob"] and list_erased(hub)[0].confirmed == ("door-1",)
        assert gallery.lease.left() > 0
        push_people(own, gallery)
        rows = hub.execute("SELECT vector_dims(embedding) FROM rkface.sample WHERE person = %s", [bob]).fetchall()
        assert rows == [(32,), (32,)], "what can be stored stays, also at the hub"
        assert len(gallery.samples(gallery.people()[0])) == 2
        assert "e" * 32 in caplog.text and bob in caplog.text and "Eve" not in caplog.text


def test_a_board_cannot_read_or_write_what_is_not_its_own(hub, board):
    with board("door-1", "east") as (own, _), board("door-2", "west"):
        add_person(hub, "Bob", ["west"], [sample(3)], ONE)
        assert own.execute("SELECT * FROM rkface.person").fetchall() == []
        assert own.execute("SELECT * FROM rkface.sample").fetchall() == []
        assert own.execute("SELECT * FROM rkface.change").fetchall() == []
        for statement in (
            "INSERT INTO rkface.event (id, board, body) VALUES ('e', 'door-2', '{}')",
            "INSERT INTO rkface.heartbeat VALUES ('door-2', now(), 0, '{}')",
            "SELECT * FROM rkface.tombstone",
            "SELECT * FROM rkface.board",
            "DELETE FROM rkface.person",
            "UPDATE rkface.revision SET last = 0",
            "SELECT rkface.next_revision()",
            "ALTER TABLE rkface.person DISABLE ROW LEVEL SECURITY",
            "SET ROLE rkface_admin",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), own.transaction():
                own.execute(statement)


def test_a_revoked_board_is_cut_off_at_once_and_names_nobody_when_its_lease_ends(hub, board):
    with board("door-1", "east", lease=600) as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        clock = [0.0]
        lease = gallery.lease = Lease(gallery, clock=lambda: clock[0])
        sync(own, gallery)
        revoke_board(hub, "door-1")
        assert read_fleet(hub)[0].revoked is not None
        with pytest.raises(Exception, match="hub"):
            sync(own, gallery)
        clock[0] = 599.0
        assert lease.may_name(ada)
        clock[0] = 601.0
        assert not lease.may_name(ada)


def test_two_boards_cannot_have_one_name(hub):
    add_board(hub, "door-1", "east", 3600)
    with pytest.raises(InputError, match="two boards must not have one name"):
        add_board(hub, "door-1", "west", 3600)


def test_who_is_enrolled_at_a_door_is_known_at_the_other_doors_of_the_site(hub, board):
    with board("door-1", "east") as (first, one), board("door-2", "east") as (second, two):
        one.add("Ada", [sample(1), sample(2)])
        assert push_people(first, one) == []
        sync(first, one)
        sync(second, two)
        assert two.search(sample(2).embedding[None])[0][0].person == one.person("Ada").id
        assert len(one.samples(one.person("Ada"))) == len(two.samples(two.person("Ada"))) == 2
        one.add("Ada", [sample(3)])
        push_people(first, one)
        sync(second, two)
        assert len(two.samples(two.person("Ada"))) == 3


def test_the_same_name_at_two_doors_waits_for_a_human_and_nobody_is_merged(hub, board):
    with board("door-1", "east") as (first, one), board("door-2", "east") as (second, two):
        one.add("Ada", [sample(1)])
        two.add("Ada", [sample(2)])
        mine = two.person("Ada").id
        push_people(first, one)
        assert push_people(second, two) == [mine]
        sync(second, two)
        assert sorted(names(two)) == ["Ada", "Ada (2)"]
        assert two.person("Ada (2)").id == mine
        assert two.search(sample(2).embedding[None])[0][0].person == mine  # the door that enrolled still knows the face
        assert push_people(second, two) == [mine]


def test_who_is_forgotten_at_a_door_is_forgotten_at_the_hub_and_at_the_other_doors(hub, board):
    with board("door-1", "east") as (first, one), board("door-2", "east") as (second, two):
        one.add("Ada", [sample(1)])
        push_people(first, one)
        sync(first, one)
        sync(second, two)
        ada = two.person("Ada")
        forget(two, ada)
        push_people(second, two)
        sync(second, two)
        sync(first, one)
        assert names(one) == names(two) == []
        assert hub.execute("SELECT count(*) FROM rkface.person").fetchone() == (0,)
        assert list_erased(hub)[0].missing == ()


def test_events_arrive_once_and_those_of_erased_people_name_nobody(hub, board, database):
    with board("door-1", "east") as (own, _):
        ada = add_person(hub, "Ada", ["east"], [], ONE)
        events = HubEvents(f"{own.info.dsn} password={own.info.password}")
        events.maintain(lambda: None)
        event = {"schema": "rkface.appearance", "id": "1", "match": {"person": ada, "name": "Ada", "cosine": 0.9}}
        for _ in range(2):
            events.deliver(OutgoingEvent(encode(event)))
        assert hub.execute("SELECT count(*) FROM rkface.event").fetchone() == (1,)
        erase_person(hub, ada)
        events.deliver(OutgoingEvent(encode({**event, "id": "2"})))
        events.close()
        bodies = hub.execute("SELECT body::text FROM rkface.event").fetchall()
        assert len(bodies) == 2
        assert not any("Ada" in body or ada in body for (body,) in bodies)


def test_somebody_who_moved_away_does_not_stop_a_board_that_added_a_photo(hub, board):
    add_site(hub, "west")
    with board("door-1", "east") as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        sync(own, gallery)
        gallery.add("Ada", [sample(2)])
        move_person(hub, ada, ["west"])
        gallery.add("Bob", [sample(3)])
        push_people(own, gallery)
        sync(own, gallery)
        assert names(gallery) == ["Bob"]


def test_photos_of_two_doors_add_up(hub, board):
    with board("door-1", "east") as (first, one), board("door-2", "east") as (second, two):
        add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        sync(first, one)
        sync(second, two)
        one.add("Ada", [sample(2)])
        two.add("Ada", [sample(3)])
        for own, gallery in [(first, one), (second, two), (first, one)]:
            push_people(own, gallery)
            sync(own, gallery)
        for gallery in (one, two):
            found = {found.embedding.tobytes() for found in gallery.samples(gallery.person("Ada"))}
            assert found == {sample(number).embedding.tobytes() for number in (1, 2, 3)}


def test_a_photo_that_the_hub_deletes_does_not_come_back_from_a_board(hub, board):
    with board("door-1", "east") as (own, gallery):
        gallery.add("Ada", [sample(1), sample(2)])
        push_people(own, gallery)
        sync(own, gallery)
        hub.execute("DELETE FROM rkface.sample WHERE source = 'photo-2.jpg'")
        push_people(own, gallery)
        sync(own, gallery)
        assert [found.source for found in gallery.samples(gallery.person("Ada"))] == ["photo-1.jpg"]
        assert hub.execute("SELECT source FROM rkface.sample").fetchall() == [("photo-1.jpg",)]


def test_who_waits_for_a_decision_keeps_the_name_and_gets_it_when_it_is_free(hub, board):
    with board("door-1", "east") as (own, gallery):
        other = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        mine = gallery.add("Ada", [sample(2)]).id
        for _ in range(2):
            assert push_people(own, gallery) == [mine]
            sync(own, gallery)
        assert hub.execute("SELECT name FROM rkface.person").fetchall() == [("Ada",)]
        erase_person(hub, other)
        sync(own, gallery)
        assert push_people(own, gallery) == []
        sync(own, gallery)
        assert hub.execute("SELECT id, name FROM rkface.person").fetchall() == [(mine, "Ada")]
        assert hub.execute("SELECT count(*) FROM rkface.review").fetchone() == (0,)
        assert names(gallery) == ["Ada"]


def test_who_was_forgotten_before_the_hub_heard_is_erased_there_too(hub, board):
    add_site(hub, "west")
    with board("door-1", "east") as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        sync(own, gallery)
        bob = gallery.add("Bob", [sample(2)])
        forget(gallery, bob)  # the hub never heard of Bob
        forget(gallery, gallery.person("Ada"))
        move_person(hub, ada, ["west"])
        push_people(own, gallery)
        sync(own, gallery)
        assert hub.execute("SELECT count(*) FROM rkface.person").fetchone() == (0,)
        assert {one.person: one.confirmed for one in list_erased(hub)} == {ada: ("door-1",), bob.id: ("door-1",)}


def test_what_stopped_between_the_gallery_and_the_rest_is_erased_before_it_is_confirmed(hub, board, monkeypatch):
    with board("door-1", "east") as (own, gallery):
        ada = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        calls = []
        sync(own, gallery)
        erase_person(hub, ada)
        with monkeypatch.context() as patch:
            patch.setattr(pull.backup, "finish", lambda _: (_ for _ in ()).throw(WorkError("a program reads")))
            with pytest.raises(WorkError):
                sync(own, gallery)
        sync(own, gallery, after=lambda: calls.append(list_erased(hub)[0].confirmed) or ())
        assert calls == [()]
        assert list_erased(hub)[0].confirmed == ("door-1",)


def test_a_board_reads_everybody_again_only_after_a_change_of_its_own(hub, board):
    with board("door-1", "east") as (own, gallery):
        ada = gallery.add("Ada", [sample(1)])
        assert must_push(own, gallery)
        push_people(own, gallery)
        sync(own, gallery)
        assert not must_push(own, gallery)
        add_person(hub, "Bob", ["east"], [sample(2)], ONE)
        sync(own, gallery)
        assert gallery.has_person("Bob") and not must_push(own, gallery), "the change came from the hub"
        gallery.rename(ada, "Ada Lovelace")
        add_person(hub, "Cyd", ["east"], [sample(3)], ONE)
        sync(own, gallery)
        assert must_push(own, gallery), "the hub does not know the new name"


def test_a_change_while_the_clock_of_a_board_is_behind_is_told(hub, board, monkeypatch):
    with board("door-1", "east") as (own, gallery):
        ada, bob = gallery.add("Ada", [sample(1)]), gallery.add("Bob", [sample(2)])
        push_people(own, gallery)
        gallery.rename(bob, "Bobby")
        push_people(own, gallery)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 1e6)
        gallery.rename(ada, "Ada Lovelace")
        assert must_push(own, gallery)
