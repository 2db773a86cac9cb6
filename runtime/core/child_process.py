"""Child processes that never outlive this process."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from .errors import WorkError


def start_process(
    command: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """Start ``command`` in a new session, so that only this process receives Ctrl-C.

    With Python 3.11 and later, the child does not import modules from the folder that it starts in. ``environment``
    defaults to that of this process. ``options`` are those of subprocess.Popen. Raises WorkError if this machine cannot
    start one: no memory, too many open files.
    """
    variables = {**(os.environ if environment is None else environment), "PYTHONSAFEPATH": "1"}
    try:
        return subprocess.Popen(command, start_new_session=True, env=variables, **options)
    except OSError as error:
        raise WorkError(
            f"{command[0]}: a process cannot be started: {error.strerror or error}: end other programs, or raise the "
            "limits of this one (ulimit -a)"
        ) from error


def kill_process(process: subprocess.Popen[Any]) -> None:
    """Kill ``process`` and everything that it started, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


_running: set[subprocess.Popen[Any]] = set()


def kill_children() -> None:
    """Kill all processes of ``child_process``. Threads that wait for one of them get an error."""
    for process in tuple(_running):
        kill_process(process)


@contextmanager
def child_process(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start ``command`` as ``start_process`` does, and kill it at the end of the block, also after an exception."""
    # After a Ctrl-C between this line and the `try`, the child ends by itself when we do (die_with_parent).
    process = start_process(command, stdin=subprocess.DEVNULL, **options)
    _running.add(process)
    try:
        yield process
    finally:
        kill_process(process)
        _running.discard(process)


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its ``parent`` ends for any reason (prctl 1, PR_SET_PDEATHSIG).

    Linux counts the thread that started this process as its parent, so this is only for processes that end before that
    thread.
    """
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
