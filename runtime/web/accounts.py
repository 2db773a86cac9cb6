"""Who else may use the console and its API: tokens of programs, users with a role, and a log of what they changed.

All are in one SQLite file beside the gallery, which only its owner can read. Of a token only a hash is stored: it has
256 random bits, so that a fast hash is enough. Passwords are hashed with Argon2id.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError, WorkError
from ..core.sqlite import configure, create_private_file, open_sqlite, read_version, readable_errors, transaction
from ..gallery.companions import Companion, companion_path
from .password import hash_password
from .scopes import ROLES, SCOPES, Role, Scope, granted

VERSION = 1
BUSY = 5.0  # seconds that a change waits for another program
QUICK = 0.05  # seconds that a request waits for one: it runs in the thread of the event loop
PREFIX = "rkface_"  # of every token: tools that search for leaked secrets can find it
MOST_TOKENS = 1000
MOST_USERS = 1000
MOST_NOTES = 10_000  # changes in the log; the oldest are deleted
USED_EVERY = 60.0  # seconds between two writes of when a token was used
NAME_LENGTH = 100  # characters
# No user may look like somebody else in the log, or have a name that cannot be a part of the path /v1/users/NAME.
RESERVED = re.compile(r"owner|command line|an unknown user|token .*|.*/.*|\.{1,2}", re.IGNORECASE)

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
class AuditNote:
    """Something that was done: ``what`` is the name of an operation of the API. It never names a person of the gallery.

    ``who`` is a user or "token NAME"; ``client`` the address.
    """

    id: int
    time: float
    who: str
    what: str
    client: str


@dataclass(frozen=True)
class _Known:
    """What the file contained at ``version``."""

    version: int
    tokens: dict[str, tuple[Token, bytes]]
    users: dict[str, tuple[User, str]]


def accounts_path(gallery: Path) -> Path:
    """The path of the file for the gallery at this path."""
    return companion_path(gallery, Companion.ACCOUNTS)


class Accounts:
    """The file at ``path``, which is created if needed. Thread-safe. Other processes may change, replace or delete it,
    and this process notices. Raises InputError or WorkError if the file cannot be used: a damaged file lets nobody in.

    One connection reads what requests need, and waits for nobody; each change has a connection of its own.
    """

    def __init__(self, path: Path, wall: Callable[[], float] = time.time) -> None:
        self.path, self._wall = path, wall
        self._lock = threading.RLock()
        self._file: tuple[int, int] | None = None
        self._used: dict[str, float] = {}  # when the use of a token was written last
        with readable_errors(path, _repair):
            self._open()

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def __enter__(self) -> Accounts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Tokens.

    def tokens(self) -> list[Token]:
        """All tokens, the newest first."""
        return sorted((token for token, _ in self._current().tokens.values()), key=lambda one: -one.created)

    def create_token(self, name: str, scopes: Sequence[Scope]) -> tuple[Token, str]:
        """A new token, and its secret, which is not stored. Raises InputError for a wrong name or scope."""
        check_name(name)
        if not scopes or set(scopes) - set(SCOPES):
            raise InputError(f"a token needs one scope or more of {', '.join(SCOPES)}")
        if len(self._current().tokens) >= MOST_TOKENS:
            raise InputError(f"there are {MOST_TOKENS} tokens: revoke those that are not used")
        identifier, rest = secrets.token_hex(6), secrets.token_urlsafe(32)
        secret = f"{PREFIX}{identifier}_{rest}"
        ordered = tuple(scope for scope in SCOPES if scope in scopes)
        token = Token(identifier, name, ordered, self._wall(), None)
        row = (identifier, name, " ".join(ordered), _digest(secret), token.created)
        with self._writing() as database:
            database.execute("INSERT INTO token VALUES (?, ?, ?, ?, ?, NULL)", row)
        return token, secret

    def revoke_token(self, id: str) -> Token:
        """Delete the token with this ``id``. Raises InputError if it does not exist."""
        known = self._current().tokens.get(id)
        if known is None:
            raise InputError(f"there is no token {id!r}")
        with self._writing() as database:
            database.execute("DELETE FROM token WHERE id = ?", (id,))
        return known[0]

    def find_token(self, secret: str) -> Token | None:
        """The token with this secret. This counts as use."""
        identifier = secret.removeprefix(PREFIX).partition("_")[0]
        token, digest = self._current().tokens.get(identifier, (None, b""))
        if token is None or not hmac.compare_digest(digest, _digest(secret)):
            return None
        self._note_use(token)
        return token

    def _note_use(self, token: Token) -> None:
        now = self._wall()
        with self._lock:
            if abs(now - self._used.get(token.id, token.used or 0.0)) < USED_EVERY:
                return
            self._used[token.id] = now
            with suppress(sqlite3.Error):  # a full disk, or another program that writes, must not lock programs out
                self._database.execute("UPDATE token SET used = ? WHERE id = ?", (now, token.id))
                self._known = self._read()  # data_version ignores changes of this connection

    # Users.

    def users(self) -> list[User]:
        """All users, by name."""
        return sorted((user for user, _ in self._current().users.values()), key=lambda one: one.name)

    def user(self, name: str) -> User | None:
        return self._current().users.get(name, (None, ""))[0]

    def password_hash(self, name: str) -> str | None:
        """The Argon2id hash of this user's password."""
        return self._current().users.get(name, (None, None))[1]

    def set_user(self, name: str, role: Role, password: str | None) -> User:
        """Add a user, or change role and password; None keeps the password of a user who exists.

        Raises InputError for a wrong name, role or password.
        """
        check_name(name)
        if RESERVED.fullmatch(name):
            raise InputError(f"a user must not be called {name!r}: choose another name")
        if role not in ROLES:
            raise InputError(f"there is no role {role!r}: choose one of {', '.join(ROLES)}")
        known = self._current().users.get(name)
        if known is None and password is None:
            raise InputError(f"there is no user {name!r}: set a password to add one")
        if known is None and len(self._current().users) >= MOST_USERS:
            raise InputError(f"there are {MOST_USERS} users already")
        hashed = known[1] if known and password is None else hash_password(password or "")
        user = User(name, role, known[0].created if known else self._wall())
        with self._writing() as database:
            database.execute("INSERT OR REPLACE INTO user VALUES (?, ?, ?, ?)", (name, role, hashed, user.created))
        return user

    def remove_user(self, name: str) -> None:
        """Delete a user. Raises InputError if there is no such user."""
        if self.user(name) is None:
            raise InputError(f"there is no user {name!r}")
        with self._writing() as database:
            database.execute("DELETE FROM user WHERE name = ?", (name,))

    # The log.

    def note(self, who: str, what: str, client: str = "") -> None:
        """Log what ``who`` has done."""
        with self._writing() as database:
            database.execute(
                "INSERT INTO note (time, who, what, client) VALUES (?, ?, ?, ?)", (self._wall(), who, what, client)
            )
            database.execute("DELETE FROM note WHERE id <= (SELECT max(id) FROM note) - ?", (MOST_NOTES,))

    def notes(self, limit: int = 100, before: int | None = None) -> list[AuditNote]:
        """The newest notes first; only those with an id below ``before``."""
        self._current()
        with readable_errors(self.path, _repair), closing(self._connect()) as database:
            rows = database.execute(
                "SELECT id, time, who, what, client FROM note WHERE id < ? ORDER BY id DESC LIMIT ?",
                (2**62 if before is None else before, limit),
            ).fetchall()
        return [AuditNote(*row) for row in rows]

    # The file.

    def _open(self) -> None:
        """Open the file at the path, and create it if it does not exist."""
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        self._known, self._file = self._read(), number

    def _connect(self) -> sqlite3.Connection:
        def prepare(database: sqlite3.Connection) -> None:
            made = read_version(database, self.path, VERSION) == VERSION
            configure(database, "synchronous=FULL")
            if not made:
                database.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")

        return open_sqlite(self.path, prepare, timeout=BUSY)

    def _current(self) -> _Known:
        """What the file contains now. Costs microseconds if nothing has changed."""
        with self._lock, readable_errors(self.path, _repair):
            if self._file is None or _file_number(self.path) != self._file:
                self._file = None  # until the file at the path can be used
                self._database.close()
                self._open()
            elif self._data_version() != self._known.version:
                self._known = self._read()
            return self._known

    def _data_version(self) -> int:
        """Changes when another connection has changed the file (sqlite.org/pragma.html#pragma_data_version)."""
        return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def _read(self) -> _Known:
        version = self._data_version()
        tokens: dict[str, tuple[Token, bytes]] = {}
        for id, name, scopes, digest, created, used in self._database.execute("SELECT * FROM token"):
            kept: tuple[Scope, ...] = tuple(scope for scope in SCOPES if scope in scopes.split())
            tokens[id] = (Token(id, name, kept, created, used), digest)
        users: dict[str, tuple[User, str]] = {}
        for name, role, hashed, created in self._database.execute("SELECT * FROM user"):
            if role in ROLES:
                users[name] = (User(name, role, created), hashed)
        return _Known(version, tokens, users)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._current()  # opens a file that somebody has replaced
        with readable_errors(self.path, _repair), closing(self._connect()) as database, transaction(database):
            yield database


def scopes_of(token: Token) -> frozenset[Scope]:
    """What a program with this token may do."""
    return granted(frozenset(token.scopes))


def check_name(name: str) -> None:
    """Raises InputError if ``name`` cannot be the name of a user or token."""
    if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise InputError(f"a name must have 1 to {NAME_LENGTH} printable characters, without spaces around it")


def _file_number(path: Path) -> tuple[int, int] | None:
    """Differs for a file that replaces this one; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _repair(path: Path) -> str:
    return f"move {path.name} away: users and tokens must then be created again"
