"""Rules: whom and what they are about, how they are explained, and what is wrong with them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkface.runtime.alerts.check import find_rule_mistakes
from rkface.runtime.alerts.dry_run import dry_run
from rkface.runtime.alerts.matching import STRANGER, SeenPerson, is_about, is_there
from rkface.runtime.alerts.rule import Rule
from rkface.runtime.alerts.words import in_time, in_words
from rkface.runtime.core.weekly import DAYS
from rkface.runtime.gallery.match import Match
from rkface.runtime.tracking.appearance import Appearance

NOON = 1_795_780_800.0  # Friday 2026-11-27 12:00 UTC
ADA = SeenPerson(frozenset({"ada", "augusta"}), frozenset({"family"}))


def seen(id="a", person=None, source="door", started=NOON, ended=0.0):
    match = Match(person, f"Name of {person}", 0.7) if person else None
    stage = "end" if ended else "start"
    return Appearance(id, source, stage, match, 0.4, started, started, ended, (0, 0, 1, 1), 0.9, 0.8, 5)


@pytest.mark.parametrize(
    ("who", "ada", "stranger"),
    [
        (("anybody",), True, True),
        (("known",), True, False),
        (("stranger",), False, True),
        (("person:ada",), True, False),
        (("person:augusta",), True, False),  # who was merged into Ada
        (("person:grace",), False, False),
        (("group:family",), True, False),
        (("group:Family",), False, False),
        (("person:grace", "stranger"), False, True),
    ],
)
def test_whom_a_rule_is_about(who, ada, stranger):
    assert (is_about(Rule(who=who), ADA), is_about(Rule(who=who), STRANGER)) == (ada, stranger)


def test_a_rule_for_cameras_is_not_about_other_cameras():
    assert is_there(Rule(), seen()) and is_there(Rule(cameras=("yard", "door")), seen())
    assert not is_there(Rule(cameras=("yard",)), seen())


def test_a_rule_in_words():
    rule = Rule(
        who=("stranger", "group:postmen", "person:ada", "person:gone"),
        cameras=("door", "yard"),
        days=("mon", "tue", "wed", "fri", "sun", "sat"),
        hours=("22:00-06:00", "12:00-13:00"),
        time_zone="Europe/Warsaw",
        cooldown=600,
        receivers=("mqtt", "webhook"),
    )
    assert in_words(rule, {"ada": "Ada Lovelace"}) == (
        "When a stranger, a member of the group postmen, Ada Lovelace or the person gone is seen by door or yard on "
        "Monday to Wednesday and Friday to Sunday from 22:00 to 06:00 of the next day and from 12:00 to 13:00 "
        "(Europe/Warsaw), tell mqtt and webhook, for each person and strangers at each camera at most once in "
        "10 minutes."
    )
    assert in_words(Rule(cooldown=0, enabled=False), {}) == (
        "Switched off: when anybody is seen by any camera at any time, tell nobody (it has no receivers) each time."
    )


def test_times_in_words():
    assert [in_time(one) for one in (1, 90, 60, 3600, 5400, 86_400, 0.5)] == [
        "1 second", "90 seconds", "1 minute", "1 hour", "90 minutes", "1 day", "0.5 seconds",
    ]  # fmt: skip


def mistakes(name="night", **fields):
    return list(find_rule_mistakes(name, Rule(**fields), ("door", "yard"), ("stdout", "mqtt")))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"who": ("strangers",)}, "rules.night.who is 'strangers': did you mean stranger?"),
        ({"who": ("Ada",)}, "rules.night.who is 'Ada': write anybody, known, stranger, group:NAME or person:ID"),
        ({"who": ("group:",)}, "rules.night.who: 'group:' names no group"),
        ({"who": ("person:",)}, "rules.night.who: 'person:' names nobody"),
        ({"who": ()}, "rules.night.who is empty"),
        ({"cameras": ("dor",)}, "rules.night.cameras: there is no camera 'dor': did you mean door?"),
        ({"receivers": ("matrix",)}, "rules.night.receivers: there is no receiver 'matrix': there are stdout, mqtt"),
        ({"hours": ("22-6",)}, "rules.night.hours: '22-6' are no hours of a day"),
        ({"hours": ("08:00-08:00",)}, "rules.night.hours: 08:00-08:00 begins and ends at the same time"),
        (
            {"time_zone": "Warsaw"},
            "rules.night.time_zone: there is no time zone 'Warsaw' on this machine: did you mean",
        ),
        ({"zones": ("",)}, "rules.night.zones: '' is not the name of a zone"),
        ({"who": ("anybody",) * 101}, "rules.night.who has 101 entries"),
        ({"hours": ("\ud800",)}, "must be visible text, at most 300 characters"),
        ({"cooldown": float("nan")}, "rules.night.cooldown is nan, but must be from 0 to 86400 seconds"),
        ({"name": "a/b"}, "the name of a rule must be visible text without /"),
        ({"name": "a\nb"}, "rules.a?b: the name of a rule must be visible text"),
        ({"name": "n" * 101}, "the name of a rule must be visible text"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_the_fix(fields, said):
    (found,) = mistakes(**fields)
    assert said in found


def test_a_right_rule_has_no_mistakes():
    rule = {"who": ("group:family",), "cameras": ("door",), "days": DAYS, "hours": ("22:00-06:00",)}
    assert mistakes(**rule, receivers=("mqtt",)) == mistakes() == []
    assert list(find_rule_mistakes("night", Rule(cameras=("any",)), (), ())) == [], "cameras of the command line"


@given(
    st.text(max_size=20),
    st.builds(
        Rule,
        who=st.lists(st.text(max_size=12), max_size=3).map(tuple),
        cameras=st.lists(st.text(max_size=12), max_size=3).map(tuple),
        hours=st.lists(st.text(max_size=12), max_size=3).map(tuple),
        time_zone=st.text(max_size=12),
        receivers=st.lists(st.text(max_size=12), max_size=3).map(tuple),
    ),
)
def test_any_rule_is_explained_or_refused_and_no_sentence_has_hidden_characters(name, rule):
    found = list(find_rule_mistakes(name, rule, ("door",), ("mqtt",)))
    sentences = found or [in_words(rule, {})]
    assert all("\n" not in one and "\x1b" not in one and len(one) < 2000 for one in sentences)


def run(rule, *appearances):
    return dry_run(rule, [(one.started, one) for one in appearances], lambda one: ADA if one.match else STRANGER)


def test_a_dry_run_counts_what_the_rule_would_have_sent():
    rule = Rule(who=("stranger",), cooldown=300)
    log = [
        seen("a"),
        seen("b", started=NOON + 60),  # within the cool-down
        seen("c", started=NOON + 90, source="yard"),  # another camera
        seen("d", started=NOON + 120, person="ada"),
        seen("e", started=NOON + 300),
    ]
    result = run(rule, *log)
    assert [one.id for one in result.alerts] == ["a", "c", "e"]
    assert (result.appearances, result.quiet) == (5, 1)
    assert [one.id for one in run(replace(rule, cooldown=0, enabled=False), *log).alerts] == ["a", "b", "c", "e"]


def test_a_dry_run_counts_people_who_stay_until_the_hours_begin():
    rule = Rule(hours=("14:00-14:30",), time_zone="UTC", cooldown=0)
    stayed, left = seen("a", ended=NOON + 3 * 3600), seen("b", ended=NOON + 3600)
    assert [one.id for one in run(rule, stayed, left).alerts] == ["a"]
