"""Types of command-line arguments for ``argparse``, with messages that say which values are allowed."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable

from .crop_template import StatedCrop, read_stated_crop
from .errors import InputError

MOST_DIGITS = 18  # of a whole number


def integer_from(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    """A type for whole numbers of ``lowest`` (0 or greater) or greater, up to ``highest`` if there is a limit."""
    allowed = f"{lowest} or greater" if highest is None else f"{lowest} to {highest}"

    def whole_number(text: str) -> int:
        # int() refuses to convert thousands of digits, and no number that somebody means has more than 18.
        if text.isdecimal() and len(text) > MOST_DIGITS:
            raise ArgumentTypeError(f"must have at most {MOST_DIGITS} digits, not {len(text)}")
        number = int(text) if text.isdecimal() else -1
        if number < lowest or (highest is not None and number > highest):
            raise ArgumentTypeError(f"must be a whole number, {allowed}, not {text!r}")
        return number

    return whole_number


def positive_integer(text: str) -> int:
    """A whole number, 1 or greater."""
    return integer_from(1)(text)


def positive_number(text: str) -> float:
    """A finite number greater than 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"must be a number greater than 0, not {text!r}")
    return value


def number_in(lowest: float, highest: float) -> Callable[[str], float]:
    """A type for numbers from ``lowest`` to ``highest``, both included."""

    def number(text: str) -> float:
        value = _number(text)
        if not lowest <= value <= highest:
            raise ArgumentTypeError(f"must be a number from {lowest:g} to {highest:g}, not {text!r}")
        return value

    return number


def fraction(text: str) -> float:
    """A number from 0 to 1, such as a score, a probability or a share."""
    return number_in(0, 1)(text)


def recognizer_crop(text: str) -> StatedCrop:
    """The name of a known crop, or five points."""
    try:
        return read_stated_crop(text)
    except InputError as error:
        raise ArgumentTypeError(f"{text!r} {error}") from None


def image_size(text: str) -> tuple[int, int]:
    """Width and height in pixels, as in 640x384."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ArgumentTypeError(f"must be WIDTHxHEIGHT in pixels, such as 640x640, not {text!r}")
    return int(width), int(height)


def key_value(text: str) -> tuple[str, str]:
    """KEY=VALUE as a pair; VALUE may be empty."""
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise ArgumentTypeError(f"must be KEY=VALUE, not {text!r}")
    return key, value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
