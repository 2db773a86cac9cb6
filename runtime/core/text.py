"""Make any text safe for terminals, logs and JSON."""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections.abc import Iterable

# Characters that show nothing, or a space, although their category says letter, mark or symbol: the rest of Unicode's
# Default_Ignorable_Code_Point (DerivedCoreProperties.txt), and BRAILLE PATTERN BLANK. Variation selectors: see below.
BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
JOINERS = "\u200c\u200d"  # ZERO WIDTH NON-JOINER and JOINER, which Persian and the scripts of India need
VIRAMA = 9  # canonical combining class
IDEOGRAPHIC_PLANES = range(0x20000, 0x40000)  # letters only; an older Python does not know the newest ones


def readable(text: str) -> str:
    """``text`` with "?" for what UTF-8 cannot encode: invalid bytes of a file name, half a surrogate pair."""
    return text.encode(errors="replace").decode()


def find_hidden(text: str) -> str | None:
    """The first character of ``text`` that cannot be seen, or that changes how other text is shown; None without one.

    These are control characters (a terminal would execute an escape sequence), line breaks, marks of the direction of
    writing (U+202E shows what follows backwards), characters of no width, private and unassigned ones, and halves of
    surrogate pairs. The joiners are not hidden where spelling needs them (RFC 5892, appendix A), nor is a variation
    selector behind the symbol or the ideograph that it selects.
    """
    if text.isprintable() and text.isascii():
        return None
    return next((one for at, one in enumerate(text) if _is_hidden(text, at)), None)


def can_be_in_address(name: str, most: int) -> bool:
    """Whether ``name`` can be a part of an address, as in /v1/cameras/NAME: visible text of 1 to ``most`` characters
    without /. Browsers leave out the parts "." and "..", also if they are percent-encoded."""
    if not name.strip() or name in (".", "..") or "/" in name or len(name) > most:
        return False
    return find_hidden(name) is None


def in_a_line(text: str) -> str:
    """``readable(text)`` with "?" also for hidden characters (``find_hidden``). NUL would end the text in C, and a
    terminal would execute an escape sequence."""
    if text.isprintable() and text.isascii():
        return text
    text = readable(text)
    return "".join("?" if _is_hidden(text, at) else one for at, one in enumerate(text))


def in_lines(text: str) -> str:
    """As ``in_a_line``, but line feeds stay: for messages of several lines."""
    return "\n".join(map(in_a_line, text.split("\n")))


def counted(number: int, noun: str, plural: str = "") -> str:
    """``number`` with the noun, as in "1 photo" and "2 people"."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def show_value(value: object) -> str:
    """``value`` for a message, as Python writes it, but at most some hundred characters: numbers, texts and lists that
    users and other programs sent may be of any size and depth."""
    import reprlib  # not at the start of every command

    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlong = 3, 80, 80, 40
    try:
        return in_a_line(short.repr(value))
    except (ValueError, RecursionError):  # more digits than Python converts (sys.set_int_max_str_digits)
        return f"a very large {type(value).__name__}"


def name_character(one: str) -> str:
    """A character in words: "U+202E (RIGHT-TO-LEFT OVERRIDE)"."""
    name = unicodedata.name(one, "")
    return f"U+{ord(one):04X}{f' ({name})' if name else ''}"


def _is_hidden(text: str, at: int) -> bool:
    one = text[at]
    if one in BLANK:
        return True
    if unicodedata.name(one, "").startswith("VARIATION SELECTOR-"):
        previous = text[at - 1] if at else " "
        return not (unicodedata.category(previous) in ("So", "Sm") or unicodedata.east_asian_width(previous) == "W")
    if one.isprintable() or unicodedata.category(one) == "Zs":
        return False
    if one in JOINERS and at:
        before, after = text[at - 1], text[at + 1 : at + 2] or " "
        letters = unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL"
        return not (unicodedata.combining(before) == VIRAMA or letters)
    code = ord(one)
    return not (code in IDEOGRAPHIC_PLANES and unicodedata.category(one) == "Cn" and code & 0xFFFE != 0xFFFE)


def shell_quoted(word: str | os.PathLike[str]) -> str:
    """``word``, such as a path, as one word of a shell command: quoted if it has spaces or other special characters.

    Every command that rkface prints for the user to copy quotes its paths with this function.
    """
    return shlex.quote(os.fspath(word))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The word of ``known`` that is most like ``word``, for "did you mean …?"; None if no word is similar."""
    import difflib  # not at the start of every command

    if len(word) > 100:  # a comparison takes time that grows with the square of the length
        return None
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def show_beyond(value: float, limit: float, digits: int) -> str:
    """``value``, which is on one side of ``limit``, with so many ``digits`` behind the point, or with as many more (up
    to 8) as it needs to be on that side after rounding, too."""
    enough = (count for count in range(digits, 9) if (round(value, count) - limit) * (value - limit) > 0)
    return f"{value:.{next(enough, digits)}f}"
