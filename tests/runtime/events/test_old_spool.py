"""Taking over the spool that rkface 0.1 kept in text files: no undelivered event is lost, and none is sent again."""

import fcntl
import os
import zlib

import pytest

from rkface.runtime.core.steady_clock import SET_SINCE
from rkface.runtime.events import Limits, Outbox, OutboxInUseError

from .test_outbox import drain, full_disk, numbered


def line(body, padding=0):
    text = body + b" " * padding
    return b"%08x %s\n" % (zlib.crc32(text), text)


def write_spool(folder, files, cursor=None):
    """The bytes that rkface 0.1 writes: ``files`` by number, and the cursor (number of the file, offset)."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for number, content in files.items():
        (folder / f"{number:010d}.events").write_bytes(content)
    text = b"%010d %012d" % (cursor or (0, 0))
    (folder / "cursor").write_bytes(b"%s %08x\n" % (text, zlib.crc32(text)) if cursor else b"")


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_events_of_an_old_spool_are_delivered_in_order_and_its_files_are_deleted(tmp_path):
    one, two, three, four = (line(body) for body in numbered(1, 2, 3, 4))
    write_spool(tmp_path, {7: one + two, 8: three, 10: four}, cursor=(7, len(one)))
    (tmp_path / "told-abc").write_text("\np-1")
    (tmp_path / "0000000011.new").write_bytes(one)
    outbox = Outbox(tmp_path)
    assert names(tmp_path) >= {"outbox.sqlite", "told-abc"}
    assert not any(name.endswith((".events", ".new", "cursor")) for name in names(tmp_path))
    outbox.append(numbered(5))
    assert outbox.queued == 4 and outbox.peek().from_earlier_run
    assert drain(outbox) == numbered(2, 3, 4, 5)
    assert (tmp_path / "told-abc").read_text() == "\np-1", "whom the receiver was told of"


def test_damaged_lines_of_an_old_spool_are_left_out(tmp_path, caplog):
    content = line(numbered(1)[0], padding=40) + b"deadbeef {}\n\n" + line(numbered(2)[0]) + line(numbered(3)[0])[:-4]
    write_spool(tmp_path, {1: content})
    outbox = Outbox(tmp_path)
    assert drain(outbox) == numbered(1, 2)
    assert "3 damaged lines are left out" in caplog.text and outbox.dropped == 0


@pytest.mark.parametrize("cursor", [b"", b"0000000001 00000000", b"\0" * 32])
def test_a_damaged_cursor_sends_events_again_and_loses_none(tmp_path, cursor):
    write_spool(tmp_path, {1: line(numbered(1)[0]) + line(numbered(2)[0])})
    (tmp_path / "cursor").write_bytes(cursor)
    assert drain(Outbox(tmp_path)) == numbered(1, 2)


def test_a_file_that_was_delivered_and_not_deleted_is_not_sent_again(tmp_path):
    write_spool(tmp_path, {1: line(numbered(1)[0]), 2: line(numbered(2)[0])}, cursor=(2, 0))
    assert drain(Outbox(tmp_path)) == numbered(2)


def test_a_takeover_that_was_interrupted_stores_no_event_twice(tmp_path):
    files = {1: line(numbered(1)[0]) + line(numbered(2)[0]), 2: line(numbered(3)[0])}
    write_spool(tmp_path, files)
    Outbox(tmp_path).close()
    write_spool(tmp_path, files)  # the power cut came before the files were deleted
    assert drain(Outbox(tmp_path)) == numbered(1, 2, 3)


def test_a_disk_that_is_full_keeps_the_old_spool_until_there_is_room(tmp_path):
    folder = tmp_path / "spool"
    write_spool(folder, {1: line(numbered(1)[0])})
    with full_disk():
        outbox = Outbox(folder)
        assert (folder / "0000000001.events").exists()
        with pytest.raises(OSError, match="disk"):
            outbox.append(numbered(2))
    outbox.append(numbered(2))
    assert drain(outbox) == numbered(1, 2)


def test_a_spool_that_the_old_version_still_uses_is_not_touched(tmp_path):
    write_spool(tmp_path, {1: line(numbered(1)[0])})
    descriptor = os.open(tmp_path / "cursor", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(OutboxInUseError, match="another rkface"):
        Outbox(tmp_path)
    assert (tmp_path / "0000000001.events").exists()
    os.close(descriptor)
    assert drain(Outbox(tmp_path)) == numbered(1)


@pytest.mark.parametrize(("age", "kept"), [(700, True), (900, False)])
def test_events_of_an_old_spool_keep_their_age(tmp_path, age, kept):
    write_spool(tmp_path, {1: line(numbered(1)[0])})
    written = SET_SINCE + 1e6
    os.utime(tmp_path / "0000000001.events", (written, written))
    outbox = Outbox(tmp_path, Limits(seconds=800), wall=lambda: written + age)
    outbox.expire()
    assert drain(outbox) == (numbered(1) if kept else [])
