"""``rkface web-password``, the password of the web console (one line of a file, Argon2id, for its owner only), and the
token of programs that read metrics (likewise, as it is)."""

from __future__ import annotations

import getpass
import stat
import sys
import threading
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.atomic import write_atomically
from ..core.errors import InputError
from ..core.text import shell_quoted

if TYPE_CHECKING:
    from argon2 import PasswordHasher

FILE = Path("/var/lib/rkface/web-password")
SHORTEST = 12  # characters; NIST SP 800-63B-4, 3.1.1.2 asks for 15 where a password stands alone, and for no other rule
LONGEST = 1024
SHORTEST_TOKEN = 32  # characters: 128 bits, where they are hexadecimal digits by chance


def web_password(parser: ArgumentParser) -> None:
    """Set the password of the web console, which it demands before it listens to other machines.

    Asks twice, or reads one line where stdin is no terminal. Only a hash (Argon2id) is kept, in a file for its owner.
    Who is signed in stays so until the service starts again.

    examples:
      rkface web-password
      rkface web-password --file /etc/rkface/web-password < new.txt
    """
    parser.add_argument("--file", type=Path, default=FILE, metavar="FILE", help="to keep it in (default: %(default)s)")
    parser.set_defaults(run=_password)


def _password(options: Namespace) -> int:
    if sys.stdin.isatty():
        chosen = getpass.getpass("new password: ")
        if getpass.getpass("again: ") != chosen:
            raise InputError("the two differ: nothing was changed")
    else:
        chosen = sys.stdin.readline().rstrip("\n")
    write_password(options.file, chosen)
    print(options.file)
    return 0


def write_password(path: Path, chosen: str) -> None:
    """Keep the hash of ``chosen`` at ``path``, mode 0600, whole or not at all. InputError for one that is too short."""
    if not SHORTEST <= len(chosen) <= LONGEST:
        raise InputError(f"a password has {SHORTEST} to {LONGEST} characters, this one {len(chosen)}")
    line = hasher().hash(chosen) + "\n"
    write_atomically(path, line.encode("ascii"))


def read_password(path: Path) -> str:
    """The hash at ``path``. InputError where there is none, others may read it, or it is something else."""
    hint = f"`rkface web-password --file {shell_quoted(path)}` writes one"
    line = _line(path, "password", hint)
    if not line.startswith("$argon2id$"):
        raise InputError(f"{path}: is no password's hash: {hint}")
    return line


def read_token(path: Path) -> str:
    """The token at ``path`` by which programs may read metrics and health. InputError where there is none, others may
    read it, or it is one that could be guessed."""
    hint = f"`(umask 077; openssl rand -hex 32 > {shell_quoted(path)})` writes one"
    line = _line(path, "token", hint)
    if len(line) < SHORTEST_TOKEN or not line.isprintable() or " " in line:
        raise InputError(f"{path}: a token is one line of {SHORTEST_TOKEN} characters at least, without spaces: {hint}")
    return line


def _line(path: Path, what: str, hint: str) -> str:
    """What a file for its owner only holds."""
    try:
        mode = path.stat().st_mode
        line = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no {what} can be read there: {error}: {hint}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise InputError(f"{path}: others may read it: chmod 600 {shell_quoted(path)}")
    return line


class Passwords:
    """Judges passwords against ``hash``, one at a time: each takes 19 MiB and tens of milliseconds."""

    def __init__(self, hash: str) -> None:
        self._hash = hash
        self._lock = threading.Lock()

    def right(self, given: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        if len(given) > LONGEST:
            return False
        with self._lock:
            try:
                return hasher().verify(self._hash, given)
            except (VerificationError, InvalidHashError):
                return False


def hasher() -> PasswordHasher:
    """Argon2id with OWASP's first choice (Password Storage Cheat Sheet): 19 MiB, two passes, one lane. RFC 9106's
    64 MiB would be felt on a board of 2 GB."""
    try:
        from argon2 import PasswordHasher
    except ImportError as error:
        raise InputError("passwords need argon2-cffi: pip install 'rkface[web]'") from error
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
