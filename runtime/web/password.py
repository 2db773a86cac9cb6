"""The console's password (``rkface web-password``) and the token with which programs read metrics.

Each is one line in a file that only its owner may read. The password is stored as an Argon2id hash.
"""

from __future__ import annotations

import getpass
import hashlib
import re
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.atomic import write_atomically
from ..core.errors import InputError, WorkError
from ..core.missing_package import import_error
from ..core.private_file import read_private_file
from ..core.text import readable, shell_quoted

if TYPE_CHECKING:
    from argon2 import PasswordHasher

DEFAULT_FILE = Path("/var/lib/rkface/web-password")
MIN_LENGTH = 12  # characters; NIST SP 800-63B-4, 3.1.1.2 asks for 15 for a password alone, and for no composition rules
MAX_LENGTH = 1024
MAX_FILE = 4096  # bytes of a file with a password's hash or a token
# The first parameters of the OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane. The 64 MiB of RFC 9106
# are too much for a board with 2 GB.
PASSES, MEMORY, LANES = 2, 19 * 1024, 1  # MEMORY in KiB
MAX_MEMORY = 256 * 1024  # KiB that comparing a password may take
# A hash in PHC string format: algorithm, version, costs, salt and hash in base64 without padding.
HASH = re.compile(r"\$argon2id\$v=\d{1,3}\$m=\d{1,7},t=\d{1,3},p=\d{1,2}\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,172}")
MIN_TOKEN_LENGTH = 32  # characters: 128 bits if they are random hexadecimal digits


def web_password(parser: ArgumentParser) -> None:
    """Set the password of the web console. It is required before the console listens on the network.

    Asks for it twice, or reads one line if stdin is not a terminal. Only a hash (Argon2id) is stored, in a file that
    only its owner may read. Signed-in users stay signed in until the service restarts.

    examples:
      rkface web-password
      rkface web-password --file /etc/rkface/web-password < new.txt
    """
    parser.add_argument(
        "--file", type=Path, default=DEFAULT_FILE, metavar="FILE", help="where to store it (default: %(default)s)"
    )
    parser.set_defaults(run=_set_password)


def _set_password(options: Namespace) -> int:
    write_password(options.file, ask_password())
    print(options.file)
    return 0


def ask_password() -> str:
    """A new password: typed twice, or one line if stdin is not a terminal. Raises InputError if the two differ."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("new password: ")
    if getpass.getpass("again: ") != password:
        raise InputError("the two passwords differ; nothing was changed")
    return password


def write_password(path: Path, password: str) -> None:
    """Store a hash of ``password`` at ``path``, mode 0600.

    Raises InputError if it is too short or too long, and WorkError if the file cannot be written.
    """
    write_atomically(path, f"{hash_password(password)}\n".encode("ascii"))


def hash_password(password: str) -> str:
    """The Argon2id hash of ``password``. Raises InputError if it is too short, too long, or not text."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise InputError(f"a password must have {MIN_LENGTH} to {MAX_LENGTH} characters; this one has {len(password)}")
    if readable(password) != password:
        raise InputError("a password must be text in UTF-8: this one contains other bytes")
    return password_hasher().hash(password)


def read_password(path: Path) -> str:
    """The password's hash at ``path``.

    Raises InputError if the file cannot be read, if other users may read it, or if it is not such a hash.
    """
    hint = f"create it with `rkface web-password --file {shell_quoted(path)}`"
    line = _read_private_line(path, "password file", hint)
    if not _is_usable_hash(line):
        raise InputError(f"{path}: not a password hash; {hint}")
    return line


def _is_usable_hash(line: str) -> bool:
    """Whether ``line`` is an Argon2id hash that a board can compare a password with."""
    try:
        from argon2 import Type, extract_parameters
        from argon2.exceptions import InvalidHashError
    except ImportError as error:
        raise import_error(error, "passwords need argon2-cffi", "pip install 'rkface[web]'") from error
    try:
        costs = extract_parameters(line)
    except (InvalidHashError, ValueError):
        return False
    affordable = 8 <= costs.memory_cost <= MAX_MEMORY and 1 <= costs.time_cost <= 100 and 1 <= costs.parallelism <= 64
    return bool(HASH.fullmatch(line)) and costs.type is Type.ID and affordable


def read_token(path: Path) -> str:
    """The token at ``path`` with which programs may read metrics and health.

    Raises InputError if the file cannot be read, if other users may read it, or if the token is too short.
    """
    hint = f"create one with `(umask 077; openssl rand -hex 32 > {shell_quoted(path)})`"
    line = _read_private_line(path, "token file", hint)
    if len(line) < MIN_TOKEN_LENGTH or not line.isprintable() or " " in line:
        raise InputError(
            f"{path}: a token must be one line of at least {MIN_TOKEN_LENGTH} characters without spaces; {hint}"
        )
    return line


def _read_private_line(path: Path, kind: str, hint: str) -> str:
    """The only line of a file that nobody except its owner may read."""

    def parse(content: bytes) -> str:
        if len(content) > MAX_FILE or not content.isascii():
            raise InputError(f"{path}: the {kind} must be one line of plain ASCII text; {hint}")
        return content.decode("ascii").strip()

    return read_private_file(path, f"the {kind}", parse, hint)


class PasswordCheck:
    """Compares passwords with ``hash``. Each check takes 19 MiB and tens of milliseconds: ``places.Workload`` limits
    how many run at a time.

    browser_key  for ``session.KnownBrowsers``; another one for each password
    """

    def __init__(self, hash: str) -> None:
        self._hash = hash
        self.browser_key = hashlib.sha256(b"rkface browser " + hash.encode()).digest()

    def matches(self, password: str) -> bool:
        """Whether ``password`` is the right one. Raises WorkError if that cannot be found out, as without memory."""
        from argon2.exceptions import Argon2Error, VerifyMismatchError

        if len(password) > MAX_LENGTH:
            return False
        try:
            return password_hasher().verify(self._hash, password)
        except VerifyMismatchError:
            return False
        except Argon2Error as error:
            raise WorkError(f"the password cannot be compared: {error}") from error


def password_hasher() -> PasswordHasher:
    """Argon2id with PASSES, MEMORY and LANES. Raises InputError if argon2-cffi is not installed."""
    try:
        from argon2 import PasswordHasher
    except ImportError as error:
        raise import_error(error, "passwords need argon2-cffi", "pip install 'rkface[web]'") from error
    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY, parallelism=LANES)
