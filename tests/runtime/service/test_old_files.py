"""Files of earlier versions, which all galleries of a folder shared: each gallery takes over what belongs to it."""

import itertools
import json
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from rkface.runtime.core.sqlite import SqliteConnection
from rkface.runtime.events import Outbox, OutboxInUseError, encode, move_events
from rkface.runtime.gallery import backup
from rkface.runtime.gallery.companions import Companion, companion_path, find_event_folders
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample
from rkface.runtime.service import erasure, old_files
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.log_files import log_path
from rkface.runtime.service.receiver_settings import Events, WebhookSettings
from rkface.runtime.service.settings import Settings
from rkface.runtime.service.sighting import Sighting

from .test_appearance_log import seen

WEBHOOK = Events(stdout=False, webhook=WebhookSettings("http://127.0.0.1:9/"))


class Site:
    """A folder with galleries of one person each, and the files of an earlier version."""

    def __init__(self, folder):
        self.folder = folder
        self.old_log = folder / "appearances.sqlite"
        self.old_outbox = folder / "events-webhook"

    def add_gallery(self, name):
        """Make a gallery with a person, and return the person's id."""
        with Gallery(self.folder / name, "a" * 64, create=True) as gallery:
            person = gallery.add(name, [Sample(np.float32([1, 0, 0, 0]), b"", 0.9, "test")])
            return person.id

    def fill(self, people):
        """Log and queue an appearance of each of ``people``: by id of the appearance, the id of the person or None."""
        with AppearanceLog(self.old_log) as log:
            for id, person in people.items():
                log.record(seen(id, person), Sighting(None if person else b"face", np.float32([1, 0]), "model"))
        with closing(Outbox(self.old_outbox)) as outbox:
            outbox.append([encode(seen(id, person).as_event()) for id, person in people.items()])

    def take_over(self, name, events=WEBHOOK):
        old_files.take_over(Settings(gallery=self.folder / name, events=events))

    def logged(self, name):
        return read_log(log_path(self.folder / name))

    def queued(self, name):
        return read_outbox(companion_path(self.folder / name, Companion.EVENTS, "webhook"))

    def everything(self):
        """The ids of all appearances in all logs, and of all events in all outboxes; each sorted."""
        logs = [self.old_log, *self.folder.glob("*.appearances")]
        outboxes = [path.parent for path in self.folder.glob("*events-webhook/outbox.sqlite")]
        return sorted(id for log in logs for id in read_log(log)), sorted(
            id for outbox in outboxes for id in read_outbox(outbox)
        )


def read_log(path):
    if not path.exists():
        return []
    with AppearanceLog(path) as log:
        return sorted(one.id for one in log.newest())


def read_outbox(folder):
    """The ids of the appearances, in the order of delivery; the events stay."""
    if not folder.exists():
        return []
    with closing(Outbox(folder)) as outbox:
        bodies = [
            body for (body,) in outbox._run(lambda data: data.execute("SELECT body FROM event ORDER BY id").fetchall())
        ]
    return [json.loads(body)["id"] for body in bodies]


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_each_kind_of_file_has_another_name_for_each_gallery(tmp_path):
    for kind in Companion:
        paths = {companion_path(tmp_path / name, kind, "mqtt") for name in ("a.sqlite", "b.sqlite")}
        assert len(paths) == 2 and {path.parent for path in paths} == {tmp_path}
    for name in ("a.sqlite", "a.sqlite.b", "[a].sqlite"):
        companion_path(tmp_path / name, Companion.EVENTS, "mqtt").mkdir()
    assert [path.name for path in find_event_folders(tmp_path / "a.sqlite")] == ["a.sqlite.events-mqtt"]
    assert [path.name for path in find_event_folders(tmp_path / "[a].sqlite")] == ["[a].sqlite.events-mqtt"]


def test_the_only_gallery_takes_over_everything_once(site):
    ada = site.add_gallery("a.sqlite")
    site.fill({"1": ada, "2": None, "3": "p-of-nobody"})
    (site.old_outbox / "told-1").write_text("\nx\ny")
    (site.old_outbox / "retained-1").write_text('["rkface/board/door/person"]')
    (site.folder / "events-file").mkdir()
    (site.folder / "events-file/told-2").write_text("\nz")
    for _ in range(2):
        site.take_over("a.sqlite")
        assert site.logged("a.sqlite") == site.queued("a.sqlite") == ["1", "2", "3"]
        assert not site.old_log.exists() and not site.old_outbox.exists()
    with AppearanceLog(log_path(site.folder / "a.sqlite")) as log:
        assert log.face("2") == b"face"
        assert log.embeddings("model").ids == ("1", "2", "3")
    folder = site.folder / "a.sqlite.events-webhook"
    assert (folder / "told-1").read_text().split() == ["x", "y"]
    assert json.loads((folder / "retained-1").read_text()) == ["rkface/board/door/person"]
    assert (site.folder / "a.sqlite.events-file/told-2").read_text().split() == ["z"]
    modes = {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir(), log_path(site.folder / "a.sqlite"))}
    assert modes == {0}


def test_of_several_galleries_each_takes_over_its_own_people(site):
    ada, bob = site.add_gallery("a.sqlite"), site.add_gallery("b.sqlite")
    site.fill({"1": ada, "2": bob, "3": None})
    site.take_over("b.sqlite")
    assert site.logged("b.sqlite") == site.queued("b.sqlite") == ["2", "3"]
    assert read_log(site.old_log) == read_outbox(site.old_outbox) == ["1"]
    site.take_over("b.sqlite")
    site.take_over("a.sqlite")
    assert site.logged("a.sqlite") == site.queued("a.sqlite") == ["1"]
    assert not site.old_log.exists() and not site.old_outbox.exists()


def test_what_is_left_to_another_gallery_contains_no_byte_of_what_was_taken_over(site):
    ada, bob = site.add_gallery("a.sqlite"), site.add_gallery("b.sqlite")
    site.fill({"1": ada, "2": bob})
    site.take_over("b.sqlite")
    files = [*site.folder.glob("appearances.sqlite*"), *site.old_outbox.iterdir()]
    content = b"".join(path.read_bytes() for path in files)
    assert ada.encode() in content and bob.encode() not in content


def test_a_gallery_takes_nothing_that_belongs_to_the_others(site):
    ada = site.add_gallery("a.sqlite")
    site.add_gallery("b.sqlite")
    site.fill({"1": ada})
    site.take_over("b.sqlite")
    site.take_over("new.sqlite")  # there is no such gallery yet
    assert site.logged("b.sqlite") == site.queued("b.sqlite") == site.logged("new.sqlite") == []
    assert read_log(site.old_log) == read_outbox(site.old_outbox) == ["1"]


def test_what_a_gallery_that_cannot_be_read_may_own_is_left_to_it(site):
    ada = site.add_gallery("a.sqlite")
    site.add_gallery("b.sqlite")
    site.fill({"1": ada, "2": "somebody"})
    content = (site.folder / "b.sqlite").read_bytes()
    (site.folder / "b.sqlite").write_bytes(content[:4096] + bytes(len(content) - 4096))
    site.take_over("a.sqlite")
    assert site.logged("a.sqlite") == site.queued("a.sqlite") == ["1"]
    assert read_log(site.old_log) == read_outbox(site.old_outbox) == ["2"]


def test_an_outbox_that_another_service_uses_is_left_to_it_and_the_only_gallery_says_so(site):
    ada = site.add_gallery("a.sqlite")
    site.fill({"1": ada})
    with closing(Outbox(site.old_outbox)):
        with pytest.raises(OutboxInUseError):
            site.take_over("a.sqlite")
        site.add_gallery("b.sqlite")
        site.take_over("a.sqlite")
    site.take_over("a.sqlite")
    assert site.queued("a.sqlite") == ["1"]


def take_over_and_die(site, name, place):
    """Take over in a process that is killed at the ``place``-th change of the files: after a commit or the rewriting of
    a database, or before a file is deleted. Returns whether it was killed."""
    child = os.fork()
    if not child:
        steps = itertools.count()

        def die():
            if next(steps) == place:
                os._exit(9)

        def execute(connection, statement, *arguments):
            result = real_execute(connection, statement, *arguments)
            if statement.startswith(("COMMIT", "VACUUM", "PRAGMA wal_checkpoint")):
                die()
            return result

        def unlink(path, **named):
            die()
            return real_unlink(path, **named)

        real_unlink, Path.unlink = Path.unlink, unlink
        real_execute, SqliteConnection.execute = SqliteConnection.execute, execute
        try:
            site.take_over(name)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


@pytest.mark.slow
def test_a_process_that_is_killed_at_any_place_loses_and_doubles_nothing(site):
    ada, bob = site.add_gallery("a.sqlite"), site.add_gallery("b.sqlite")
    for place in itertools.count():
        names = [f"{place}-{number}" for number in range(3)]
        site.fill(dict(zip(names, (ada, bob, None), strict=True)))
        killed = take_over_and_die(site, "a.sqlite", place)
        site.take_over("a.sqlite")
        site.take_over("b.sqlite")
        logs, events = site.everything()
        assert [id for id in logs if id in names] == [id for id in events if id in names] == names, place
        assert not site.old_log.exists() and not site.old_outbox.exists()
        if not killed:
            break
    assert place > 10, "the changes were not counted"


def test_a_damaged_log_and_a_damaged_outbox_do_not_stop_it(site):
    ada = site.add_gallery("a.sqlite")
    site.fill({"1": ada})
    site.old_log.write_bytes(b"no database" * 999)
    (site.old_outbox / "outbox.sqlite").write_bytes(b"no database" * 999)
    site.take_over("a.sqlite")
    assert not site.old_log.exists() and not site.old_outbox.exists()
    assert list(site.folder.glob("appearances.sqlite.damaged-*"))


def test_other_files_of_the_user_are_left_alone(site):
    site.add_gallery("a.sqlite")
    for folder in ("events-2026", "events-party", "events-webhook"):
        (site.folder / folder).mkdir()
        (site.folder / folder / "photo.jpg").write_bytes(b"x")
    site.fill({})
    site.take_over("a.sqlite")
    assert sorted(path.parent.name for path in site.folder.glob("*/photo.jpg")) == [
        "events-2026",
        "events-party",
        "events-webhook",
    ]


def test_forgetting_reaches_the_files_of_today_and_of_earlier_versions(site):
    ada, bob = site.add_gallery("a.sqlite"), site.add_gallery("b.sqlite")
    site.fill({"1": ada, "2": bob})
    site.take_over("b.sqlite")
    site.fill({"3": ada, "4": bob})  # by a service of an earlier version
    with Gallery(site.folder / "b.sqlite") as gallery:
        assert erasure.forget_by_command(gallery, gallery.people()).left == []
        assert backup.forgotten(gallery).keys() == {bob}
    files = [path for path in site.folder.rglob("*") if path.is_file() and not path.name.startswith("b.sqlite-")]
    named = [path.name for path in files if bob.encode() in path.read_bytes()]
    assert set(named) <= {"b.sqlite"}, "which remembers it"
    assert read_log(site.old_log) == ["1", "3"]
    assert read_outbox(site.old_outbox) == ["1", "3", "4"], "4 without a name"


def test_moving_events_keeps_their_order_behind_those_that_wait(site, tmp_path):
    for folder, names in (("old", "cd"), ("new", "ab")):
        with closing(Outbox(tmp_path / folder)) as outbox:
            outbox.append([encode(seen(name).as_event()) for name in names])
    assert move_events(tmp_path / "old", tmp_path / "new", lambda person: True)
    assert read_outbox(tmp_path / "new") == ["a", "b", "c", "d"]
