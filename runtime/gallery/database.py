"""A gallery's open file: its transactions, its key, and the model that its embeddings belong to."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, TypeVar

from ..core.checks import check_type
from ..core.errors import InputError, RkfaceError
from ..core.paths import as_path
from ..core.sqlite import DamagedContentError, transaction
from ..core.text import shell_quoted
from .bound_values import UNBOUND, bind_all
from .encryption import SETTING, Key, NoCipher, open_cipher
from .schema import SCRUB, gallery_errors, open_gallery_database

_Self = TypeVar("_Self", bound="GalleryDatabase")


class GalleryDatabase:
    """The file at ``path``. Threads share ``database`` and hold ``lock`` while they use it.

    ``expected_identity`` is the identity that the caller passed: ``embedding_identity`` of its bundle, or None.
    """

    def __init__(self, path: str | os.PathLike[str], identity: str | None, *, create: bool, key: Key | None) -> None:
        self.path = as_path(path, "a gallery's path")
        if identity is not None:
            check_type(identity, str, "identity must be a string", "pass embedding_identity(pipeline.manifest)")
        if key is not None:
            check_type(key, Key, "key must be a Key", "read one from its file with read_key")
        self.database = open_gallery_database(self.path, create=create)
        self.lock = threading.RLock()
        self.expected_identity = identity
        self._closed = False
        self._key = key
        self._cipher: tuple[str | None, NoCipher] | None = None  # with the proof of the key that it was opened for
        if key is not None:
            with suppress(RkfaceError):  # a wrong key is an error where it is needed: people can be listed without it
                self.cipher  # noqa: B018  # binds the values of an older rkface

    def close(self) -> None:
        """Close the file. Every later call raises InputError, except another ``close``."""
        with self.lock:
            self._closed = True
            self.database.close()

    def check_open(self) -> None:
        """Raise InputError if the file is closed. What does not use the file must ask, because SQLite cannot notice."""
        if self._closed:
            raise InputError(f"{self.path} is closed: open it again before you use it")

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write everything in the block or, if it raises an error, nothing. It is on the disk when the block ends."""
        with self.lock, gallery_errors(self.path), transaction(self.database):
            yield self.database

    @contextmanager
    def consistent_read(self) -> Iterator[None]:
        """Read one state of the file in the block, even if other processes write at the same time."""
        with self.lock, gallery_errors(self.path):
            self.database.execute("BEGIN")
            try:
                yield
                self.database.execute("COMMIT")
            except BaseException:
                if self.database.in_transaction:
                    self.database.execute("ROLLBACK")
                raise

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows that the SQL ``statement`` returns."""
        with self.lock, gallery_errors(self.path):
            return self.database.execute(statement, parameters).fetchall()

    def version(self) -> int:
        """A number that changes when another process writes to the file, but not when this one does."""
        return int(self.read("PRAGMA data_version")[0][0])

    def writes(self) -> tuple[int, int]:
        """Something that is different after every write to the file, by this process or another. It costs nothing."""
        with self.lock:
            return self.version(), self.database.total_changes

    @property
    def cipher(self) -> NoCipher:
        """Encrypts and decrypts embeddings and crops. Raises InputError without the key or with a wrong key."""
        found = dict(self.read("SELECT name, value FROM setting WHERE name IN (?, ?)", [SETTING, UNBOUND]))
        proof = found.get(SETTING)
        if self._cipher is None or self._cipher[0] != proof:  # another process may have encrypted the gallery
            self._cipher = proof, open_cipher(self.path, proof, self._key)
        if UNBOUND in found:
            self._bind(self._cipher[1])
        return self._cipher[1]

    @property
    def has_key(self) -> bool:
        """Whether the gallery was opened with a key."""
        return self._key is not None

    def _bind(self, cipher: NoCipher) -> None:
        """Bind the values that an older rkface encrypted to their places, here and later in the backups."""
        with self.lock, gallery_errors(self.path):
            if self.database.in_transaction:
                bind_all(self.database, cipher, self.path)
                self.database.execute("INSERT OR REPLACE INTO setting VALUES (?, '1')", [SCRUB])
            else:
                with transaction(self.database):
                    self._bind(cipher)

    @property
    def identity(self) -> str | None:
        """Identity of the embeddings that are searched, 32 hexadecimal digits; None if there has been no sample."""
        found = self.read("SELECT value FROM setting WHERE name = 'identity'")
        if found and not isinstance(found[0][0], str):
            with gallery_errors(self.path):
                raise DamagedContentError("the identity of the model is no text")
        return found[0][0] if found else None

    def set_identity(self, identity: str) -> None:
        """Search embeddings with this identity from now on. Call it inside ``transaction``."""
        self.database.execute("INSERT OR REPLACE INTO setting VALUES ('identity', ?)", [identity])

    def check_identity(self, identity: str | None = None) -> None:
        """Check that embeddings with ``identity`` can be compared with the samples of this gallery.

        Args:
            identity: The identity of the embeddings. None: the identity that was passed when the gallery was opened.

        Raises:
            InputError: The samples belong to another model or another face alignment.
        """
        own, other = self.identity, identity or self.expected_identity
        if (
            other in (None, own)
            or own is None
            or not self.read("SELECT 1 FROM sample UNION ALL SELECT 1 FROM anchor LIMIT 1")
        ):
            return
        raise InputError(
            f"{self.path} contains embeddings of another model or alignment (identity {own[:8]}, not {other[:8]}), "
            "which cannot be compared: use the bundle that made them, or compute them again: "
            f"rkface gallery reembed --gallery {shell_quoted(self.path)} --bundle DIR"
        )
