"""Run a function in a process of its own, so that the memory it took is given back before the toolkit starts."""

from __future__ import annotations

import signal
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from rkface.runtime.errors import WorkError

Answer = TypeVar("Answer")


def apart(function: Callable[..., Answer], *arguments: Any, progress: Callable[[int, int], None]) -> Answer:
    """``function(*arguments, progress=…)`` in a fresh process; all of it has to be picklable.

    What it raises is raised here; WorkError where the process dies of something else. An interrupted wait leaves no
    process behind.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(sender, function, arguments), daemon=True)
    # Ctrl-C goes to the whole group: it is this process that answers it, and ends the worker.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        worker.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        sender.close()
        while True:
            kind, value = receiver.recv()
            if kind == "progress":
                progress(*value)
            elif kind == "answer":
                return value  # type: ignore[no-any-return]
            else:
                raise value
    except EOFError:
        worker.join()
        raise WorkError(f"{function.__name__} died (exit status {worker.exitcode}): is the memory full?") from None
    finally:
        receiver.close()
        worker.kill()
        worker.join()


def _work(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer = function(*arguments, progress=lambda done, total: sender.send(("progress", (done, total))))
    except Exception as error:
        sender.send(("error", error))
    else:
        sender.send(("answer", answer))
