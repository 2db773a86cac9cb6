"""The schema for editors and the loader of TOML files agree about what a file may contain."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import hypothesis.strategies as st
import jsonschema
import pytest
from hypothesis import given

from rkface.runtime.core.json_schema import make_schema
from rkface.runtime.core.toml import Range, load_table


@dataclass(frozen=True)
class Zone:
    """A part of the picture."""

    points: tuple[Annotated[float, Range(0, 1)], ...]
    shape: Literal["polygon", "mask"] = "polygon"


@dataclass(frozen=True)
class House:
    """A house.

    What follows is for developers.
    """

    title: Annotated[str, "what people call it"]
    floors: Annotated[int, Range(1, 9)] = 1
    height: Annotated[float | None, Range(0, 100), "in meters"] = None
    plan: Path | None = None
    turn: Literal[0, 90] = 0
    empty: bool = False
    zone: dict[str, Zone] = field(default_factory=dict)
    doors: dict[str, Annotated[int, Range(0, 4)]] = field(default_factory=dict)
    main: Zone | None = None


SCHEMA = make_schema(House, "House")
VALUES = st.one_of(
    st.booleans(),
    st.integers(-2, 120),
    st.floats(-2, 120).filter(lambda one: not one.is_integer()),  # 1.0 is an integer for JSON, but not for TOML
    st.sampled_from(["polygon", "mask", "house"]),
    st.lists(st.floats(0, 1.2), max_size=3),
)
ZONES = st.dictionaries(st.sampled_from(["points", "shape", "colour"]), VALUES) | st.just({"points": [0.5]}) | VALUES
HOUSES = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("floors", "height", "plan", "turn", "empty", "unknown"), VALUES)
    | {
        "zone": st.dictionaries(st.just("yard"), ZONES),
        "doors": st.dictionaries(st.just("north"), VALUES),
        "main": ZONES,
    }
    | {"title": st.just("a") | VALUES},
)


def test_the_schema_is_valid():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@given(HOUSES)
def test_the_schema_accepts_exactly_what_the_loader_accepts(house):
    problems = []
    load_table(House, house, problems)
    assert jsonschema.Draft7Validator(SCHEMA).is_valid(house) == (not problems), problems


def test_an_editor_is_told_what_each_key_means():
    assert SCHEMA["description"] == "A house."
    assert SCHEMA["properties"]["title"]["description"] == "what people call it"
    assert SCHEMA["properties"]["zone"]["additionalProperties"]["properties"]["shape"]["default"] == "polygon"
    assert SCHEMA["properties"]["floors"] == {"type": "integer", "minimum": 1, "maximum": 9, "default": 1}


@pytest.mark.parametrize("value", [False, 0.0])
def test_a_choice_of_numbers_takes_no_other_type(value):
    problems = []
    load_table(House, {"title": "a", "turn": value}, problems)
    assert problems == [f"turn is {value}, but must be one of 0, 90"]
