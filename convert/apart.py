"""Run a function in a process of its own, so that the memory it took is given back before the toolkit starts."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from rkface.runtime.core.errors import WorkError

from .children import child, die_with

Answer = TypeVar("Answer")


def apart(
    function: Callable[..., Answer], *arguments: Any, progress: Callable[[int, int], None], **options: Any
) -> Answer:
    """``function(*arguments, progress=…, **options)`` in a fresh process; all of it has to be picklable, and
    ``function`` importable there.

    What it raises is raised here; WorkError where the process dies of something else. An interrupted wait leaves no
    process behind.
    """
    # Not multiprocessing's own processes: they run the caller's main script again, whatever it does.
    ours, theirs = Pipe()
    command = [sys.executable, "-m", __name__, str(theirs.fileno()), str(os.getpid())]
    with ours, child(command, pass_fds=[theirs.fileno()]) as worker:
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
            raise WorkError(f"{function.__name__} died (exit status {status}): is the memory full?") from None


def _work(channel: Connection) -> None:
    sys.path[:], task = channel.recv()
    try:
        function, arguments, options = pickle.loads(task)
        answer = function(*arguments, **options, progress=lambda done, total: channel.send(("progress", (done, total))))
    except Exception as error:
        channel.send(("error", error))
    else:
        channel.send(("answer", answer))


if __name__ == "__main__":
    die_with(int(sys.argv[2]))
    _work(Connection(int(sys.argv[1])))
