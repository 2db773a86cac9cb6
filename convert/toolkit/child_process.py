"""Processes that work for this one, and die with it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any


def start_process(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """``command`` as a process in a session of its own, so that it is this process that hears Ctrl-C. From Python 3.11
    on, modules that lie in the folder where it starts are none of its."""
    return subprocess.Popen(command, start_new_session=True, env=os.environ | {"PYTHONSAFEPATH": "1"}, **options)


def kill_process(process: subprocess.Popen[Any]) -> None:
    """End it and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def child_process(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """``command`` started, and stopped when the block is left, however that is left."""
    # A Ctrl-C between its birth and the `try` below leaves it to die by itself, a moment after us (die_with).
    process = start_process(command, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        kill_process(process)


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent goes, however it goes (prctl 1, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
