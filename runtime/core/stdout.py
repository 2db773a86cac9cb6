"""The standard streams of a command: none is missing, and only the command itself prints to stdout."""

from __future__ import annotations

import fcntl
import io
import os
import sys

STDOUT, STDERR = 1, 2


def open_closed_streams() -> None:
    """Open /dev/null in place of each standard stream with which the process was started closed, as by ``<&-``.

    Python has None for such a stream. The next file that the process opens would get its descriptor, and what native
    libraries print would be written into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123 (open until the process ends)
            os.set_inheritable(stream.fileno(), True)  # the lowest that is free: that of the closed stream
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)  # keeps it open if the other is replaced


def reserve_stdout() -> None:
    """Give ``sys.stdout`` a descriptor of its own. Everything else that is written to descriptor 1 goes to stderr.

    Rockchip's librknnrt writes log lines to descriptor 1, also from threads of its own, and what it wrote with stdio
    leaves its buffer only when the process ends. So the descriptor is not redirected for each call, which would also
    take away what other threads print during the call, but once, for the rest of the process. Programs that this
    process starts inherit stderr as their stdout.

    Does nothing if ``sys.stdout`` does not write to descriptor 1, for example in a test that replaced it.
    """
    stream = sys.stdout
    try:
        if stream is None or stream.fileno() != STDOUT:
            return
        stream.flush()
        own = fcntl.fcntl(STDOUT, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)  # children do not inherit it
    except (OSError, ValueError):  # closed, or without a descriptor
        return
    try:
        os.dup2(STDERR, STDOUT)
    except OSError:  # stderr is closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, STDOUT)
        os.close(nowhere)
    unbuffered = getattr(stream, "write_through", False)  # python -u, or PYTHONUNBUFFERED
    sys.stdout = io.TextIOWrapper(
        open(own, "wb", buffering=0 if unbuffered else -1),  # noqa: SIM115, PTH123 (open until the process ends)
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=bool(stream.line_buffering),
        write_through=unbuffered,
    )


def stdout_columns(fallback: int) -> int:
    """Columns of the terminal that ``sys.stdout`` writes to; ``fallback`` without a terminal. The environment
    variable COLUMNS takes precedence.

    ``shutil.get_terminal_size`` asks descriptor 1, which is stderr after ``reserve_stdout``.
    """
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or fallback
    except (OSError, ValueError):  # no terminal, or no descriptor
        return fallback
