"""The snapshot of a gallery that searches use now: when it is read, and when it is replaced."""

from __future__ import annotations

from collections.abc import Callable

from ..core.errors import RkfaceError
from .database import GalleryDatabase
from .snapshot import Snapshot


class CurrentSnapshot:
    """The current snapshot of ``gallery``, which ``read`` returns; read at the first search. Thread-safe.

    It is replaced in one step, so that a search needs no lock.
    """

    def __init__(self, gallery: GalleryDatabase, read: Callable[[], Snapshot]) -> None:
        self._gallery, self._read = gallery, read
        self._current: Snapshot | None = None

    def get(self) -> Snapshot:
        """The snapshot. Raises InputError if the gallery is closed, or is encrypted and was opened without its key."""
        self._gallery.check_open()
        current = self._current
        if current is None:
            with self._gallery.lock:
                current = self._current = self._current or self._read()
        return current

    @property
    def precision(self) -> str:
        """Precision of the search index, "float32" or "int8"; "" before the first search."""
        current = self._current
        return "" if current is None else current.index.precision

    def refresh(self) -> bool:
        """Read the snapshot again if another process wrote to the file. Returns whether it was read."""
        with self._gallery.lock:
            if self._current is not None and self._gallery.version() == self._current.version:
                return False
            self._current = self._read()
            return True

    def update(self, change: Callable[[Snapshot], Snapshot] | None = None) -> None:
        """Update the snapshot after a transaction, if it has been read.

        ``change`` is applied to it if no other process wrote to the file; otherwise the file is read again. If reading
        fails, the old snapshot is dropped, and the next search tries again.
        """
        with self._gallery.lock:
            current = self._current
            if current is None:
                return
            try:
                unchanged = len(current.index) and current.version == self._gallery.version()
                self._current = change(current) if change and unchanged else self._read()
            except RkfaceError:
                self._current = None
                raise
