"""What doctor reads from a machine: files, device nodes and the output of a few commands, all below one root folder.

Doctor runs on a board before anything is installed there, with the Python that the board has. So this file, like all
files that ``remote.py`` sends, uses the standard library only, and syntax of Python 3.8.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rkface.runtime.core.device_access import DeviceNode, read_node

from .v4l2 import V4l2Camera, V4l2Format, read_cameras

COMMAND_SECONDS = 20  # for a board that is busy
ROOT = Path("/")

# Runs in another process of the same Python, because a broken native library could crash the process that imports it.
# What the package prints is lost, so that the answer is nothing but JSON.
PYTHON_FACTS = """
import importlib.util, json, os, platform, sysconfig
answer, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
os.dup2(nowhere, 1)
os.dup2(nowhere, 2)
facts = {"version": platform.python_version(), "platform": sysconfig.get_platform(), "lite": None, "error": None}
facts["wanted"] = os.environ.get("RKFACE_NPU_BINDING", "")
if importlib.util.find_spec("rknnlite"):
    from importlib.metadata import PackageNotFoundError, version
    try:
        facts["lite"] = version("rknn-toolkit-lite2")
    except PackageNotFoundError:
        facts["lite"] = "of unknown version"
    try:
        from rknnlite.api import RKNNLite
    except BaseException as error:
        facts["error"] = "%s: %s" % (type(error).__name__, error)
os.write(answer, json.dumps(facts).encode())
"""


@dataclass(frozen=True)
class Probe:
    """A machine: this one, or a description of a machine in the folder ``root``.

    In such a folder, ``commands/`` holds the output of commands (files named after the command line, with % for /; no
    file means that the command is not installed), the file of a device node holds "mode owner group", and
    ``cameras.json`` holds the cameras that V4L2 would list.
    """

    root: Path = ROOT

    @property
    def live(self) -> bool:
        """Whether this is the machine that runs the program, not a description of one."""
        return self.root == ROOT

    def path(self, name: str) -> Path:
        """The path of ``name``, which is absolute on the machine, with or without its leading /."""
        return self.root / name.lstrip("/")

    def content(self, name: str) -> bytes:
        """The bytes of the file; empty if it is missing or may not be read."""
        try:
            return self.path(name).read_bytes()
        except OSError:
            return b""

    def text(self, name: str) -> str:
        """The text of the file without NUL, spaces and newlines at its ends; empty if it is missing."""
        return self.content(name).decode(errors="replace").strip("\0 \n")

    def number(self, name: str) -> int | None:
        """The whole number in the file; None if it is missing or has other content."""
        try:
            return int(self.text(name))
        except ValueError:
            return None

    def exists(self, name: str) -> bool:
        """Whether the path exists and this user may see it."""
        try:
            return self.path(name).exists()
        except OSError:  # no permission to search a folder on the path
            return False

    def glob(self, pattern: str) -> tuple[str, ...]:
        """The paths that match ``pattern``, as absolute paths on the machine, sorted."""
        found = self.root.glob(pattern.lstrip("/"))
        return tuple(sorted("/" + path.relative_to(self.root).as_posix() for path in found))

    def node(self, name: str) -> DeviceNode | None:
        """The device node; None if it does not exist."""
        if not self.live:
            words = self.text(name).split()
            return DeviceNode(name, int(words[0], 8), words[1], words[2]) if len(words) == 3 else None
        return read_node(Path(name))

    def command(self, *argv: str, record: str = "") -> str | None:
        """The output of a command, stdout and stderr; None if it is not installed or does not end in time.

        ``record`` names its file in a description of a machine, where that is not the command line itself.
        """
        if not self.live:
            path = self.root / "commands" / (record or " ".join(argv)).replace("/", "%")
            return path.read_text(encoding="utf-8") if path.is_file() else None
        try:
            done = subprocess.run(
                argv,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=COMMAND_SECONDS,
                env={**os.environ, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout + done.stderr

    def python(self) -> dict[str, Any]:
        """Facts of the Python that runs doctor: version, platform, version and import error of rknn-toolkit-lite2, and
        the binding that the environment asks for."""
        facts: dict[str, Any] = json.loads(self.command(sys.executable, "-c", PYTHON_FACTS, record="python3") or "{}")
        return facts

    def user(self) -> str:
        """The name of the current user."""
        return (self.command("id", "-un") or "").strip()

    def groups(self) -> tuple[str, ...]:
        """The names of the current user's groups."""
        return tuple((self.command("id", "-Gn") or "").split())

    def cameras(self) -> tuple[V4l2Camera, ...]:
        """The cameras that V4L2 lists."""
        if self.live:
            return read_cameras(self.glob("/dev/video*"))
        raw = json.loads(self.text("cameras.json") or "[]")
        return tuple(
            V4l2Camera(
                one["node"], one["name"], tuple(V4l2Format(*form) for form in one["formats"]), one.get("driver", "")
            )
            for one in raw
        )
