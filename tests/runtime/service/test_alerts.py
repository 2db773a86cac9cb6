"""Alerts of the running service: once for an appearance, when a rule applies first, and not within the cool-down."""

import pytest

from rkface.runtime.alerts.rule import Rule
from rkface.runtime.gallery.backup import forget
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.groups import add_to_group
from rkface.runtime.gallery.match import Match
from rkface.runtime.service.alert_history import AlertHistory, read_last_days
from rkface.runtime.service.alerts import Alerts
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.erasure import erase_from_log
from rkface.runtime.service.problems import Problems
from rkface.runtime.service.settings import DAY, Keep
from rkface.runtime.tracking.appearance import Appearance

NOON = 1_795_780_800.0  # Friday 2026-11-27 12:00 UTC


class Clocks:
    """The monotonic clock, and a wall clock that is ``wrong`` by so many seconds."""

    def __init__(self):
        self.now, self.wrong = NOON, 0.0

    def monotonic(self):
        return self.now - NOON

    def wall(self):
        return self.now + self.wrong


class House:
    """A service's alerts, with a gallery and a log."""

    def __init__(self, folder, **rules):
        self.rules, self.clocks, self.sent, self.problems = rules, Clocks(), [], Problems()
        self._folder = folder
        self.gallery = Gallery(folder / "gallery.sqlite", "1" * 32, create=True)
        self.ada = self.gallery.add("Ada", [])
        self._next = 0
        self.start()

    def start(self):
        self.log = AppearanceLog(self._folder / "log", clock=self.clocks.monotonic, wall=self.clocks.wall)
        self.alerts = Alerts(
            lambda: self.rules, self.gallery, AlertHistory(self.log), self.problems, self._send,
            clock=self.clocks.monotonic, wall=self.clocks.wall,
        )  # fmt: skip

    def restart(self, away=0.0):
        self.log.close()
        self.clocks.now += away
        self.start()

    def close(self):
        self.log.close()
        self.gallery.close()

    def _send(self, alert):
        self.sent.append((alert.rule, alert.appearance.id))
        return len(alert.receivers)

    def stage(self, id, stage="start", person=None, source="door", passed=1.0, **more):
        """The next stage of an appearance, ``passed`` seconds after the last one."""
        self.clocks.now += passed
        match = Match(person.id, person.name, 0.7) if person else None
        now = self.clocks.wall()
        shown = Appearance(
            id, source, stage, match, 0.4, more.pop("started", now - 1), now, now if stage == "end" else 0.0,
            (0, 0, 1, 1), 0.9, 0.8, 5,
        )  # fmt: skip
        self.alerts.note(shown, **more)
        return shown

    def on_disk(self):
        return b"".join(path.read_bytes() for path in self._folder.glob("log*")).decode("latin-1")

    def take(self):
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def house(tmp_path):
    houses = []

    def build(**rules):
        houses.append(House(tmp_path, **rules))
        return houses[0]

    yield build
    for one in houses:
        one.close()
        assert list(one.problems) == []


def test_an_alert_is_sent_once_for_an_appearance(house):
    home = house(door=Rule(cooldown=0), yard=Rule(cameras=("yard",), cooldown=0))
    for stage in ("start", "update", "update", "end"):
        home.stage("a", stage)
    assert home.take() == [("door", "a")]
    home.stage("b", source="yard")
    assert home.take() == [("door", "b"), ("yard", "b")]


def test_an_alert_is_sent_when_the_person_is_recognized_at_a_later_stage(house):
    home = house(ada=Rule(who=("known",)), stranger=Rule(who=("stranger",)))
    home.stage("a")
    home.stage("a", "update", home.ada)
    home.stage("a", "end", home.ada)
    assert home.take() == [("stranger", "a"), ("ada", "a")]
    home.stage("b", "end", home.ada, source="yard", passed=1000)
    assert home.take() == [("ada", "b")], "an appearance that is reported only at its end"


def test_a_person_who_is_corrected_to_a_stranger_is_a_stranger(house):
    home = house(stranger=Rule(who=("stranger",)))
    home.stage("a", person=home.ada)
    home.stage("a", "update")
    assert home.take() == [("stranger", "a")]


def test_a_person_who_was_deleted_is_not_a_stranger(house):
    home = house(stranger=Rule(who=("stranger",)))
    home.stage("a", person=home.ada)
    home.stage("a", "end", deleted=True)
    assert home.take() == []


def test_a_renamed_or_merged_person_is_the_same_person(house):
    home = house()
    grace = home.gallery.add("Grace", [])
    home.rules = {"ada": Rule(who=(f"person:{home.ada.id}",), cooldown=0)}
    home.gallery.rename(home.ada, "Ada King")
    home.stage("a", person=home.ada)
    home.gallery.merge(home.ada, into=grace)
    home.stage("b", person=grace)
    assert home.take() == [("ada", "a"), ("ada", "b")]


def test_a_person_who_joins_a_group_while_in_view_causes_an_alert(house):
    home = house(family=Rule(who=("group:family",)))
    home.stage("a", person=home.ada)
    home.alerts.tick({"a"})
    assert home.take() == []
    add_to_group(home.gallery, "family", [home.ada])
    home.alerts.tick({"b"})
    assert home.take() == [], "she is out of view"
    home.alerts.tick({"a"})
    home.alerts.tick({"a"})
    assert home.take() == [("family", "a")]


def test_the_cool_down_is_for_each_person_and_for_strangers_at_each_camera(house):
    home = house(all=Rule(cooldown=300), attic=Rule(cameras=("attic",)))  # the second one has never applied
    grace = home.gallery.add("Grace", [])
    home.stage("a", person=home.ada)
    home.stage("b", person=home.ada, source="yard")
    home.stage("c", person=grace)
    home.stage("d")
    home.stage("e")
    home.stage("f", source="yard")
    assert [id for _, id in home.take()] == ["a", "c", "d", "f"]
    home.stage("b", "update", home.ada, source="yard", passed=300)
    assert home.take() == [], "an appearance that began in the cool-down stays silent"
    home.stage("g", person=home.ada)
    assert home.take() == [("all", "g")]


@pytest.mark.parametrize("jump", [-40 * 365 * DAY, -3600.0, 3600.0, 40 * 365 * DAY])
def test_a_clock_that_jumps_neither_ends_nor_extends_a_cool_down(house, jump):
    home = house(all=Rule(cooldown=300))
    home.stage("a")
    home.clocks.wrong = jump
    home.stage("b", passed=290)
    assert [id for _, id in home.take()] == ["a"]
    home.stage("c", passed=10)
    assert [id for _, id in home.take()] == ["c"]


def test_a_restart_neither_repeats_an_alert_nor_ends_the_cool_down(house):
    home = house(all=Rule(cooldown=300), each=Rule(cooldown=0))
    home.stage("a", person=home.ada)
    assert home.take() == [("all", "a"), ("each", "a")]
    home.restart(away=2)
    home.stage("a", "update", home.ada)
    assert home.take() == [], "the same appearance"
    home.stage("b", person=home.ada)
    assert home.take() == [("each", "b")]
    home.stage("c", person=home.ada, passed=300)
    assert home.take() == [("all", "c"), ("each", "c")]


def test_only_what_somebody_got_counts_as_sent(house):
    home = house(silent=Rule(who=("anybody",)), loud=Rule(who=("anybody",), receivers=("mqtt",), cooldown=0))
    for id in ("a", "b"):
        home.stage(id)
    assert len(home.sent) == 3, "the rule without a receiver has a cool-down, too"
    assert AlertHistory(home.log).counts() == {"loud": 2}


def test_a_person_who_stays_until_the_hours_begin_causes_an_alert_then(house):
    home = house(night=Rule(hours=("12:05-12:30",), time_zone="UTC"))
    home.stage("a", passed=0)
    home.clocks.now = NOON + 299
    home.alerts.tick({"a"})
    assert home.take() == []
    home.clocks.now = NOON + 300
    home.alerts.tick(set())
    assert home.take() == [], "nobody is in view"
    home.alerts.tick({"a"})
    assert home.take() == [("night", "a")]


def test_a_person_who_leaves_before_the_hours_begin_causes_none_when_the_end_is_reported(house):
    home = house(night=Rule(hours=("12:05-12:30",), time_zone="UTC"))
    home.stage("a", passed=290)
    gone = home.stage("b", passed=8, source="yard")
    home.clocks.now = NOON + 313
    home.alerts.note(Appearance(**{**vars(gone), "stage": "end", "ended": NOON + 298}))
    assert home.take() == []


def test_a_person_who_is_recognized_after_the_hours_was_there_in_the_hours(house):
    home = house(night=Rule(who=("known",), hours=("11:00-12:05",), time_zone="UTC"))
    home.stage("a", passed=290)
    home.stage("a", "update", home.ada, passed=20)
    assert home.take() == [("night", "a")]


def test_a_rule_that_is_switched_off_is_silent_and_one_that_is_switched_on_applies_to_who_is_in_view(house):
    home = house(all=Rule(enabled=False))
    home.stage("a")
    home.alerts.tick({"a"})
    assert home.take() == []
    home.rules = {"all": Rule()}
    home.alerts.tick({"a"})
    assert home.take() == [("all", "a")]


def test_alerts_are_sent_although_the_log_cannot_be_used_and_the_cool_down_holds(house):
    home = house(all=Rule(cooldown=300))
    home.log.close()
    home.stage("a")
    home.stage("b")
    assert home.take() == [("all", "a")]
    assert "closed" in next(iter(home.problems))
    home.start()
    home.stage("c", passed=300)
    assert home.take() == [("all", "c")]


def test_a_forgotten_person_leaves_no_byte_in_the_history_of_alerts(house):
    home = house(all=Rule())
    home.stage("a", person=home.ada)
    home.stage("b", source="yard")
    assert home.ada.id in home.on_disk()
    forget(home.gallery, home.ada)
    erase_from_log(home.gallery, home.log, Keep())
    assert home.ada.id not in home.on_disk()
    assert home.log.read("SELECT appearance FROM alert") == [("b",)], "other alerts stay"


def test_the_history_is_kept_as_long_as_appearances_and_for_the_longest_cool_down(house):
    home = house(all=Rule(cooldown=86_400))
    home.stage("a")
    home.clocks.now += 0.9 * DAY
    erase_from_log(home.gallery, home.log, Keep(appearances=0))
    home.restart()
    home.stage("b")
    assert home.take() == [("all", "a")]
    home.clocks.now += 0.2 * DAY
    erase_from_log(home.gallery, home.log, Keep(appearances=0))
    assert home.log.read("SELECT 1 FROM alert") == []


def test_a_dry_run_reads_the_appearances_of_the_last_days(house):
    home = house()
    for id, passed in (("a", 0), ("b", 2 * DAY), ("c", 2 * DAY)):
        home.log.record(home.stage(id, passed=passed))
    found = [one.id for _, one in read_last_days(home.log, 3, home.clocks.wall())]
    assert found == ["b", "c"]
    assert [one.id for _, one in read_last_days(home.log, 3, 0.0)] == ["b", "c"], "although the clock is not set"
