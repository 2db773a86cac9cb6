"""The outbox: which events survive which accident, and which are dropped when there is no room."""

import resource
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.steady_clock import SET_SINCE
from rkface.runtime.events import Limits, Outbox, OutboxInUseError
from rkface.runtime.events.outbox_file import FILE

NOW = SET_SINCE + 1e6


def drain(outbox):
    bodies = []
    while event := outbox.peek():
        bodies.append(event.body)
        outbox.advance(event)
    return bodies


def numbered(*numbers):
    return [b'{"n":%d}' % number for number in numbers]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def killed(folder, *numbers):
    """The folder that a process leaves which stored these events and was killed."""
    outbox = Outbox(folder.with_name("running"))
    outbox.append(numbered(*numbers[:1]))
    for number in numbers[1:]:
        outbox.append(numbered(number))
    shutil.copytree(folder.with_name("running"), folder, dirs_exist_ok=True)
    outbox.close()
    return folder


@contextmanager
def full_disk(size=0):
    """No file of this process can grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_undelivered_events_are_there_after_a_restart_in_order(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    outbox.append(numbered(1, 2))
    outbox.append(numbered(3))
    outbox.advance(outbox.peek())
    assert not outbox.peek().from_earlier_run
    outbox.close()
    again = Outbox(tmp_path / "outbox")
    assert again.queued == 2
    assert again.peek().from_earlier_run
    again.append(numbered(4))
    assert drain(again) == numbered(2, 3, 4)
    again.close()


def test_a_killed_process_loses_no_stored_event(tmp_path):
    outbox = Outbox(killed(tmp_path / "outbox", 1, 2, 3))
    assert outbox.peek().from_earlier_run
    assert drain(outbox) == numbered(1, 2, 3)


@pytest.mark.parametrize("end", ["sweep", "close"])
def test_delivered_events_leave_no_bytes_on_the_disk(tmp_path, end):
    outbox = Outbox(tmp_path)
    outbox.append([b'{"name":"Ada %d"}' % number for number in range(2000)])
    size = (tmp_path / FILE).stat().st_size + (tmp_path / f"{FILE}-wal").stat().st_size
    assert b"Ada" in b"".join(contents(tmp_path).values())
    assert len(drain(outbox)) == 2000 and outbox.needs_sweep
    getattr(outbox, end)()
    assert b"Ada" not in b"".join(contents(tmp_path).values())
    assert sum(map(len, contents(tmp_path).values())) < size / 8, "the space is free again"
    outbox.close()
    assert Outbox(tmp_path).peek() is None


def test_only_the_owner_may_read_it(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    outbox.append(numbered(1))
    assert stat.S_IMODE((tmp_path / "outbox").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "outbox").iterdir()}
    assert modes == {"lock": 0o600, FILE: 0o600, f"{FILE}-wal": 0o600}


@pytest.mark.parametrize("cut", [1, 5, 100, 4119])
def test_a_write_that_a_power_cut_interrupted_costs_only_itself(tmp_path, cut):
    folder = killed(tmp_path / "outbox", 1, 2, 3)
    path = folder / f"{FILE}-wal"
    path.write_bytes(path.read_bytes()[:-cut])
    again = Outbox(folder)
    again.append(numbered(4))
    assert again.queued == 3
    assert drain(again) == numbered(1, 2, 4)
    assert again.dropped == 0


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\0" * 4120, b"deadbeef", b"\xff" * 10_000])
def test_rubbish_behind_the_last_write_costs_nothing(tmp_path, tail):
    folder = killed(tmp_path / "outbox", 1, 2)
    with (folder / f"{FILE}-wal").open("ab") as file:
        file.write(tail)
    again = Outbox(folder)
    again.append(numbered(3))
    assert drain(again) == numbered(1, 2, 3)
    assert again.dropped == 0


def test_a_flipped_bit_costs_only_its_event(tmp_path, caplog):
    outbox = Outbox(tmp_path)
    outbox.append(numbered(1, 2, 3))
    outbox.close()
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes().replace(b'"n":2', b'"n":6'))
    again = Outbox(tmp_path)
    assert drain(again) == numbered(1, 3)
    assert (again.dropped, again.queued) == (1, 0)
    assert "1 events dropped undelivered: damaged" in caplog.text


def test_a_damaged_page_costs_only_the_events_on_it(tmp_path, caplog):
    outbox = Outbox(tmp_path)
    outbox.append(numbered(*range(2000)))
    outbox.close()
    path = tmp_path / FILE
    content = bytearray(path.read_bytes())
    middle = content.index(b'"n":1000') // 4096 * 4096
    content[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    again = Outbox(tmp_path)
    again.append(numbered(2000))
    left = drain(again)
    assert left == sorted(left, key=lambda body: int(body[5:-1])) and left[0] == numbered(0)[0]
    assert left[-2:] == numbered(1999, 2000) and 1700 < len(left) < 2000
    assert "damaged" in caplog.text and [*tmp_path.glob("*damaged*"), *tmp_path.glob(".*")] == []


@pytest.mark.parametrize("content", [b"no database at all" * 1000, b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_file_that_cannot_be_read_at_all_does_not_keep_events_from_being_stored(tmp_path, content, caplog):
    (tmp_path / FILE).write_bytes(content)
    outbox = Outbox(tmp_path)
    outbox.append(numbered(1))
    outbox.close()
    assert drain(Outbox(tmp_path)) == numbered(1)
    assert "0 events could be read, the others are lost" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} <= {"lock", FILE, f"{FILE}-wal"}


def test_a_file_of_a_newer_rkface_is_not_touched(tmp_path):
    outbox = Outbox(tmp_path)
    outbox._database.execute("PRAGMA user_version = 99")
    outbox.close()
    with pytest.raises(InputError, match="newer rkface"):
        Outbox(tmp_path)


def test_a_full_outbox_drops_the_oldest_events_and_counts_them(tmp_path, caplog):
    limit = 256 << 10
    outbox = Outbox(tmp_path, Limits(bytes=limit))
    for number in range(4000):
        outbox.append([b'{"n":%d}' % number + b" " * 190])
        assert (tmp_path / FILE).stat().st_size <= limit
    left = [int(body.strip()[5:-1]) for body in drain(outbox)]
    assert left == list(range(4000 - len(left), 4000)), "the newest, without a gap"
    assert outbox.dropped == 4000 - len(left) and "the outbox is full" in caplog.text
    assert len(left) * 200 >= limit * 0.65, "an eighth is dropped at a time; a page has some overhead"


def test_the_event_that_is_being_delivered_may_be_dropped(tmp_path):
    outbox = Outbox(tmp_path, Limits(bytes=32 << 10))
    outbox.append(numbered(1))
    event = outbox.peek()
    for number in range(2, 3000):
        outbox.append(numbered(number))
    assert outbox.dropped
    outbox.advance(event)
    assert drain(outbox)[-1:] == numbered(2999)
    assert outbox.queued == 0


def test_old_events_are_dropped_by_the_time_that_passed(tmp_path):
    clock = [0.0]
    outbox = Outbox(tmp_path, Limits(seconds=800), clock=lambda: clock[0])
    outbox.append(numbered(1))
    clock[0] = 200
    outbox.append(numbered(2))
    clock[0] = 900
    outbox.expire()
    assert (outbox.dropped, outbox.queued) == (1, 1)
    assert drain(outbox) == numbered(2)


@pytest.mark.parametrize(
    ("written", "opened", "kept"),
    [
        (NOW, NOW + 700, True),
        (NOW, NOW + 900, False),
        (NOW, NOW - 1e6 + 1, True),  # the clock jumped back
        (60.0, NOW, True),  # written before the board knew the time: nobody knows how old it is
        (NOW, 60.0, True),  # the board does not know the time now
        (NOW, NOW + 5000 * 86_400, True),  # a broken clock: 2040
        (NOW + 5000 * 86_400, NOW, True),
    ],
)
def test_age_across_a_restart_counts_only_if_both_clocks_were_set(tmp_path, written, opened, kept):
    outbox = Outbox(tmp_path, Limits(seconds=800), wall=lambda: written)
    outbox.append(numbered(1))
    outbox.close()
    # A monotonic clock that is younger than the event is old.
    again = Outbox(tmp_path, Limits(seconds=800), clock=lambda: 5.0, wall=lambda: opened)
    again.expire()
    assert drain(again) == (numbered(1) if kept else [])


def test_a_wall_clock_that_jumps_while_it_runs_changes_nothing(tmp_path):
    wall = [NOW]
    outbox = Outbox(tmp_path, Limits(seconds=800), clock=lambda: 5.0, wall=lambda: wall[0])
    outbox.append(numbered(1))
    for jump in (-1e9, 1e9):
        wall[0] = NOW + jump
        outbox.append(numbered(int(jump)))
    assert outbox.dropped == 0
    assert len(drain(outbox)) == 3


def test_a_full_disk_refuses_events_and_damages_none(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.append(numbered(1))
    with full_disk():
        for _ in range(2):
            with pytest.raises(OSError, match="disk"):
                outbox.append(numbered(2))
        assert outbox.peek().body == numbered(1)[0]
    outbox.append(numbered(3))
    outbox.close()
    assert drain(Outbox(tmp_path)) == numbered(1, 3)


def test_on_a_full_disk_a_delivered_event_is_not_delivered_again_and_is_deleted_later(tmp_path, caplog):
    outbox = Outbox(tmp_path)
    outbox.append(numbered(1, 2, 3))
    with full_disk():
        outbox.advance(outbox.peek())
        outbox.advance(outbox.peek())
        assert outbox.peek().body == numbered(3)[0] and outbox.queued == 1
    assert caplog.text.count("delivered events cannot be deleted") == 1
    outbox.append(numbered(4))
    outbox.close()
    assert drain(Outbox(tmp_path)) == numbered(3, 4)


def test_a_disk_that_is_full_at_the_start_is_used_once_there_is_room(tmp_path, caplog):
    with full_disk():
        outbox = Outbox(tmp_path)
        with pytest.raises(OSError, match="disk"):
            outbox.append(numbered(1))
    assert outbox.queued == 0
    outbox.append(numbered(2))
    assert drain(outbox) == numbered(2)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_an_event_counts_as_stored_only_after_the_disk_confirms(tmp_path):
    script = """
import sys
from pathlib import Path
from rkface.runtime.events import Outbox
outbox = Outbox(Path(sys.argv[1]))
outbox.append([b"1"])
print("open", file=sys.stderr, flush=True)
for number in (2, 3):
    try:
        outbox.append([b"%d" % number])
        print("stored", number)
    except OSError as error:
        print("refused", number, error.strerror)
outbox.append([b"4"])
"""
    command = [sys.executable, "-c", script, tmp_path / "outbox"]
    calls = tmp_path / "calls"
    trace = ["strace", "-f", "-o", calls, "-e", "trace=fsync,fdatasync,write"]
    subprocess.run([*trace, *command], check=True, capture_output=True)
    before = calls.read_text().split('"open')[0]
    name = "fdatasync" if "fdatasync(" in calls.read_text().split('"open')[1] else "fsync"
    number = before.count(f"{name}(")
    shutil.rmtree(tmp_path / "outbox")
    inject = ["strace", "-f", "-o", calls, "-e", f"inject={name}:error=EIO:when={number + 1}"]
    done = subprocess.run([*inject, *command], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["refused 2 disk I/O error", "stored 3"]
    assert drain(Outbox(tmp_path / "outbox")) == [b"1", b"3", b"4"]


def test_two_processes_cannot_send_from_one_folder(tmp_path):
    first = Outbox(tmp_path)
    with pytest.raises(OutboxInUseError, match="another rkface"):
        Outbox(tmp_path)
    first.append(numbered(1))
    with pytest.raises(OutboxInUseError, match="another rkface"):
        Outbox(tmp_path)
    first.close()
    Outbox(tmp_path).close()


def test_a_folder_that_cannot_be_created_is_wrong_input(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/outbox"):
        Outbox(tmp_path / "file" / "outbox")


def test_a_closed_outbox_stores_nothing(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.close()
    with pytest.raises(OSError, match="closed"):
        outbox.append(numbered(1))


WRITER = """
import sys
from pathlib import Path
from rkface.runtime.events import Outbox
outbox = Outbox(Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    outbox.append([b"%d" % number])
    print(f"acknowledged {number}\\n", end="", flush=True)  # one write: the kill must not cut a line
    number += 1
    if number % 3 == 0:
        event = outbox.peek()
        print(f"delivered {event.body.decode()}\\n", end="", flush=True)
        outbox.advance(event)
    if number % 7 == 0:
        outbox.sweep()
    if number % 17 == 0:
        outbox.erase(["p-1"])
"""


def test_kill_9_in_a_loop_loses_no_event_that_was_acknowledged(tmp_path):
    said = []
    for round_ in range(6):
        command = [sys.executable, "-c", WRITER, tmp_path, str(round_ * 1_000_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            # It goes on while we read, so that the signal finds it anywhere.
            said += [writer.stdout.readline() for _ in range(30 + 13 * round_)]
            writer.send_signal(signal.SIGKILL)
            said += writer.stdout
    acknowledged = [int(line.split()[1]) for line in said if line.startswith("ack")]
    delivered = [int(line.split()[1]) for line in said if line.startswith("del")]
    left = [int(body) for body in drain(Outbox(tmp_path))]
    assert set(acknowledged) <= set(delivered) | set(left)
    assert left == sorted(left)
    # At least once, and hardly more: each kill may repeat the event that was being delivered.
    assert len(delivered) + len(left) - len(set(delivered) | set(left)) <= 6
