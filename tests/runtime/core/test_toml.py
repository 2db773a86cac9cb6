"""TOML files as data classes: every type that a field may have, and a message for every mistake."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.toml import Range, describe_fields, load_file, load_table
from rkface.runtime.core.toml_writer import dump


@dataclass(frozen=True)
class Part:
    name: str
    size: Annotated[int, Range(1, 9), "in pixels"] = 1


@dataclass(frozen=True)
class Machine:
    title: Annotated[str, "what people call it"]
    kind: Literal["fast", "small"] = "fast"
    speed: Annotated[float | None, Range(0, 1)] = None
    folder: Path | None = None
    tags: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    named: dict[str, Part] = field(default_factory=dict)


FULL = """
title = "a"
kind = "small"
speed = 1
folder = "below"
tags = ["x", "y"]
parts = [{ name = "p" }]
named.first = { name = "q", size = 3 }
"""


def test_every_type_is_read(tmp_path):
    (tmp_path / "m.toml").write_text(FULL)
    read = load_file(Machine, tmp_path / "m.toml")
    parts = (Part("p"),)
    assert read == Machine("a", "small", 1.0, tmp_path / "below", ("x", "y"), parts, {"first": Part("q", 3)})
    assert type(read.speed) is float


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("tite = 'b'", "unknown key tite: did you mean title?"),
        ("qqqq = 1", "unknown key qqqq: valid keys are title, kind, speed, folder, tags, parts, named"),
        ("tags = 'x'", "tags is 'x', but must be a list"),
        ("tags = ['x', 2]", "tags[1] is 2, but must be text in quotes"),
        ("parts = [{}]", "parts[0].name is missing"),
        ("parts = [{ name = 'p', size = 10 }]", "parts[0].size is 10, but must be from 1 to 9"),
        ("named = { a = 1 }", "named.a is 1, but must be a table: [named.a]"),
        ("speed = 2", "speed is 2.0, but must be from 0 to 1"),
        ("kind = 'slow'", "kind is 'slow', but must be one of fast, small"),
    ],
)
def test_every_mistake_names_the_file_and_the_key(tmp_path, line, problem):
    path = tmp_path / "m.toml"
    path.write_text(f"title = 'a'\n{line}\n")
    with pytest.raises(InputError) as caught:
        load_file(Machine, path)
    assert str(caught.value) == f"{path}: {problem}"


def test_several_mistakes_are_listed_together(tmp_path):
    path = tmp_path / "m.toml"
    path.write_text("kind = 'slow'\ntags = 1\n")
    with pytest.raises(InputError) as caught:
        load_file(Machine, path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}:" and lines[-1] == "  title is missing" and len(lines) == 4


def test_a_value_that_the_program_gives_may_not_stand_in_the_file():
    problems = []
    assert load_table(Part, {"size": 2}, problems, given={"name": "p"}) == Part("p", 2)
    assert load_table(Part, {"name": "q"}, problems, given={"name": "p"}) is None
    assert problems == ["unknown key name: valid keys are size"]


def test_fields_carry_their_help_and_range():
    infos = describe_fields(Machine)
    assert infos["title"].help == "what people call it" and infos["title"].required
    assert infos["speed"].type is float and infos["speed"].limits == Range(0, 1) and not infos["speed"].required


def test_help_is_written_as_comments():
    assert dump(Part("p", 2), explain=True) == 'name = "p"\n# in pixels\nsize = 2\n'


def test_what_is_written_reads_back_the_same(tmp_path):
    machine = Machine('a "b"\n', "small", 0.5, tmp_path, ("x", "y"), named={"first part": Part("q", 3)})
    (tmp_path / "m.toml").write_text(dump(machine, explain=True))
    assert load_file(Machine, tmp_path / "m.toml") == machine
