"""Names for Frigate's events: which pictures are looked at, when a name is written, and what fails."""

import socket
import threading

import cv2
import numpy as np
import pytest

from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.frigate.api import FrigateApi
from rkface.runtime.frigate.event import read_event
from rkface.runtime.frigate.event_namer import RETRIES, EventNamer
from rkface.runtime.gallery.match import Match

from .conftest import EVENT, message

ADA, BOB = Match("1" * 32, "Ada Lovelace", 0.6), Match("2" * 32, "Bob", 0.5)


def picture(level):
    return cv2.imencode(".png", np.full((8, 8, 3), level, np.uint8))[1].tobytes()


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    monkeypatch.setattr("rkface.runtime.frigate.event_namer.PAUSE", 0.01)


@pytest.fixture
def run(frigate):
    """``run(people)``: a namer that finds ``people[level]`` in a picture of this gray level."""
    running = []

    def start(people, **options):
        api = FrigateApi(frigate.url, "rkface", "secret")
        namer = EventNamer(api, lambda image: people.get(int(image[0, 0, 0])), **options)
        thread = threading.Thread(target=namer.work)
        thread.start()
        running.append((namer, thread))
        return namer

    yield start
    for namer, thread in running:
        namer.stop()
        thread.join(10)


def test_a_known_person_becomes_the_sub_label_with_the_cosine_as_score(frigate, run):
    frigate.snapshots[EVENT, "snapshot"] = picture(10)
    run({10: ADA}).note(read_event(message()))
    frigate.wait_for_names(1)
    assert frigate.names == [(f"/api/events/{EVENT}/sub_label", "Ada Lovelace", 0.6)]


def test_an_event_that_frigate_has_not_stored_yet_is_tried_again(frigate, run):
    frigate.snapshots[EVENT, "snapshot"] = picture(10)
    frigate.late = 2
    run({10: ADA}).note(read_event(message()))
    frigate.wait_for_names(1)
    assert frigate.names[0][1] == "Ada Lovelace"


def test_a_better_picture_gives_a_better_name_and_a_worse_one_changes_nothing(frigate, run):
    better = Match(ADA.person, ADA.name, 0.9)
    namer = run({10: BOB, 20: better, 30: ADA})
    for level, time in ((10, 1.0), (20, 2.0), (30, 3.0)):
        frigate.snapshots[EVENT, "snapshot"] = picture(level)
        before = namer.counters.pictures
        namer.note(read_event(message("update", snapshot={"frame_time": time})))
        while namer.counters.pictures == before:
            pass
        if level < 30:
            frigate.wait_for_names(level // 10)
    assert [name for _, name, _ in frigate.names] == ["Bob", "Ada Lovelace"]


def test_after_the_end_the_recording_is_looked_at_and_without_one_the_clean_snapshot(frigate, run):
    frigate.frames["front_door"] = picture(10)
    run({10: ADA}).note(read_event(message("end")))
    frigate.wait_for_names(1)
    assert frigate.paths == ["/api/front_door/recordings/1607123961.800000/snapshot.png"]
    del frigate.frames["front_door"]
    frigate.snapshots["1.5-other", "snapshot-clean"] = picture(20)
    run({20: BOB}).note(read_event(message("end", id="1.5-other")))
    frigate.wait_for_names(2)
    assert frigate.names[1][1] == "Bob"


def test_a_name_that_somebody_else_wrote_stays_unless_it_should_be_replaced(frigate, run):
    frigate.snapshots[EVENT, "snapshot"] = picture(10)
    frigate.snapshots["1.5-other", "snapshot"] = picture(10)
    namer = run({10: ADA})
    namer.note(read_event(message(sub_label=["Postman", 0.8])))
    namer.note(read_event(message(id="1.5-other")))
    frigate.wait_for_names(1)
    assert frigate.names[0][0] == "/api/events/1.5-other/sub_label"
    run({10: ADA}, replace_names=True).note(read_event(message(sub_label="Postman")))
    frigate.wait_for_names(2)
    assert frigate.names[1][0] == f"/api/events/{EVENT}/sub_label"


def test_a_password_is_used_where_frigate_asks_for_one(frigate, run):
    frigate.password = "secret"
    frigate.snapshots[EVENT, "snapshot"] = picture(10)
    run({10: ADA}).note(read_event(message()))
    frigate.wait_for_names(1)
    frigate.password = "changed"
    with pytest.raises(WorkError, match="refuses the user or the password"):
        FrigateApi(frigate.url, "rkface", "secret").snapshot(EVENT, ended=False)
    with pytest.raises(WorkError, match="wants a user"):
        FrigateApi(frigate.url).snapshot(EVENT, ended=False)


def test_damaged_pictures_and_a_frigate_that_never_has_the_event_end(frigate, run):
    frigate.snapshots[EVENT, "snapshot"] = b"not a picture"
    namer = run({})
    namer.note(read_event(message()))
    namer.note(read_event(message(id="1.5-other")))
    frigate.snapshots["1.5-good", "snapshot"] = picture(10)
    while len(frigate.paths) < 2 * (RETRIES + 1):
        pass
    run({10: ADA}).note(read_event(message(id="1.5-good")))
    frigate.wait_for_names(1)
    assert len(frigate.paths) == 2 * (RETRIES + 1) + 1


def test_somebody_who_is_forgotten_before_frigate_has_the_event_is_not_named(frigate, run):
    frigate.snapshots[EVENT, "snapshot"] = picture(10)
    frigate.snapshots["1.5-other", "snapshot"] = picture(20)
    people = {10: ADA, 20: BOB}
    found, looks = people.get, []

    class Gallery:
        @staticmethod
        def get(level):
            looks.append(level)
            return found(level) if level == 20 or looks.count(10) == 1 else None

    frigate.late = 1
    namer = run(Gallery)
    namer.note(read_event(message()))
    while looks.count(10) < 2:
        pass
    namer.note(read_event(message(id="1.5-other")))
    frigate.wait_for_names(1)
    assert [name for _, name, _ in frigate.names] == ["Bob"]


@pytest.mark.parametrize(
    "answer", [b"no http at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nshort"]
)
def test_an_answer_that_is_not_http_is_an_error_and_no_bug(answer):
    """Any other error would end the thread that names people."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        api = FrigateApi(f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(WorkError, match="cannot be reached"):
            api.snapshot(EVENT, ended=False)


def test_other_objects_and_false_alarms_are_no_people():
    assert read_event(message(label="car")) is None
    assert read_event(message(false_positive=True)) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"[]", b"{}", b"\xff", b'{"type": "new", "after": {"label": "person"}}', b"[" * 100_000,
        message(id="../../config"), message(camera="front/door"), b"{" + b" " * (1 << 18),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_not_frigates_is_refused(payload):
    with pytest.raises(InputError):
        read_event(payload)


@pytest.mark.parametrize("url", ["frigate:5000", "ftp://frigate", "http://user:pass@frigate:5000", ""])
def test_a_wrong_address_is_refused_without_its_secrets(url):
    with pytest.raises(InputError) as error:
        FrigateApi(url)
    assert "pass@" not in str(error.value)


@pytest.mark.slow
def test_each_outage_of_frigate_is_logged_once(frigate, run, caplog):
    """A service that runs for months must say what is wrong today, not only what was wrong the first time."""
    outages, namer = 3, run({10: ADA})
    for outage in range(outages):
        good, bad = f"{outage}.5-good", f"{outage}.5-bad"
        frigate.snapshots[bad, "snapshot"] = b"not a picture"
        frigate.snapshots[good, "snapshot"] = picture(10)
        namer.note(read_event(message(id=bad)))
        while len([path for path in frigate.paths if bad in path]) < RETRIES + 1:
            pass
        namer.note(read_event(message(id=good)))
        frigate.wait_for_names(outage + 1)
    assert sum("trying again" in record.msg for record in caplog.records) == outages
