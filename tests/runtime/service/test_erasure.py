"""Erasing a person stage by stage: each stage does its part, says what is left, and can be repeated."""

import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from rkface.runtime.alerts.alert import Alert
from rkface.runtime.core.errors import WorkError
from rkface.runtime.events import Outbox, PictureStore, encode
from rkface.runtime.events.channel import SinkState
from rkface.runtime.gallery.backup import back_up, encrypt_gallery, forget
from rkface.runtime.gallery.encryption import make_key
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.match import Match
from rkface.runtime.gallery.people import Sample
from rkface.runtime.service import erasure, service_erasure
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.erasure import ErasureReport, ErasureStage, StageReport
from rkface.runtime.service.log_files import encrypt_log_beside
from rkface.runtime.service.receiver_settings import Events
from rkface.runtime.tracking.appearance import Appearance


@pytest.fixture
def gallery(tmp_path):
    """A gallery with Ada Lovelace and Grace Hopper."""
    with Gallery(tmp_path / "gallery.sqlite", "a" * 64, create=True) as gallery:
        for number, name in enumerate(("Ada Lovelace", "Grace Hopper")):
            vector = np.zeros(4, np.float32)
            vector[number] = 1
            gallery.add(name, [Sample(vector, b"", 0.9, "test")])
        yield gallery


def appearance_of(person, number=0):
    return Appearance(
        id=f"a-{number}", source="door", stage="start", match=Match(person.id, person.name, 0.7), threshold=0.4,
        started=1_780_000_000.0, best=1_780_000_000.5, ended=0.0, box=(0.1, 0.2, 0.3, 0.4), score=0.9, quality=0.8,
        frames=7,
    )  # fmt: skip


@pytest.fixture(params=["", "gallery.sqlite."], ids=["names of earlier versions", "names of today"])
def start(request):
    """The start of the names of the outboxes."""
    return request.param


@pytest.fixture
def log_name(start):
    return "gallery.sqlite.appearances" if start else "appearances.sqlite"


@pytest.fixture
def everywhere(gallery, tmp_path, start, log_name):
    """Both people are in a backup, in the appearance log and in two outboxes."""
    back_up(gallery)
    with AppearanceLog(tmp_path / log_name) as log:
        for number, person in enumerate(gallery.people()):
            log.record(appearance_of(person, number))
    for name in ("webhook", "mqtt"):
        with closing(Outbox(tmp_path / f"{start}events-{name}")) as outbox:
            outbox.append([encode(appearance_of(person).as_event()) for person in gallery.people()])
    return tmp_path


def files_with(folder, text):
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and text in path.read_bytes())


class FakeSink:
    """A sink that does as much as it is told to."""

    def __init__(self, name, *, erased=True, told=True, error=""):
        self.name, self.erased, self.told, self.error = name, erased, told, error
        self.forgotten = {}

    def forget(self, people):
        self.forgotten |= people

    def wait_until_erased(self, timeout):
        assert 0 <= timeout <= service_erasure.PATIENCE
        return self.erased

    def wait_until_told(self, timeout):
        return self.told

    def state(self):
        return SinkState(self.name, 0, 0, 0, 0, 0, self.told, self.error)


def test_a_command_leaves_no_byte_of_the_person_in_any_file_and_keeps_everybody_else(
    gallery, everywhere, start, log_name
):
    ada, grace = gallery.people()
    assert len(files_with(everywhere, b"Lovelace")) >= 5
    report = erasure.forget_by_command(gallery, [ada])
    assert files_with(everywhere, b"Lovelace") == []
    assert report.left == []
    assert set(files_with(everywhere, ada.id.encode())) <= {"gallery.sqlite", "gallery.sqlite-wal"}, (
        "which remembers it"
    )
    assert [person.name for person in gallery.people()] == ["Grace Hopper"]
    with closing(Outbox(everywhere / f"{start}events-webhook")) as outbox:
        names = []
        while event := outbox.peek():
            match = json.loads(event.body)["match"]
            names.append(match and match["name"])
            outbox.advance(event)
    assert names == [None, grace.name]
    with AppearanceLog(everywhere / log_name) as log:
        assert [one.match.name for one in log.newest()] == [grace.name]


def test_the_report_names_the_stages_in_their_order(gallery, everywhere, start, log_name):
    report = erasure.forget_by_command(gallery, gallery.people()[:1])
    log, *outboxes, receivers = report.done
    assert f"{log_name}: no entry names a forgotten person" in log
    assert [sentence.partition(":")[0].rpartition("/")[2] for sentence in outboxes if "events-" in sentence] == [
        f"{start}events-mqtt",
        f"{start}events-webhook",
    ]
    assert "by the next `rkface run`" in receivers
    mixed = [StageReport(ErasureStage.RECEIVERS, ("e",), ("f",)), StageReport(ErasureStage.GALLERY, ("a",))]
    assert ErasureReport.of(mixed) == ErasureReport(["a", "e"], ["f"])


def test_an_outbox_that_a_service_has_open_is_left_to_it(gallery, everywhere, start):
    with closing(Outbox(everywhere / f"{start}events-webhook")):
        report = erasure.forget_by_command(gallery, gallery.people()[:1])
    assert report.left == []
    assert any(f"{start}events-webhook: the running service removes the person" in sentence for sentence in report.done)


def test_a_stage_that_fails_keeps_no_other_from_being_done(gallery, everywhere, start):
    (everywhere / f"{start}events-mqtt" / "outbox.sqlite").unlink()
    (everywhere / f"{start}events-mqtt" / "outbox.sqlite").mkdir()
    (everywhere / f"{start}events-mqtt" / "cursor").touch()
    backup = next((everywhere / "gallery.sqlite.backups").iterdir())
    backup.write_bytes(b"not a database")
    report = erasure.forget_by_command(gallery, gallery.people()[:1])
    assert files_with(everywhere, b"Lovelace") == []
    backups, outboxes = report.left
    assert str(backup) in backups and "rkface gallery check" in backups
    assert "events-mqtt" in outboxes


@pytest.fixture
def impatient(gallery, monkeypatch):
    """Nothing waits for another program: these tests are about what happens after the waiting."""
    monkeypatch.setattr("rkface.runtime.gallery.schema.BUSY_TIMEOUT", 0.05)
    gallery.database.execute("PRAGMA busy_timeout = 50")


def test_what_stays_in_a_gallery_that_another_program_reads_does_not_keep_the_other_stages_from_being_done(
    gallery, everywhere, impatient, log_name
):
    with closing(sqlite3.connect(gallery.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM person").fetchall()
        with pytest.raises(WorkError, match="another program"):
            erasure.forget_by_command(gallery, gallery.people()[:1])
    assert not any(name.startswith((log_name, "outbox")) for name in files_with(everywhere, b"Lovelace"))
    report = erasure.finish_by_command(gallery)
    assert (report.done, report.left) == ([], [])
    assert files_with(everywhere, b"Lovelace") == []


def test_an_erasure_that_was_interrupted_after_the_first_stage_is_finished_by_the_next_start(
    gallery, everywhere, start, log_name
):
    ada, _ = gallery.people()
    with gallery.transaction() as database:  # as ``forget`` begins; then the power failed
        database.execute("DELETE FROM person WHERE id = ?", [ada.id])
        database.execute("INSERT INTO former VALUES (?, NULL, 1.0)", [ada.id])
        database.execute("INSERT INTO setting VALUES ('scrub', '1')")
    assert erasure.read_forgotten(gallery.path) == {ada.id: 1.0}
    assert list(erasure.finish_at_start(gallery)) == []
    kept = [log_name] if start else []
    assert files_with(everywhere, b"Lovelace") == kept, "which the service prunes first"
    assert list(erasure.finish_at_start(gallery)) == [], "and again"


def test_without_a_gallery_nobody_is_forgotten(tmp_path):
    assert erasure.read_forgotten(tmp_path / "gallery.sqlite") == {}
    assert not (tmp_path / "gallery.sqlite").exists()


def test_a_service_says_which_receiver_could_not_be_told(gallery, everywhere, start, log_name):
    ada, _ = gallery.people()
    copies = forget(gallery, ada)
    sinks = [
        FakeSink("file"),
        FakeSink("webhook", told=False, error="connection refused"),
        FakeSink("mqtt", erased=False, told=False),
    ]
    report = service_erasure.report_erasure(gallery, copies, sinks, Events(stdout=False))
    assert all(ada.id in sink.forgotten for sink in sinks)
    assert "file: was told to delete its data about the person" in report.done
    assert "webhook: no waiting event names a forgotten person" in report.done
    assert [sentence for sentence in report.left if "may name the person" not in sentence] == [
        "mqtt: data about the person is removed as soon as the disk and the receiver allow it (no answer)",
        "webhook: could not be told yet to delete its data about the person (connection refused)",
        "mqtt: could not be told yet to delete its data about the person (no answer)",
    ]
    kept = [log_name] if start else []  # the service has its own log open, and prunes it
    assert files_with(everywhere, b"Lovelace") == kept, "no sink uses these outboxes"


def test_a_command_deletes_pictures_of_alerts_and_removes_the_person_from_messages_that_wait(gallery, tmp_path):
    """While no service runs; a running one is tested in test_alerts_on_the_way.py."""
    ada, grace = gallery.people()
    with PictureStore(tmp_path / "gallery.sqlite.alert-pictures") as pictures:
        ids = [pictures.add(b"\xff\xd8\xff" + one.id.encode(), f"a-{one.id}", one.id) for one in (ada, grace)]
    outbox = tmp_path / "gallery.sqlite.events-notify.phone"
    with closing(Outbox(outbox)) as waiting:
        alert = Alert("night", ("notify.phone",), appearance_of(ada)).as_event({"id": ids[0], "kind": "face"})
        waiting.append([encode(alert)])
    report = erasure.forget_by_command(gallery, [ada])
    assert any("alert-pictures: no picture of an alert shows a forgotten person" in line for line in report.done)
    assert any("notify.phone: no waiting event names a forgotten person" in line for line in report.done)
    assert report.left == []
    with PictureStore(tmp_path / "gallery.sqlite.alert-pictures") as pictures:
        assert [pictures.has(id) for id in ids] == [False, True]
    with closing(Outbox(outbox)) as waiting:
        event = json.loads(waiting.peek().body)
    assert event["picture"] is None and event["appearance"]["match"] is None
    assert not any(ada.name.encode() in path.read_bytes() for path in outbox.iterdir())


def test_a_stranger_who_was_named_in_the_log_afterwards_is_erased_from_pictures(gallery, tmp_path):
    (ada, _) = gallery.people()
    with PictureStore(tmp_path / "gallery.sqlite.alert-pictures") as pictures:
        id = pictures.add(b"\xff\xd8\xff", "a-7", None)
    with AppearanceLog(tmp_path / "gallery.sqlite.appearances") as log:
        log.record(appearance_of(ada, 7))
    erasure.forget_by_command(gallery, [ada])
    with PictureStore(tmp_path / "gallery.sqlite.alert-pictures") as pictures:
        assert not pictures.has(id)


def test_a_receiver_that_is_a_person_is_not_said_to_have_been_told(gallery):
    (ada, _), phone = gallery.people(), FakeSink("notify.phone")
    report = service_erasure.report_erasure(gallery, [], [phone], Events())
    assert ada and [line for line in report.left if line.startswith("messages and pictures that notify.phone sent")]
    assert not any("was told" in line for line in report.done)


def test_encrypting_the_gallery_deletes_pictures_that_are_not_encrypted(gallery, tmp_path):
    pytest.importorskip("cryptography")
    with PictureStore(tmp_path / "gallery.sqlite.alert-pictures") as pictures:
        plain = pictures.add(b"\xff\xd8\xff the face", "a-1", None)
    encrypt_gallery(gallery, make_key(tmp_path / "key"))
    encrypt_log_beside(gallery)
    with PictureStore(tmp_path / "gallery.sqlite.alert-pictures") as pictures:
        assert not pictures.has(plain)
    assert files_with(tmp_path, b"the face") == []
