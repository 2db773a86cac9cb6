"""The ``rkface`` command: reads the command line, runs one command, and turns errors into messages and exit codes."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # the ``typing`` module is imported where Ctrl-C is handled
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed work, 2 wrong use or input, 130 interrupted.

    Raises SystemExit, as argparse does, for --help, --version and a command line that cannot be understood.
    """
    try:
        import io
        from argparse import Namespace

        from ..core.stdout import open_closed_streams, reserve_stdout
        from .error_report import note_interrupts, report_error
        from .parser import build_parser
    except KeyboardInterrupt:  # nothing has begun
        return 130
    if arguments is None:  # this process is ours
        note_interrupts()
        open_closed_streams()
        reserve_stdout()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be valid UTF-8. Odd bytes print as \udcNN, which JSON reads back as Python's own name.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = Namespace(verbose=False)
    try:
        options = build_parser().parse_args(arguments)
        _set_detail(options)
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as error:
        reported = report_error(error, verbose=options.verbose)
        if reported is None:
            raise
        return reported


def _set_detail(options: Namespace) -> None:
    from ..core.errors import InputError
    from ..core.progress import set_detail

    if options.quiet and options.verbose:  # one before the command, one behind it: argparse does not see both
        raise InputError("--quiet and --verbose contradict each other: use one of them")
    set_detail("quiet" if options.quiet else "verbose" if options.verbose else "normal")
    if options.verbose and not getattr(options, "starts_logs", False):
        import logging

        from ..service.logging_setup import start_logs

        start_logs("text")
        logging.getLogger("rkface").setLevel(logging.DEBUG)


if __name__ == "__main__":
    sys.exit(main())
