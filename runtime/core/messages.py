"""Messages of a command on stderr. Parts of them come from file names, other programs and boards."""

from __future__ import annotations

import sys

from .addresses import mask_secrets
from .text import in_a_line

INDENT = "\n  "


def show_message(text: object) -> None:
    """Print ``text``, a sentence or an error, on stderr."""
    print(f"rkface: {safe_message(text)}", file=sys.stderr)


def safe_message(text: object) -> str:
    r"""``text``, a sentence or an error, for a terminal: no escape sequence is executed, and no password is shown.

    A line feed starts a new line only if two spaces follow, as in lists of problems; any other one is from a file name,
    and is shown as \n. Such a name could otherwise look like a message of rkface, or of another program.
    """
    lines = mask_secrets(str(text)).split(INDENT)
    return INDENT.join("\\n".join(map(in_a_line, line.split("\n"))) for line in lines)
