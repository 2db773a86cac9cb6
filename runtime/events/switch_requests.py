"""Which cameras somebody wants to have switched on or off."""

from __future__ import annotations

import threading
from collections.abc import Callable


class SwitchRequests:
    """Which cameras somebody wants to have switched. The newest request for a camera replaces an older one, so that a
    flood of commands needs no memory. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requested: dict[str, bool] = {}
        self._listeners: list[Callable[[], None]] = []

    def add(self, camera: str, on: bool) -> None:
        """Ask to switch ``camera``."""
        with self._lock:
            self._requested[camera] = on

    def take(self) -> dict[str, bool]:
        """Return the requests since the last call."""
        with self._lock:
            taken, self._requested = self._requested, {}
        return taken

    def when_switched(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called each time after a camera was switched, also by its schedule."""
        self._listeners.append(listener)

    def note_switched(self) -> None:
        """Note that a camera was switched."""
        for listener in self._listeners:
            listener()
