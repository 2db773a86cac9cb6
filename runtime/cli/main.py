"""The ``rkface`` command: reads the command line, runs one command, and turns errors into messages and exit codes."""

from __future__ import annotations

import errno
import io
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from ..core.addresses import mask_secrets
from ..core.errors import InputError, RkfaceError
from ..core.progress import set_detail
from ..core.text import in_lines
from .parser import build_parser

# Errors of the disk: the state of the machine, not a bug in rkface.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed work, 2 wrong use or input, 130 interrupted.

    Raises SystemExit, as argparse does, for --help, --version and a command line that cannot be understood.
    """
    options = build_parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be valid UTF-8. Odd bytes print as \udcNN, which JSON reads back as Python's own name.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _set_detail(options)
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except RkfaceError as error:
        print(f"rkface: {safe_message(error)}", file=sys.stderr)
        if options.verbose:
            _print_causes(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("rkface: interrupted; no incomplete files were left behind", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `rkface detect … | head`
        _drop_output()
        return 0
    except OSError as error:
        if error.errno not in DISK:
            raise
        _drop_output()
        print(f"rkface: {f'{error.filename}: ' if error.filename else ''}{error.strerror}", file=sys.stderr)
        return 1


def _set_detail(options: Namespace) -> None:
    if options.quiet and options.verbose:  # one before the command, one behind it: argparse does not see both
        raise InputError("--quiet and --verbose contradict each other: use one of them")
    set_detail("quiet" if options.quiet else "verbose" if options.verbose else "normal")
    if options.verbose and not getattr(options, "starts_logs", False):
        import logging

        from ..service.logging_setup import start_logs

        start_logs("text")
        logging.getLogger("rkface").setLevel(logging.DEBUG)


def safe_message(error: BaseException) -> str:
    """The message of ``error`` for a terminal. Parts of it may come from files, boards and other programs: no escape
    sequence is executed, and no password is shown."""
    return in_lines(mask_secrets(str(error)))


def _print_causes(error: BaseException) -> None:
    cause = error.__cause__
    while cause is not None:
        print(f"  caused by {type(cause).__name__}: {safe_message(cause)}", file=sys.stderr)
        cause = cause.__cause__


def _drop_output() -> None:
    """Send what is still buffered for stdout to /dev/null: else Python would try to write it at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
