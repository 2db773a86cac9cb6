"""Text that terminals, logs and JSON can hold, made from text that they cannot."""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections.abc import Iterable

BREAK = frozenset({"Cc", "Zl", "Zp"})  # Unicode's control characters, separators of lines and of paragraphs


def readable(words: str) -> str:
    """``words``, a ? in the place of what no UTF-8 can hold: odd bytes of a file's name, half a character in JSON."""
    return words.encode(errors="replace").decode()


def in_a_line(words: str) -> str:
    """As ``readable``, a ? also in the place of control characters and ends of lines: NUL ends a text for C, an escape
    sequence is obeyed by terminals."""
    return "".join("?" if unicodedata.category(one) in BREAK else one for one in readable(words))


def shell_quoted(word: str | os.PathLike[str]) -> str:
    """``word``, such as a path, as one word of a shell command: quoted if it has spaces or other special characters.

    Every command that rkface prints for the user to copy quotes its paths with this function.
    """
    return shlex.quote(os.fspath(word))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The word of ``known`` that is most like ``word``, for "did you mean …?"; None if no word is similar."""
    import difflib  # not at the start of every command

    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None
