"""Notices when people are deleted from the gallery, by this service or by another program."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..gallery.gallery import Gallery


class KnownPeople:
    """The ids of the people in the gallery, as the service last saw them. Thread-safe.

    ``on_deleted``, which the user of this class sets before the first look, is called when people are missing since
    then. All methods return after it has returned, whichever thread noticed first.
    """

    def __init__(self, gallery: Gallery) -> None:
        self.on_deleted: Callable[[], None] = lambda: None
        self._gallery = gallery
        self._lock = threading.Lock()
        self._version = 0  # of the gallery, at the last call of ``poll``
        self._ids = self._read()

    def poll(self) -> bool:
        """Notice deleted people if the gallery has changed since the last call, and return whether it has. Costs
        microseconds if it has not."""
        version = self._gallery.version()
        if version != self._version:
            self.notice_deleted()
            self._version = version
            return True
        return False

    def notice_deleted(self) -> None:
        """Notice deleted people now."""
        with self._lock:
            before, self._ids = self._ids, self._read()
            if before - self._ids:
                self.on_deleted()

    def add_new(self) -> None:
        """Add the people who were enrolled since the last look. People whom another program deleted meanwhile stay in
        the set, so that ``notice_deleted`` still notices them."""
        with self._lock:
            self._ids |= self._read()

    def _read(self) -> frozenset[str]:
        return frozenset(person.id for person in self._gallery.people())
