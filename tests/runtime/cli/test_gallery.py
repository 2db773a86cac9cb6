"""rkface gallery as a program and a shell use it: JSON on stdout, commands to copy, several people at once."""

import json
import shlex

import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample


@pytest.fixture
def gallery(tmp_path):
    """A gallery of three people, in a folder whose name has a space."""
    path = tmp_path / "my gallery" / "people.sqlite"
    path.parent.mkdir()
    with Gallery(path, "0" * 32, create=True) as gallery:
        for index, name in enumerate(("Ada", "Grace", "Hedy")):
            gallery.add(name, [Sample(np.eye(8, dtype=np.float32)[index], None, 0.9, f"{name}.jpg")])
    return path


@pytest.fixture
def rkface(capsys, gallery):
    """Runs an action on the gallery: exit code, what --json printed, stderr."""

    def run(*arguments):
        code = main(["gallery", *map(str, arguments), "--gallery", str(gallery), "--json"])
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return run


def test_each_action_that_reports_prints_json_and_nothing_else(rkface, gallery):
    code, people, _ = rkface("list")
    assert code == 0 and [person["name"] for person in people] == ["Ada", "Grace", "Hedy"]
    code, [shown], _ = rkface("show", "Ada")
    assert (code, shown["name"], len(shown["samples"])) == (0, "Ada", 1) and "embedding" not in shown["samples"][0]
    code, [made], _ = rkface("backup")
    assert code == 0
    assert rkface("backup", "--list")[1] == [{"backups": [{"path": made["backup"], "exists": True}]}]
    code, [forgotten], _ = rkface("forget", "--yes", "Ada", "Grace")
    assert code == 0 and [person["name"] for person in forgotten["forgotten"]] == ["Ada", "Grace"]
    assert forgotten["left"] == []
    code, [checked], _ = rkface("check")
    assert (code, checked["people"], checked["problems"], checked["left"]) == (0, 1, [], [])
    code, [restored], _ = rkface("restore", made["backup"])
    assert code == 0 and restored["gallery"] == str(gallery) and restored["previous"]
    assert [person["name"] for person in rkface("list")[1]] == ["Hedy"]


def test_an_import_prints_a_verdict_a_line(rkface, tmp_path):
    (tmp_path / "people.csv").write_text("name,photo\nIda,ida.jpg\n")
    code, [verdict], err = rkface("import", tmp_path / "people.csv")
    assert code == 1 and (verdict["status"], verdict["person"]) == ("refused", "Ida") and "1 refused" in err


def test_nobody_is_forgotten_if_one_name_is_unknown(rkface):
    code, out, err = rkface("forget", "--yes", "Ada", "Nobody")
    assert (code, out) == (2, []) and "Nobody" in err
    assert len(rkface("list")[1]) == 3


def test_a_command_to_copy_has_its_paths_quoted_for_the_shell(rkface, gallery):
    _, _, err = rkface("show", "Zoe")
    command = err.split("`")[1]
    assert shlex.split(command) == ["rkface", "gallery", "list", "--gallery", str(gallery)]


def test_an_export_to_a_place_that_cannot_be_used_is_refused(capsys, gallery, tmp_path):
    taken = tmp_path / "notes.txt"
    taken.write_text("mine")
    for option in ("--crops", "--out"):
        code = main(["gallery", "export", "--gallery", str(gallery), option, str(taken)])
        out, err = capsys.readouterr()
        assert (code, out) == (2, "") and f"{option} {taken}: File exists: name a" in err
    assert taken.read_text() == "mine"


def test_samples_to_remove_are_numbers(rkface, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["gallery", "remove", "Ada", "first"])
    assert exit.value.code == 2
    assert "argument SAMPLE: must be a whole number, 1 or greater, not 'first'" in capsys.readouterr().err


def test_no_text_of_a_gallery_is_executed_by_a_terminal(gallery, capsys):
    with Gallery(gallery) as opened:
        opened.add("Ada", [], {"room": "\x1b]0;owned\x07", "desk": "\u202e3"})
        with opened.transaction() as database:
            database.execute("UPDATE person SET name = ? WHERE name = 'Grace'", ["Gr\x1b[2Jace"])
            database.execute("UPDATE sample SET source = ?", ["\x9b2J.jpg"])
    shown = []
    for action in (["list"], ["show", "Ada"], ["check"], ["backup", "--list"]):
        main(["gallery", *action, "--gallery", str(gallery)])
        shown += capsys.readouterr()
    assert "room: ?]0;owned?" in "".join(shown)
    assert not set("".join(shown)) & set("\x1b\x07\x9b\u202e")
