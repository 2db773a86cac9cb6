"""A hub that was restored from an older backup: boards notice, and what they know is not lost, nor is an erasure."""

import pytest

from rkface.runtime.gallery.backup import forgotten
from rkface.runtime.hub.boards import add_board
from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.people import add_person, erase_person, find_person, list_erased

from .conftest import ONE, sample
from .test_changes_at_doors import check, content, exchange, photos

TABLES = ("person", "stay", "sample", "setting", "revision", "change", "tombstone", "receipt", "review", "merged")


@pytest.fixture
def backup(hub, server):
    """``backup()`` copies the people of the hub; ``backup.restore()`` brings them back, as an older copy of the files
    of the server does: the database and its id are the same."""
    stored = {}

    def copy():
        for table in TABLES:
            stored[table] = hub.execute(
                f"SELECT coalesce(json_agg(one), '[]')::text FROM rkface.{table} one"
            ).fetchone()[0]

    def restore():
        with hub.transaction():
            hub.execute("SET LOCAL session_replication_role = replica")  # no triggers
            hub.execute(f"TRUNCATE {', '.join(f'rkface.{table}' for table in TABLES)} CASCADE")
            for table in TABLES:
                rows = f"SELECT * FROM json_populate_recordset(NULL::rkface.{table}, %s)"
                hub.execute(f"INSERT INTO rkface.{table} OVERRIDING SYSTEM VALUE {rows}", [stored[table]])

    copy.restore = restore
    return copy


@pytest.fixture
def doors(hub, board):
    with board("door-1", "east") as one, board("door-2", "east") as two:
        for number, name in enumerate(("Ada", "Bob", "Cleo", "Dora")):
            add_person(hub, name, ["east"], [sample(number)], ONE)
        exchange(one, two)
        yield one, two


def test_what_the_boards_know_comes_back_to_an_older_hub(hub, doors, backup, caplog):
    (_, one), (_, two) = doors
    backup()
    erase_person(hub, find_person(hub, "Ada").id)
    one.rename(one.person("Bob"), "Robert")
    two.remove_samples(two.person("Cleo"), [two.samples(two.person("Cleo"))[0].id])
    one.add("Dora", [sample(7)])
    two.add("Eve", [sample(8)])
    exchange(*doors)
    expected = {"Robert": photos(1), "Cleo": set(), "Dora": photos(3, 7), "Eve": photos(8)}
    assert content(one) == content(two) == expected
    (ada,) = forgotten(one)
    backup.restore()
    assert find_person(hub, "Ada")
    check(hub, doors, expected)
    assert "restored" in caplog.text
    assert [(one.person, one.missing) for one in list_erased(hub)] == [(ada, ())]


def test_a_board_that_is_not_ahead_of_the_restored_hub_hears_of_it_from_one_that_is(hub, doors, backup):
    (_, one), (_, two) = doors
    backup()
    for number in range(20, 23):
        add_person(hub, f"Person {number}", ["east"], [sample(number)], ONE)
    exchange(doors[1])
    for number in range(23, 30):
        add_person(hub, f"Person {number}", ["east"], [sample(number)], ONE)
    erase_person(hub, find_person(hub, "Ada").id)
    exchange(doors[0])
    backup.restore()
    exchange(doors[0])
    assert two.lease.revision < hub.execute("SELECT last FROM rkface.revision").fetchone()[0]
    exchange(*doors)
    assert content(one) == content(two)
    assert len(content(two)) == 13 and "Ada" not in content(two)


def test_in_another_database_the_hub_counts_and_erased_people_stay_erased(hub, doors, backup):
    (_, one), (_, two) = doors
    backup()
    erase_person(hub, find_person(hub, "Ada").id)
    two.rename(two.person("Bob"), "Robert")
    exchange(doors[1])
    backup.restore()
    for number in range(20, 30):
        add_person(hub, f"Person {number}", ["east"], [sample(number)], ONE)
    two.database.execute("UPDATE setting SET value = 'that of another database' WHERE name = 'hub.epoch'")
    two.lease.read()
    exchange(*doors)
    assert content(one) == content(two)
    assert "Bob" in content(one) and "Person 29" in content(two) and "Ada" not in content(one)


def test_a_dump_in_another_database_is_another_epoch(hub, server, database):
    hub.execute("CREATE DATABASE another")
    try:
        with connect(server.replace("/postgres?", "/another?")) as other:
            query = "SELECT oid FROM pg_database WHERE datname = current_database()"
            ((epoch, _),) = hub.execute("SELECT * FROM rkface.standing()").fetchall()
            assert str(other.execute(query).fetchone()[0]) not in epoch
            assert epoch.startswith(str(hub.execute(query).fetchone()[0]))
    finally:
        hub.execute("DROP DATABASE another WITH (FORCE)")
    add_board(hub, "door-9", "east", 3600)
    assert hub.execute("SELECT epoch FROM rkface.standing()").fetchone() == (epoch,)
