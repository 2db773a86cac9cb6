"""Values on the command line: what is accepted, and what the message says about the rest."""

from argparse import ArgumentTypeError

import pytest

from rkface.runtime.core.arguments import (
    fraction,
    image_size,
    integer_from,
    key_value,
    number_in,
    positive_integer,
    positive_number,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (positive_integer, "1", 1),
        (integer_from(20), "20", 20),
        (positive_number, "0.5", 0.5),
        (number_in(1e-6, 0.5), "1e-3", 0.001),
        (fraction, "0", 0.0),
        (fraction, "1", 1.0),
        (image_size, "640x384", (640, 384)),
        (image_size, "1920X1080", (1920, 1080)),
        (key_value, "badge=7", ("badge", "7")),
        (key_value, "note=a=b", ("note", "a=b")),
        (key_value, "note=", ("note", "")),
    ],
)
def test_valid_values(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "texts", "says"),
    [
        (positive_integer, ["0", "-1", "1.5", "²", "many", ""], "1 or greater"),
        (integer_from(20), ["19", "x"], "20 or greater"),
        (positive_number, ["0", "-1", "nan", "inf", "x"], "greater than 0"),
        (number_in(1e-6, 0.5), ["0", "0.6", "nan"], "from 1e-06 to 0.5"),
        (fraction, ["1.5", "-0.1", "nan", "high"], "from 0 to 1"),
        (image_size, ["640", "0x384", "640x", "axb"], "WIDTHxHEIGHT"),
        (key_value, ["badge", "=7", ""], "KEY=VALUE"),
    ],
)
def test_other_values_are_refused_with_the_rule_and_the_text(kind, texts, says):
    for text in texts:
        with pytest.raises(ArgumentTypeError) as refused:
            kind(text)
        assert says in str(refused.value) and repr(text) in str(refused.value)


def test_a_number_that_is_too_long_is_refused_for_its_length():
    for text in ("9" * 19, "9" * 5000):
        with pytest.raises(ArgumentTypeError, match=f"at most 18 digits, not {len(text)}"):
            positive_integer(text)
