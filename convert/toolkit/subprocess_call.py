"""Calls a function in a separate process, so that its memory is free again before the toolkit starts."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from rkface.runtime.core.child_process import child_process, die_with_parent
from rkface.runtime.core.errors import WorkError

Answer = TypeVar("Answer")


def call_in_subprocess(
    function: Callable[..., Answer], *arguments: Any, progress: Callable[[int, int], None], **options: Any
) -> Answer:
    """Call ``function(*arguments, progress=progress, **options)`` in a new process, and return what it returns.

    Arguments and the result must be picklable, and ``function`` must be importable. An exception of ``function`` is
    raised here; WorkError is raised if the process dies. An interrupted call leaves no process behind.
    """
    # Not multiprocessing.Process: it runs the main script of the caller again, whatever that script does.
    ours, theirs = Pipe()
    command = [sys.executable, "-m", __name__, str(theirs.fileno()), str(os.getpid())]
    with ours, child_process(command, pass_fds=[theirs.fileno()]) as worker:
        theirs.close()
        try:
            ours.send((sys.path, pickle.dumps((function, arguments, options))))
            while True:
                kind, value = ours.recv()
                if kind == "progress":
                    progress(*value)
                elif kind == "answer":
                    return value  # type: ignore[no-any-return]
                else:
                    raise value
        except (EOFError, ConnectionError):
            status = worker.wait()
            raise WorkError(
                f"the process for {function.__name__} died (exit status {status}): is the memory full?"
            ) from None


def _serve(channel: Connection) -> None:
    """The other end: run one call and send its progress and its result."""
    sys.path[:], task = channel.recv()
    try:
        function, arguments, options = pickle.loads(task)
        answer = function(*arguments, **options, progress=lambda done, total: channel.send(("progress", (done, total))))
    except Exception as error:
        channel.send(("error", error))
    else:
        channel.send(("answer", answer))


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    _serve(Connection(int(sys.argv[1])))
