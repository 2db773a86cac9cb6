"""The threads of the service: if one fails, all end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

LOOK = 1.0  # seconds; a wait without a timeout would delay signals, too


class Threads:
    """Thread-safe. ``end`` may also be called from a signal handler."""

    def __init__(self) -> None:
        self._ending = threading.Event()
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def start(self, name: str, work: Callable[..., None], *arguments: Any) -> None:
        """Call ``work`` in a thread. It should return soon after ``end`` was called. An error in it ends all
        threads."""

        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self.end(error)

        thread = threading.Thread(target=run, name=f"rkface-{name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def end(self, failure: BaseException | None = None) -> None:
        """Ask all threads to end, because of ``failure`` if there was one. Only the first call counts."""
        if not self._ending.is_set():
            self._failure = failure
            self._ending.set()

    def pause(self, seconds: float) -> bool:
        """Wait in one of the threads. False, at once, if it should end."""
        return not self._ending.wait(seconds)

    def wait(self) -> BaseException | None:
        """Wait until ``end`` is called. Returns the failure."""
        while not self._ending.wait(LOOK):
            pass
        return self._failure

    def join(self) -> None:
        """Wait until every thread has returned. Call ``end`` before."""
        for thread in self._threads:
            thread.join()
