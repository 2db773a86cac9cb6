"""Copy files to a board with the system's ssh and rsync, with the user's keys and configuration.

ssh runs unattended (ssh.UNATTENDED): it asks for no password and refuses unknown host keys. The user solves either with
a plain ``ssh`` to the board.
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

from rkface.boards.ssh import NO_MESSAGE, UNATTENDED, most_relevant_line, ssh_command
from rkface.runtime.core.errors import WorkError

from .target_board import TargetBoard

FILE_MODE = 0o640
MOST_KEPT = 20_000  # characters of the output of rsync, whose end has the summary


def copy_files(
    target: TargetBoard, source: Path, destination: str, *, rsync: bool, like: str | None, say: Callable[[str], None]
) -> str:
    """Copy the files below ``source`` (links are followed) into the existing folders below ``destination`` on
    ``target``.

    Uses rsync if both sides have it (``rsync``: whether the board does), with hard links to files that are equal in the
    release ``like``; otherwise tar. Reports progress to ``say``, and returns how much was copied and how. Raises
    WorkError if the copy fails.
    """
    if rsync and shutil.which("rsync"):
        return _copy_with_rsync(target, source, destination, like, say)
    return _copy_with_tar(target, source, destination, say)


def _copy_with_rsync(
    target: TargetBoard, source: Path, destination: str, like: str | None, say: Callable[[str], None]
) -> str:
    # No permissions for folders: setting them would lose the group that they inherit (chmod(2), S_ISGID). Compare by
    # content (-c), not by size and time: a file that was damaged on the card must not be linked into new releases.
    command = ["rsync", "-rtLOc", f"--chmod=F{FILE_MODE:o}", "--info=progress2,stats2", "--no-inc-recursive"]
    link = [f"--link-dest=../{like}"] if like else []
    remote = ["-e", shlex.join(["ssh", *UNATTENDED, *target.options]), f"{source}/", f"{target.host}:{destination}/"]
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            [*command, *link, *remote],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
        )
        assert process.stdout is not None
        output = ""
        with process.stdout as lines:
            for line in lines:  # rsync ends its progress lines with \r, which also counts as the end of a line
                output = (output + line)[-MOST_KEPT:]
                if percent := re.search(r"(\d+)%", line):
                    say(f"{percent[1]} %")
        if process.wait():
            stderr.seek(0)
            reason = most_relevant_line(stderr.read().decode(errors="replace"))
            if reason == NO_MESSAGE:  # the message of the board's rsync about a full disk can be lost
                reason = f"rsync ended with code {process.returncode} and no message: is the board's disk full?"
            raise WorkError(f"copying with rsync failed: {reason}")
    size = re.search(r"^Total transferred file size: ([\d,.]+)", output, re.MULTILINE)
    return f"{int(re.sub(r'[,.]', '', size[1])) / 1e6:.1f} MB with rsync" if size else "with rsync"


def _copy_with_tar(target: TargetBoard, source: Path, destination: str, say: Callable[[str], None]) -> str:
    command = [
        *ssh_command(target.host, *UNATTENDED, *target.options),
        shlex.join(["tar", "-xof", "-", "-C", destination]),
    ]
    paths = sorted(path for path in source.rglob("*") if path.is_file())  # the folders exist already
    total, copied = sum(path.stat().st_size for path in paths), 0
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr)
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as pipe, tarfile.open(mode="w|", fileobj=pipe) as archive:
            for path in paths:
                entry = archive.gettarinfo(path.resolve(), path.relative_to(source).as_posix())
                entry.mode, entry.uname, entry.gname = FILE_MODE, "", ""
                with path.open("rb") as file:
                    archive.addfile(entry, file)
                copied += entry.size
                say(f"{copied * 100 // total} %")
        if process.wait():
            stderr.seek(0)
            reason = most_relevant_line(stderr.read().decode(errors="replace"))
            raise WorkError(f"copying with tar failed: {reason}")
    return f"{copied / 1e6:.1f} MB with tar"
