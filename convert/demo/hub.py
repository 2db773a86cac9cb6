"""``make demo-hub``: a hub and two boards on this machine, each with a rendered camera that the same people walk by.

Everything is in one temporary folder, which is deleted at the end: an embedded PostgreSQL, and for each board a
gallery, settings and a log. Each board is a process of `rkface run`, with another process for its camera.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rkface.runtime.core.child_process import kill_process, start_process
from rkface.runtime.core.errors import RkfaceError, WorkError
from rkface.runtime.core.progress import stage
from rkface.runtime.hub.boards import add_board
from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.embedded import create_embedded, embedded_address
from rkface.runtime.hub.migrations import migrate

SITE, LEASE = "demo", 7 * 86_400.0
STOP_SECONDS = 20.0  # until a board that does not stop is killed
PORTS = "make demo-hub OPTIONS='--ports HUB DOOR1 DOOR2'"
LOG_LINES = 15  # of a board that ended, which are shown

GUIDE = """
The hub:  {hub}
{boards}

What to do:
  1. Open all three. The hub shows both boards; the same people walk by both cameras.
  2. At {first}, open Appearances, choose "Enroll…" beside an unknown person, and write a name.
  3. Look at {second} and at the hub: a few seconds later, both say this name when the person walks by {second}.
  4. Forget the person at either board: soon nobody has the name, and the hub says who has confirmed it.

Everything is deleted when you press Ctrl-C.
"""


@dataclass(frozen=True)
class DemoBoard:
    """A board of the demo.

    port     of its console
    place    the scene of its camera
    folder   its files
    address  of the hub, for this board
    """

    name: str
    port: int
    place: int
    folder: Path
    address: str


class Stopped(BaseException):
    """Somebody wants the demo to end. Not an Exception: no library may take it for an error of its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _read_options(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        with ExitStack() as opened:
            _run(options, opened)
    except Stopped:
        print("demo-hub: stopped, everything is deleted", file=sys.stderr)
        return 0
    except RkfaceError as error:
        print(f"demo-hub: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace, opened: ExitStack) -> None:
    from rkface.runtime.hub_console.app import open_hub_console  # takes seconds: Ctrl-C must work meanwhile
    from rkface.runtime.web.listening import WhereToSet, listen

    for port in options.ports:
        listen("127.0.0.1", port, WhereToSet(f"with {PORTS}", "", "")).close()
    folder = _make_folder()
    hub_port, *ports = options.ports
    with stage("starting the database"):
        address = create_embedded(folder / "pg")
        boards = _add_boards(address, ports, folder)
    page = opened.enter_context(open_hub_console(address, "127.0.0.1", hub_port))
    ended = threading.Event()
    running = [opened.enter_context(_run_board(one, options, ended)) for one in boards]
    lines = "\n".join(f"{one.name}:   http://127.0.0.1:{one.port}" for one in boards)
    print(GUIDE.format(hub=page, boards=lines, first=boards[0].name, second=boards[1].name), flush=True)
    ended.wait()
    for one, process in zip(boards, running, strict=True):
        if process.poll() is not None:
            raise WorkError(f"{one.name} ended with status {process.returncode}:\n  {_last_lines(one.folder)}")


def _add_boards(address: str, ports: Sequence[int], folder: Path) -> list[DemoBoard]:
    """Make the database at ``address`` a hub, and add a board for each of ``ports``."""
    boards = []
    with connect(address) as hub:
        migrate(hub)
        for number, port in enumerate(ports, 1):
            name = f"door-{number}"
            user, _ = add_board(hub, name, SITE, LEASE)
            boards.append(DemoBoard(name, port, number, folder / name, embedded_address(address, user) or address))
    return boards


@contextmanager
def _run_board(
    board: DemoBoard, options: argparse.Namespace, ended: threading.Event
) -> Iterator[subprocess.Popen[bytes]]:
    """The service of a board and its camera, until the end of the block. ``ended`` is set if the service ends."""
    board.folder.mkdir(mode=0o700)
    (board.folder / "rkface.toml").write_text(
        f'[hub]\naddress = "{board.address}"\n[events]\nstdout = false\n', encoding="utf-8"
    )
    scene = ["--size", options.size, "--rate", str(options.rate), "--people", str(options.people)]
    watching = [
        "run", "--bundle", str(options.bundle.absolute()), "--backend", "reference", "--config", "rkface.toml",
        "--gallery", "gallery.sqlite", "--web-port", str(board.port), "--camera", "camera=-",
    ]  # fmt: skip
    with (board.folder / "log").open("wb") as log:
        camera = start_process(
            _python("rkface.convert.demo.camera", [*scene, "--place", str(board.place)]),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        assert camera.stdout is not None
        try:
            service = start_process(
                _python("rkface.runtime.cli.main", watching),
                stdin=camera.stdout, stdout=log, stderr=log, cwd=board.folder,
            )  # fmt: skip
        except BaseException:
            kill_process(camera)
            raise
        camera.stdout.close()  # the service has it: the camera ends when the service does
    threading.Thread(target=_wait_and_set, args=(service, ended), daemon=True).start()
    try:
        yield service
    finally:
        service.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            service.wait(STOP_SECONDS)
        for process in (service, camera):
            kill_process(process)


def _python(module: str, arguments: Sequence[str]) -> list[str]:
    """A command that runs ``main`` of ``module`` in a process that ends with this one, whatever ends it."""
    program = (
        "import sys; from rkface.runtime.core.child_process import die_with_parent; "
        f"die_with_parent({os.getpid()}); from {module} import main; sys.exit(main({list(arguments)!r}))"
    )
    return [sys.executable, "-c", program]


def _wait_and_set(process: subprocess.Popen[bytes], ended: threading.Event) -> None:
    process.wait()
    ended.set()


def _make_folder() -> Path:
    """A folder that is deleted when this process ends, after the database, which also stops then."""
    # In the folder for temporary files, because the name of PostgreSQL's socket may have 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="rkface-hub-"))
    atexit.register(_delete, folder)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)  # what others leave there is deleted, too
    return folder


def _delete(folder: Path) -> None:
    """Delete ``folder``. The database stops with its last process; but one that was killed could not sign off."""
    server = folder / "pg/postmaster.pid"  # exists as long as the server runs; its first line is the process
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(server.read_text(encoding="utf-8").split()[0]), signal.SIGINT)
        until = time.monotonic() + STOP_SECONDS
        while server.exists() and time.monotonic() < until:
            time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def _last_lines(folder: Path) -> str:
    lines = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n  ".join(lines[-LOG_LINES:])


def _stop(_: int, __: FrameType | None) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):  # only once: what follows cleans up
        signal.signal(number, signal.SIG_IGN)
    raise Stopped


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rkface.convert.demo.hub", description="A hub and two boards with rendered cameras."
    )
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle of the demo pack, for both boards")
    parser.add_argument("--size", default="640x360", metavar="WxH", help="of the pictures (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=6.0, help="pictures per second (default: %(default)g)")
    parser.add_argument("--people", type=int, default=3, help="who walk by (default: %(default)s)")
    parser.add_argument(
        "--ports", type=int, nargs=3, default=[8090, 8081, 8082], metavar=("HUB", "DOOR1", "DOOR2"),
        help="of the hub and the consoles of the boards (default: 8090 8081 8082)",
    )  # fmt: skip
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
