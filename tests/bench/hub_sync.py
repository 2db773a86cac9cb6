"""What following the hub costs a board, and how fast people arrive: the second table of docs/hub.md.

    make bench-hub
    make bench-hub SYNC='--people 1000 --boards 5 --enrolled 5'      a quick look

The embeddings are synthetic. Hub and boards share this machine: an embedded PostgreSQL with its default settings, and
boards with real galleries.

  first sync   seconds until an empty gallery has all people, in batches, each on the disk
  visible      seconds from the moment in which somebody is in the gallery of one board until the gallery of each other
               board has the person: 20 boards that follow the hub in threads, as `rkface run` does
  idle         statements that a board sends in a minute in which nothing happens, with its heartbeat
  memory       growth of a process with all modules of the service and a gallery, when it begins to follow the hub: the
               packages of the extra are loaded, and two connections are open. The console of a service (rkface[web])
               already loads a part of what they need
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from hub_database import IDENTITY, SITE, Hub, fill, temporary_hub
from program import create_parser, format_table, write_results
from stand_ins import DIMENSIONS

from rkface.runtime.core.progress import stage
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample
from rkface.runtime.hub.boards import add_board
from rkface.runtime.hub.client import HubClient
from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.pull import sync
from rkface.runtime.vision.embed import unit

LEASE, MINUTE, PATIENCE = 604_800.0, 60.0, 60.0  # seconds
SAMPLES = 3  # of each person
PROCESSES = 9  # whose memory is measured


@dataclass(frozen=True)
class Figures:
    """``visible``: p50 and p95. Seconds, statements a second of one board, and megabytes (``measure_memory``)."""

    people: int
    first_sync: float
    boards: int
    visible: tuple[float, float]
    idle: float
    memory: tuple[float, float]
    memory_with_console: tuple[float, float]


def main() -> int:
    parser = create_parser(__doc__, "build/bench/hub-sync")
    parser.add_argument("--people", type=int, default=10_000, help="at the first sync (%(default)s)")
    parser.add_argument("--boards", type=int, default=20, help="that follow the hub (%(default)s)")
    parser.add_argument("--enrolled", type=int, default=30, help="people, one after the other (%(default)s)")
    options = parser.parse_args()
    figures = measure(options)
    rows = [
        [f"first sync of {figures.people:,} people, {SAMPLES} samples each", f"{figures.first_sync:.1f} s", "60 s"],
        [f"one enrollment visible on {figures.boards} boards, p50", f"{figures.visible[0]:.2f} s", ""],
        [f"one enrollment visible on {figures.boards} boards, p95", f"{figures.visible[1]:.2f} s", "2 s"],
        ["statements of an idle board", f"{figures.idle:.2f} a second", "1 a second"],
        ["memory of a service without console", words_of(figures.memory), "+10 MB"],
        ["memory of a service with console", words_of(figures.memory_with_console), "+10 MB"],
    ]
    text = "\n".join(format_table(["", "measured", "goal"], rows))
    write_results(options.out, f"{text}\n", asdict(figures))
    return 0


def words_of(memory: tuple[float, float]) -> str:
    return f"{memory[0]:+.1f} MB, {memory[1]:+.1f} MB without files of libraries"


def measure(options: Namespace) -> Figures:
    with temporary_hub() as address, tempfile.TemporaryDirectory(prefix="rkface-bench-") as folder:
        with connect(address) as hub:
            with stage("write people"):
                random = np.random.default_rng(0)
                vectors = random.standard_normal((options.people * SAMPLES, DIMENSIONS), dtype=np.float32)
                fill(hub, unit(vectors), SAMPLES, triggers=True)
            board = new_board(hub, address, "first")
        with stage("first sync"):
            first = measure_first_sync(board, Path(folder) / "first.sqlite", options.people)
    with temporary_hub() as address, tempfile.TemporaryDirectory(prefix="rkface-bench-") as folder:
        with connect(address) as hub:
            boards = [new_board(hub, address, f"door-{number}") for number in range(options.boards)]
        with stage("memory"):
            memory = measure_memory(new_address(address, "bare"), folder)
            beside = measure_memory(new_address(address, "console"), folder, "console")
        with follow(boards, Path(folder)) as galleries:
            with stage("visible") as line:
                times = measure_visible(galleries, options.enrolled, line.advance)
            with stage("idle"):
                idle = count_idle_statements(address) / options.boards / MINUTE
    visible = float(np.percentile(times, 50)), float(np.percentile(times, 95))
    return Figures(options.people, first, options.boards, visible, idle, memory, beside)


def new_address(address: str, name: str) -> str:
    with connect(address) as hub:
        return new_board(hub, address, name)


def new_board(hub: Hub, address: str, name: str) -> str:
    """The address with the credentials of a new board."""
    user, password = add_board(hub, name, SITE, LEASE)
    return address.replace("//postgres:@", f"//{user}:{password}@")


def measure_first_sync(address: str, path: Path, people: int) -> float:
    with connect(address) as hub, Gallery(path, IDENTITY, create=True) as gallery:
        start = time.perf_counter()
        sync(hub, gallery)
        seconds = time.perf_counter() - start
        assert len(gallery.people()) == people
        return seconds


@contextmanager
def follow(boards: list[str], folder: Path) -> Iterator[list[Gallery]]:
    """The galleries of ``boards`` (addresses), which follow the hub in the block."""
    with ExitStack() as opened:
        galleries = []
        for number, address in enumerate(boards):
            gallery = opened.enter_context(Gallery(folder / f"{number}.sqlite", IDENTITY, create=True))
            client = HubClient(
                address,
                gallery,
                before_erasing=lambda person: None,
                on_erased=lambda: (),
                describe=lambda: {"version": "bench"},
            )
            opened.enter_context(client)
            wait_until(lambda client=client: client.state().connected)
            galleries.append(gallery)
        yield galleries


def measure_visible(galleries: list[Gallery], count: int, advance) -> list[float]:
    """Seconds, for each of ``count`` people and each board but the one that enrolls."""
    random, times = np.random.default_rng(1), []
    for number in range(count):
        advance(number, count)
        vector = unit(random.standard_normal((1, DIMENSIONS), dtype=np.float32))[0]
        own, start = galleries[number % len(galleries)], time.perf_counter()
        own.add(f"Visitor {number}", [Sample(vector, None, 0.75, "synthetic")])
        waiting = [one for one in galleries if one is not own]
        while waiting:
            assert time.perf_counter() - start < PATIENCE, "an enrollment did not arrive"
            have = [one for one in waiting if one.read("SELECT count(*) FROM person")[0][0] > number]
            times += [time.perf_counter() - start] * len(have)
            waiting = [one for one in waiting if one not in have]
            time.sleep(0.005)
    return times


def count_idle_statements(address: str) -> int:
    """Statements of all boards in a minute, as PostgreSQL's own log counts them."""
    with connect(address) as hub:
        for setting in ("log_statement = 'all'", "log_line_prefix = '%u '"):
            hub.execute(f"ALTER SYSTEM SET {setting}".encode())
        hub.execute("SELECT pg_reload_conf()")
        log = Path(hub.execute("SHOW data_directory").fetchone()[0]) / "log"
        time.sleep(5)  # the settings arrive, and what the last enrollment caused is over
        start = log.stat().st_size
        time.sleep(MINUTE)
        lines = log.read_bytes()[start:].decode(errors="replace").splitlines()
    return sum(line.startswith("rkface_board_") and " LOG:  " in line for line in lines)


def measure_memory(address: str, folder: str, *console: str) -> tuple[float, float]:
    """MB by which a process like the service grows when it follows the hub, in the median of some processes: all, and
    without files of libraries."""
    program = [sys.executable, str(Path(__file__).with_name("hub_memory.py")), address, folder, *console]
    runs = [subprocess.run(program, check=True, capture_output=True, text=True).stdout for _ in range(PROCESSES)]
    whole, own = np.median([[float(value) for value in said.split()] for said in runs], axis=0)
    return float(whole), float(own)


def wait_until(condition) -> None:
    until = time.perf_counter() + PATIENCE
    while not condition():
        assert time.perf_counter() < until, "nothing happens"
        time.sleep(0.01)


if __name__ == "__main__":
    raise SystemExit(main())
