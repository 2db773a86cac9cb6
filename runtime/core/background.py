"""Work in a thread of its own, whose result is wanted later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")


def in_background(name: str, work: Callable[[], _T]) -> Future[_T]:
    """Call ``work`` in a thread with this ``name``. The future has what it returns or raises."""
    working: Future[_T] = Future()

    def run() -> None:
        try:
            working.set_result(work())
        except BaseException as error:
            working.set_exception(error)

    threading.Thread(target=run, name=f"rkface-{name}", daemon=True).start()
    return working
