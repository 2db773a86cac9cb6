"""The ``rkface`` command. Each installed part of rkface brings its subcommands through an entry point."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points, version
from inspect import getdoc

from ..core.errors import RkfaceError

ALIASES = {"enroll": ("enrol",)}  # names of rkface 0.1
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)  # the machine's state, not a bug of ours


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="rkface",
        description="SCRFD + ArcFace from ONNX to a face-recognition camera on a Rockchip NPU.",
        epilog="`rkface COMMAND --help` explains a command with examples.",
    )
    top.add_argument("--version", action="version", version=f"rkface {version('rkface')}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for entry in sorted(entry_points(group="rkface.commands"), key=lambda entry: entry.name):
        declare = entry.load()
        text = getdoc(declare) or ""
        declare(
            commands.add_parser(
                entry.name,
                aliases=ALIASES.get(entry.name, ()),
                help=text.splitlines()[0],
                description=text,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 failed work, 2 wrong use or input, 130 interrupted."""
    options = parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may be no UTF-8. Odd bytes print as \udcNN, which JSON reads back as Python's own name for it.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except RkfaceError as error:
        print(f"rkface: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("rkface: interrupted; nothing half-done was left behind", file=sys.stderr)
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


def _drop_output() -> None:
    """What is still buffered cannot be written: Python would try again on its way out, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
