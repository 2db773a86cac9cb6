"""The list of a release's files with their SHA-256, and its signature by ``ssh-keygen -Y`` (ssh-keygen(1)).

This file is sent to boards with the agent: standard library only, syntax of Python 3.8. The list is text that
``sha256sum -c`` reads; its first line is a comment with the name of the release, so that nobody can pass off an old
signed release as a new one.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

from .agent_steps import StepError

SUMS = "release.sums"
SIGNATURE = f"{SUMS}.sig"  # the name that ssh-keygen gives it
NAMESPACE = "rkface-release"  # a signature for something else, such as a git commit, does not count
SIGNERS = "etc/rkface/allowed_signers"  # below /: who may sign, in the format of ssh-keygen(1), ALLOWED SIGNERS
TITLE = "# rkface release "
MOST_SUMS = 10_000_000  # bytes of a list
SSH_KEYGEN_SECONDS = 60
CHUNK = 1 << 20


def hash_files(folder: Path) -> dict[str, str]:
    """Relative path → SHA-256 of all files below ``folder``; links are followed. Without the list itself."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (SUMS, SIGNATURE):
            found[name] = hash_file(path)
    return found


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)


def write_list(release: str, sums: dict[str, str]) -> str:
    """The list of the files of ``release``."""
    return "".join([f"{TITLE}{release}\n", *(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))])


def digest_contents(sums: dict[str, str]) -> str:
    """What tells releases with the same files, whatever their names, from others: a SHA-256."""
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()).hexdigest()


def read_list(text: str) -> tuple[str, dict[str, str]]:
    """The name of the release, and relative path → SHA-256. Raises StepError if ``text`` is not such a list."""
    title, *lines = text.splitlines()
    matches = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines]
    if not title.startswith(TITLE) or not all(matches):
        raise StepError(f"{SUMS} is not the list of a release's files: deploy again")
    return title[len(TITLE) :], {match[2]: match[1] for match in matches if match}


def check_release(release: Path, root: Path, *, complete: bool) -> str | None:
    """Who signed ``release``; None if this board has no list of signers, and so takes any release.

    Raises StepError if it has one, and the release is not signed, or not by one of them, or has other files than were
    signed. ``complete``: also if there are files that the list does not name.
    """
    signers = root / SIGNERS
    if not os.path.lexists(str(signers)):
        return None
    _check_owner(signers)
    signer = _check_signature(release, signers)
    name, sums = read_list(_read_text(release / SUMS))
    if name != release.name:
        raise StepError(
            f"the signature is for the release {name}, not for {release.name}: deploy again, do not copy it"
        )
    for path, digest in sums.items():
        if ".." in path.split("/") or path.startswith("/"):
            raise StepError(f"{SUMS} names a file outside the release: {path!r}")
        if not (release / path).is_file():
            raise StepError(f"{path} was signed, and is missing on the board: deploy again")
        if hash_file(release / path) != digest:
            raise StepError(f"{path} is not the file that was signed: it was changed after --sign; deploy again")
    if complete:
        added = sorted(
            one.relative_to(release).as_posix() for one in release.rglob("*") if one.is_symlink() or one.is_file()
        )
        unsigned = [one for one in added if one not in sums and one not in (SUMS, SIGNATURE)]
        if unsigned:
            raise StepError(f"{unsigned[0]} is in the release, but was not signed: somebody added it; deploy again")
    return signer


def _check_owner(signers: Path) -> None:
    """StepError if somebody else than root or the deploying user may write the list of signers."""
    for path in (signers, signers.parent):
        state = path.stat()
        if state.st_mode & 0o022 or state.st_uid not in (0, os.geteuid()):
            raise StepError(
                f"{path} can be changed by others than its owner, or does not belong to root: "
                f"sudo chown root:root {path} && sudo chmod go-w {path}"
            )


def _check_signature(release: Path, signers: Path) -> str:
    """Who signed the list of ``release``."""
    if not (release / SIGNATURE).is_file():
        raise StepError(f"this board only takes signed releases ({signers}), and {release.name} is not: use --sign KEY")
    listed = _read_text(release / SUMS)
    found = _ssh_keygen(["find-principals", "-s", str(release / SIGNATURE), "-f", str(signers)], "")
    signer = (found.stdout.splitlines() or [""])[0].strip()
    if found.returncode or not signer:
        raise StepError(
            f"{signers} of this board does not accept the key that signed the release ({_messages(found)}): sign with "
            "another key, or change that file as root; if it says that a key has expired, compare the board's clock"
        )
    done = _ssh_keygen(
        ["verify", "-n", NAMESPACE, "-I", signer, "-s", str(release / SIGNATURE), "-f", str(signers)], listed
    )
    if done.returncode:
        raise StepError(
            f"the signature of {signer} is not one of this release ({_messages(done)}): {SUMS} was changed after "
            "--sign; deploy again"
        )
    return signer


def _ssh_keygen(words: list[str], given: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["ssh-keygen", "-Y", *words],
            input=given,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SSH_KEYGEN_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise StepError(
            "ssh-keygen, which checks signatures, is not installed: sudo apt install openssh-client"
        ) from None
    except subprocess.TimeoutExpired:
        raise StepError("ssh-keygen does not end") from None


def _read_text(path: Path) -> str:
    if path.stat().st_size > MOST_SUMS:
        raise StepError(f"{path.name} is larger than a list of files can be")
    try:
        return path.read_text(encoding="utf-8")
    except ValueError as error:
        raise StepError(f"{path.name} is not text: deploy again") from error


def _messages(done: subprocess.CompletedProcess[str]) -> str:
    return "; ".join(line.strip() for line in done.stderr.splitlines() if line.strip())[:500] or "no message"
