"""The whole service: recordings and live cameras in, events, log and health out, also while parts of it fail.

It has the real models of the tiny bundle, real cameras over recorded videos or scripted streams, and a real gallery.
"""

import json
import logging
import re
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest

from rkface.runtime.alerts.rule import Rule
from rkface.runtime.cameras.camera import Camera
from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import DeviceError, InputError, WorkError
from rkface.runtime.core.weekly import DAYS, WeeklyHours
from rkface.runtime.gallery.backup import back_up, encrypt_gallery, forget
from rkface.runtime.gallery.encryption import make_key
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.ignored import ignore_face, stop_ignoring
from rkface.runtime.gallery.match import Match
from rkface.runtime.gallery.people import Sample, embedding_identity
from rkface.runtime.inference.core import CoreState
from rkface.runtime.inference.open_bundle import open_bundle, open_model
from rkface.runtime.inference.scheduler import Scheduler
from rkface.runtime.service import old_files, requests
from rkface.runtime.service.camera_worker import CameraWorker
from rkface.runtime.service.receiver_settings import Events, MqttSettings, WebhookSettings
from rkface.runtime.service.service import Service
from rkface.runtime.service.settings import CameraSettings, Keep, Liveness, Recognition, Settings, named_cameras

from ..conftest import darkened, scene

WAIT = 20.0  # seconds until a test gives up
NOWHERE = Events(stdout=False, webhook=WebhookSettings("http://127.0.0.1:9/"))


def wait_for(condition):
    until = time.monotonic() + WAIT
    while not (found := condition()):
        assert time.monotonic() < until, "timeout"
        time.sleep(0.02)
    return found


@pytest.fixture(autouse=True)
def brisk(monkeypatch, quick_looks):
    """Housekeeping ten times a second, too."""
    monkeypatch.setattr("rkface.runtime.service.housekeeping.INTERVAL", 0.1)


@pytest.fixture(scope="module")
def models(bundle):
    with open_bundle(bundle, "reference") as pipeline:
        yield pipeline


@pytest.fixture
def known(tmp_path, models):
    """A gallery in which person 0 is Ada."""
    path = tmp_path / "state/gallery.sqlite"
    picture = scene((0, 3))
    crop = models.align(picture, models.detect(picture).landmarks[0])
    with Gallery(path, embedding_identity(models.manifest), create=True) as gallery:
        gallery.add("Ada Lovelace", [Sample(models.embed([crop])[0], None, 0.9, "test")])
    return path


@pytest.fixture
def record(tmp_path):
    """Writes a recording of scenes with 10 frames per second, and returns the settings of a camera for it."""

    def write(name, *scenes):
        path = str(tmp_path / f"{name}.avi")
        with closing_writer(cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 512))) as writer:
            for picture in scenes:
                writer.write(picture)
        return CameraSettings(path)

    return write


class closing_writer(closing):
    def __exit__(self, *_):
        self.thing.release()


@pytest.fixture
def settings(tmp_path, bundle, known):
    def make(events=None, **cameras):
        events = events or Events(stdout=False, file=tmp_path / "events.jsonl")
        return Settings(bundle=bundle, backend="reference", gallery=known, camera=cameras, events=events)

    return make


def played(settings):
    """The events of a service that runs until its recordings end."""
    with Service(settings) as service:
        service.run()
    return told(settings)


def told(settings):
    return [json.loads(line) for line in settings.events.file.read_text().splitlines()]


def who(events):
    return [(event["stage"], event["match"] and event["match"]["name"]) for event in events]


class Script:
    """A stream that plays ``pictures``: images, None for an undecodable picture, or an error to raise. The first one
    comes when ``started`` is set, or at once."""

    format, rate, decoder = "TEST", 10.0, ""

    def __init__(self, pictures, started=None):
        self.pictures, self.started = pictures, started

    def grab(self):
        if self.started:
            self.started.wait(WAIT)
        time.sleep(0.01)
        self.picture = self.pictures[0] if len(self.pictures) == 1 else self.pictures.pop(0)
        if isinstance(self.picture, Exception):
            raise self.picture
        return time.monotonic()

    def decode(self):
        return self.picture

    def close(self):
        pass


@pytest.fixture
def live(settings):
    """A running service with one live camera that shows ``pictures``, and repeats the last one. The first one comes
    when the service runs, so that no test misses an event; or at once, if ``early``."""

    def start(pictures, early=False, **changed):
        started = threading.Event()

        class Live(Service):
            def __enter__(self):
                entered = super().__enter__()
                started.set()
                return entered

            def _end_threads(self):
                started.set()
                super()._end_threads()

        if early:
            started.set()
        worker = CameraWorker(Camera("door", lambda _: Script(pictures, started), name="door", retries=(0.01,)))
        made = replace(settings(door=CameraSettings("scripted")), **changed)
        return Live(made, open_camera_worker=lambda name, _: worker)

    return start


def faces(service):
    """The faces in the latest picture of the door."""
    latest = service.latest("door")
    return latest.faces if latest else ()


def test_every_frame_of_a_recording_is_processed(settings, record, known):
    made = settings(door=record("door", *[scene((0, 3))] * 15), yard=record("yard", *[scene((1, 5))] * 15))
    events = played(made)
    assert sorted(who(events), key=str) == [
        ("end", "Ada Lovelace"),
        ("end", None),
        ("start", "Ada Lovelace"),
        ("start", None),
    ]
    assert {event["source"]: event["match"] is not None for event in events} == {"door": True, "yard": False}
    # Every frame was processed, although the machine may be slower than the recording.
    assert [event["frames"] for event in events if event["stage"] == "end"] == [15, 15]


def test_a_recording_that_cannot_be_read_fails_the_command(settings, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100))
    made, refusal = settings(door=CameraSettings(str(tmp_path / "cut.jpg"))), "no picture in this file can be decoded"
    with Service(made) as service, pytest.raises(InputError, match=refusal):
        service.run()


@pytest.mark.slow
def test_real_people_are_recognized_in_a_folder_of_photos(shared, real_bundle, tmp_path, capsys):
    """What a new user tries first: enroll a photo of each person, and use a folder with other photos as the camera."""
    people, staff, camera = shared / "data/people", tmp_path / "staff", tmp_path / "camera"
    known = {"img13": "img14", "img20": "img21", "img16": "img17", "img3": "img12", "img22": "img23", "img18": "img19"}
    for folder, photos in ((staff, known), (camera, known.values())):
        folder.mkdir()
        for photo in photos:
            (folder / f"{photo}.jpg").write_bytes((people / f"{photo}.jpg").read_bytes())
    (camera / "stranger.jpg").write_bytes((people / "img8.jpg").read_bytes())
    gallery = tmp_path / "gallery.sqlite"
    arguments = ["--bundle", real_bundle, "--backend", "reference", "--gallery", gallery, "--folder", staff]
    assert main(["enroll", *map(str, arguments)]) == 0
    events = played(
        Settings(
            bundle=real_bundle,
            backend="reference",
            gallery=gallery,
            camera=named_cameras([str(camera)]),
            events=Events(stdout=False, file=tmp_path / "events.jsonl"),
        )
    )
    ended = [name for stage, name in who(events) if stage == "end"]
    assert sorted(ended, key=str) == sorted([*known, None], key=str)


def test_the_log_lists_appearances_and_keeps_faces_of_unknown_people(settings, record, live):
    played(settings(door=record("door", *[scene((0, 3))] * 15), yard=record("yard", *[scene((1, 5))] * 15)))
    with live([scene()]) as service:
        assert [event.source for event in service.appearances.newest(person="")] == ["yard"]
        (ada,) = service.appearances.newest(source="door")
        assert ada.stage == "end" and ada.match.name == "Ada Lovelace" and not ada.face
        assert service.appearances.face(ada.id) is None, "no picture of known people is stored"
        (unknown,) = service.appearances.newest(source="yard")
        assert cv2.imdecode(np.frombuffer(service.appearances.face(unknown.id), np.uint8), 1).shape == (112, 112, 3)
        newest = service.appearances.newest(limit=1)
        assert service.appearances.newest(before=newest[0].started) == [
            event for event in service.appearances.newest() if event.started < newest[0].started
        ]


def test_an_unknown_person_can_be_enrolled_from_an_appearance_and_is_then_recognized(live):
    pictures = [scene((1, 5))]
    with live(pictures) as service, service.subscribe() as events:
        start = events.get(timeout=WAIT)
        assert start.match is None
        assert service.enrollment.enroll_appearance("Grace", start.id).status == "enrolled"
        known = wait_for(lambda: next((e for e in service.appearances.newest() if e.match), None))
        assert known.id == start.id and known.match.name == "Grace"
        assert not known.face, "the picture is deleted when the person is known"
        wait_for(lambda: [each.match and each.match.name for each in faces(service)] == ["Grace"])
        again = service.enrollment.enroll_appearance("Somebody else", start.id)
        assert again.status == "refused" and again.near.name == "Grace"


@pytest.mark.parametrize(
    ("picture", "require", "said"),
    [
        (scene, False, ("Ada Lovelace", True)),
        (scene, True, ("Ada Lovelace", True)),
        (lambda *faces: darkened(scene(*faces)), False, ("Ada Lovelace", False)),
        (lambda *faces: darkened(scene(*faces)), True, (None, False)),
    ],
)
def test_a_picture_held_before_the_camera_is_reported_as_not_live(live, live_bundle, picture, require, said):
    with (
        live([picture((0, 3))], bundle=live_bundle, liveness=Liveness(True, require=require)) as service,
        service.subscribe() as events,
    ):
        start = events.get(timeout=WAIT)
        assert (start.match and start.match.name, start.live) == said
        assert (start.liveness > 0.9) is said[1]
        wait_for(lambda: faces(service))
        assert [(each.match and each.match.name, each.live) for each in faces(service)] == [said]
        wait_for(lambda: [e for e in service.appearances.newest() if e.live is said[1]])
        assert service.health().ok


def test_failing_liveness_is_a_problem_but_people_are_recognized(live, live_bundle, monkeypatch):
    class Broken:
        name = "reference"

        def infer(self, images):
            raise DeviceError("the NPU failed")

        def close(self):
            pass

    def opening(bundle, role, *arguments, **options):
        return Broken() if role == "liveness" else open_model(bundle, role, *arguments, **options)

    monkeypatch.setattr("rkface.runtime.inference.open_bundle.open_model", opening)
    with (
        live([scene((0, 3))], bundle=live_bundle, liveness=Liveness(True)) as service,
        service.subscribe() as events,
    ):
        start = events.get(timeout=WAIT)
        assert start.match.name == "Ada Lovelace" and start.liveness is start.live is None
        (problem,) = service.health().problems
        assert re.fullmatch(r"Liveness is not judged( any more, restart .+)?: liveness: the NPU failed\.", problem)
        assert re.search(r'rkface_unjudged_total\{camera="door"\} [1-9]', service.metrics())


def test_a_core_that_never_opened_is_not_said_to_have_worked(live, monkeypatch):
    states = (CoreState(0, True, 9, 0, ""), CoreState(1, False, 0, 1, "it does not open: device lost"))
    monkeypatch.setattr(Scheduler, "state", lambda self: states)
    with live([scene()]) as service:
        problem = "NPU core 1 is not used, restart the service to try it again: it does not open: device lost."
        assert problem in service.health().problems
        assert 'rkface_core_alive{core="1"} 0\n' in service.metrics()


def test_a_start_that_fails_after_the_cameras_began_ends_them(live, monkeypatch):
    def fail():
        assert any(thread.name == "rkface-camera-door" for thread in threading.enumerate())
        raise WorkError("no machine")

    monkeypatch.setattr("rkface.runtime.inference.machine.read_machine", fail)
    with pytest.raises(WorkError, match="no machine"), live([scene()]):
        pass
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("rkface-")]


def test_frames_are_searched_while_receivers_gallery_and_log_are_opened(live, monkeypatch):
    starting, take_over = live([scene((0, 3))], early=True), old_files.take_over

    def take_over_after_a_look(*given):
        wait_for(lambda: starting.scheduler.state()[0].runs)
        take_over(*given)

    monkeypatch.setattr(old_files, "take_over", take_over_after_a_look)
    with starting as service:
        wait_for(lambda: [one for one in service.appearances.newest() if one.match])


def test_what_answers_requests_is_made_when_it_is_wanted_and_once(live, monkeypatch):
    made = []
    take = requests.take_requests
    monkeypatch.setattr(requests, "take_requests", lambda *given: made.append(1) or take(*given))
    monkeypatch.setattr("rkface.runtime.service.housekeeping.INTERVAL", WAIT)
    with live([scene()]) as service:
        assert not made
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda name: getattr(service, name), ["enrollment", "erasure"] * 4))
        assert made == [1] and len(set(map(id, found))) == 2
        with pytest.raises(AttributeError, match="no 'weather'"):
            service.weather  # noqa: B018


def test_liveness_is_off_by_default_and_refused_without_a_model(live, live_bundle):
    with live([scene((0, 3))], bundle=live_bundle) as service, service.subscribe() as events:
        start = events.get(timeout=WAIT)
        assert (start.liveness, start.live) == (None, None)
    for asked, says in ((Liveness(True), "no liveness model"), (Liveness(require=True), "set enabled = true as well")):
        with pytest.raises(InputError, match=says), live([scene()], liveness=asked):
            pass


def test_a_photo_is_enrolled_and_guidance_is_given_while_the_camera_runs(live):
    with live([scene((1, 5))]) as service:
        wait_for(lambda: service.latest("door"))
        assert service.enrollment.guide("door").box is not None
        assert service.enrollment.enroll_photo("Grace", scene((1, 2)), "upload").status == "enrolled"
        wait_for(lambda: [e for e in service.appearances.newest() if e.match and e.match.name == "Grace"])


def test_a_forgotten_person_has_no_appearance_and_no_name(live, known):
    with live([scene((0, 3))]) as service, service.subscribe() as events:
        assert events.get(timeout=WAIT).match.name == "Ada Lovelace"
        (ada,) = service.gallery.people()
        said = service.erasure.forget(ada.id)
        assert len(said.left) == 1 and "events.jsonl" in said.left[0], "the report names what could not be reached"
        assert said.done
        assert service.gallery.people() == [] and service.appearances.newest(person=ada.id) == []
        # The face is still there: its appearance ends without the name, and that of an unknown person starts.
        assert [events.get(timeout=WAIT).match for _ in range(2)] == [None, None]


def test_a_person_is_unknown_to_the_service_even_if_the_gallery_file_cannot_be_overwritten(live, known, monkeypatch):
    monkeypatch.setattr("rkface.runtime.gallery.schema.BUSY_TIMEOUT", 0.05)
    monkeypatch.setattr("rkface.runtime.service.housekeeping.INTERVAL", 60.0)  # so that it does not notice
    with live([scene((0, 3))]) as service, service.subscribe() as events:
        ada = events.get(timeout=WAIT).match.person
        with closing(sqlite3.connect(known)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM person").fetchall()
            with pytest.raises(WorkError, match="another program"):
                service.erasure.forget(ada)
            assert service.gallery.people() == [] and service.appearances.newest(person=ada) == []
            assert [events.get(timeout=WAIT).match for _ in range(2)] == [None, None]


def test_a_problem_with_the_gallery_stays_in_health_while_appearances_are_published(live, known, tmp_path):
    pytest.importorskip("cryptography", reason="encryption at rest is the extra [crypto]")
    with live([scene()]) as service:
        (ada,) = service.gallery.people()
        with Gallery(known) as other:
            encrypt_gallery(other, make_key(tmp_path / "key"))
        wait_for(lambda: any("encrypted" in problem for problem in service.problems))
        assert service._watch.publisher._refresh_match(Match(ada.id, ada.name, 0.9)).name == "Ada Lovelace"
        assert any("encrypted" in problem for problem in service.problems)


def test_a_person_forgotten_by_another_program_is_unknown_to_the_service(live, known):
    with live([scene((0, 3))]) as service, service.subscribe() as events:
        assert events.get(timeout=WAIT).match.name == "Ada Lovelace"
        with Gallery(known) as other:
            (ada,) = other.people()
            with other.transaction() as database:
                database.execute("DELETE FROM person")
        assert [events.get(timeout=WAIT).match for _ in range(2)] == [None, None]
        wait_for(lambda: not service.appearances.newest(person=ada.id))


def test_a_person_enrolled_by_the_service_and_forgotten_by_another_program_is_unknown(live, known):
    with live([scene((1, 5))]) as service, service.subscribe() as events:
        assert service.enrollment.enroll_photo("Grace", scene((1, 2)), "upload").status == "enrolled"
        while not (told := events.get(timeout=WAIT)).match:
            pass
        with Gallery(known) as other, other.transaction() as database:
            database.execute("DELETE FROM person WHERE id = ?", [told.match.person])
        while (event := events.get(timeout=WAIT)).stage != "end":
            pass
        assert event.match is None
        wait_for(lambda: not service.appearances.newest(person=told.match.person))


def test_a_person_forgotten_just_before_a_write_of_the_service_is_unknown(live, known):
    with live([scene((0, 3))]) as service, service.subscribe() as events:
        assert events.get(timeout=WAIT).match.name == "Ada Lovelace"
        with service.gallery.lock:  # so that the service notices nothing in between
            with closing(Gallery(known)) as other:
                forget(other, other.person("Ada Lovelace"))
            assert service.enrollment.enroll_photo("Grace", scene((1, 2)), "upload").status == "enrolled"
        assert [events.get(timeout=WAIT).match for _ in range(2)] == [None, None]


@pytest.fixture
def told_forgotten(tmp_path):
    """The ids of the people whom the file of events reports as forgotten."""

    def read():
        path = tmp_path / "events.jsonl"
        said = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [event["person"] for event in said if event["schema"] == "rkface.forgotten"]

    return read


@pytest.fixture
def waiting(known):
    """The bytes of the files of events that wait."""
    return lambda: b"".join(path.read_bytes() for path in known.parent.glob("gallery.sqlite.events-*/*"))


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits for long for a receiver that cannot be reached."""
    monkeypatch.setattr("rkface.runtime.service.service_erasure.PATIENCE", 0.2)


@pytest.mark.usefixtures("impatient")
def test_two_services_in_one_folder_do_not_touch_the_people_and_events_of_each_other(live, known, models, waiting):
    other = known.with_name("other.sqlite")
    with Gallery(known) as first, Gallery(other, embedding_identity(models.manifest), create=True) as second:
        crop = models.align(scene((0, 3)), models.detect(scene((0, 3))).landmarks[0])
        second.add("Grace Hopper", [Sample(models.embed([crop])[0], None, 0.9, "test")])
        assert first.people()[0].id != second.people()[0].id
    with live([scene((0, 3))], events=NOWHERE) as one, live([scene((0, 3))], events=NOWHERE, gallery=other) as two:
        wait_for(lambda: one.appearances.newest() and two.appearances.newest())
        for service in (one, two):
            service._watch.publisher.prune(Keep())
        assert [[a.match.name for a in service.appearances.newest()] for service in (one, two)] == [
            ["Ada Lovelace"],
            ["Grace Hopper"],
        ]
        wait_for(lambda: b"Lovelace" in waiting())
        assert two.erasure.forget(two.gallery.people()[0].id)
        assert [a.match.name for a in one.appearances.newest()] == ["Ada Lovelace"]
        assert b"Lovelace" in waiting() and b"Hopper" not in waiting()


@pytest.mark.usefixtures("impatient")
def test_forgetting_returns_when_it_is_done_even_if_housekeeping_notices_first(live, monkeypatch):
    noticed, answered, order = threading.Event(), threading.Event(), []

    def slow(*arguments):
        """Return only when housekeeping has noticed the deletion."""
        left = forget(*arguments)
        assert noticed.wait(WAIT)
        return left

    with live([scene()], events=NOWHERE) as service:
        renew = service._watch.visits.restart

        def end_visits():
            noticed.set()
            answered.wait(0.5)
            renew()
            order.append("strangers")

        monkeypatch.setattr(service._watch.visits, "restart", end_visits)
        monkeypatch.setattr("rkface.runtime.gallery.backup.forget", slow)
        service.erasure.forget(service.gallery.people()[0].id)
        order.append("answered")
        answered.set()
        wait_for(lambda: len(order) == 2)
    assert order == ["strangers", "answered"]


def test_a_name_in_waiting_events_is_erased_if_another_program_forgets_the_person(live, known, waiting, capsys):
    with live([scene((0, 3))], events=NOWHERE) as service:
        wait_for(lambda: b"Lovelace" in waiting())
        assert main(["gallery", "forget", "--yes", "Ada Lovelace", "--gallery", str(known)]) == 0
        assert "the running service removes the person" in capsys.readouterr().err
        wait_for(lambda: b"Lovelace" not in waiting())
        # Her start and end, and the start of an unknown person: nothing is lost.
        wait_for(lambda: service._resources.sinks[0].state().queued >= 3)


def test_without_a_service_the_command_leaves_no_name_in_the_files(live, known, waiting, capsys):
    with live([scene((0, 3))], events=NOWHERE) as service:
        wait_for(lambda: b"Lovelace" in waiting() and service.appearances.newest())
    assert main(["gallery", "forget", "--yes", "Ada Lovelace", "--gallery", str(known)]) == 0
    named = [path for path in known.parent.rglob("*") if path.is_file() and b"Lovelace" in path.read_bytes()]
    assert named == [] and waiting()
    assert "no waiting event names a forgotten person" in capsys.readouterr().err
    damaged = known.parent / "gallery.sqlite.appearances.damaged-1"
    damaged.write_bytes(b"Ada Lovelace")
    assert main(["gallery", "check", "--gallery", str(known)]) == 1
    assert f"{damaged} may still hold" in capsys.readouterr().err


def test_an_interrupted_erasure_is_finished_by_the_next_start(live, known, waiting):
    with live([scene((0, 3))], events=NOWHERE) as service:
        wait_for(lambda: b"Lovelace" in waiting() and service.appearances.newest())
    with Gallery(known) as gallery:
        forget(gallery, gallery.person("Ada Lovelace"))  # then the power failed
    with live([scene()], events=NOWHERE) as service:
        wait_for(lambda: b"Lovelace" not in waiting())
        wait_for(lambda: not service.appearances.newest())


def test_an_outbox_that_no_sink_uses_any_more_is_cleaned_by_the_next_start(live, known, waiting):
    with live([scene((0, 3))], events=NOWHERE) as service:
        wait_for(lambda: b"Lovelace" in waiting() and service.appearances.newest())
    with Gallery(known) as gallery:
        forget(
            gallery, gallery.person("Ada Lovelace")
        )  # then the power failed, and the webhook was removed from the settings
    with live([scene()]):
        assert waiting() and b"Lovelace" not in waiting()


def test_the_report_says_that_an_unreachable_broker_is_told_later(live, monkeypatch, waiting):
    pytest.importorskip("paho.mqtt")
    monkeypatch.setattr("rkface.runtime.service.service_erasure.PATIENCE", 0.1)
    nobody = Events(stdout=False, mqtt=MqttSettings("127.0.0.1", 9))
    with live([scene((0, 3))], events=nobody) as service:
        wait_for(lambda: b"Lovelace" in waiting())
        said = service.erasure.forget(service.gallery.people()[0].id)
        later = "mqtt: data about the person is removed as soon as"
        assert any(sentence.startswith(later) for sentence in said.left), said
        wait_for(lambda: b"Lovelace" not in waiting())


def test_receivers_are_told_about_a_person_forgotten_in_the_console(live, told_forgotten):
    with live([scene((0, 3))]) as service, service.subscribe() as events:
        ada = events.get(timeout=WAIT).match.person
        said = service.erasure.forget(ada)
        assert "file: was told to delete its data about the person" in said.done
        assert told_forgotten() == [ada]


def test_receivers_are_told_about_a_person_forgotten_by_another_program(live, known, told_forgotten):
    with live([scene((0, 3))]) as service:
        (ada,) = service.gallery.people()
        assert main(["gallery", "forget", "--yes", "Ada Lovelace", "--gallery", str(known)]) == 0
        wait_for(lambda: told_forgotten() == [ada.id])


def test_receivers_are_told_once_by_the_next_start_if_no_service_ran(live, known, told_forgotten, capsys):
    with live([scene((0, 3))]) as service:
        ada, grace = service.gallery.people()[0], service.gallery.add("Grace", [])
        wait_for(service.appearances.newest)
    with Gallery(known) as gallery:
        gallery.merge(grace, ada)
    assert main(["gallery", "forget", "--yes", "Ada Lovelace", "--gallery", str(known)]) == 0
    assert "by the next `rkface run`" in capsys.readouterr().err
    assert told_forgotten() == []
    with live([scene()]):
        wait_for(lambda: sorted(told_forgotten()) == sorted([ada.id, grace.id]))  # under each id that was ever sent
    with live([scene((0, 3))]) as service:
        wait_for(service.appearances.newest)
    assert len(told_forgotten()) == 2


def test_the_report_says_that_an_unreachable_receiver_was_not_told(live, monkeypatch):
    monkeypatch.setattr("rkface.runtime.service.service_erasure.PATIENCE", 0.1)
    with live([scene((0, 3))], events=NOWHERE) as service:
        wait_for(service.appearances.newest)
        said = service.erasure.forget(service.gallery.people()[0].id)
        assert any(sentence.startswith("webhook: could not be told yet") for sentence in said.left), said
        assert not any("told to delete" in sentence for sentence in said.done)


def test_an_appearance_is_published_with_the_present_name(live, known):
    quickly = Recognition(window=0.1)
    with live([*[scene((0, 3))] * 40, scene()], recognition=quickly) as service, service.subscribe() as events:
        assert events.get(timeout=WAIT).match.name == "Ada Lovelace"
        service.gallery.rename(service.gallery.people()[0], "Ada King")
        while (event := events.get(timeout=WAIT)).stage != "end":
            pass
        assert event.match.name == "Ada King"


def test_no_byte_of_a_forgotten_person_stays_in_the_log(live, known):
    with live([scene((0, 3))], events=Events(stdout=False)) as service:
        wait_for(service.appearances.newest)
        assert service.erasure.forget(service.gallery.people()[0].id).left == []
    files = b"".join(path.read_bytes() for path in known.parent.glob("gallery.sqlite.appearances*"))
    assert b"Lovelace" not in files


def test_a_camera_may_return_with_another_resolution_during_a_visit(live):
    small = cv2.resize(scene((0, 3)), (480, 384))
    pictures = [*[scene((0, 3))] * 10, WorkError("unplugged"), None, scene(), *[np.zeros_like(small)] * 3, small]
    with live(pictures) as service, service.subscribe() as events:
        assert events.get(timeout=WAIT).stage == "start"
        wait_for(lambda: service.cameras["door"].width == 480)
        wait_for(lambda: [p for p in faces(service) if p.match])
        camera = service.cameras["door"]
        assert camera.connected and camera.reconnects == 1
        wait_for(lambda: service.cameras["door"].fps > 0)
        assert [event.id for event in service.appearances.newest()] == [service.appearances.newest()[0].id], "one visit"


def test_a_missing_camera_is_a_problem_and_does_not_end_the_service(live):
    with live([WorkError("unplugged")]) as service:
        wait_for(lambda: service.health().problems == ("Camera door delivers no pictures: unplugged.",))
        assert not service.health().ok
        wait_for(lambda: service.cameras["door"].error_time)


def test_fifty_faces_in_a_frame_are_fifty_appearances(live):
    crowd = [(n % 2, n % 10, n // 10) for n in range(50)]
    with live([scene(*crowd)]) as service:
        wait_for(lambda: len(faces(service)) == 50)
        wait_for(lambda: len(service.appearances.newest(limit=100)) == 50)
        assert service._watch.visits.failed_frames == 0


def test_a_full_disk_stops_neither_cameras_nor_events(live):
    pictures = [scene()]
    with live(pictures) as service, service.subscribe() as events:
        pages = service._resources.log._database.execute("PRAGMA page_count").fetchone()[0]
        service._resources.log._database.execute(f"PRAGMA max_page_count = {pages}")  # like a full disk for SQLite
        pictures.append(scene(*((0, n) for n in range(10))))
        for _ in range(10):
            assert events.get(timeout=WAIT).stage == "start"
        wait_for(lambda: any("full" in problem for problem in service.health().problems))
        service._resources.log._database.execute("PRAGMA max_page_count = 1000000")
        pictures.append(scene(*((0, n) for n in range(10)), (1, 5, 6)))
        wait_for(lambda: not any("full" in problem for problem in service.health().problems))


def test_while_the_gallery_cannot_be_read_everybody_is_unknown(live):
    def busy(*_):
        raise WorkError("gallery.sqlite was busy")

    pictures = [scene()]
    with live(pictures) as service, service.subscribe() as events:
        search, service.gallery.search = service.gallery.search, busy
        pictures.append(scene((0, 3)))
        assert events.get(timeout=WAIT).match is None
        assert "gallery.sqlite was busy" in service.health().problems
        service.gallery.search = search
        while (event := events.get(timeout=WAIT)).match is None:
            pass
        assert event.stage == "update" and service.health().ok


def test_a_stuck_service_sends_no_watchdog_messages(live, monkeypatch):
    said, held, hold, rounds = [], threading.Event(), threading.Event(), []

    def note_slowly(result, watcher, note):
        held.set()
        hold.wait(WAIT)
        note(result, watcher)

    monkeypatch.setattr("rkface.runtime.service.housekeeping.notify", lambda *words: said.extend(words))
    monkeypatch.setattr("rkface.runtime.service.housekeeping.INTERVAL", 0.02)
    monkeypatch.setattr("rkface.runtime.service.housekeeping.STUCK_AFTER", 0.1)
    with live([scene()]) as service:
        worker = service.workers["door"]
        monkeypatch.setattr(worker, "sample", lambda: rounds.append(1))
        monkeypatch.setattr(worker, "note_result", partial(note_slowly, note=worker.note_result))
        assert held.wait(WAIT)
        wait_for(lambda: time.monotonic() - service._watch.visits.last_result > 0.2)
        rounds.clear()
        wait_for(lambda: len(rounds) > 2)  # one may have started before
        said.clear()
        wait_for(lambda: len(rounds) > 5)
        assert "WATCHDOG=1" not in said
        hold.set()
        wait_for(lambda: "WATCHDOG=1" in said)


def test_an_unreachable_receiver_delays_nothing_and_loses_no_event(settings, record, live):
    made = settings(NOWHERE, door=record("door", *[scene((0, 3))] * 15))
    with Service(made) as service:
        service.run()
        wait_for(lambda: service._resources.sinks[0].state().error)
        assert "webhook" in " ".join(service.health().problems)
        assert not service.health().ok and 'rkface_sink_connected{sink="webhook"} 0' in service.metrics()
    with live([scene()], events=NOWHERE) as service:
        assert service._resources.sinks[0].state().queued == 2, "its start and end wait for the next run"


def test_the_metric_up_ignores_receivers(live):
    def up(service):
        return re.search(r"^rkface_up (\d)$", service.metrics(), re.MULTILINE)[1]

    with live([scene((0, 3))], events=NOWHERE) as service:
        wait_for(lambda: service._resources.sinks[0].state().error and service.health().cameras[0].connected)
        assert up(service) == "1"
        service.problems.note("appearances", "the disk is full")
        assert up(service) == "0"
    with live([OSError("unplugged")], events=NOWHERE) as service:
        assert up(service) == "0"


def test_a_second_service_on_a_gallery_is_refused(live):
    refusal = r"in use by another rkface run \(process \d+\)"
    with live([scene()]), pytest.raises(InputError, match=refusal), live([scene()]):
        pass
    with live([scene()]):
        pass  # the lock was released by the first one


def test_a_damaged_gallery_is_refused_and_the_backup_named(live, known):
    with Gallery(known) as gallery:
        copy = back_up(gallery)
    known.write_bytes(b"no database at all" * 500)
    before = threading.active_count()
    with pytest.raises(InputError, match=f"restore .*{re.escape(copy.name)}"), live([scene()]):
        pass
    assert threading.active_count() == before


def test_a_gallery_of_another_model_is_refused(live, tmp_path):
    path = tmp_path / "other.sqlite"
    with Gallery(path, "f" * 32, create=True) as gallery:
        gallery.add("Ada", [Sample(np.eye(8, dtype=np.float32)[0], None, 1, "test")])
    with pytest.raises(InputError, match="another model"), live([scene()], gallery=path):
        pass


def test_an_encrypted_gallery_needs_its_key_and_faces_in_the_log_are_encrypted(live, known, tmp_path):
    pytest.importorskip("cryptography")
    with Gallery(known) as gallery:
        encrypt_gallery(gallery, key := make_key(tmp_path / "key"))
    with pytest.raises(InputError, match="is encrypted"), live([scene()]):
        pass
    with live([scene((0, 3), (1, 6))], key=key.path) as service:
        wait_for(lambda: {bool(event.match) for event in service.appearances.newest()} == {True, False})
        (unknown,) = service.appearances.newest(person="")
    with live([scene()], key=key.path) as service:
        picture = service.appearances.face(unknown.id)
        assert cv2.imdecode(np.frombuffer(picture, np.uint8), 1).shape == (112, 112, 3)
    files = b"".join(path.read_bytes() for path in known.parent.glob("gallery.sqlite.appearances*"))
    assert b"IHDR" in picture and b"IHDR" not in files


def test_the_next_start_encrypts_faces_from_before_the_encryption_of_the_gallery(live, known, tmp_path):
    pytest.importorskip("cryptography")
    with live([scene((1, 6))]) as service:
        (unknown,) = wait_for(lambda: [event for event in service.appearances.newest() if event.face])
    with Gallery(known) as gallery:
        encrypt_gallery(
            gallery, key := make_key(tmp_path / "key")
        )  # then the power failed before the log was encrypted
    with live([scene()], key=key.path) as service:
        picture = service.appearances.face(unknown.id)
    assert b"IHDR" in picture and b"IHDR" not in (known.parent / "gallery.sqlite.appearances").read_bytes()


def test_a_damaged_log_is_moved_aside(live, known):
    (known.parent / "gallery.sqlite.appearances").write_bytes(b"no database at all" * 500)
    with live([scene((0, 3))]) as service:
        wait_for(service.appearances.newest)
    assert list(known.parent.glob("gallery.sqlite.appearances.damaged-*"))


def test_an_unexpected_error_ends_the_service(live):
    with live([scene((0, 3))]) as service:
        service.gallery.search = lambda *_: 1 / 0
        with pytest.raises(ZeroDivisionError):
            service.run()


def test_settings_change_now_and_for_the_next_start(live, known):
    with live([scene((0, 3))]) as service, service.subscribe() as events:
        assert events.get(timeout=WAIT).match.name == "Ada Lovelace"
        with pytest.raises(InputError, match=r"recognition\.match is 2\.0, but must be from 0 to 1"):
            service.change_settings({"keep.appearances": 3.0, "recognition.match": 2.0})
        assert {one.key: one.value for one in service.settings()}["keep.appearances"] == 30
        service.change_settings({"recognition.match": 1.0, "recognition.hysteresis": 0.0})
        assert events.get(timeout=WAIT).stage == "end"
        assert events.get(timeout=WAIT).threshold == 1.0
    with live([scene()]) as service:
        assert {one.key: one.value for one in service.settings()}["recognition.match"] == 1.0
        service.change_settings({"recognition.match": None})
        assert service.settings()[0].source == "default"
    assert (known.parent / "changed-gallery.sqlite.toml").stat().st_mode & 0o777 == 0o600


def test_changed_settings_that_cannot_be_used_are_a_problem_until_the_next_change(live, known, caplog):
    path = known.parent / "changed-gallery.sqlite.toml"
    path.write_text("[recognition]\nmatch = 7\nwindow = 20\n[no]\nsuch = 1\n")
    with caplog.at_level(logging.INFO), live([scene()]) as service:
        assert {one.key: one.value for one in service.settings()}["recognition.window"] == 20
        (problem,) = [one for one in service.health().problems if "changed-gallery" in one]
        assert "recognition.match is 7" in problem and "no.such" in problem
        assert "recognition.window = 20, as changed in the console" in caplog.text
        service.change_settings({"recognition.window": None})
        assert not [one for one in service.health().problems if "changed-gallery" in one]
    assert "match" not in path.read_text()


def test_metrics_are_in_prometheus_format_and_contain_no_names_like_the_logs(live, caplog):
    caplog.set_level(logging.DEBUG, "rkface")
    with live([scene((0, 3))]) as service:
        wait_for(service.appearances.newest)
        text = service.metrics()
    line = re.compile(r'(# (HELP|TYPE) rkface_\w+ .+|rkface_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? -?[\d.e+-]+)')
    assert all(line.fullmatch(each) for each in text.splitlines())
    assert re.search(r'^rkface_appearances_total\{camera="door"\} 1$', text, re.MULTILINE)
    assert text.count("# TYPE rkface_camera_frames_total counter") == 1
    assert "Ada" not in text and "Lovelace" not in caplog.text


def test_only_the_owner_can_read_the_files_of_the_service(live, known):
    with live([scene((0, 3))]) as service:
        wait_for(service.appearances.newest)
        modes = {path.name: path.stat().st_mode & 0o077 for path in known.parent.iterdir()}
    assert modes and not any(modes.values()), modes


def test_pictures_of_known_people_and_embeddings_are_stored_only_if_the_settings_say_so(live):
    pictures = [scene((0, 3)), *[scene((0, 3))] * 30, scene()]
    with live([*pictures], keep=Keep(unknown_faces=1)) as service:
        (seen,) = wait_for(service.appearances.newest)
        assert seen.match and not seen.face and len(service._resources.log.embeddings(service._watch.identity)) == 0
    with live(pictures, keep=Keep(known_faces=1, embeddings=1)) as service:
        seen = wait_for(lambda: [one for one in service.appearances.newest() if one.face])[0]
        stored = service._resources.log.embeddings(service._watch.identity, seen.match.person)
        assert service.appearances.face(seen.id).startswith(b"\x89PNG")
        assert seen.id in stored.ids and service.gallery.search(stored.vectors)[0][0].cosine > 0.9


def test_an_ignored_face_has_no_appearance_and_no_event(settings, record, known, models):
    picture = scene((1, 5))
    crop = models.align(picture, models.detect(picture).landmarks[0])
    with Gallery(known) as gallery:
        entry = ignore_face(gallery, [Sample(models.embed([crop])[0], None, 0.9, "test")])
    made = settings(door=record("door", *[scene((0, 3), (1, 5))] * 15))
    assert who(played(made)) == [("start", "Ada Lovelace"), ("end", "Ada Lovelace")]
    with Gallery(known) as gallery:
        stop_ignoring(gallery, entry)
    made.events.file.unlink()
    assert sorted(who(played(made)), key=str) == [
        ("end", "Ada Lovelace"),
        ("end", None),
        ("start", "Ada Lovelace"),
        ("start", None),
    ]


def test_a_stranger_who_is_ignored_in_the_console_leaves_the_strangers(live):
    with live([*[scene((1, 5))] * 30], keep=Keep(embeddings=1)) as service:
        (stranger,) = wait_for(service.strangers.strangers)
        service.strangers.ignore(stranger.id, "the postman")
        assert service.strangers.strangers() == []
        assert [visit for visit in service.watchers["door"]._visits if visit.ignored]


def test_no_unknown_faces_are_stored_if_the_setting_is_zero(live):
    with live([scene((1, 5)), *[scene((1, 5))] * 30, scene()], keep=Keep(unknown_faces=0)) as service:
        (seen,) = wait_for(service.appearances.newest)
        assert not seen.face


def test_a_camera_follows_its_schedule_and_what_somebody_switches(live, settings, caplog):
    other_day = DAYS[(time.gmtime().tm_wday + 3) % 7]  # not today, anywhere on earth
    never_today = CameraSettings("scripted", schedule={"away": WeeklyHours((other_day,), time_zone="UTC")})

    def start():
        return live([scene((0, 3))], camera={"door": never_today})

    def camera(service):
        return service.health().cameras[0]

    with start() as service:
        assert not camera(service).on and service.workers["door"].camera._stream is None
        assert service.health().problems == () and service.latest("door") is None
        service.camera_control.switch("door", True)
        wait_for(lambda: faces(service))
        assert camera(service).on and camera(service).connected
        assert (
            service.camera_control.setup("door").switch.manual
            and service.camera_control.setup("door").switch.until > time.time()
        )
    with start() as service:  # what somebody switched holds after a restart
        wait_for(lambda: faces(service))
        service._resources.switches.add("door", False)  # a command of the broker
        wait_for(lambda: not camera(service).on)
        wait_for(lambda: service.workers["door"].camera._stream is None)
        assert service.latest("door") is None and service.health().problems == ()
        ended = wait_for(lambda: [one for one in service.appearances.newest() if one.stage == "end"])
        assert ended, "the visit ends with the pictures"
        service._resources.switches.add("cellar", False)
        wait_for(lambda: "a command to switch camera cellar was ignored" in caplog.text)
        service.camera_control.switch("door", None)
        assert not camera(service).on and not service.camera_control.setup("door").switch.manual


def test_a_camera_is_switched_off_although_the_disk_is_full(live, monkeypatch):
    def full(_):
        raise WorkError("the disk is full")

    with live([scene((0, 3))]) as service:
        wait_for(lambda: faces(service))
        monkeypatch.setattr("rkface.runtime.service.live_settings.save_changes", full)
        service.camera_control.switch("door", False)
        assert not service.cameras["door"].on and "the disk is full" in service.health().problems


def test_a_recording_cannot_be_switched(settings, record):
    with Service(settings(door=record("door", *[scene()] * 3))) as service:
        with pytest.raises(InputError, match="camera door is a recording"):
            service.camera_control.switch("door", False)
        service.run()


def test_rules_send_alerts_about_strangers_once_to_the_receivers_that_they_name(settings, record):
    made = settings(door=record("door", *[scene((0, 3))] * 15), yard=record("yard", *[scene((1, 5))] * 15))
    rules = {
        "strangers": Rule(who=("stranger",), receivers=("file",)),
        "door": Rule(cameras=("door",), receivers=("file",)),
        "off": Rule(receivers=("file",), enabled=False),
        "nobody": Rule(receivers=()),
    }
    events = played(replace(made, rules=rules))
    alerts = [event for event in events if event["schema"] == "rkface.alert"]
    about = [(one["rule"], one["appearance"]["source"], who([one["appearance"]])[0][1]) for one in alerts]
    assert sorted(about, key=str) == [("door", "door", "Ada Lovelace"), ("strangers", "yard", None)]
    assert all(one["appearance"] in events for one in alerts), "as its own event has it"
