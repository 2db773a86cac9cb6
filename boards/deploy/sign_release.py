"""Sign the list of a release's files on the workstation, and check lists of signers before boards get them.

``ssh-keygen -Y`` does both. release_files.py has the board's side.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.files import read_text
from rkface.runtime.core.text import in_a_line

from .release_files import NAMESPACE

SECONDS = 120  # for the user to touch a security key
MOST_SIGNERS = 1_000_000  # bytes of a list of signers
NOT_INSTALLED = "ssh-keygen is not installed here: sudo apt install openssh-client"


def sign_file(key: Path, file: Path) -> None:
    """Write the signature of ``file`` by the ssh key ``key`` next to it, as FILE.sig.

    ``key`` is a private key, or a public one whose private key ssh-agent has. Nothing asks for a passphrase. Raises
    InputError if this key cannot sign.
    """
    if not key.is_file():
        raise InputError(f"--sign {key}: no such key: make one with `ssh-keygen -t ed25519 -f {key}`")
    file.with_name(f"{file.name}.sig").unlink(missing_ok=True)
    done = _ssh_keygen(["-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(file)])
    if done.returncode:
        said = " ".join(in_a_line(line) for line in done.stderr.splitlines())[:300]
        raise InputError(
            f"--sign {key}: ssh-keygen cannot sign with it ({said or 'no message'}); a key with a passphrase must be "
            f"in ssh-agent: ssh-add {key}"
        )


def check_key(key: Path) -> None:
    """Raise InputError if ``key`` cannot sign: better now than after the first board was copied to."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe"
        probe.touch()
        sign_file(key, probe)


def check_signers(path: Path, key: Path) -> None:
    """Raise InputError if ``path`` is not a list of signers (ssh-keygen(1), ALLOWED SIGNERS), or refuses ``key``."""
    lines = [line for line in read_text(path, MOST_SIGNERS).splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise InputError(f"--allowed-signers {path} names nobody, so the board could never be deployed to again")
    with tempfile.TemporaryDirectory() as folder:
        stranger = Path(folder) / "key"  # no line has it, so ssh-keygen reads all lines
        _ssh_keygen(["-q", "-t", "ed25519", "-N", "", "-f", str(stranger)])
        found = _find_signer(path, stranger, Path(folder) / "stranger")
        accepted = _find_signer(path, key, Path(folder) / "signer")
    problems = [line.removeprefix(f"{path}:") for line in found.stderr.splitlines() if line.startswith(f"{path}:")]
    if problems:  # each starts with the number of its line
        raise InputError(
            f"--allowed-signers {path}, line {in_a_line(problems[0])[:300]}: write a name and a public key, such as "
            'ada@example.org namespaces="rkface-release" ssh-ed25519 AAAA…'
        )
    if accepted.returncode:
        raise InputError(
            f"--allowed-signers {path} does not accept --sign {key}, so the board would refuse this release: add the "
            "public half of the key to the list"
        )


def _find_signer(signers: Path, key: Path, probe: Path) -> subprocess.CompletedProcess[str]:
    """Search in ``signers`` for who signed the new file ``probe`` with ``key``."""
    probe.touch()
    sign_file(key, probe)
    return _ssh_keygen(["-Y", "find-principals", "-s", f"{probe}.sig", "-f", str(signers)])


def _ssh_keygen(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run ssh-keygen without a terminal, so that it cannot ask."""
    try:
        return subprocess.run(
            ["ssh-keygen", *words],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"},
        )
    except FileNotFoundError as error:
        raise WorkError(NOT_INSTALLED) from error
    except subprocess.TimeoutExpired as error:
        raise WorkError(f"ssh-keygen has not ended within {SECONDS} s: did you touch the security key?") from error
