"""Boards and people at the hub change the same people at once, and PostgreSQL has to end none of them (deadlock)."""

import json
import threading
import time

import psycopg
import pytest

from rkface.runtime.hub.people import add_person

from .conftest import ONE, sample

ADA, BOB, NEW = (f"{number:032x}" for number in (1, 2, 3))
WAIT = 30.0  # seconds until a test gives up

SAMPLES = json.dumps([{"identity": ONE, "embedding": str([1.0] * 32), "quality": 0.5, "source": "x"}])
REMOVE = "SELECT rkface.remove_samples(%s, (SELECT array_agg(id) FROM rkface.sample WHERE person = %s))"
# Each changes BOB.
CHANGES = {
    "forget": ("SELECT rkface.forget(%s)", [BOB]),
    "rename": ("SELECT rkface.rename(%s, 'Bob', 'Robert')", [BOB]),
    "set_groups": ("SELECT rkface.set_groups(%s, '{staff}')", [BOB]),
    "remove_samples": (REMOVE, [BOB, BOB]),
    "enroll": ("SELECT rkface.enroll(%s, 'Bob', '{}', %s)", [BOB, SAMPLES]),
    "merge": ("SELECT rkface.merge(%s, %s)", [BOB, NEW]),
}


@pytest.fixture
def people(hub, board):
    with board("one", "east") as (one, _), board("two", "east") as (two, _):
        for number, (id, name) in enumerate(((ADA, "Ada"), (BOB, "Bob"), (NEW, "New"))):
            add_person(hub, name, ["east"], [sample(number)], ONE, id=id)
        yield one, two


def wait_until_blocked(hub, connection):
    until = time.monotonic() + WAIT
    query = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
    while not hub.execute(query, [connection.info.backend_pid]).fetchone()[0]:
        assert time.monotonic() < until, "nobody waits"
        time.sleep(0.01)


@pytest.mark.parametrize("first", ["forget", "merge", "enroll"])
@pytest.mark.parametrize("second", CHANGES)
def test_changes_of_one_person_wait_for_each_other(hub, people, first, second):
    """One board changes Ada and then Bob in a transaction, another board changes Bob in between."""
    one, two = people
    failed = []

    def change():
        try:
            two.execute(*CHANGES[second])
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=change)
    with one.transaction():
        one.execute("SELECT rkface.forget(%s)", [ADA])
        thread.start()
        wait_until_blocked(hub, two)
        one.execute(*CHANGES[first])
    thread.join(WAIT)
    assert not thread.is_alive() and not [error for error in failed if error.sqlstate == "40P01"], failed
