"""Copying to a board, by the system's ssh and rsync, with the user's keys and configuration.

Nothing here asks for a password or lets an unknown host key pass: ssh runs with BatchMode, and what it then refuses is
for the user to settle with plain ``ssh``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rkface.runtime.core.errors import WorkError

from .remote import ssh

# Nobody is asked anything; a connection that has been dead for a minute is given up.
OPTIONS = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
FILE_MODE = 0o640
SILENT = "no message"


def copy(
    host: str, source: Path, destination: str, *, rsync: bool, like: str | None, say: Callable[[str], None]
) -> str:
    """Copy the files of ``source``, through links, into the folders that stand at ``destination``.

    By rsync where both ends have it, with hard links to what is the same in the release ``like``; else by tar. How far
    it is goes to ``say``; how it went, and how much, comes back. WorkError where it does not arrive whole.
    """
    if rsync and shutil.which("rsync"):
        return _by_rsync(host, source, destination, like, say)
    return _by_tar(host, source, destination, say)


def _by_rsync(host: str, source: Path, destination: str, like: str | None, say: Callable[[str], None]) -> str:
    # No permissions of folders: to set them anew would cost the group that they inherit (chmod(2), S_ISGID). By content
    # (-c), not by size and time: a file that went bad on the card must not be linked into one release after another.
    command = ["rsync", "-rtLOc", f"--chmod=F{FILE_MODE:o}", "--info=progress2,stats2", "--no-inc-recursive"]
    link = [f"--link-dest=../{like}"] if like else []
    remote = ["-e", shlex.join(["ssh", *OPTIONS]), f"{source}/", f"{host}:{destination}/"]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [*command, *link, *remote],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
        )
        assert process.stdout is not None
        told = ""
        with process.stdout as output:
            for line in output:  # progress ends in \r, which counts as the end of a line
                told += line
                if percent := re.search(r"(\d+)%", line):
                    say(f"{percent[1]} %")
        if process.wait():
            complaints.seek(0)
            said = cause(complaints.read().decode(errors="replace"))
            if said == SILENT:  # what the board's rsync says of a full disk does not always outlive the connection
                said = f"rsync ended with code {process.returncode} and no message: is the board's disk full?"
            raise WorkError(f"copying by rsync failed: {said}")
    moved = re.search(r"^Total transferred file size: ([\d,.]+)", told, re.MULTILINE)
    return f"{int(re.sub(r'[,.]', '', moved[1])) / 1e6:.1f} MB by rsync" if moved else "by rsync"


def _by_tar(host: str, source: Path, destination: str, say: Callable[[str], None]) -> str:
    command = [*ssh(host, *OPTIONS), shlex.join(["tar", "-xof", "-", "-C", destination])]
    paths = sorted(path for path in source.rglob("*") if path.is_file())  # the folders are there already
    total, moved = sum(path.stat().st_size for path in paths), 0
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints)
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as pipe, tarfile.open(mode="w|", fileobj=pipe) as archive:
            for path in paths:
                entry = archive.gettarinfo(path.resolve(), path.relative_to(source).as_posix())
                entry.mode, entry.uname, entry.gname = FILE_MODE, "", ""
                with path.open("rb") as file:
                    archive.addfile(entry, file)
                moved += entry.size
                say(f"{moved * 100 // total} %")
        if process.wait():
            complaints.seek(0)
            raise WorkError(f"copying by tar failed: {cause(complaints.read().decode(errors='replace'))}")
    return f"{moved / 1e6:.1f} MB by tar"


def cause(said: str) -> str:
    """The line of what a program said that tells most."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or [SILENT]
    full = next((line for line in lines if "No space left" in line), "")
    return full or (lines[-1] if lines[0].startswith("Traceback") else lines[0])
