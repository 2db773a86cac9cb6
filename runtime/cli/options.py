"""Options that several commands share, and how commands print JSON."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.text import in_a_line

_HIDDEN = re.compile(r"[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
YES = ("y", "yes")
BUNDLE = "build/rk3588"  # where `rkface convert` writes by default


def add_bundle(parser: ArgumentParser, *, default: str | None = BUNDLE) -> None:
    parser.add_argument(
        "--bundle",
        type=Path,
        default=Path(default) if default else None,
        metavar="DIR",
        help=f"the bundle, a folder that `rkface convert` wrote{' (default: %(default)s)' if default else ''}",
    )


def add_backend(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help="npu, or reference for ONNX Runtime (default: npu on a board, reference elsewhere)",
    )


def add_camera_position(parser: ArgumentParser) -> None:
    """--rotate and --near: how the cameras of --camera are mounted."""
    parser.add_argument(
        "--rotate",
        type=int,
        choices=(0, 90, 180, 270),
        default=0,
        help="with --camera: turn its pictures clockwise by so many degrees, for a camera that is not mounted upright",
    )
    parser.add_argument(
        "--near",
        action="store_true",
        help="with --camera: also find faces that fill the picture; takes up to twice the time",
    )


def add_json(parser: ArgumentParser, what: str) -> None:
    """--json; ``what`` says what stdout holds then."""
    parser.add_argument("--json", action="store_true", help=f"print JSON for programs: {what}")


def print_json(value: dict[str, Any], *, indent: int | None = None) -> None:
    """Print one object, paths as text. It is written at once, so that a program gets each line when it is ready.

    Characters that cannot be seen, such as U+202E, are written as \\uXXXX, so that a terminal can show the line.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    print(_HIDDEN.sub(lambda found: json.dumps(found[0])[1:-1], text), flush=True)


def ask(question: str) -> str:
    """The answer that the user types on the terminal, in lower case; empty at the end of input.

    The question goes to stderr, because stdout may be read by a program.
    """
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower()


def add_yes(parser: ArgumentParser) -> None:
    """--yes, for a command that asks with ``confirmed`` before it does what cannot be undone."""
    parser.add_argument("--yes", action="store_true", help="do not ask; needed without a terminal")


def confirmed(options: Namespace, what: str) -> bool:
    """Whether the user agrees to ``what``, such as "delete Ada forever": with --yes, or with an answer on the terminal.

    Says so if not. Raises InputError if there is neither a terminal nor --yes.
    """
    if options.yes:
        return True
    what = in_a_line(what)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(f"this would {what}: add --yes to confirm")
    if ask(f"{what[0].upper()}{what[1:]}? [y/N] ") in YES:
        return True
    print("nothing was changed", file=sys.stderr)
    return False
