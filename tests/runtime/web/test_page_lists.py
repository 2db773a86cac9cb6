"""Long lists in a real browser: filters and pages are in the address, people are found by name, several entries are
changed at once, people are merged and split with the keyboard."""

from datetime import datetime, timezone

import pytest

from rkface.runtime.gallery.match import Match
from rkface.runtime.service.sighting import Sighting
from rkface.runtime.tracking.appearance import Appearance

from . import chromium

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium.program() is None, reason="needs Chromium")]
NOON = datetime(2020, 1, 2, 12, tzinfo=timezone.utc).timestamp()  # the same day in every time zone of the browser
DAY = 86_400.0
ROWS = "document.querySelectorAll('main ul.rows > li').length"


@pytest.fixture(scope="module")
def people(service, portraits_of_two):
    """Ada and Bela, with two samples each."""
    for person in service.gallery.people():  # whom other tests have enrolled
        service.erasure.forget(person.id)
    for name, images in zip(("Ada", "Bela"), portraits_of_two, strict=True):
        for number, image in enumerate(images):
            service.enrollment.enroll_photo(name, image, f"photo {number}", force=True)
    yield {person.name: person for person in service.gallery.people()}
    for person in service.gallery.people():
        service.erasure.forget(person.id)


@pytest.fixture
def past(service, people):
    """Appearances of two days of January 2020: 60 unknown people on the 2nd, and Ada on the 3rd, with a picture."""
    pictures = {name: service.gallery.samples(person)[0].crop for name, person in people.items()}

    def record(number, started, match=None, face=None):
        id = f"past-{number}"
        service._resources.log.record(
            Appearance(id, "door", "end", match, 0.4, started, started, started + 4, (0, 0, 1, 1), 0.9, 0.8, 9),
            Sighting(face),
        )
        return id

    ids = [record(number, NOON + number) for number in range(58)]
    ids += [record(number, NOON + number, face=pictures["Bela"]) for number in (58, 59)]
    ids.append(record(60, NOON + DAY, Match(people["Ada"].id, "Ada", 0.8), pictures["Ada"]))
    yield ids
    service.appearances.delete(ids)


def test_the_address_has_every_filter_and_page_and_the_back_button_works(page, address, past, people):
    page.open(f"{address}/#/appearances?from=2020-01-01&to=2020-01-02")
    page.until(f"{ROWS} === 50")
    page.click("main a", "Older")
    page.until(f"{ROWS} === 10 && location.hash.includes('before=')")
    older = page.run("location.href")
    assert "from=2020-01-01&to=2020-01-02" in older
    page.run("history.back(); 1")
    page.until(f"{ROWS} === 50 && !location.hash.includes('before=')")
    page.open(older)  # a bookmark
    page.until(f"{ROWS} === 10")
    page.run(
        "(() => { const to = document.getElementById('to'); to.value = '2020-01-03'; "
        "to.dispatchEvent(new Event('change')); })()"
    )
    page.until(f"{ROWS} === 50 && location.hash.includes('to=2020-01-03')")
    page.choose("#person", "A person…")
    page.until("document.querySelectorAll('dialog li').length > 0")
    page.write("ADA")
    page.until("document.querySelectorAll('dialog li').length === 1")
    page.press("Enter")
    page.until(f"{ROWS} === 1 && location.hash.includes('who={people['Ada'].id}')")
    assert page.run("document.activeElement.id") == "person"
    # The sighting is beside the portrait.
    pictures = "[...document.querySelectorAll('main li img')]"
    page.until(f"{pictures}.length === 2 && {pictures}.every((one) => one.naturalWidth === 112)")
    assert page.run(f"{pictures}.map((one) => one.src.split('/')[4]).join()") == "appearances,people"
    page.run("history.back(); 1")
    page.until(f"{ROWS} === 50 && document.getElementById('person').value === ''")
    page.open(f"{address}/#/appearances?from=nonsense&who=nobody&before=x%")
    page.until("document.querySelector('main .problem') !== null")
    page.shows("use the field next of the page before", "main")
    page.problems.clear()  # the browser logs that this person does not exist


def test_several_appearances_are_enrolled_or_deleted_at_once(page, address, past, people, service):
    page.open(f"{address}/#/appearances?from=2020-01-02&to=2020-01-02")
    page.until(f"{ROWS} === 50")
    assert page.run("[...document.querySelectorAll('.bar button')].every((one) => one.disabled)")
    first, second = (f"main ul.rows > li:nth-child({number}) input" for number in (1, 2))
    page.run(f"document.querySelector({first!r}).focus()")
    page.press(" ")
    page.run(f"document.querySelector({second!r}).focus()")
    page.press(" ")
    page.shows("2 appearances chosen", ".bar")
    page.click(".bar button", "Enroll")
    page.until("document.activeElement.id === 'name'")
    page.write("Clara")
    page.press("Enter")
    page.shows("Looks like Bela, who is already enrolled", "dialog")  # it does: the user decides
    page.click("dialog button", "Yes, this is Bela")
    page.until(  # what was decided about the first one counts for the second, too
        "document.querySelectorAll('dialog .rows > li').length === 2 && "
        "[...document.querySelectorAll('dialog .rows > li')].every((one) => one.innerText.startsWith('Bela:'))"
    )
    page.click("dialog button", "Close")
    page.until(f"{ROWS} === 50 && document.querySelector('.bar [role=status]').innerText === ''")  # loaded again
    page.click("#choose-all")
    page.shows("50 appearances chosen", ".bar")
    page.click(".bar button", "Delete")
    page.click("dialog button", "Delete")
    page.until(f"{ROWS} === 10")
    assert len(service.appearances.newest(200, until=NOON + 2 * DAY)) == 11
    assert page.problems == []


def test_one_of_many_people_is_found_by_a_part_of_the_name(page, address, people, service):
    many = [(f"{number:032x}", f"Łukasz {number:03d}") for number in range(130)]
    with service.gallery.transaction() as database:
        database.executemany("INSERT INTO person VALUES (?, ?, '{}', 1.0, 1.0)", many)
    shown = "[...document.querySelectorAll('a.person strong')].map((one) => one.innerText)"
    page.open(f"{address}/#/people")
    page.until(f"{shown}.length === 60")
    page.click("main a", "Next page")
    page.until(f"{shown}[0] === 'Łukasz 058'")
    page.run("history.back(); 1")
    page.until(f"{shown}[0] === 'Ada'")
    page.fill("#search", "LUKASZ 12")
    page.until(f"{shown}.length === 12 && {shown}[0] === 'Łukasz 012'")
    found = page.run("location.href")
    assert "search=LUKASZ+12" in found
    page.open(found)
    page.until(f"{shown}.length === 12 && document.getElementById('search').value === 'LUKASZ 12'")
    page.fill("#search", "zzz")
    page.shows("Nobody is called like this", "main")
    with service.gallery.transaction() as database:
        database.executemany("DELETE FROM person WHERE id = ? AND name = ?", many)
    page.problems.clear()  # the browser logs that they have no pictures


def test_several_people_get_a_group_and_are_forgotten_with_the_keyboard_and_on_a_phone(
    page, address, people, service, shot
):
    for name in ("Visitor 1", "Visitor 2", "Visitor 3"):
        service.gallery.add(name, [])
    cards = "document.querySelectorAll('main ul.grid > li').length"
    page.open(f"{address}/#/people?search=visitor")
    page.until(f"{cards} === 3")
    for number in (1, 2):
        page.run(f"document.querySelector('main ul.grid > li:nth-child({number}) input').focus()")
        page.press(" ")
    page.shows("2 people chosen", ".bar")
    page.run("[...document.querySelectorAll('.bar button')].find((one) => one.innerText.startsWith('Put')).focus()")
    page.press("Enter")
    page.until("document.activeElement.id === 'joined'")
    page.write("visitors")
    page.press("Enter")
    page.shows("2 people: now in the group visitors", "#message")
    page.until("document.activeElement.tagName === 'A'")
    assert [one.groups for one in service.gallery.people() if "Visitor" in one.name] == [("visitors",)] * 2 + [()]
    for dark in (False, True):
        page.look(360, 740, phone=True, dark=dark)
        assert page.run("document.documentElement.scrollWidth") <= 360
        shot(f"people-phone-{'dark' if dark else 'light'}")
    page.click("#choose-all")
    page.click(".bar button", "Forget")
    page.shows("Visitor 1, Visitor 2, Visitor 3.", "dialog")
    page.click("dialog button", "Forget permanently")
    page.shows("3 people are forgotten", "#message")
    page.shows("Nobody is called like this", "main")
    assert {one.name for one in service.gallery.people()} == {"Ada", "Bela"}
    page.look(1280, 800)
    assert [one for one in page.problems if "/face" not in one] == []
    page.problems.clear()


def test_people_are_split_and_merged_with_the_keyboard(page, address, people, service):
    ada = service.gallery.person("Ada")
    page.open(f"{address}/#/people/{ada.id}")
    page.until("document.querySelectorAll('ul.grid li').length === 2")

    def use(find):
        page.run(f"[...document.querySelectorAll('main button, main input')].find((one) => {find}).focus()")
        page.press("Enter" if page.run("document.activeElement.tagName") == "BUTTON" else " ")

    use("one.ariaLabel?.startsWith('Choose the sample')")
    use("one.innerText?.startsWith('Move to')")
    page.until("document.activeElement.id === 'moved'")
    page.write("Grace")
    page.press("Enter")
    page.shows("1 sample moved to Grace", "#message")
    page.until("document.querySelectorAll('ul.grid li').length === 1")
    grace = service.gallery.person("Grace")
    assert (grace.samples, service.gallery.person("Ada").samples) == (1, 1)
    use("one.innerText?.startsWith('Merge with')")
    page.until("document.activeElement.id === 'person-search'")
    page.write("grace")
    page.until("document.querySelectorAll('dialog li').length === 1")
    page.press("Enter")
    page.shows("Are these one person?", "dialog")
    page.until("[...document.querySelectorAll('dialog img')].filter((one) => one.naturalWidth === 112).length === 2")
    page.run("document.querySelector('dialog input[type=radio]').focus()")
    page.press("ArrowDown")  # keep the name Grace
    page.press("Enter")
    page.until(f"location.hash === '#/people/{grace.id}'")
    page.until("document.querySelectorAll('ul.grid li').length === 2")
    assert [one.name for one in service.gallery.people()] == ["Bela", "Grace"]
    assert [one for one in page.problems if "/face" not in one] == []  # a picture may be asked for while it moves
    page.problems.clear()
    service.gallery.rename(service.gallery.person("Grace"), "Ada")


def test_the_log_of_changes_comes_in_pages(page, address, client):
    for _ in range(55):
        client.patch("/v1/settings", json={})
    notes = "document.querySelectorAll('main section:last-of-type li').length"
    page.open(f"{address}/#/access")
    page.until(f"{notes} === 50")
    page.click("main a", "Older")
    page.until(f"{notes} > 0 && location.hash.includes('before=')")
    page.click("main a", "Newest")
    page.until(f"{notes} === 50 && location.hash === '#/access'")
    assert page.problems == []
