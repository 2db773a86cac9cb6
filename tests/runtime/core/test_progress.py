import io

import pytest

from rkface.runtime.core.progress import ProgressLine, set_quiet, stage


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def quiet():
    set_quiet(True)
    yield
    set_quiet(False)


def test_a_finished_stage_is_one_line_with_its_note():
    stream = io.StringIO()
    with stage("download", stream) as shown:
        shown.advance(1, 2)
        shown.note = "275 MB"
    [line] = stream.getvalue().splitlines()
    assert line.split() == ["download", line.split()[1], "s", "275", "MB"]


def test_nothing_remains_of_a_stage_that_fails():
    stream = Terminal()
    with pytest.raises(KeyError), stage("download", stream):
        raise KeyError
    assert stream.getvalue().endswith("\r\x1b[K")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_quiet_shows_no_progress(stream):
    with stage("download", stream) as shown:
        shown.advance(1, 2)
    line = ProgressLine(stream)
    line.say("look left")
    line.clear()
    assert stream.getvalue() == ""


def test_a_line_shows_a_text_once():
    stream = io.StringIO()
    line = ProgressLine(stream)
    for text in ("look left", "look left", "look right"):
        line.say(text)
    assert stream.getvalue() == "look left\nlook right\n"
