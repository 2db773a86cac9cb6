"""The page Rules, and groups on the page of a person, in a real browser."""

import pytest

from . import chromium

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium.program() is None, reason="needs Chromium")]


def unexpected(page):
    """Problems except refused rules, and the missing picture of Ada."""
    return [one for one in page.problems if "/v1/rules/" not in one and not one.endswith("/face")]


def test_a_rule_is_made_tried_switched_off_and_deleted(page, address, service, shot):
    ada = service.gallery.add("Ada", [])
    page.open(f"{address}/#/rules")
    page.shows("There are no rules yet")
    page.click("a.button", "New rule…")
    page.until("Boolean(document.getElementById('rule-name'))")
    page.fill("#rule-name", "night")
    page.click("label.choice", "Monday")
    page.click("main form button", "Add a person…")
    page.until("document.querySelectorAll('dialog li button').length > 0")
    page.click("dialog li button", "Ada")
    page.fill("#rule-hours", "22-6")
    page.fill("#rule-zone", "Europe/Warsaw")
    page.click("button.main", "Save")
    page.shows("Hours: '22-6' are no hours of a day", "main [role=alert]")
    shot("rule-wrong")
    page.fill("#rule-hours", "22:00-06:00, 12:00-13:00")
    page.click("main form button", "Would have sent…")
    page.shows("It would have sent", "main form")
    page.click("button.main", "Save")
    page.shows("When a stranger or Ada is seen by any camera on Monday from 22:00 to 06:00 of the next day and")
    (rule,) = service.rules.list_rules()
    assert (rule.name, rule.rule.who) == ("night", ("stranger", f"person:{ada.id}"))
    shot("rules")
    page.click("main section button", "Switch off")
    page.shows("Switched off: when a stranger")
    page.until("document.activeElement.innerText === 'Switch on'")  # the focus stays where it was
    page.click("main section a.button", "Change…")
    page.until("document.querySelector('#rule-hours')?.value === '22:00-06:00, 12:00-13:00'")
    for dark in (False, True):
        page.look(360, 780, dark=dark, phone=True)
        wide = page.run("document.documentElement.scrollWidth")
        shot(f"rule-phone-{'dark' if dark else 'light'}")
        assert wide <= 360, f"{wide} pixels wide"
    page.look(1280, 800)
    page.click("a.button", "Cancel")
    page.click("main section button", "Delete…")
    page.click("dialog button", "Delete")
    page.shows("There are no rules yet")
    assert service.rules.list_rules() == [] and unexpected(page) == []
    service.erasure.forget(ada.id)


def test_a_person_joins_and_leaves_a_group(page, address, service, shot):
    ada = service.gallery.add("Ada", [])
    page.open(f"{address}/#/people/{ada.id}")
    page.shows("Add to a group")
    page.fill("#group", "family")
    page.press("Enter")
    page.until("document.querySelector('[aria-label=Groups] li')?.innerText.includes('family')")
    assert service.gallery.person(ada.id).groups == ("family",)
    shot("person-groups")
    page.click("[aria-label=Groups] button", "Remove")
    page.until("!document.querySelector('[aria-label=Groups] li')")
    assert service.gallery.person(ada.id).groups == () and unexpected(page) == []
    service.erasure.forget(ada.id)
