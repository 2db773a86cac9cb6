"""Make any text safe for terminals, logs and JSON."""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections.abc import Iterable

LINE_BREAKERS = frozenset({"Cc", "Zl", "Zp"})  # Unicode categories: control, line separator, paragraph separator


def readable(text: str) -> str:
    """``text`` with "?" for what UTF-8 cannot encode: invalid bytes of a file name, half a surrogate pair."""
    return text.encode(errors="replace").decode()


def in_a_line(text: str) -> str:
    """``readable(text)`` with "?" also for control characters and line breaks. NUL would end the text in C, and a
    terminal would execute an escape sequence."""
    return "".join("?" if unicodedata.category(one) in LINE_BREAKERS else one for one in readable(text))


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
