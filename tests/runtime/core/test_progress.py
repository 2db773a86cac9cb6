"""Progress on stderr: what a terminal, a log file, --quiet and --verbose show."""

import io
import re

import pytest

from rkface.runtime.core import progress
from rkface.runtime.core.progress import ProgressLine, set_detail, stage


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def normal_detail():
    yield
    set_detail("normal")


def shown(stream):
    with stage("embedding", stream) as current:
        current.say("face 1")
        current.note = "3 samples"
    return stream.getvalue()


def test_a_file_gets_one_line_for_a_finished_stage():
    assert re.fullmatch(r"  embedding +\d+\.\d s  3 samples\n", shown(io.StringIO()))


def test_a_terminal_sees_the_steps_on_one_line_that_is_rewritten():
    text = shown(Terminal())
    assert "face 1" in text and text.count("\n") == 1 and "\r" in text


def test_two_stages_at_the_same_time_end_in_a_line_each():
    stream = Terminal()
    with stage("first", stream) as first, stage("second", stream) as second:
        first.say("a step")
        second.note = "done"
    on_screen = [line.rpartition("\r\x1b[K")[2] for line in stream.getvalue().split("\n")[:-1]]
    assert [line.split()[0] for line in on_screen] == ["second", "first"]
    assert "\x1b[K  second" in stream.getvalue(), "the line of the first stage is cleared before"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_quiet_shows_nothing(stream):
    set_detail("quiet")
    assert shown(stream()) == ""


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_verbose_shows_each_step_as_a_line(stream):
    set_detail("verbose")
    text = shown(stream())
    assert "\r" not in text and [line.split()[1] for line in text.splitlines()][:1] == ["face"]
    assert text.count("\n") == 2


def test_verbose_counts_are_not_a_line_for_every_step(monkeypatch):
    set_detail("verbose")
    stream = io.StringIO()
    clock = iter([100.0, 101.0, 103.0, 106.0, 107.0, 110.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with stage("embedding", stream) as current:
        for done in range(1, 5):
            current.advance(done, 4)
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["1/4,", "3/4,", "10.0"]


def test_a_stage_that_fails_leaves_no_line():
    stream = io.StringIO()
    with pytest.raises(ValueError, match="no"), stage("embedding", stream):
        raise ValueError("no")
    assert stream.getvalue() == ""


def test_the_line_of_a_stage_that_fails_is_removed_from_a_terminal():
    stream = Terminal()
    with pytest.raises(KeyError), stage("download", stream):
        raise KeyError
    assert stream.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize("detail", ["normal", "quiet"])
def test_a_line_of_instructions_shows_a_text_once_also_when_quiet(detail):
    set_detail(detail)
    stream = io.StringIO()
    line = ProgressLine(stream)
    for text in ("look left", "look left", "look right"):
        line.say(text)
    assert stream.getvalue() == "look left\nlook right\n"
