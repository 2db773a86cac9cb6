"""Checks of values that a user's program passes in. The messages name the value and what to pass instead.

They cost less than a microsecond each, so the public functions call them every time.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from .errors import InputError


def describe_type(value: object) -> str:
    """The type of ``value`` with its article, for a message: "None", "a list", "an int"."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def check_type(value: object, wanted: type | tuple[type, ...], what: str, hint: str) -> None:
    """Raise InputError unless ``value`` is a ``wanted``. ``what`` names the value, ``hint`` says what to pass."""
    if not isinstance(value, wanted):
        raise InputError(f"{what}, not {describe_type(value)}: {hint}")


def check_number(value: Any, lowest: float, highest: float, what: str) -> None:
    """Raise InputError unless ``value`` is a number from ``lowest`` to ``highest``. NaN is not."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{what} must be a number from {lowest:g} to {highest:g}, not {describe_type(value)}")
    if not lowest <= float(value) <= highest:
        raise InputError(f"{what} must be a number from {lowest:g} to {highest:g}, not {value}")


def check_count(value: Any, what: str) -> None:
    """Raise InputError unless ``value`` is a whole number, 1 or greater."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{what} must be a whole number, 1 or greater, not {describe_type(value)}")
    if value < 1:
        raise InputError(f"{what} must be 1 or greater, not {value}")
