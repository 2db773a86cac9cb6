"""What the outbox of one receiver costs the disk, and what it loses when the disk is full or its process is killed.

    python tests/bench/event_storage.py        the figures of docs/events.md
    sudo python tests/bench/event_storage.py   also the full disk: it mounts a small tmpfs, which needs root

System calls are counted if strace is installed.
"""

import errno
import functools
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runtime"))

from events.world import event
from program import create_parser

from rkface.runtime.events import Outbox, encode

SINGLE_EVENTS = 300  # events that are stored, delivered and deleted one by one
BACKLOG = 5000  # waiting events, stored one by one
BATCH = 50  # events in one call of append when a batch is measured
KILLS = 40
DISK_MIB = 1
CALLS = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "unlink", "openat")


def make_bodies(count):
    return [encode(event(number)) for number in range(count)]


def store_and_deliver(folder, count, *, sweep=False):
    """Store, deliver and delete ``count`` events one by one, then close. Returns the times of both steps in seconds.
    ``sweep``: also remove the bytes of each, as rkface does when no event has come for some seconds."""
    times = []
    outbox = Outbox(folder)
    for body in make_bodies(count):
        start = time.perf_counter()
        outbox.append([body])
        stored = time.perf_counter()
        outbox.advance(outbox.peek())
        times.append((stored - start, time.perf_counter() - stored))
        if sweep:
            outbox.sweep()
    outbox.close()
    return times


def run_self(*arguments, prefix=()):
    return subprocess.run(
        [*prefix, sys.executable, __file__, *map(str, arguments)], check=True, capture_output=True, text=True
    )


def count_calls(root, count, kind):
    """System calls of a process that stores and delivers ``count`` events."""
    report = root / f"strace-{kind}-{count}"
    run_self(kind, root / f"calls-{kind}-{count}", count, prefix=["strace", "-f", "-c", "-o", report])
    calls = dict.fromkeys(CALLS, 0)
    for line in report.read_text().splitlines():
        words = line.split()
        if words and words[-1] in calls:
            calls[words[-1]] = int(words[3])
    return calls


def count_bytes(root, count, kind):
    """Bytes that a process passes to write calls, and bytes that the kernel sends to the disk for it."""
    output = run_self(kind, root / f"bytes-{kind}-{count}", count).stdout
    return [int(re.search(rf"{name}: (\d+)", output)[1]) for name in ("wchar", "write_bytes")]


def measure_calls(root):
    for kind, name in (("child-single", "an event"), ("child-swept", "an event whose bytes are removed at once")):
        if shutil.which("strace") is None:
            print("system calls: strace is not installed")
        else:
            base, full = count_calls(root, 0, kind), count_calls(root, SINGLE_EVENTS, kind)
            per_event = {call: (full[call] - base[call]) / SINGLE_EVENTS for call in CALLS}
            print(f"{name}: " + ", ".join(f"{call} {value:.2f}" for call, value in per_event.items()))
        (written0, sent0), (written, sent) = (count_bytes(root, count, kind) for count in (0, SINGLE_EVENTS))
        print(
            f"{name} of {len(make_bodies(1)[0])} bytes: "
            f"{(written - written0) / SINGLE_EVENTS:.0f} bytes given to write calls, "
            f"{(sent - sent0) / SINGLE_EVENTS:.0f} sent to the disk"
        )


def measure_single(root):
    times = store_and_deliver(root / "single", SINGLE_EVENTS)
    stored, deleted = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    print(f"one event at a time: {stored:.2f} ms until it is on the disk, {deleted:.2f} ms to delete it")


def measure_backlog(root):
    bodies = make_bodies(BACKLOG)
    outbox = Outbox(root / "backlog")
    start = time.perf_counter()
    for body in bodies:
        outbox.append([body])
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in (root / "backlog").iterdir())
    print(
        f"{BACKLOG} events that wait: {BACKLOG / seconds:.0f} events/s stored one by one; "
        f"{sum(map(len, bodies)) / 1e6:.2f} MB of events are {size / 1e6:.2f} MB of files"
    )
    start = time.perf_counter()
    for first in range(0, BACKLOG, BATCH):
        outbox.append(bodies[first : first + BATCH])
    print(f"in batches of {BATCH}: {BACKLOG / (time.perf_counter() - start):.0f} events/s stored")
    start, count = time.perf_counter(), 0
    while (record := outbox.peek()) is not None:
        outbox.advance(record)
        count += 1
    print(f"draining: {count / (time.perf_counter() - start):.0f} events/s")
    outbox.close()


def measure_full_disk(root):
    """Fill a small disk with events, delete another file on it, and store more events."""
    disk = root / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        print("full disk: not measured, because a tmpfs cannot be mounted here")
        return
    try:
        filler = disk / "filler"
        filler.write_bytes(bytes(DISK_MIB * 2**20 // 2))
        outbox, stored, failed = Outbox(disk / "outbox"), [], 0
        bodies = iter(make_bodies(20_000))
        for body in bodies:
            try:
                outbox.append([body])
                stored.append(body)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                failed += 1
                if failed == 100:
                    break
        print(f"full disk: {len(stored)} events stored in {DISK_MIB / 2} MiB, then {failed} refused (ENOSPC)", end="")
        delivered = []
        for _ in range(min(100, len(stored))):  # delivery goes on while the disk is full
            record = outbox.peek()
            delivered.append(record.body)
            outbox.advance(record)
        filler.unlink()
        for body in bodies:
            outbox.append([body])
            stored.append(body)
            if len(stored) % 100 == 0:
                break
        outbox.close()
        again = Outbox(disk / "outbox")
        while (record := again.peek()) is not None:
            delivered.append(record.body)
            again.advance(record)
        again.close()
        lost = len(set(stored) - set(delivered))
        print(f"; with room again: {lost} lost, {len(delivered) - len(set(delivered))} repeated")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def measure_kills(root):
    """Kill a process that stores and delivers events, again and again, and count acknowledged events that are lost."""
    acknowledged, delivered = set(), []
    for number in range(KILLS):
        command = [sys.executable, __file__, "child-kill", root / "kills", str(number * 1_000_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            lines = [child.stdout.readline() for _ in range(10 + 7 * (number % 11))]
            child.send_signal(signal.SIGKILL)
            lines += child.stdout
        words = [line.split() for line in lines if line.endswith("\n")]
        acknowledged |= {int(value) for what, value in words if what == "stored"}
        delivered += [int(value) for what, value in words if what == "delivered"]
    outbox = Outbox(root / "kills")
    while (record := outbox.peek()) is not None:
        delivered.append(int(record.body))
        outbox.advance(record)
    outbox.close()
    print(
        f"kill -9, {KILLS} times: {len(acknowledged)} events acknowledged, {len(acknowledged - set(delivered))} lost, "
        f"{len(delivered) - len(set(delivered))} repeated"
    )


def child_kill(folder, first):
    """Store and deliver events until this process is killed."""
    outbox, number = Outbox(Path(folder)), int(first)
    while True:
        outbox.append([b"%d" % number])
        print(f"stored {number}\n", end="", flush=True)  # one write: the kill must not cut a line
        number += 1
        if number % 3 == 0:
            record = outbox.peek()
            print(f"delivered {record.body.decode()}\n", end="", flush=True)
            outbox.advance(record)


def child_single(folder, count, *, sweep=False):
    store_and_deliver(Path(folder), int(count), sweep=sweep)
    print(Path("/proc/self/io").read_text())


def measure_storage(root):
    """Run and print all measurements. ``root`` is a folder on the disk to measure."""
    root.mkdir(exist_ok=True)
    for measure in (measure_calls, measure_single, measure_backlog, measure_full_disk, measure_kills):
        measure(root)


def main():
    children = {
        "child-kill": child_kill,
        "child-single": child_single,
        "child-swept": functools.partial(child_single, sweep=True),
    }
    if sys.argv[1:] and sys.argv[1] in children:
        children[sys.argv[1]](*sys.argv[2:])
        return
    create_parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measure_storage(Path(temporary))


if __name__ == "__main__":
    main()
