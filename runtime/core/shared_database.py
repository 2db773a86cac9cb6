"""An SQLite file that is open as long as the service runs, and that its threads share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from .errors import WorkError
from .sqlite import commit, empty_write_ahead_log, is_damage, readable_errors, remove_deleted_bytes

_Self = TypeVar("_Self", bound="SharedDatabase")


class SharedDatabase:
    """The file at ``path``, opened by ``open``. Thread-safe; a context manager.

    ``content`` names it in errors. If it is damaged, ``put_away`` is called with the error, and ``open`` again. Raises
    WorkError if it cannot be opened, and what ``open`` and ``put_away`` raise.
    """

    def __init__(
        self,
        path: Path,
        open: Callable[[Path], sqlite3.Connection],
        content: str,
        put_away: Callable[[sqlite3.DatabaseError], None],
    ) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._database = open(path)
        except OSError as error:
            raise WorkError(
                f"{path}: cannot be opened ({error.strerror}): check its owner and the owner of its folder"
            ) from error
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise WorkError(f"{path}: {content} cannot be opened: {error}") from error
            put_away(error)
            self._database = open(path)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction (see ``commit``). Raises WorkError if the file cannot be written."""
        with self._lock, readable_errors(self.path), commit(self._database, durable=durable):
            yield self._database

    def read(self, statement: str, parameters: Iterable[Any] = ()) -> list[Any]:
        """All rows that the SQL ``statement`` returns. Raises WorkError if the file cannot be read."""
        with self._lock, readable_errors(self.path):
            return self._database.execute(statement, tuple(parameters)).fetchall()

    def shrink(self) -> None:
        """Give back free pages, and leave no deleted row in the write-ahead log, if no other program prevents that."""
        with self._lock, suppress(sqlite3.Error):
            empty_write_ahead_log(self._database)
            self._database.executescript("PRAGMA incremental_vacuum")

    def remove_deleted_bytes(self, left: str) -> None:
        """Leave no deleted byte in the file. ``left``: what WorkError says if another program prevents that."""
        with self._lock, readable_errors(self.path):
            removed = remove_deleted_bytes(self._database)
        if not removed:
            raise WorkError(f"{self.path}: another program is reading this file, so {left}")
