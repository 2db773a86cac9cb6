"""What was changed in the console: only that is stored, for one gallery, and it can be undone."""

import json
from dataclasses import replace

import pytest

from rkface.runtime.alerts.rule import Rule
from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError
from rkface.runtime.service.alert_rules import find_doubts
from rkface.runtime.service.live_settings import (
    LiveSettings,
    changes_path,
    load_changes,
    log_sources,
    save_changes,
    take_over_old_file,
)
from rkface.runtime.service.settings import CameraSettings, Events, Keep, Recognition, Settings

WHEN = 1_800_000_000.0


@pytest.fixture
def settings(tmp_path):
    return Settings(gallery=tmp_path / "gallery.sqlite", recognition=Recognition(window=30.0))


def stored(settings, values):
    live = load_changes(settings).changed(values, WHEN)
    save_changes(live)
    return changes_path(settings.gallery).read_text()


def test_only_what_was_changed_is_stored_and_the_rest_follows_the_configuration(settings):
    text = stored(settings, {"recognition.match": 0.5})
    assert "match = 0.5" in text and "window" not in text and "keep" not in text
    later = replace(settings, recognition=Recognition(match=0.3, window=60.0), keep=Keep(appearances=7.0))
    current = load_changes(later).current
    assert current.recognition == Recognition(match=0.5, window=60.0) and current.keep == Keep(appearances=7.0)


def test_each_gallery_has_its_own_changes(settings, tmp_path):
    stored(settings, {"keep.appearances": 2.0})
    other = replace(settings, gallery=tmp_path / "other.sqlite")
    assert load_changes(other).changes == {} and load_changes(settings).current.keep.appearances == 2.0


def test_a_change_can_be_undone_by_null_and_by_the_value_of_the_configuration(settings):
    stored(settings, {"recognition.match": 0.5, "recognition.window": 5.0, "keep.appearances": 2.0})
    stored(settings, {"recognition.match": None, "recognition.window": 30.0})
    assert list(load_changes(settings).changes) == ["keep.appearances"]
    stored(settings, {"keep.appearances": None})
    assert load_changes(settings) == LiveSettings(settings)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"no.such": 1.0, "recognition.match": 3.0}, "no.such cannot be changed.*recognition.match is 3.0"),
        ({"no.such": None}, "no.such cannot be changed"),
        ({"recognition.window": True}, "must be a number"),
        ({"recognition.match": float("nan")}, "from 0 to 1"),
    ],
)
def test_wrong_values_change_nothing(settings, values, said):
    with pytest.raises(InputError, match=said):
        load_changes(settings).changed({"keep.appearances": 2.0, **values}, WHEN)


def test_the_source_of_each_value_is_known(settings):
    stored(settings, {"keep.appearances": 2.0})
    found = {one.key: one for one in load_changes(settings).list_settings()}
    assert {key: one.source for key, one in found.items()} == {
        "recognition.match": "default",
        "recognition.hysteresis": "default",
        "recognition.window": "configuration",
        "keep.appearances": "console",
        "keep.unknown_faces": "default",
        "keep.known_faces": "default",
        "keep.embeddings": "default",
        "keep.reviews": "default",
    }
    changed = found["keep.appearances"]
    assert (changed.value, changed.configured, changed.changed) == (2.0, 30.0, "2027-01-15 08:00 UTC")


def test_the_log_says_what_does_not_come_from_the_configuration(settings, caplog):
    stored(settings, {"keep.appearances": 2.0})
    with caplog.at_level("INFO"):
        log_sources(load_changes(settings))
    [said] = caplog.messages
    assert said.startswith("keep.appearances = 2, as changed in the console at 2027-01-15 08:00 UTC (")
    assert said.endswith("changed-gallery.sqlite.toml); the configuration says 30")


OLD = """# Written by the console; takes precedence over the configuration file.
[recognition]
match = 0.0
hysteresis = 0.05
window = 12.5

[keep]
appearances = 30.0
unknown_faces = 1.0
"""


@pytest.mark.parametrize("neighbor", [False, True])
def test_the_old_file_is_taken_over_without_what_the_configuration_says_too(settings, tmp_path, neighbor):
    (tmp_path / "changed.toml").write_text(OLD)
    if neighbor:
        (tmp_path / ".other.sqlite.lock").touch()
    live = load_changes(settings)
    assert {key: one.value for key, one in live.changes.items()} == {"recognition.window": 12.5}
    take_over_old_file(live)
    assert (tmp_path / "changed.toml").exists() == neighbor
    again = load_changes(settings)
    assert again.changes == live.changes and not again.from_old
    stored(settings, {"recognition.window": None})
    assert load_changes(settings).changes == {}, "the old file does not come back"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[recognition", b"recognition = 1", b"[recognition]\nmatch = true\n[keep]\nappearances = 1e999",
     b"[changed]\n1 = 2", b"changed = 3", b"[recognition]\nmatch = 0.5\n[changed]\n\"recognition.match\" = 3",
     b"a = " + b"[" * 3000, b"[keep]\nappearances = " + b"9" * 400],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_reported_and_not_fatal(settings, content):
    path = changes_path(settings.gallery)
    path.write_bytes(content)
    live = load_changes(settings)
    assert all(str(path) in problem for problem in live.problems)
    assert live.current.keep == settings.keep
    assert live.problems or live.changes or not content or b"changed" in content
    assert "window = 3.0" in stored(settings, {"recognition.window": 3.0})


def test_config_show_says_where_each_value_comes_from(settings, tmp_path, capsys):
    file = tmp_path / "rkface.toml"
    file.write_text('gallery = "gallery.sqlite"\n[recognition]\nwindow = 30.0\n[camera."front door"]\nsource = "x"\n')
    stored(settings, {"recognition.window": 3.0})
    assert main(["config", "show", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("window = 3.0  # changed in the console at 2027-01-15 08:00 UTC (") for line in lines)
    assert any(line.endswith("; otherwise 30.0") for line in lines)
    assert "hysteresis = 0.05  # default" in lines and 'source = "x"  # from rkface.toml' in lines
    assert main(["config", "show", str(file), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["recognition"]["window"] == 3.0 and shown["sources"]['camera."front door".rate'] == "default"
    shown = tmp_path / "shown.toml"
    main(["config", "show", str(file)])
    shown.write_text(capsys.readouterr().out)
    assert main(["config", "check", str(shown)]) == 0


def test_a_rule_that_was_made_or_changed_is_kept_over_a_restart_and_can_be_reset(settings):
    settings = replace(settings, rules={"day": Rule(hours=("08:00-17:00",))})
    night = Rule(who=('group:a "b"',), hours=("22:00-06:00",), days=("mon",), receivers=("stdout",), cooldown=0.0)
    off = replace(settings.rules["day"], enabled=False)
    save_changes(load_changes(settings).with_rule('night "1"', night).with_rule("day", off))
    live = load_changes(settings)
    assert live.problems == () and live.current.rules == {"day": off, 'night "1"': night}
    back = live.with_rule("day", None).with_rule('night "1"', None)
    assert back.current.rules == settings.rules
    assert live.with_rule("day", settings.rules["day"]).rules.rules.keys() == {'night "1"'}, "as in the configuration"


def test_a_rule_that_cannot_be_used_is_refused_and_one_in_the_file_does_not_count(settings):
    with pytest.raises(InputError, match="there is no receiver 'phone'"):
        load_changes(settings).with_rule("night", Rule(receivers=("phone",)))
    changes_path(settings.gallery).write_text(
        '[rules.night]\nhours = ["22-6"]\n[rules.day]\ncooldwn = 3\n[rules.all]\n'
    )
    live = load_changes(settings)
    assert live.current.rules == {"all": Rule()}
    assert len(live.problems) == 2 and all("it does not count" in one for one in live.problems)
    changes_path(settings.gallery).write_text("rules = 3\n")
    assert "rules must be a table" in load_changes(settings).problems[0]


def test_a_rule_of_a_camera_or_receiver_that_is_gone_is_not_lost(settings):
    cameras = {"door": CameraSettings("0")}
    rule = Rule(cameras=("door",), receivers=("stdout",))
    save_changes(load_changes(replace(settings, camera=cameras)).with_rule("night", rule))
    gone = replace(settings, camera={"yard": CameraSettings("0")}, events=Events(stdout=False))
    live = load_changes(gone)
    assert live.problems == () and live.current.rules == {"night": rule}
    assert list(find_doubts(rule, live.current, None)) == ["there is no camera door", "there is no receiver stdout"]
