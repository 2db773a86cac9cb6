"""Rules and groups on the command line: in words, and what they would have sent."""

import json

import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.log_files import log_path
from rkface.runtime.tracking.appearance import Appearance

RULES = """
gallery = "gallery.sqlite"
[camera.door]
source = "/dev/video0"
[rules.strangers]
who = ["stranger", "group:staff"]
cooldown = 0
receivers = ["stdout"]
[rules.ada]
who = ["person:Ada"]
hours = ["22:00-06:00"]
enabled = false
"""


@pytest.fixture
def file(tmp_path):
    """A configuration with rules, and its gallery with Ada."""
    (tmp_path / "rkface.toml").write_text(RULES)
    with Gallery(tmp_path / "gallery.sqlite", "1" * 32, create=True) as gallery:
        gallery.add("Ada", [])
    return tmp_path / "rkface.toml"


@pytest.fixture
def check(file, capsys):
    def run(*options):
        code = main(["config", "check", str(file), *options])
        return code, *capsys.readouterr()

    return run


def test_each_rule_is_explained_in_words_with_what_may_be_wrong(check):
    code, out, _ = check()
    lines = [line for line in out.splitlines() if line.startswith("rule ")]
    assert code == 0 and len(lines) == 5
    assert lines[0] == (
        "rule strangers: When a stranger or a member of the group staff is seen by any camera at any time, tell stdout "
        "each time."
    )
    assert lines[1] == "rule strangers: note: the group staff has no members"
    assert lines[2].startswith("rule ada: Switched off: when the person Ada is seen by any camera every day from 22:00")
    assert "nobody in the gallery has the id Ada: the id of Ada is " in lines[4]


def test_a_dry_run_says_what_the_rules_would_have_sent(check, file, capsys):
    code, _, err = check("--days", "7")
    assert code == 2 and "no appearances are logged yet" in err
    with AppearanceLog(log_path(file.with_name("gallery.sqlite"))) as log:
        for number in range(3):
            log.record(Appearance(f"a{number}", "door", "end", None, 0.4, 1e9, 1e9, 1e9, (0, 0, 1, 1), 0.9, 0.8, 5))
    _, out, _ = check("--days", "7")
    assert "rule strangers: in the last 7 days, it would have sent 3 alerts among 3 appearances\n" in out
    _, out, _ = check("--days", "7", "--json")
    found = {rule["name"]: rule["dry_run"] for rule in json.loads(out)["rules"]}
    assert (found["strangers"]["alerts"], found["strangers"]["quiet"], found["ada"]["alerts"]) == (3, 0, 0)
    with pytest.raises(SystemExit):
        check("--days", "week")
    assert "argument --days: must be a number from 0 to 3650" in capsys.readouterr().err


def test_a_mistake_in_a_rule_is_an_error_with_its_key(check, file):
    file.write_text(RULES.replace('"22:00-06:00"', '"22-6"') + 'time_zone = "Europe/Warsav"\n')
    code, _, err = check()
    assert code == 2
    assert "rules.ada.hours: '22-6' are no hours of a day" in err and "did you mean Europe/Warsaw?" in err


def test_people_are_put_into_groups(file, capsys):
    def group(*arguments):
        code = main(["gallery", "group", *arguments, "--gallery", str(file.with_name("gallery.sqlite"))])
        return code, *capsys.readouterr()

    assert group("add", "family", "Ada")[0] == 0
    assert group("list")[1].split() == ["family", "1", "person", "Ada"]
    assert json.loads(group("list", "--json")[1])["people"][0]["name"] == "Ada"
    assert group("rename", "family", "home")[0] == 0
    code, _, err = group("remove", "family", "Ada")
    assert code == 2 and "Ada does not belong to the group 'family'" in err
    assert group("add", "home", "Nobody")[0] == 2
    assert group("remove", "home", "Ada")[0] == 0 and group("list")[1] == ""
