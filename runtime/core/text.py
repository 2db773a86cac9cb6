"""Make any text safe for terminals, logs and JSON."""

from __future__ import annotations

import unicodedata

LINE_BREAKERS = frozenset({"Cc", "Zl", "Zp"})  # Unicode categories: control, line separator, paragraph separator


def readable(text: str) -> str:
    """``text`` with "?" for what UTF-8 cannot encode: invalid bytes of a file name, half a surrogate pair."""
    return text.encode(errors="replace").decode()


def in_a_line(text: str) -> str:
    """``readable(text)`` with "?" also for control characters and line breaks. NUL would end the text in C, and a
    terminal would execute an escape sequence."""
    return "".join("?" if unicodedata.category(one) in LINE_BREAKERS else one for one in readable(text))
