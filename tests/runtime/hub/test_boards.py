"""Services that follow a hub: who is enrolled at one door is recognized at the other, and forgotten at both."""

import errno
import time
from dataclasses import replace
from typing import ClassVar

import pytest

from rkface.runtime.events import pending
from rkface.runtime.events.backoff import Backoff
from rkface.runtime.events.outbox import Outbox
from rkface.runtime.gallery.companions import Companion, companion_path
from rkface.runtime.hub import client
from rkface.runtime.hub.boards import add_board
from rkface.runtime.hub.fleet import read_fleet
from rkface.runtime.hub.people import erase_person, list_erased, list_people
from rkface.runtime.service import service_erasure
from rkface.runtime.service.receiver_settings import Events, WebhookSettings
from rkface.runtime.service.service import Service
from rkface.runtime.service.settings import HubSettings, Settings

from ..conftest import scene

WAIT = 30.0  # seconds until a test gives up


def wait_for(condition):
    until = time.monotonic() + WAIT
    while not (found := condition()):
        assert time.monotonic() < until, "timeout"
        time.sleep(0.02)
    return found


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    """Boards look whether something changed twenty times a second, to make the tests fast."""
    for pause in ("LOCAL", "LOOK"):
        monkeypatch.setattr(f"rkface.runtime.hub.client.{pause}", 0.05)


@pytest.fixture
def door(hub, database, bundle, tmp_path, monkeypatch):
    """The settings of a board without cameras at the site "east"."""

    def make(name, lease=3600.0):
        user, password = add_board(hub, name, "east", lease)
        monkeypatch.setenv(f"HUB_{name}", database.replace("//postgres:@", f"//{user}:{password}@"))
        return Settings(
            bundle=bundle, backend="reference", gallery=tmp_path / name / "gallery.sqlite",
            events=Events(stdout=False), hub=HubSettings(f"env:HUB_{name}"),
        )  # fmt: skip

    return make


def who(service):
    (face,) = service.photos.identify(scene((0, 3))).faces
    return face.matches[0].name if face.matches else None


def test_who_is_enrolled_at_one_door_is_recognized_and_forgotten_at_the_other(hub, door):
    with Service(door("one")) as one, Service(door("two")) as two:
        assert one.enrollment.enroll_photo("Ada", scene((0, 3)), "photo.png").status == "enrolled"
        wait_for(lambda: two.gallery.has_person("Ada"))
        assert wait_for(lambda: who(two)) == "Ada"
        # In the first heartbeat, a board may say that it has run for 0.0 s.
        state = "SELECT state FROM rkface.heartbeat WHERE board = 'two' AND (state ->> 'running')::float > 0"
        (told,) = wait_for(lambda: hub.execute(state).fetchone())
        assert told["lost"] == 0 and told["blind"] == []
        two.erasure.forget("Ada")
        wait_for(lambda: not one.gallery.people())
        wait_for(lambda: list_erased(hub) and not list_erased(hub)[0].missing)
        assert who(one) is None


def test_a_board_without_its_hub_says_so_and_names_nobody_when_the_lease_has_ended(hub, door, caplog):
    settings = door("one")
    with Service(settings) as one:
        one.enrollment.enroll_photo("Ada", scene((0, 3)), "photo.png")
        assert wait_for(lambda: who(one)) == "Ada"
    hub.execute("ALTER ROLE rkface_board_one NOLOGIN")
    with Service(settings) as one:
        wait_for(lambda: "people are named for" in "".join(one.health().problems))
        assert "unexpected" not in caplog.text
        assert who(one) == "Ada"
        one.gallery.lease._terms = replace(one.gallery.lease._terms, seconds=0.0)  # the lease has ended
        assert who(one) is None
        assert "Nobody is named" in "".join(one.health().problems)


def test_each_lost_connection_is_logged_and_replaced_as_soon_as_the_first_one(hub, door, monkeypatch, caplog):
    pauses = []
    monkeypatch.setattr(Backoff, "seconds", lambda backoff, failures: pauses.append(failures) or 0.01)
    caplog.set_level("INFO", "rkface.hub")
    with Service(door("one")) as one:
        wait_for(lambda: one.hub.state().connected)
        for number in (1, 2, 3):
            hub.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rkface_board_one'")
            wait_for(lambda number=number: caplog.text.count("connected again") == number)
        assert caplog.text.count("trying again") == 3
        assert pauses == [1, 1, 1]


def test_a_board_tells_the_hub_its_release_and_a_problem_at_once(hub, door):
    with Service(door("one")) as one:
        wait_for(lambda: (board := read_fleet(hub)[0]).release and board.standing == "ok" and board.queue == 0)
        one.problems.note("tests", "something broke")
        wait_for(lambda: read_fleet(hub)[0].standing == "trouble")


def test_a_board_confirms_an_erasure_only_when_the_events_that_wait_are_rewritten(hub, door, monkeypatch):
    monkeypatch.setattr(service_erasure, "PATIENCE", 0.05)
    monkeypatch.setattr(pending, "DISK_EVERY", 0.05)
    erase, full = Outbox.erase, [True]

    def erase_if_possible(outbox, people):
        if full[0] and people:
            raise OSError(errno.ENOSPC, "No space left on device")
        erase(outbox, people)

    class Tries(Backoff):
        failures: ClassVar[list[int]] = []

        def seconds(self, failures):
            self.failures.append(failures)
            return 0.1

    monkeypatch.setattr(client, "UNERASED", Tries())
    monkeypatch.setattr(Outbox, "erase", erase_if_possible)
    settings = door("one")
    webhook = WebhookSettings("http://127.0.0.1:9/")  # nobody listens there
    with Service(replace(settings, events=replace(settings.events, webhook=webhook))) as one:
        one.enrollment.enroll_photo("Ada Lovelace", scene((0, 3)), "photo.png")
        (person,) = wait_for(lambda: list_people(hub))
        sink = next(sink for sink in one._resources.sinks if sink.state().name == "webhook")
        match = {"person": person.id, "name": person.name, "cosine": 0.9}
        sink.send({"schema": "rkface.appearance", "id": "1", "started": 1.0, "match": match})
        assert sink.flush(WAIT)
        folder = companion_path(settings.gallery, Companion.EVENTS, "webhook")

        def stored():
            return b"".join(path.read_bytes() for path in folder.iterdir())

        assert b"Lovelace" in stored()
        erase_person(hub, person.id)
        wait_for(lambda: one.hub.state().unerased)
        assert "not gone from this board yet: webhook" in "".join(one.health().problems)
        assert list_erased(hub)[0].missing == ("one",)
        wait_for(lambda: len(Tries.failures) >= 5)  # with pauses that grow, not only with the heartbeat, once a minute
        assert Tries.failures[:5] == [1, 2, 3, 4, 5]
        full[0] = False
        wait_for(lambda: not list_erased(hub)[0].missing)
        assert b"Lovelace" not in stored()
