"""When a camera is on: its schedule, and what somebody has switched. And what is stored of it and of its zones."""

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.weekly import WeeklyHours, includes
from rkface.runtime.service.camera_changes import CameraArea, CameraSchedule, Switched, is_on, switch_state
from rkface.runtime.service.live_settings import LiveSettings, changes_path, load_changes, save_changes
from rkface.runtime.service.settings import CameraSettings, Polygon, Settings

WHEN = 1_800_000_000.0
TRIANGLE = Polygon(((0.0, 0.0), (1.0, 0.0), (0.25, 1.0)))
AREA = CameraArea(0.1, True, {'my "steps"': TRIANGLE}, {"street": TRIANGLE, "sky": TRIANGLE})
NIGHT = CameraSettings("0", schedule={"night": WeeklyHours(hours=("22:00-06:00",), time_zone="Europe/Warsaw")})
ALWAYS = CameraSettings("0")


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Warsaw")).timestamp()


@pytest.fixture
def settings(tmp_path):
    return Settings(gallery=tmp_path / "gallery.sqlite", camera={"front door": ALWAYS, "yard": NIGHT})


def test_a_camera_follows_its_schedule_until_somebody_switches_it():
    evening, noon = at("2026-11-27 23:00"), at("2026-11-27 12:00")
    assert is_on(NIGHT, None, evening) and not is_on(NIGHT, None, noon) and is_on(ALWAYS, None, noon)
    on = Switched(True, noon)
    assert is_on(NIGHT, on, noon) and is_on(NIGHT, on, at("2026-11-27 21:59"))
    assert switch_state(NIGHT, on, noon).until == at("2026-11-27 22:00")
    off = Switched(False, evening)
    assert not is_on(NIGHT, off, at("2026-11-28 05:59")) and not is_on(NIGHT, off, at("2026-11-28 06:00"))
    assert switch_state(NIGHT, off, evening).manual and not switch_state(NIGHT, off, at("2026-11-28 06:00")).manual
    assert is_on(NIGHT, off, at("2026-11-28 22:00")), "the schedule decides again"


def test_without_a_schedule_the_switch_holds():
    assert not is_on(ALWAYS, Switched(False, WHEN), WHEN + 1e8)
    assert switch_state(ALWAYS, Switched(False, WHEN), WHEN).until is None


def test_a_clock_that_is_not_set_does_not_undo_what_somebody_switched():
    noon = at("2026-11-27 12:00")
    assert not is_on(NIGHT, Switched(False, 100.0), at("2026-11-27 23:00")), "switched before the clock was set"
    assert is_on(NIGHT, Switched(True, noon), 100.0), "the clock is not set yet"


@given(st.integers(0, 10 * 86_400), st.integers(0, 10 * 86_400), st.booleans())
def test_a_switch_holds_until_the_next_scheduled_change(when, later, on):
    start = int(at("2026-11-20 00:00"))
    schedule, switched = list(NIGHT.schedule.values()), Switched(on, start + when)
    now = start + when + later
    before = includes(schedule, start + when)
    changed = any(includes(schedule, moment) != before for moment in (*range(start + when, now, 1800), now))
    assert is_on(NIGHT, switched, now) == (includes(schedule, now) if changed else on)


@pytest.mark.parametrize("schedule", [CameraSchedule({}), CameraSchedule({'at "home"': NIGHT.schedule["night"]})])
def test_a_schedule_of_the_console_replaces_that_of_the_configuration(settings, schedule):
    evening, noon = at("2026-11-27 23:00"), at("2026-11-27 12:00")
    off = load_changes(settings).with_switch("front door", False, noon).with_switch("yard", False, noon)
    changed = off.with_schedule("yard", schedule, noon).with_schedule("front door", schedule, noon)
    save_changes(changed)
    again = load_changes(settings)
    assert again.problems == () and again.cameras == changed.cameras
    assert again.current.camera["yard"].schedule == schedule.hours
    for camera in ("yard", "front door"):
        assert again.is_on(camera, evening) and again.is_on(camera, noon) == (not schedule.hours), "the switch ended"
        setup = again.camera_setup(camera, noon)
        assert (setup.schedule, setup.schedule_source) == (schedule.hours, "console") and setup.schedule_changed
    assert not again.with_switch("yard", False, evening).is_on("yard", evening)
    back = again.with_schedule("yard", None, noon)
    assert back.camera_setup("yard", noon).schedule == NIGHT.schedule and not back.is_on("yard", noon)


def test_a_schedule_that_cannot_be_used_changes_nothing(settings):
    live = load_changes(settings)
    for name, hours, said in (
        ("a", WeeklyHours(hours=("22-6",)), "schedule.a: '22-6' are no hours of a day"),
        ("a", WeeklyHours(time_zone="Warsaw"), "did you mean Europe/Warsaw"),
        (" ", WeeklyHours(), "the name must be visible text"),
        ("a", WeeklyHours(hours=("22:00-06:00",) * 51), "may have 50 of them"),
    ):
        with pytest.raises(InputError, match=said):
            live.with_schedule("yard", CameraSchedule({name: hours}), WHEN)


def test_what_was_changed_is_the_same_after_a_restart(settings):
    live = load_changes(settings).with_area("front door", AREA, WHEN).with_switch("yard", False, WHEN)
    save_changes(live.changed({"keep.appearances": 2.0}, WHEN))
    again = load_changes(settings)
    assert again.problems == () and again.cameras == live.cameras and again.current.keep.appearances == 2.0
    current = again.current.camera["front door"]
    assert current == replace(ALWAYS, min_face=0.1, hide_masks=True, zones=AREA.zones, masks=AREA.masks)
    assert not again.is_on("yard", WHEN) and again.camera_setup("front door", WHEN).area_source == "console"
    save_changes(
        again.with_area("front door", None, WHEN)
        .with_switch("yard", None, WHEN)
        .changed({"keep.appearances": None}, WHEN)
    )
    assert load_changes(settings) == LiveSettings(settings)


def test_a_camera_that_is_not_configured_now_keeps_its_changes(settings):
    save_changes(load_changes(settings).with_area("front door", AREA, WHEN))
    other = replace(settings, camera={"yard": NIGHT})
    save_changes(load_changes(other).with_switch("yard", True, WHEN))
    assert load_changes(settings).current.camera["front door"].min_face == 0.1


@pytest.mark.parametrize(
    "content, said",
    [
        ("camera = 3", "camera must be a table"),
        ("[camera.yard.area.zones.a]\npoints = [[0, 0], [1, 1], [1, 0], [0, 1]]", "zones.a.points: the edges from"),
        ("[camera.yard.area]\nmin_face = 9", "min_face is 9.0, but must be from 0 to 1"),
        ("[camera.yard]\nswitched = { on = 1, time = 1.0 }", "camera.yard.switched.on is 1, but must be true or false"),
        ("[camera.yard]\nswitched = { on = true, time = 1e300 }", "camera.yard.switched.time is no time"),
        ("[camera.yard]\nswitched = { on = true }", "camera.yard.switched.time is missing"),
        ("[camera.yard]\nno = 1", "unknown key camera.yard.no"),
    ],
)
def test_a_damaged_change_of_a_camera_does_not_count(settings, content, said):
    changes_path(settings.gallery).write_text(content)
    live = load_changes(settings)
    assert said in " ".join(live.problems) and live.current == settings and live.is_on("front door", WHEN)


def test_an_area_that_cannot_be_used_is_refused(settings):
    crossed = Polygon(((0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)))
    for area, said in ((CameraArea(zones={"a": crossed}), "cross"), (CameraArea(min_face=float("nan")), "min_face")):
        with pytest.raises(InputError, match=said):
            load_changes(settings).with_area("yard", area, WHEN)


def test_config_show_names_the_changes_of_the_console(settings, tmp_path, capsys):
    path = tmp_path / "rkface.toml"
    path.write_text('gallery = "gallery.sqlite"\n[camera.yard]\nsource = "0"\n')
    save_changes(load_changes(settings).with_area("yard", AREA, WHEN))
    assert main(["config", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "min_face = 0.1  # changed in the console at 2027-01-15 08:00 UTC" in shown
    assert "[camera.yard.masks.street]" in shown
