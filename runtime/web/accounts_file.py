"""The file of users, tokens and the log of what they changed: one SQLite file that only its owner can read."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import WorkError
from ..core.sqlite import configure, create_private_file, open_sqlite, read_version, readable_errors, transaction
from .scopes import ROLES, SCOPES, Role, Scope

VERSION = 1
BUSY = 5.0  # seconds that a change waits for another program
QUICK = 0.05  # seconds that a request waits for one: it runs in the thread of the event loop

TABLES = """
    CREATE TABLE IF NOT EXISTS token (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, scopes TEXT NOT NULL, digest BLOB NOT NULL, created REAL NOT NULL,
        used REAL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS user (
        name TEXT PRIMARY KEY, role TEXT NOT NULL, hash TEXT NOT NULL, created REAL NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS note (
        id INTEGER PRIMARY KEY, time REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, client TEXT NOT NULL
    ) STRICT;
"""


@dataclass(frozen=True)
class Token:
    """A token of a program, without its secret. Times are seconds since 1970; ``used`` is null before the first use.

    ``id`` is the beginning of the secret, so that a found secret can be revoked.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created: float
    used: float | None


@dataclass(frozen=True)
class User:
    """A user of the console, besides the owner of the password file, who is always an admin."""

    name: str
    role: Role
    created: float


@dataclass(frozen=True)
class StoredToken:
    """A token, and the hash of its secret."""

    token: Token
    digest: bytes


@dataclass(frozen=True)
class StoredUser:
    """A user, and the Argon2id hash of the password."""

    user: User
    password: str


@dataclass(frozen=True)
class FileContent:
    """What the file contained at SQLite's data version ``version``: tokens by id, users by name."""

    version: int
    tokens: dict[str, StoredToken]
    users: dict[str, StoredUser]


class AccountsFile:
    """The file at ``path``, which is created if needed; without ``create``, a missing file is an empty one.

    Thread-safe. Other processes may change, replace or delete it, and this process notices. Raises InputError or
    WorkError if the file cannot be used: a damaged file lets nobody in.

    One connection reads what requests need, and waits for nobody; each change has a connection of its own.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path, self._create = path, create
        self._lock = threading.RLock()
        self._file: tuple[int, int] | None = None
        self._content = FileContent(-1, {}, {})
        with readable_errors(path, _repair):
            self._open()

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def current(self) -> FileContent:
        """What the file contains now. Costs microseconds if nothing has changed."""
        with self._lock, readable_errors(self.path, _repair):
            if self._file is None or _file_number(self.path) != self._file:
                self._file = None  # until the file at the path can be used
                self._database.close()
                self._open()
            elif self._data_version() != self._content.version:
                self._content = self._read()
            return self._content

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that changes the file. It is on the disk when the block ends."""
        self.current()  # opens a file that somebody has replaced
        with readable_errors(self.path, _repair), closing(self._connect()) as database, transaction(database):
            yield database

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that reads what ``current`` has not."""
        self.current()
        with readable_errors(self.path, _repair), closing(self._connect()) as database:
            yield database

    def note_use(self, token: str, now: float) -> None:
        """Store that the token with this id was used ``now``, if the file can be written at once."""
        with self._lock, suppress(sqlite3.Error):  # a full disk, or another program that writes, locks no program out
            self._database.execute("UPDATE token SET used = ? WHERE id = ?", (now, token))
            self._content = self._read()  # data_version ignores changes of this connection

    def _open(self) -> None:
        """Open the file at the path, and create it if it does not exist and may be created."""
        try:
            if self._create:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                create_private_file(self.path)
            number = _file_number(self.path)
        except OSError as error:
            raise WorkError(
                f"{self.path}: cannot be created ({error.strerror}): check the owner of its folder"
            ) from error
        self._database = self._connect()
        # When a token was used need not survive a power cut, and nobody waits for the disk to write it.
        for pragma in (f"busy_timeout={QUICK * 1000:.0f}", "synchronous=NORMAL"):
            self._database.execute(f"PRAGMA {pragma}").fetchall()
        self._content, self._file = self._read(), number

    def _connect(self) -> sqlite3.Connection:
        def prepare(database: sqlite3.Connection) -> None:
            made = read_version(database, self.path, VERSION) == VERSION
            configure(database, "synchronous=FULL")
            if not made:
                database.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")

        empty = not self._create and not self.path.exists()
        return open_sqlite(Path(":memory:") if empty else self.path, prepare, timeout=BUSY)

    def _data_version(self) -> int:
        """Changes when another connection has changed the file (sqlite.org/pragma.html#pragma_data_version)."""
        return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def _read(self) -> FileContent:
        version = self._data_version()
        tokens: dict[str, StoredToken] = {}
        for id, name, scopes, digest, created, used in self._database.execute("SELECT * FROM token"):
            kept: tuple[Scope, ...] = tuple(scope for scope in SCOPES if scope in scopes.split())
            tokens[id] = StoredToken(Token(id, name, kept, created, used), digest)
        users: dict[str, StoredUser] = {}
        for name, role, hashed, created in self._database.execute("SELECT * FROM user"):
            if role in ROLES:
                users[name] = StoredUser(User(name, role, created), hashed)
        return FileContent(version, tokens, users)


def _file_number(path: Path) -> tuple[int, int] | None:
    """Differs for a file that replaces this one; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _repair(path: Path) -> str:
    return f"move {path.name} away: users and tokens must then be created again"
