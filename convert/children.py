"""Processes that work for this one, and die with it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from rkface.runtime.errors import WorkError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_lock = threading.Lock()
_alive: set[subprocess.Popen[bytes]] = set()
_ending = threading.Event()


@contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """``command`` as a process in a session of its own, so that it is this process that hears Ctrl-C. It and all that
    it started are gone when the block is left, however that is left."""
    with _lock:
        if _ending.is_set():
            raise WorkError("interrupted")
        # A Ctrl-C between its birth and the `try` below leaves it to die by itself, a moment after us (die_with).
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        _alive.add(process)
    try:
        yield process
    finally:
        _kill(process)
        process.wait()
        with _lock:
            _alive.discard(process)


def together(function: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """``function`` of each of ``items``, each in a thread of its own. An exception of one, or Ctrl-C, ends the children
    of all."""
    if len(items) == 1:
        return [function(items[0])]
    try:
        with ThreadPoolExecutor(len(items)) as threads:
            try:
                return list(threads.map(function, items))
            except BaseException:
                with _lock:
                    _ending.set()  # a thread that is between two children begins no other
                    for process in _alive:
                        _kill(process)
                raise
    finally:
        _ending.clear()


def die_with(parent: int) -> None:
    """Ask Linux to kill this process when its parent goes, however it goes (prctl 1, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
