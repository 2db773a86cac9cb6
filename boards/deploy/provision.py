"""``rkface deploy --prepare``: what a board needs once, with the rights of root.

The command is shown, the user is asked, and the board's own sudo runs it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rkface.boards.board_answers import check_word, clean_text, parse_facts, run_limited
from rkface.boards.doctor.apply_fixes import apply_fixes
from rkface.boards.doctor.checks_software import LIBRARY, BundleNeeds, compare_library, library_defect, library_fix
from rkface.boards.doctor.report import FAIL, FixCommand
from rkface.boards.ssh import CONNECTION_FAILED, UNATTENDED, explain_ssh_error, ssh_command
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.files import read_file
from rkface.runtime.core.installed import library_version

from .release_files import SIGNERS
from .session import AgentSession
from .target_board import TargetBoard

# The deploying user owns the folder; the service (user rkface) may read it; other users may not, because a bundle
# contains faces. New folders inherit the group (the 2 of 2750).
MODE = "2750"
CREATE_ACCOUNT = (
    "{ getent passwd rkface >/dev/null || useradd --system --user-group --home-dir /var/lib/rkface --no-create-home "
    "--shell /usr/sbin/nologin rkface; }"
)
RECEIVE_FILE = 'f=$(mktemp /tmp/rkface.XXXXXX) && cat >"$f" && echo "$f"'
SECONDS = 300  # for a command on a board
MOST_LIBRARY = 100_000_000  # bytes of librknnrt, which has about 7 million
RECEIVED = r"/tmp/rkface\.\w{6}"


def provision(
    targets: Sequence[TargetBoard],
    root: str,
    librknnrt: Path | None,
    signers: Path | None,
    needs: BundleNeeds,
    *,
    ask: bool,
) -> None:
    """Prepare the boards ``targets`` one after another; sudo on a board may ask for its password on this terminal.

    ``librknnrt``: a copy of Rockchip's library to install too; the old file stays beside it as librknnrt.so~.
    ``signers``: the list of those who may sign releases from now on. Raises InputError if the library does not fit
    these boards and ``needs``, and WorkError if a board could not be prepared.
    """
    if librknnrt:
        print(check_library_copy(librknnrt, needs))
    for target in targets:
        with AgentSession(target.host, root, target.options) as board:
            user = parse_facts(board.request("describe")).user
        with _sent(target, librknnrt) as library, _sent(target, signers) as received_signers:
            print(f"{target.name}:")
            command = provision_command(user, root, library, received_signers)
            transport = ssh_command(target.host, "-t", *target.options)
            agreed = apply_fixes([command], transport, **({} if ask else {"ask": lambda _: "y"}))
        if not agreed:
            raise WorkError(f"{target.name} was not prepared: agree, run the command on it yourself, or use --yes")


@contextmanager
def _sent(target: TargetBoard, file: Path | None) -> Iterator[str]:
    """The path of a copy of ``file`` on the board, which is removed at the end; "" without a file."""
    if file is None:
        yield ""
        return
    received = check_word(_run_on_board(target, RECEIVE_FILE, file), RECEIVED, "the name of a new file")
    try:
        yield received
    finally:
        _run_on_board(target, shlex.join(["rm", "-f", received]))


def provision_command(user: str, root: str, library: str, signers: str) -> FixCommand:
    """The command for a board on which ``user`` deploys. ``library`` and ``signers`` are the paths of a received
    librknnrt and of a list of signers, or empty.

    It is a single command, so that sudo asks for its password once.
    """
    sudo = () if user == "root" else ("sudo",)
    top = root.rstrip("/")
    why = f"creates a user for the service, and a folder for releases: {user} may write it, the service may read it"
    base = f"{top}/opt/rkface"
    steps = [
        CREATE_ACCOUNT,
        shlex.join(["install", "-d", "-o", user, "-g", "rkface", "-m", MODE, base]),
        # Another user may have deployed before, and own files there.
        shlex.join(["chown", "-R", "-h", f"{user}:rkface", base]),
        shlex.join(["find", base, "-type", "d", "-exec", "chmod", "g+rxs", "{}", "+"]),
    ]
    if library:
        steps.append(shlex.join(["install", "-D", "-b", "-m", "644", library, top + LIBRARY]))
        why += "; installs your copy of Rockchip's library"
    if signers:
        place = f"{top}/{SIGNERS}"
        steps.append(shlex.join(["install", "-D", "-o", "root", "-g", "root", "-m", "644", signers, place]))
        why += f"; from then on, the board takes only releases that somebody in {place} signed"
    return FixCommand(why, (*sudo, "sh", "-c", " && ".join(steps)))


def check_library_copy(path: Path, needs: BundleNeeds) -> str:
    """The version of the librknnrt at ``path``, as text for the user.

    Raises InputError if the file is not a librknnrt for aarch64, or does not load the models of the bundle.
    """
    content = read_file(path, MOST_LIBRARY, "librknnrt")
    problem = library_defect(content)
    if problem:
        raise InputError(f"--librknnrt {path} {problem}")
    version = library_version(content)
    if not version:
        raise InputError(f"--librknnrt {path} does not contain the version of librknnrt: is it another library?")
    verdict, remark = compare_library(version, needs)
    if verdict == FAIL:
        raise InputError(f"--librknnrt {path}: version {version}{remark}; {library_fix(needs)}")
    return f"{path}: librknnrt {version}{remark}"


def _run_on_board(target: TargetBoard, command: str, stdin: Path = Path(os.devnull)) -> str:
    """The output of a command on the board that reads the file ``stdin``. Raises WorkError if it fails."""
    try:
        transport = ssh_command(target.host, *UNATTENDED, *target.options)
        done = run_limited([*transport, command], stdin.read_bytes(), SECONDS)
    except subprocess.TimeoutExpired as error:
        raise WorkError(f"{target.name} did not answer within {SECONDS} s") from error
    if done.code == CONNECTION_FAILED:
        raise WorkError(explain_ssh_error(target.host, done.stderr))
    if done.code:
        raise WorkError(f"{target.name}: {clean_text(done.stderr.strip())}")
    return done.stdout.strip()
