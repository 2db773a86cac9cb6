"""Who else may use the console and its API: tokens of programs, users with a role, and a log of what they changed.

All are in one file beside the gallery (``accounts_file``). Of a token only a hash is stored: it has 256 random bits, so
that a fast hash is enough. Passwords are hashed with Argon2id.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..gallery.companions import Companion, companion_path
from .accounts_file import AccountsFile, StoredUser, Token, User
from .password import hash_password
from .scopes import ROLES, SCOPES, Role, Scope

PREFIX = "rkface_"  # of every token: tools that search for leaked secrets can find it
MOST_TOKENS = 1000
MOST_USERS = 1000
MOST_NOTES = 10_000  # changes in the log; the oldest are deleted
USED_EVERY = 60.0  # seconds between two writes of when a token was used
NAME_LENGTH = 100  # characters
# No user may look like somebody else in the log, or have a name that cannot be a part of the path /v1/users/NAME.
RESERVED = re.compile(r"owner|command line|an unknown user|token .*|.*/.*|\.{1,2}", re.IGNORECASE)


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


def accounts_path(gallery: Path) -> Path:
    """The path of the file for the gallery at this path."""
    return companion_path(gallery, Companion.ACCOUNTS)


class Accounts:
    """Tokens, users and the log in the file at ``path``; ``create``: see ``AccountsFile``. Thread-safe."""

    def __init__(self, path: Path, wall: Callable[[], float] = time.time, *, create: bool = True) -> None:
        self.path, self._wall = path, wall
        self._file = AccountsFile(path, create=create)
        self._lock = threading.Lock()
        self._used: dict[str, float] = {}  # when the use of a token was written last

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Accounts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Tokens.

    def tokens(self) -> list[Token]:
        """All tokens, the newest first."""
        return sorted((one.token for one in self._file.current().tokens.values()), key=lambda one: -one.created)

    def create_token(self, name: str, scopes: Sequence[Scope]) -> tuple[Token, str]:
        """A new token, and its secret, which is not stored. Raises InputError for a wrong name or scope."""
        _check_name(name)
        if not scopes or set(scopes) - set(SCOPES):
            raise InputError(f"a token needs one scope or more of {', '.join(SCOPES)}")
        if len(self._file.current().tokens) >= MOST_TOKENS:
            raise InputError(f"there are {MOST_TOKENS} tokens: revoke those that are not used")
        identifier, rest = secrets.token_hex(6), secrets.token_urlsafe(32)
        secret = f"{PREFIX}{identifier}_{rest}"
        ordered = tuple(scope for scope in SCOPES if scope in scopes)
        token = Token(identifier, name, ordered, self._wall(), None)
        row = (identifier, name, " ".join(ordered), _digest(secret), token.created)
        with self._file.writing() as database:
            database.execute("INSERT INTO token VALUES (?, ?, ?, ?, ?, NULL)", row)
        return token, secret

    def revoke_token(self, id: str) -> Token:
        """Delete the token with this ``id``. Raises InputError if it does not exist."""
        known = self._file.current().tokens.get(id)
        if known is None:
            raise InputError(f"there is no token {id!r}")
        with self._file.writing() as database:
            database.execute("DELETE FROM token WHERE id = ?", (id,))
        return known.token

    def find_token(self, secret: str) -> Token | None:
        """The token with this secret. This counts as use."""
        identifier = secret.removeprefix(PREFIX).partition("_")[0]
        found = self._file.current().tokens.get(identifier)
        if found is None or not hmac.compare_digest(found.digest, _digest(secret)):
            return None
        self._note_use(found.token)
        return found.token

    def _note_use(self, token: Token) -> None:
        now = self._wall()
        with self._lock:
            if abs(now - self._used.get(token.id, token.used or 0.0)) < USED_EVERY:
                return
            self._used[token.id] = now
        self._file.note_use(token.id, now)

    # Users.

    def users(self) -> list[User]:
        """All users, by name."""
        return sorted((one.user for one in self._file.current().users.values()), key=lambda one: one.name)

    def find_user(self, name: str) -> StoredUser | None:
        """The user with this name, and the hash of the password."""
        return self._file.current().users.get(name)

    def set_user(self, name: str, role: Role, password: str | None) -> User:
        """Add a user, or change role and password; None keeps the password of a user who exists.

        Raises InputError for a wrong name, role or password.
        """
        _check_name(name)
        if RESERVED.fullmatch(name):
            raise InputError(f"a user must not be called {name!r}: choose another name")
        if role not in ROLES:
            raise InputError(f"there is no role {role!r}: choose one of {', '.join(ROLES)}")
        known = self.find_user(name)
        if known is None and password is None:
            raise InputError(f"there is no user {name!r}: set a password to add one")
        if known is None and len(self._file.current().users) >= MOST_USERS:
            raise InputError(f"there are {MOST_USERS} users already")
        hashed = known.password if known and password is None else hash_password(password or "")
        user = User(name, role, known.user.created if known else self._wall())
        with self._file.writing() as database:
            database.execute("INSERT OR REPLACE INTO user VALUES (?, ?, ?, ?)", (name, role, hashed, user.created))
        return user

    def remove_user(self, name: str) -> None:
        """Delete a user. Raises InputError if there is no such user."""
        if self.find_user(name) is None:
            raise InputError(f"there is no user {name!r}")
        with self._file.writing() as database:
            database.execute("DELETE FROM user WHERE name = ?", (name,))

    # The log.

    def note(self, who: str, what: str, client: str = "") -> None:
        """Log what ``who`` has done."""
        with self._file.writing() as database:
            database.execute(
                "INSERT INTO note (time, who, what, client) VALUES (?, ?, ?, ?)", (self._wall(), who, what, client)
            )
            database.execute("DELETE FROM note WHERE id <= (SELECT max(id) FROM note) - ?", (MOST_NOTES,))

    def notes(self, limit: int = 100, before: int | None = None) -> list[AuditNote]:
        """The newest notes first; only those with an id below ``before``."""
        with self._file.reading() as database:
            rows = database.execute(
                "SELECT id, time, who, what, client FROM note WHERE id < ? ORDER BY id DESC LIMIT ?",
                (2**62 if before is None else before, limit),
            ).fetchall()
        return [AuditNote(*row) for row in rows]


def _check_name(name: str) -> None:
    """Raises InputError if ``name`` cannot be the name of a user or token."""
    if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise InputError(f"a name must have 1 to {NAME_LENGTH} printable characters, without spaces around it")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
