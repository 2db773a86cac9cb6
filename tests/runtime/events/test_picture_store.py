"""Pictures of alerts on disk: bounded in size and time, encrypted with the gallery, and gone with the person."""

import secrets
import sqlite3
import stat

import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.events import PictureLimits, PictureStore
from rkface.runtime.gallery.encryption import Cipher

NOW, HOUR = 1_780_000_000.0, 3600.0
JPEG = b"\xff\xd8\xff" + b"the face of Ada" * 20


class Clocks:
    def __init__(self):
        self.now, self.wrong = 0.0, 0.0

    def clock(self):
        return self.now

    def wall(self):
        return NOW + self.now + self.wrong


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def open_store(tmp_path, clocks):
    opened = []

    def make(**more):
        for store in opened:
            store.close()
        opened.append(PictureStore(tmp_path / "g.alert-pictures", clock=clocks.clock, wall=clocks.wall, **more))
        return opened[-1]

    yield make
    opened[-1].close()


def bytes_on_disk(store):
    return b"".join(path.read_bytes() for path in store.path.parent.glob(f"{store.path.name}*"))


def test_a_picture_is_there_until_it_expires_also_after_a_restart(open_store, clocks):
    store = open_store()
    old = store.add(JPEG, "a-1", "p-1")
    for _ in range(10):
        clocks.now += HOUR
        store.prune(["p-1"], {})
    clocks.now += 10 * HOUR  # without power
    store = open_store()
    new = store.add(JPEG + b"2", "a-2", None)
    store.prune(["p-1"], {})
    assert store.jpeg(old) == JPEG and store.jpeg(new) == JPEG + b"2" and old != new
    clocks.now += 5 * HOUR
    store.prune(["p-1"], {})
    assert store.jpeg(old) is None and store.has(new)
    clocks.now += 24 * HOUR
    store.prune(["p-1"], {})
    assert store.count() == 0 and JPEG not in bytes_on_disk(store)


@pytest.mark.parametrize("jump", [-NOW, 24 * HOUR, 14 * 366 * 24 * HOUR], ids=["1970", "a day ahead", "2040"])
def test_a_clock_that_jumps_neither_deletes_nor_keeps_a_picture(open_store, clocks, jump):
    store = open_store()
    id = store.add(JPEG, "a-1", "p-1")
    clocks.wrong = jump
    store.prune(["p-1"], {})
    assert store.has(id)
    clocks.now += 24.1 * HOUR
    store.prune(["p-1"], {})
    assert not store.has(id)


def test_the_oldest_make_room(open_store):
    store = open_store(limits=PictureLimits(bytes=10_000))
    ids = [store.add(bytes([number]) * 4000, f"a-{number}", None) for number in range(5)]
    assert [store.has(id) for id in ids] == [False, False, False, True, True]
    assert store.add(bytes(10_001), "a-9", None) is None and store.has(ids[-1])


def test_a_forgotten_person_leaves_no_byte(open_store):
    store = open_store()
    ada, eva, stranger = (store.add(JPEG + who.encode(), f"a-{who}", who or None) for who in ("p-1", "p-2", ""))
    assert b"Ada" in bytes_on_disk(store)
    store.erase({"p-1"})
    assert [store.has(id) for id in (ada, eva, stranger)] == [False, True, True]
    assert JPEG + b"p-1" not in bytes_on_disk(store)


def test_a_stranger_who_is_recognized_later_can_be_forgotten(open_store):
    store = open_store()
    id = store.add(JPEG, "a-1", None)
    store = open_store()  # the start of the next run
    store.note_person("a-1", "p-1")
    store.note_person("a-2", "p-1")
    store.erase({"p-1"})
    assert not store.has(id)


def test_people_who_were_deleted_or_merged_elsewhere(open_store):
    store = open_store()
    deleted, merged = store.add(JPEG, "a-1", "p-1"), store.add(JPEG, "a-2", "p-2")
    store.prune(["p-3"], {"p-2": "p-3"})
    assert not store.has(deleted) and store.has(merged)
    store.erase({"p-3"})
    assert not store.has(merged)


def test_with_a_key_pictures_are_encrypted_and_bound_to_their_id(open_store):
    pytest.importorskip("cryptography")
    store = open_store()
    plain = store.add(JPEG, "a-1", "p-1")
    cipher = Cipher(secrets.token_bytes(32))
    store = open_store(cipher=lambda: cipher)
    assert not store.has(plain) and JPEG not in bytes_on_disk(store), "what was there before is deleted"
    first, second = store.add(JPEG, "a-1", "p-1"), store.add(JPEG * 2, "a-2", "p-2")
    assert store.jpeg(first) == JPEG and b"the face of Ada" not in bytes_on_disk(store)
    store.close()
    with sqlite3.connect(store.path) as database:
        database.execute("UPDATE picture SET image = (SELECT image FROM picture WHERE id = ?)", [second])
    store = open_store(cipher=lambda: cipher)
    assert store.jpeg(second) == JPEG * 2 and store.jpeg(first) is None, "an exchanged picture is not shown"
    assert open_store(cipher=lambda: Cipher(bytes(32))).jpeg(second) is None


def test_only_the_owner_can_read_it(open_store):
    store = open_store()
    store.add(JPEG, "a-1", "p-1")
    for path in store.path.parent.glob(f"{store.path.name}*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"no database" * 1000, b"SQLite format 3\0" + bytes(4080)])
def test_a_damaged_file_is_replaced_by_an_empty_one(open_store, tmp_path, content, caplog):
    (tmp_path / "g.alert-pictures").write_bytes(content)
    store = open_store()
    assert store.count() == 0 and store.has(store.add(JPEG, "a-1", None))
    assert "is damaged" in caplog.text
    assert [path.name for path in tmp_path.iterdir() if "damaged" in path.name] == [], "it may contain faces"


def test_a_file_of_a_newer_version_is_refused(open_store, tmp_path):
    open_store().close()
    with sqlite3.connect(tmp_path / "g.alert-pictures") as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="newer rkface"):
        open_store()


def test_the_secret_of_links_survives_a_restart_and_differs_between_galleries(open_store, tmp_path):
    key = open_store().link_key()
    assert len(key) == 64 and open_store().link_key() == key
    with PictureStore(tmp_path / "other.alert-pictures") as other:
        assert other.link_key() != key
