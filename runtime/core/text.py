"""Text that terminals, logs and JSON can hold, made from text that they cannot."""

from __future__ import annotations

import unicodedata

BREAK = frozenset({"Cc", "Zl", "Zp"})  # Unicode's control characters, separators of lines and of paragraphs


def readable(words: str) -> str:
    """``words``, a ? in the place of what no UTF-8 can hold: odd bytes of a file's name, half a character in JSON."""
    return words.encode(errors="replace").decode()


def in_a_line(words: str) -> str:
    """As ``readable``, a ? also in the place of control characters and ends of lines: NUL ends a text for C, an escape
    sequence is obeyed by terminals."""
    return "".join("?" if unicodedata.category(one) in BREAK else one for one in readable(words))
