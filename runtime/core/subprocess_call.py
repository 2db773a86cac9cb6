"""Calls a function in a process of its own, so that its memory is free afterwards, and a crash ends only that process.

A process has limits of memory and of time. It writes no files, and it ends with this process.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from .child_process import child_process, die_with_parent
from .errors import WorkError

Answer = TypeVar("Answer")
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class ProcessLimits:
    """What a process may use.

    seconds    of time, from its start; None: any
    mebibytes  of memory for data (RLIMIT_DATA); None: any
    quiet      what it and its libraries print is dropped
    """

    seconds: float | None = None
    mebibytes: int | None = None
    quiet: bool = False


class ProcessDiedError(WorkError):
    """The process ended without a result. ``how`` says how, after the name of what it did: "was killed by SIGSEGV".

    ``crashed`` is False if it was stopped because its time was over.
    """

    def __init__(self, message: str, how: str, *, crashed: bool) -> None:
        super().__init__(message)
        self.how = how
        self.crashed = crashed


def call_in_subprocess(
    function: Callable[..., Answer],
    *arguments: Any,
    progress: Callable[[int, int], None] = lambda done, total: None,
    limits: ProcessLimits = ProcessLimits(),
    **options: Any,
) -> Answer:
    """Call ``function(*arguments, progress=progress, **options)`` in a new process, and return what it returns.

    Arguments and the result must be picklable, and ``function`` must be importable. An exception of ``function`` is
    raised here; ProcessDiedError is raised if the process dies or exceeds ``limits``. An interrupted call leaves no
    process behind.
    """
    # Not multiprocessing.Process: it runs the main script of the caller again, whatever that script does.
    try:
        ours, theirs = Pipe()
    except OSError as error:
        raise WorkError(f"no process can be started for {function.__name__}: {error.strerror or error}") from error
    command = [sys.executable, "-m", __name__, str(theirs.fileno()), str(os.getpid())]
    end = None if limits.seconds is None else time.monotonic() + limits.seconds
    with ours, theirs, child_process(command, pass_fds=[theirs.fileno()]) as worker:
        theirs.close()
        try:
            ours.send((sys.path, limits, pickle.dumps((function, arguments, options))))
            while True:
                if end is not None and not ours.poll(max(0.0, end - time.monotonic())):
                    how = f"took longer than {limits.seconds:g} s"
                    raise ProcessDiedError(f"{function.__name__} {how}", how, crashed=False)
                kind, value = ours.recv()
                if kind == "progress":
                    progress(*value)
                elif kind == "answer":
                    return value  # type: ignore[no-any-return]
                else:
                    raise value
        except (EOFError, ConnectionError):
            status = worker.wait()
            raise ProcessDiedError(
                f"the process for {function.__name__} died (exit status {status}): is the memory full?",
                describe_status(status),
                crashed=True,
            ) from None


def describe_status(status: int) -> str:
    """How a process with this exit status ended, after its name: "was killed by SIGSEGV (exit status -11)"."""
    if status >= 0:
        return f"ended with exit status {status}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name} (exit status {status})"
    return f"was killed by signal {-status} (exit status {status})"


def _serve(channel: Connection) -> None:
    """The other end: run one call and send its progress and its result."""
    sys.path[:], limits, task = channel.recv()
    _apply(limits)
    try:
        function, arguments, options = pickle.loads(task)
        answer = function(*arguments, **options, progress=lambda done, total: channel.send(("progress", (done, total))))
    except Exception as error:
        channel.send(("error", error))
    else:
        channel.send(("answer", answer))


def _apply(limits: ProcessLimits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.quiet:
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(null, stream)
    if limits.mebibytes is not None:
        # Not the address space: allocators and thread pools reserve much more of it than they use.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = limits.mebibytes * MEBIBYTE
        resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))
        with suppress(OSError):  # if memory is short all the same, this process shall end, not its parent
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    _serve(Connection(int(sys.argv[1])))
