"""Attacks on the web console of a real `rkface run`, from this machine, and what they cost others: docs/web.md.

    make bench-attacks
    python tests/bench/web_attacks.py --bundle build/rk3588 --seconds 20

The service runs in a process of its own, with the models of the bundle, a camera of rendered people and a password.
Attackers run in another process. Measured are:

uploads     40 photos of 24 MiB and 49 megapixels at the same time, again and again: the highest memory of the service's
            processes together
guessing    24 threads that guess passwords, each attempt from another address, so that none is locked out: the time in
            which the owner signs in, with all attempts that the page makes
slow        300 clients that send no request, a part of one, or do not read the answer, and connect again when they are
            closed

Meanwhile, another client asks for /v1/health ten times a second, each time over a new connection. The exit code is 1 if
a limit is exceeded. A machine that does other work at the same time measures that work too.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import platform
import random
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from program import create_parser, format_table, write_results

from rkface.convert.demo.camera import DemoCamera
from rkface.runtime.core.progress import stage
from rkface.runtime.web.access import MAX_PHOTO_BODY
from rkface.runtime.web.password import write_password

UPLOADS, GUESSERS, SLOW_CLIENTS = 40, 24, 300
PASSWORD = "correct horse battery"
OWNER, STRANGERS = "127.0.0.1", "127.66"  # all of 127.0.0.0/8 is this machine
MOST_MEMORY, LONGEST_SIGN_IN, LONGEST_HEALTH = 600.0, 2.0, 1.0  # MB, seconds, seconds
TIMEOUT = 60.0
TCP_ESTABLISHED = 1  # tcpi_state in linux/tcp.h
RUN = "import sys; from rkface.runtime.cli.main import main; sys.exit(main(['run', *sys.argv[1:]]))"
HEAD = b"GET /v1/session HTTP/1.1\r\nhost: localhost\r\n"
SLOW = (  # what a slow client sends
    b"", b"G", HEAD, HEAD + b"x-padding: " + b"a" * 4000,
    b"POST /v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n{",
)  # fmt: skip
UNREAD = b"GET /static/style.css HTTP/1.1\r\nhost: localhost\r\n\r\n" * 20  # more than fits into the buffers


@dataclass
class Measured:
    """What happened during one attack. ``health`` and ``sign_in`` are seconds, ``memory`` is in MB."""

    health: list[float] = field(default_factory=list)
    memory: float = 0.0
    sign_in: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Console:
    """A running service: its port, its process, and the owner's session."""

    port: int
    process: int
    cookie: str
    token: str


def request(port: int, method: str, path: str, host: str = OWNER, **options: Any) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer, over a new connection from the address ``host``."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT, source_address=(host, 0))
    try:
        connection.request(method, path, **options)
        answer = connection.getresponse()
        headers = {name.lower(): answer.headers[name] for name in answer.headers}
        headers["set-cookie"] = "\n".join(answer.headers.get_all("set-cookie", []))
        return answer.status, headers, answer.read()
    finally:
        connection.close()


def sign_in(port: int, password: str, host: str = OWNER) -> tuple[int, dict[str, str], bytes]:
    body = f'{{"password": "{password}"}}'
    return request(port, "POST", "/v1/session", host, body=body, headers={"content-type": "application/json"})


@contextmanager
def running(bundle: Path, folder: Path) -> Iterator[Console]:
    """The service, with a camera that shows rendered people again and again."""
    (folder / "camera").mkdir()
    camera = DemoCamera(640, 360, people=2, seed=21)
    for number in range(50):
        cv2.imwrite(str(folder / f"camera/{number:03d}.jpg"), camera.render(number / 5).image)
    write_password(folder / "password", PASSWORD)
    (folder / "rkface.toml").write_text(
        f'[camera.demo]\nsource = "{folder / "camera"}"\nrate = 5.0\nhold = 0.0\nloop = true\n'
        "[events]\nstdout = false\n"
        '[web]\nport = 0\npassword_file = "password"\n'
    )
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, "--config", folder / "rkface.toml", "--bundle", bundle,
             "--backend", "reference", "--gallery", folder / "gallery.sqlite"], stderr=output,
        )  # fmt: skip
    try:
        while "watching" not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(f"rkface run ended: {log.read_text()}")
            time.sleep(0.1)
        found = re.search(r"the console is at \S+:(\d+)", log.read_text())
        assert found is not None
        port = int(found[1])
        _, headers, body = sign_in(port, PASSWORD)
        cookie = re.search(r"rkface=[^;]+", headers["set-cookie"])
        token = re.search(rb'"token":"([^"]+)"', body)
        assert cookie is not None and token is not None
        yield Console(port, process.pid, cookie[0], token[1].decode())
    finally:
        process.terminate()
        process.wait()
        if "Traceback" in log.read_text() or " failed: " in log.read_text():
            print(log.read_text(), file=sys.stderr)


def measure(console: Console, attack: Callable[..., None], seconds: float, *, owner: bool) -> Measured:
    """Attack for ``seconds``, and ask for health and, if ``owner``, sign in meanwhile."""
    measured, end = Measured(), multiprocessing.get_context("spawn").Event()
    answers: Any = multiprocessing.get_context("spawn").Queue()
    attackers = multiprocessing.get_context("spawn").Process(target=attack, args=(console, end, answers), daemon=True)
    attackers.start()
    answers.get()  # they have begun
    watchers = [threading.Thread(target=watch_memory, args=(console.process, end, measured))]
    watchers += [threading.Thread(target=ask_for_health, args=(console, end, measured))]
    watchers += [threading.Thread(target=sign_in_again, args=(console, end, measured))] if owner else []
    for thread in watchers:
        thread.start()
    time.sleep(seconds)
    end.set()
    measured.answers = answers.get()
    for thread in watchers:
        thread.join()
    attackers.join()
    return measured


def watch_memory(process: int, end: Event, measured: Measured) -> None:
    """The highest sum of the resident memory of the service and its child processes."""
    while not end.wait(0.02):
        measured.memory = max(measured.memory, sum(map(resident, family(process))) / 1e6)


def family(process: int) -> list[int]:
    children: list[str] = []
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            children += (task / "children").read_text().split()
    return [process, *(one for child in children for one in family(int(child)))]


def resident(process: int) -> int:
    """Bytes. Memory that processes share counts once."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return 0


def ask_for_health(console: Console, end: Event, measured: Measured) -> None:
    while not end.wait(0.1):
        begin = time.monotonic()
        status = 0
        with suppress(OSError, HTTPException):
            status, _, _ = request(console.port, "GET", "/v1/health", headers={"cookie": console.cookie})
        measured.health.append(time.monotonic() - begin if status == 200 else TIMEOUT)


def sign_in_again(console: Console, end: Event, measured: Measured) -> None:
    """Sign in from a browser that was never here before, and try again when the console says so."""
    while not end.wait(0.5):
        begin, status = time.monotonic(), 0
        while status != 200 and time.monotonic() - begin < TIMEOUT:
            status, headers, _ = sign_in(console.port, PASSWORD)
            if status != 200:
                time.sleep(float(headers.get("retry-after", 1)))
        measured.sign_in.append(time.monotonic() - begin)


def upload_photos(console: Console, end: Event, answers: Any) -> None:
    """The largest photos that are allowed, from UPLOADS threads."""
    gradient = np.broadcast_to(np.linspace(0, 255, 7000).astype(np.uint8)[:, None, None], (7000, 7000, 3))
    photo = cv2.imencode(".jpg", np.ascontiguousarray(gradient))[1].tobytes()
    photo += bytes(MAX_PHOTO_BODY - len(photo))
    headers = {"cookie": console.cookie, "x-csrf-token": console.token, "content-type": "image/jpeg"}

    def upload() -> int:
        return request(console.port, "POST", "/v1/enrollments/photo?name=Ada", body=photo, headers=headers)[0]

    repeat(upload, UPLOADS, end, answers)


def guess_passwords(console: Console, end: Event, answers: Any) -> None:
    """Each attempt comes from another address."""
    numbers = itertools.count()

    def guess() -> int:
        number = next(numbers)
        host = f"{STRANGERS}.{number // 250 % 250 + 1}.{number % 250 + 1}"
        return sign_in(console.port, f"guess number {number}", host)[0]

    repeat(guess, GUESSERS, end, answers)


def repeat(attempt: Callable[[], int], threads: int, end: Event, answers: Any) -> None:
    """Call ``attempt`` in ``threads`` threads until the end, and count its results; 0 is a closed connection."""
    counts: Counter[int] = Counter()

    def work() -> None:
        while not end.is_set():
            status = 0
            with suppress(OSError, HTTPException):
                status = attempt()
            counts[status] += 1

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    answers.put(None)
    for worker in workers:
        worker.join()
    answers.put(counts)


def be_slow(console: Console, end: Event, answers: Any) -> None:
    """SLOW_CLIENTS connections that are always open: half from the owner's address, half from others."""
    dice, ready, closed = random.Random(1), selectors.DefaultSelector(), Counter[int]()

    def connect() -> None:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host = OWNER if dice.random() < 0.5 else f"{STRANGERS}.0.{dice.randrange(1, 250)}"
        client.bind((host, 0))
        client.connect(("127.0.0.1", console.port))
        sent = dice.choice(SLOW) if dice.random() < 0.9 else UNREAD
        with suppress(OSError):
            client.sendall(sent)
        client.setblocking(False)
        ready.register(client, selectors.EVENT_READ, "never reads" if sent is UNREAD else "")

    for _ in range(SLOW_CLIENTS):
        connect()
    answers.put(None)
    while not end.is_set():
        for key, _ in ready.select(0.1):
            client, ready_for = key.fileobj, key.data
            assert isinstance(client, socket.socket)
            if ready_for == "never reads" and not is_closed(client):
                continue
            with suppress(OSError):
                if client.recv(100):
                    continue
            ready.unregister(client)
            client.close()
            closed[0] += 1
            connect()
    answers.put(closed)


def is_closed(client: socket.socket) -> bool:
    """Whether the other side closed the connection, without reading what it sent before."""
    try:
        state = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return True
    return state != TCP_ESTABLISHED


def main() -> int:
    parser = create_parser(__doc__, out="build/web-attacks")
    parser.add_argument("--bundle", type=Path, default=Path("build/rk3588"), metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="N", help="of each attack (default: %(default)g)"
    )
    options = parser.parse_args()
    if not (options.bundle / "manifest.json").exists():
        parser.error(f"{options.bundle} is not a bundle: run `make convert`, or give --bundle")
    attacks = {
        f"{UPLOADS} uploads of 24 MiB": (upload_photos, False),
        f"{GUESSERS} threads that guess passwords": (guess_passwords, True),
        f"{SLOW_CLIENTS} slow clients": (be_slow, False),
    }
    results = {}
    for name, (attack, owner) in attacks.items():
        with stage(name), tempfile.TemporaryDirectory() as folder, running(options.bundle, Path(folder)) as console:
            results[name] = measure(console, attack, options.seconds, owner=owner)
    rows = [
        (name, f"{one.memory:.0f} MB", seconds(one.health), seconds(one.sign_in), describe(one.answers))
        for name, one in results.items()
    ]
    limits = ("limit", f"{MOST_MEMORY:g} MB", f"{LONGEST_HEALTH:g} s", f"{LONGEST_SIGN_IN:g} s", "")
    headings = ("attack", "highest memory", "health, median / longest", "owner signs in, median / longest", "answers")
    machine = f"{os.cpu_count()} cores of {processor()}, Python {platform.python_version()}, "
    machine += f"load {os.getloadavg()[0]:.1f} at the end"
    write_results(options.out, "\n".join([*format_table(headings, [*rows, limits]), "", machine]), {
        name: {"memory": one.memory, "health": one.health, "sign_in": one.sign_in, "answers": dict(one.answers)}
        for name, one in results.items()
    })  # fmt: skip
    return int(any(exceeds(one) for one in results.values()))


def exceeds(one: Measured) -> bool:
    slowest = max(one.health, default=0.0) > LONGEST_HEALTH or max(one.sign_in, default=0.0) > LONGEST_SIGN_IN
    return slowest or one.memory > MOST_MEMORY


def seconds(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} / {max(values):.2f} s of {len(values)}" if values else ""


def describe(answers: Counter[int]) -> str:
    return ", ".join(f"{count} × {status or 'closed'}" for status, count in sorted(answers.items()))


def processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.machine()


if __name__ == "__main__":
    raise SystemExit(main())
