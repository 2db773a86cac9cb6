"""JSON lines: rotation, half lines, full disks, and readers that leave."""

import errno
import io
import json
import os
import stat

import pytest

from rkface.runtime.events import Backoff, Delivery, LinesFile, LinesStream
from rkface.runtime.events.event import OutgoingEvent

from .world import Log, event


def record(number):
    return OutgoingEvent(b'{"n":%d}' % number)


def numbers(path):
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


def test_files_are_rotated_by_size_and_the_oldest_is_deleted(tmp_path):
    path = tmp_path / "events.jsonl"
    channel = LinesFile(path, limit=20, keep=2)
    for number in range(1, 8):
        channel.deliver(record(number))  # 8 bytes a line, two fit
    assert numbers(path) == [7]
    assert numbers(tmp_path / "events.jsonl.1") == [5, 6]
    assert numbers(tmp_path / "events.jsonl.2") == [3, 4]
    assert len(list(tmp_path.iterdir())) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


def test_rotation_that_keeps_no_old_file_starts_a_new_one(tmp_path):
    path = tmp_path / "events.jsonl"
    channel = LinesFile(path, limit=20, keep=0)
    for number in range(1, 4):
        channel.deliver(record(number))
    assert numbers(path) == [3]
    assert len(list(tmp_path.iterdir())) == 1


def test_another_tool_may_rotate_it(tmp_path):
    path = tmp_path / "events.jsonl"
    channel = LinesFile(path)
    channel.deliver(record(1))
    path.rename(tmp_path / "moved")
    channel.deliver(record(2))
    assert numbers(path) == [2]


def test_half_a_line_of_a_power_cut_costs_only_itself(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"n":1}\n{"n"')
    LinesFile(path).deliver(record(2))
    assert path.read_bytes() == b'{"n":1}\n{"n"\n{"n":2}\n'


def test_a_new_file_and_its_name_are_on_the_disk_when_its_event_counts_as_delivered(tmp_path, synced):
    channel = LinesFile(tmp_path / "events.jsonl")
    for number in (1, 2):
        channel.deliver(record(number))
    assert synced == [tmp_path / "events.jsonl", tmp_path, tmp_path / "events.jsonl"]


def test_a_full_disk_leaves_no_half_line_and_the_event_is_written_when_there_is_room(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    write, failures = os.write, [3]

    def full(descriptor, data):
        if not failures[0]:
            return write(descriptor, data)
        failures[0] -= 1
        write(descriptor, data[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with Delivery("file", LinesFile(path), backoff=Backoff(0.001, 0.002)) as sink:
        sink.send(event(1))
        sink.send(event(2))
        assert sink.flush(30)
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a-1", "a-2"]
    assert sink.state().retries == 3


def test_a_stream_gets_one_line_per_event_until_its_reader_leaves():
    class Pipe(io.BytesIO):
        def __init__(self):
            super().__init__()
            self.lines = Log()

        def write(self, data):
            if len(self.lines.entries) == 2:
                raise BrokenPipeError
            self.lines.add(data)
            return len(data)

    pipe = Pipe()
    with Delivery("stdout", LinesStream(pipe)) as sink:
        for number in range(4):
            sink.send(event(number))
        pipe.lines.wait_for(2)
    assert [json.loads(line)["id"] for line in pipe.lines.entries] == ["a-0", "a-1"]
    assert all(line.endswith(b"\n") for line in pipe.lines.entries)
    assert "nobody reads" in sink.state().error


class SmallDisk(io.RawIOBase):
    """A stream on a disk with ``free`` bytes: it takes as much as fits, and then nothing."""

    def __init__(self, free):
        super().__init__()
        self.free, self.content = free, b""

    def write(self, data):
        taken = bytes(data)[: self.free]
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.free -= len(taken)
        self.content += taken
        return len(taken)


@pytest.mark.parametrize("free", range(20))
def test_a_stream_on_a_full_disk_gets_each_line_once_when_there_is_space_again(free):
    disk = SmallDisk(free)
    channel = LinesStream(disk)
    for number in (1, 2, 3):
        try:
            channel.deliver(record(number))
        except OSError as error:
            assert error.errno == errno.ENOSPC
            disk.free = 100
            channel.deliver(record(number))
    assert disk.content == b'{"n":1}\n{"n":2}\n{"n":3}\n'


def test_half_a_line_that_is_given_up_costs_only_itself():
    disk = SmallDisk(4)
    channel = LinesStream(disk)
    with pytest.raises(OSError, match="No space"):
        channel.deliver(record(1))
    disk.free = 100
    channel.deliver(record(2))
    assert disk.content == b'{"n"\n{"n":2}\n'


@pytest.mark.parametrize("where", ["folder", "missing/events.jsonl"])
def test_a_path_that_cannot_be_written_is_reported_and_tried_again(tmp_path, where):
    (tmp_path / "folder").mkdir()
    with Delivery("file", LinesFile(tmp_path / where), backoff=Backoff(0.001, 0.002)) as sink:
        sink.send(event(1))
        sink.flush(0.05)
    assert sink.state().error
