"""Doctor on another machine: its source goes to that machine's Python over stdin, the report comes back as JSON.

Nothing has to be installed there and nothing is left behind. All that travels is listed in ``SENT``: standard library
only, Python 3.8 and newer.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rkface.runtime.core.errors import InputError, WorkError

from .checks_npu import Need
from .report import Report, from_json

SENT = (
    "runtime/core/soc.py",
    "boards/v4l2.py",
    "boards/report.py",
    "boards/probe.py",
    "boards/checks_npu.py",
    "boards/checks_machine.py",
    "boards/examine.py",
)
SECONDS = 300  # a person may have to type a passphrase

# The Python of what is deployed there knows rknnlite; before the first deploy the system's own has to do.
DEPLOYED = "/opt/rkface/current/venv/bin/python3"
START = f'p={DEPLOYED}; [ -x "$p" ] || p=$0; exec "$p" - "$@"'

PROGRAM = """
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.util import spec_from_loader

SOURCES = {sources}


class Sent(MetaPathFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        return spec_from_loader(name, self, is_package=SOURCES[name] == "") if name in SOURCES else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(SOURCES[module.__name__], module.__name__, "exec"), module.__dict__)


sys.meta_path.insert(0, Sent())
from rkface.boards.{entry} import main

sys.exit(main(sys.argv[1:]))
"""


def program(sent: Sequence[str] = SENT, entry: str = "examine") -> str:
    """Modules of ours as one Python program that runs the ``main`` of boards/ENTRY.py, by default doctor: plain ASCII,
    so that no locale can garble it."""
    here = Path(__file__).parents[1]
    sources = {"rkface": "", "rkface.runtime": "", "rkface.runtime.core": "", "rkface.boards": ""}
    for name in sent:
        module = "rkface." + name[: -len(".py")].replace("/", ".")
        sources[module] = (here / name).read_text(encoding="utf-8")
    return PROGRAM.format(sources=ascii(sources), entry=entry)


def ssh(host: str, *options: str) -> list[str]:
    """The system's ssh to ``host``; a command to run there follows as one more argument."""
    if not host or host.startswith("-"):
        raise InputError(f"{host!r} is no host: give it as user@board, or by its name in ~/.ssh/config")
    return ["ssh", "-o", "ConnectTimeout=15", *options, "--", host]


def examine_there(
    transport: Sequence[str], need: Need | None = None, name: str = "the board", python: str = "python3"
) -> Report:
    """Examine the machine behind ``transport``: a command that runs its last argument in a shell there, as ssh does.

    ``python`` is the one to use there until something is deployed, which brings its own.

    Raises WorkError where it cannot be reached, has no Python 3, or answers something else than a report.
    """
    need = need or Need()
    asked = ["--target", need.target, "--toolkit", need.toolkit] if need.target else []
    command = " ".join(map(shlex.quote, ["sh", "-c", START, python, *asked]))
    try:
        done = subprocess.run(
            [*transport, command],
            check=False,
            input=program(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError as error:
        raise WorkError(f"{transport[0]} is not installed here: sudo apt install openssh-client") from error
    except subprocess.TimeoutExpired as error:
        raise WorkError(f"{name} did not answer within {SECONDS} s: is it busy, or the network slow?") from error
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode == 255:
        raise WorkError(f"{name} cannot be reached: {last}; does `ssh {name}` work?")
    if done.returncode == 127:
        raise WorkError(f"{name} has no Python 3 ({last}): sudo apt install python3 there")
    try:
        return from_json(done.stdout)
    except ValueError as error:
        raise WorkError(f"{name}: doctor failed there (exit code {done.returncode}): {last}") from error
