"""What a board needs once, with root's rights: shown, asked for, and run through the board's own sudo."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rkface.runtime.core.errors import InputError, WorkError

from .checks_npu import LIBRARY, defect, library_version, numbers
from .doctor import mend
from .remote import ssh
from .report import Repair
from .session import UNREACHED, Session, unreachable
from .transfer import OPTIONS

# The deploying user owns the folder; the service, as user rkface, may read it, and nobody else: a bundle holds faces.
# New folders inherit the group (the 2 of 2750).
MODE = "2750"
ACCOUNT = (
    "{ getent passwd rkface >/dev/null || useradd --system --user-group --home-dir /var/lib/rkface --no-create-home "
    "--shell /usr/sbin/nologin rkface; }"
)
RECEIVE = 'f=$(mktemp /tmp/librknnrt.XXXXXX) && cat >"$f" && echo "$f"'


def prepare(hosts: Sequence[str], root: str, librknnrt: Path | None, toolkit: str, *, ask: bool) -> None:
    """Prepare each board, one after another: sudo there may ask for its password, on your terminal.

    ``librknnrt``: install this copy of Rockchip's library as well; InputError where it is none for these boards. What
    was there before stays beside it as librknnrt.so~. WorkError where a board is not prepared in the end.
    """
    if librknnrt:
        print(check_library(librknnrt, toolkit))
    for host in hosts:
        with Session(host, root) as board:
            user = board.ask("look")["user"]
        sent = _there(host, RECEIVE, librknnrt) if librknnrt else ""
        print(f"{host}:")
        try:
            agreed = mend([preparation(user, root, sent)], ssh(host, "-t"), **({} if ask else {"ask": lambda _: "y"}))
        finally:
            if sent:
                _there(host, shlex.join(["rm", "-f", sent]))
        if not agreed:
            raise WorkError(f"{host} was not prepared: agree, run the command there yourself, or use --yes")


def preparation(user: str, root: str, library: str) -> Repair:
    """The command, for a board on which ``user`` deploys; ``library`` is where the new librknnrt lies there. One, so
    that sudo asks for its password once."""
    sudo = () if user == "root" else ("sudo",)
    top = root.rstrip("/")
    why = f"a user for the service; a folder for releases, which {user} writes, the service reads, and nobody else"
    base = f"{top}/opt/rkface"
    steps = [
        ACCOUNT,
        shlex.join(["install", "-d", "-o", user, "-g", "rkface", "-m", MODE, base]),
        # What lies there already may be another user's, who deployed before.
        shlex.join(["chown", "-R", "-h", f"{user}:rkface", base]),
        shlex.join(["find", base, "-type", "d", "-exec", "chmod", "g+rxs", "{}", "+"]),
    ]
    if library:
        steps.append(shlex.join(["install", "-D", "-b", "-m", "644", library, top + LIBRARY]))
        why += "; Rockchip's library, your copy"
    return Repair(why, (*sudo, "sh", "-c", " && ".join(steps)))


def check_library(path: Path, toolkit: str) -> str:
    """What this copy of librknnrt is. InputError for a file that is none, or is older than the models."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"--librknnrt {path}: {error.strerror}") from error
    unfit = defect(content)
    if unfit:
        raise InputError(f"--librknnrt {path} {unfit}")
    version = library_version(content)
    if not version:
        raise InputError(f"--librknnrt {path} does not say that it is librknnrt: is it another library?")
    if numbers(version) < numbers(toolkit):
        raise InputError(f"--librknnrt {path} is version {version}, older than the models (toolkit {toolkit})")
    newer = f", newer than the models ({toolkit}): it loads them, but may compute differently"
    return f"{path}: librknnrt {version}{newer if numbers(version) > numbers(toolkit) else ''}"


def _there(host: str, command: str, file: Path = Path(os.devnull)) -> str:
    """What a command on the board prints that has ``file`` on its standard input. WorkError where it fails."""
    with file.open("rb") as given:
        done = subprocess.run(
            [*ssh(host, *OPTIONS), command], check=False, stdin=given, capture_output=True, text=True, errors="replace"
        )
    if done.returncode:
        said = done.stderr
        raise WorkError(unreachable(host, said) if done.returncode == UNREACHED else f"{host}: {said.strip()}")
    return done.stdout.strip()
