"""Turns the error that ended a command into a message and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from types import FrameType

from ..core.errors import RkfaceError
from ..core.messages import safe_message, show_message

LONGEST = 200  # characters of a path in a message
# The state of the machine, not a bug in rkface, with what helps.
MACHINE = {
    errno.ENOSPC: "free some space", errno.EDQUOT: "free some space", errno.EFBIG: "", errno.EROFS: "", errno.EIO: "",
    errno.ENOMEM: "close other programs", errno.EAGAIN: "close other programs",
    errno.EMFILE: "raise the limit: ulimit -n 4096", errno.ENFILE: "close other programs",
}  # fmt: skip
# A path that cannot be used, wherever it comes from.
PATH = frozenset({
    errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV,
    errno.ENOENT, errno.EILSEQ,
})  # fmt: skip


_interrupts: list[int] = []  # signals that ``note_interrupts`` has noted


def note_interrupts() -> None:
    """Note Ctrl-C also where a library turns it into another error: numpy and OpenCV call it a failed import."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        _interrupts.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as below nohup
        signal.signal(signal.SIGINT, interrupt)


def report_error(error: BaseException, *, verbose: bool) -> int | None:
    """Print what ended a command, on stderr, and return its exit code. None: this is a bug in rkface, to be raised.

    ``verbose``: also print what caused the error.
    """
    if isinstance(error, KeyboardInterrupt) or _interrupts:
        flush_output()
        print("rkface: interrupted; no incomplete files were left behind", file=sys.stderr)
        return 130
    if isinstance(error, RkfaceError):
        flush_output()
        show_message(error)
        if verbose:
            _print_causes(error)
        return error.exit_code
    if isinstance(error, BrokenPipeError):  # `rkface detect … | head`
        drop_output()
        return 0
    described = _describe(error)
    if described is None:
        return None
    message, code = described
    drop_output()  # what is buffered for stdout may be incomplete
    show_message(message)
    if verbose:
        traceback.print_exception(error)
    return code


def flush_output() -> None:
    """Write what is buffered for stdout if that is possible, else drop it: at exit, Python would complain, and change
    the exit code to 120."""
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()


def drop_output() -> None:
    """Send what is still buffered for stdout to /dev/null: else Python would try to write it at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _describe(error: BaseException) -> tuple[str, int] | None:
    """The message and the exit code for an error of the machine or of a path; None for any other error."""
    if isinstance(error, MemoryError):
        return "there is not enough memory: close other programs", 1
    if isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError):  # often a shared library
        return f"a library cannot be loaded: {error}: is there enough memory, and is rkface installed completely?", 1
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # Path.resolve, before Python 3.13
        return f"{_shorten(str(error))}: name another path", 2
    if not isinstance(error, OSError):
        return None
    path = f"{_shorten(str(error.filename))}: " if error.filename else ""
    if error.errno in MACHINE:
        remedy = MACHINE[error.errno]
        return f"{path}{error.strerror}{f': {remedy}' if remedy else ''}", 1
    return (f"{path}{error.strerror}: name another path", 2) if path and error.errno in PATH else None


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _print_causes(error: BaseException) -> None:
    cause = error.__cause__
    while cause is not None:
        print(f"  caused by {type(cause).__name__}: {safe_message(cause)}", file=sys.stderr)
        cause = cause.__cause__
