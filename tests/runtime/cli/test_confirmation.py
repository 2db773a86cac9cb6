"""Commands that cannot be undone ask on a terminal, and refuse without one unless --yes is given."""

import os
import sys

import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample


@pytest.fixture
def gallery(tmp_path):
    path = tmp_path / "gallery.sqlite"
    with Gallery(path, "0" * 32, create=True) as gallery:
        for index, name in enumerate(("Ada", "Grace")):
            gallery.add(name, [Sample(np.eye(8, dtype=np.float32)[index], None, 0.9, f"{index}.jpg")])
    return path


@pytest.fixture
def typed(monkeypatch):
    """``typed(text)``: the standard input and the standard error are a terminal on which somebody types ``text``. The
    function that it returns reads what the terminal has shown."""
    opened = []

    def start(text):
        outer, inner = os.openpty()
        own = os.fdopen(inner, "r", encoding="utf-8"), os.fdopen(os.dup(inner), "w", encoding="utf-8")
        opened.extend(own)
        monkeypatch.setattr(sys, "stdin", own[0])
        monkeypatch.setattr(sys, "stderr", own[1])
        os.write(outer, text.encode())

        def shown():
            own[1].write("\0")  # the end: the terminal may pass on what was written in several pieces
            own[1].flush()
            text = b""
            while not text.endswith(b"\0"):
                text += os.read(outer, 4096)
            return text[:-1].decode()

        return shown

    yield start
    for one in opened:
        one.close()


def people(path):
    with Gallery(path) as gallery:
        return [person.name for person in gallery.people()]


COMMANDS = {
    "forget": (["forget", "Ada"], "delete Ada (1 sample), here and in all backups, forever"),
    "merge": (
        ["merge", "Ada", "Grace"],
        "merge Ada (1 sample) into Grace (1 sample), which cannot be undone",
    ),
}


@pytest.mark.parametrize(("action", "what"), COMMANDS.values(), ids=COMMANDS)
def test_what_cannot_be_undone_is_refused_where_nobody_can_be_asked(gallery, capsys, action, what):
    command = ["gallery", *action, "--gallery", str(gallery)]
    before = people(gallery)
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == "" and f"this would {what}: add --yes to confirm" in err and people(gallery) == before
    assert main([*command, "--yes"]) == 0
    assert len(people(gallery)) == 1


@pytest.mark.parametrize(
    ("text", "code", "left"), [("y\n", 0, 1), ("YES\n", 0, 1), ("n\n", 1, 2), ("\n", 1, 2), ("\x04", 1, 2)]
)
def test_what_cannot_be_undone_is_done_after_a_yes_on_the_terminal(gallery, typed, text, code, left):
    shown = typed(text)
    assert main(["gallery", "forget", "Ada", "--gallery", str(gallery)]) == code
    assert "Delete Ada (1 sample), here and in all backups, forever? [y/N] " in (seen := shown())
    assert ("nothing was changed" in seen) == (code == 1) and len(people(gallery)) == left


def test_a_question_that_nobody_would_see_is_not_asked(gallery, typed, capsys, monkeypatch):
    """The terminal is the standard input only: stderr goes to a file."""
    stderr = sys.stderr
    typed("y\n")
    monkeypatch.setattr(sys, "stderr", stderr)
    assert main(["gallery", "forget", "Ada", "--gallery", str(gallery)]) == 2
    assert "--yes" in capsys.readouterr().err and len(people(gallery)) == 2
