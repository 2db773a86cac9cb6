"""The page in a real browser: enroll, appear, forget; with mouse and keyboard; on a desktop and on a phone.

Screenshots are written to the folder $RKFACE_SCREENSHOTS, if it is set.
"""

import json

import cv2
import numpy as np
import pytest

from rkface.runtime.web.password import write_password
from rkface.runtime.web.places import busy
from rkface.runtime.web.serve import serve

from . import chromium
from .conftest import PASSWORD

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium.program() is None, reason="needs Chromium")]
VIEWS = (
    "live",
    "people",
    "appearances",
    "journeys",
    "strangers",
    "gallery",
    "rules",
    "cameras",
    "health",
    "settings",
    "access",
)
HASHES = tuple(f"#/{view}" for view in VIEWS)


@pytest.fixture
def photos(portraits, tmp_path):
    contents = {"not-a-photo.jpg": b"<script>alert(1)</script>", "1.jpg": portraits[0], "2.jpg": portraits[1]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


def pixels(page):
    """The number of different colors in the live picture."""
    return page.run(
        "(() => { const c = document.querySelector('canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; const seen = new Set(); "
        "for (let i = 0; i < d.length; i += 400) seen.add(d[i] << 16 | d[i+1] << 8 | d[i+2]); return seen.size; })()"
    )


def enroll_by_photo(page, photos, shot):
    """Upload a file that is not a photo, and two photos."""
    page.click("nav a", "People")
    page.shows("Nobody is enrolled yet")
    page.fill("#who", "Ada <b>Lovelace</b>")  # the page shows a name as text, never as HTML
    page.choose_files("#photos", photos)
    page.click("form button", "Enroll")
    page.shows("2 of 3 photos enrolled")
    page.shows("2 samples", "a.person")  # also in the list of people
    page.shows("Not enrolled: not a JPEG, PNG, WebP or BMP image")
    shot("people-enrolled")
    page.click("[aria-live] a", "Ada <b>Lovelace</b>: enrolled")
    page.until("document.querySelector('main h1').innerText === 'Ada <b>Lovelace</b>'")
    page.click("nav a", "People")
    page.click("a.person", "Ada <b>Lovelace</b>")
    page.fill("#renamed", "Ada")
    page.press("Enter")
    page.until("document.querySelector('main h1').innerText === 'Ada'")


def enroll_from_camera(page, known, shot):
    """Enroll the other person, who walks by and is unknown."""
    page.click("nav a", "Live")
    page.shows(known, "section.card")  # the enrolled person is recognized
    page.click("section.card li:not(.left):has(img[src]) button", "Enroll…")  # a good picture was taken
    page.until(
        "document.activeElement.id === 'name' && document.querySelector('dialog img.face')?.naturalWidth === 112"
    )
    shot("live-who")
    page.write("Bela")
    page.press("Enter")
    page.until("!document.querySelector('dialog')")
    page.shows("Bela: enrolled")
    page.until("[...document.querySelectorAll('section.card li .known')].some((one) => one.innerText === 'Bela')")
    page.until(f"document.querySelectorAll('section.card')[1].innerText.includes({known!r} + ' arrived')")
    shot("live")


def test_enroll_appear_forget(page, address, service, photos, shot):
    page.open(address)
    page.shows("unknown", "section.card")
    assert pixels(page) > 100
    assert page.run("document.querySelector('canvas').getAttribute('aria-label')")
    enroll_by_photo(page, photos, shot)
    ada = service.gallery.people()[0]
    assert (ada.name, ada.samples) == ("Ada", 2)
    enroll_from_camera(page, ada.name, shot)

    # Both are in the list of appearances, by name.
    page.click("nav a", "Appearances")
    page.choose("#person", "A person…")
    page.click("dialog button", "Bela")
    page.until(
        "document.querySelectorAll('main li').length > 0 && "
        "[...document.querySelectorAll('main li a')].every((one) => one.innerText === 'Bela')"
    )
    page.choose("#person", "All people")
    page.shows(ada.name, "main ul")
    shot("appearances")

    # Forget her: she is unknown from now on, and her appearances are no longer listed.
    page.click("nav a", "People")
    page.click("a.person", ada.name)
    page.shows("quality", "main ul")
    page.until("[...document.querySelectorAll('main img')].every((one) => one.complete && one.naturalWidth === 112)")
    shot("person")
    page.click("main ul.grid li input[type=checkbox]")
    page.click("main button", "Remove")
    page.click("dialog button", "Remove")
    page.until("document.querySelectorAll('main ul.grid li').length === 1")
    assert service.gallery.people()[0].samples == 1
    page.click("button", "Forget this person")
    page.shows("here and in all backups", "dialog")
    page.press("Escape")  # not yet
    page.until("!document.querySelector('dialog')")
    assert len(service.gallery.people()) == 2
    page.click("button", "Forget this person")
    page.click("dialog button", "Forget permanently")
    page.until("location.hash === '#/people'")
    page.until("document.querySelectorAll('a.person').length === 1")
    assert [person.name for person in service.gallery.people()] == ["Bela"]
    assert service.appearances.newest(200, person=ada.id) == []
    assert page.problems == []  # no errors, and nothing that the content security policy forbids


ROWS = (
    "import('/static/present.js').then(({ presentList }) => { const { nodes, update } = presentList('door'); "
    "document.querySelector('main').replaceChildren(...nodes); window.ready = true; "
    "const match = (id) => id[2] ? { person: id.slice(2), name: id.slice(2), cosine: 1 } : null; "
    "window.faces = (...ids) => update(ids.map((one) => ({ appearance: one, match: match(one), live: null }))); }); 1"
)


def test_one_of_several_faces_in_a_photo_is_chosen(page, address, service, cast, tmp_path):
    for person in service.gallery.people():  # whom other tests have enrolled
        service.erasure.forget(person.id)
    people = list(cast.cast)[:2]
    first, second = (cast.portraits(name, 1)[0] for name in people)
    assert cv2.imwrite(str(tmp_path / "both.png"), np.hstack([first, second]))
    page.open(f"{address}/#/people")
    page.fill("#who", "Chosen")
    page.choose_files("#photos", [tmp_path / "both.png"])
    page.click("form button", "Enroll")
    page.shows("2 faces: which one is Chosen?")
    page.until("document.querySelectorAll('li button canvas').length === 2")
    page.click("li button", "Face 2")
    page.shows("Chosen: enrolled")
    assert cv2.imwrite(str(tmp_path / "other.png"), first)
    assert cv2.imwrite(str(tmp_path / "second.png"), second)
    before = service.gallery.person("Chosen")
    probes = [service.pipeline.recognize(image).embeddings[:1] for image in (first, second)]
    own = service.gallery.samples(before)[0].embedding
    wrong = 0 if float(probes[1][0] @ own) > float(probes[0][0] @ own) else 1
    page.fill("#who", "Chosen")
    page.choose_files("#photos", [tmp_path / ("other.png", "second.png")[wrong]])
    page.click("form button", "Enroll")
    page.shows("Unlike the other pictures of Chosen")
    page.click("li button", "This is Chosen: enroll it anyway")
    page.until("document.querySelector('li').innerText.includes('Chosen: enrolled')")
    assert service.gallery.person("Chosen").samples == 2
    service.erasure.forget(before.id)


def test_the_people_in_front_of_the_camera_keep_their_rows(page, address):
    page.open(f"{address}/#/settings")
    page.run(ROWS)
    page.until("window.ready === true")
    page.run("faces('a', 'b', 'c'); window.before = [...document.querySelectorAll('main li')]; 1")
    same = (
        "JSON.stringify([...document.querySelectorAll('main li')].map((one) => [before.indexOf(one), one.className]))"
    )
    page.run("faces('c', 'b'); 1")  # another order, and a has left
    assert page.run(same) == '[[0,"left"],[1,""],[2,""]]'
    page.run("faces('d', 'b', 'a'); 1")  # a is back
    assert page.run(same) == '[[0,""],[1,""],[2,"left"],[-1,""]]'
    page.run("faces('b', 'a', 'e-Eve'); window.before = [...document.querySelectorAll('main li')]; faces('f-Eve'); 1")
    assert page.run(same) == '[[0,"left"],[1,"left"],[2,"left"],[3,"left"],[4,""]]'  # Eve is back in another appearance


def test_a_click_on_a_row_that_has_just_moved_is_ignored(page, address):
    page.open(f"{address}/#/settings")
    page.run(
        "import('/static/dom.js').then(({ h, ignoreClicksAfterMoves }) => { window.clicked = []; "
        "const button = (one) => h('button', { onclick: () => clicked.push(one) }, one); "
        "window.list = h('ul', {}, ['a', 'b'].map((one) => h('li', {}, button(one)))); "
        "ignoreClicksAfterMoves(list); document.querySelector('main').replaceChildren(list); window.ready = true; }); 1"
    )
    page.until("window.ready === true")
    click = "list.querySelector('button').dispatchEvent(new MouseEvent('click', { bubbles: true, detail: %d }))"
    page.run(f"{click % 1}; list.firstChild.remove(); 1")
    page.run(f"Promise.resolve().then(() => {{ {click % 1}; {click % 0}; window.tried = true; }}); 1")
    page.until("window.tried === true")
    assert page.run("clicked.join()") == "a,b"  # the key stroke on b counts, the click that was meant for a does not
    page.shows("The list has just changed", "#message")
    page.run("performance.now = () => 1e9; 1")  # later
    page.run(f"{click % 1}; 1")
    assert page.run("clicked.join()") == "a,b,b"


def test_a_photo_held_before_the_camera_is_marked_as_not_live(page, service_with_liveness, portraits, shot):
    service_with_liveness.enrollment.enroll_photo(
        "Ada", cv2.imdecode(np.frombuffer(portraits[0], np.uint8), cv2.IMREAD_COLOR), "test"
    )
    marks = "[...document.querySelectorAll('main .fake')].map((one) => one.innerText)"
    seen = "document.querySelector('canvas').getAttribute('aria-label')"
    with serve(service_with_liveness, port=0) as address:
        page.open(address)
        page.until(f"{seen} === 'In the picture: Ada (not live)'")
        page.until(
            "document.querySelector('main .card li:not(.left) .fake')?.closest('li').innerText.includes('cosine')"
        )
        shot("live-photo")
        page.until(f"{seen} === 'In the picture: Ada'")
        page.until(
            "!document.querySelector('main .card li:not(.left) .fake')?.closest('li').querySelector('button')"
        )  # she is back
        for dark in (False, True):
            page.look(390, 844, dark=dark, phone=True)
            page.open(f"{address}/#/appearances")
            page.until(f"{marks}.length > 0 && {marks}.every((one) => one === 'not live')")
            assert page.run(
                f"{marks}.length < document.querySelectorAll('main li').length"
            )  # her real face is not marked
            assert page.run("document.documentElement.scrollWidth") <= 390
            shot(f"phone-{'dark' if dark else 'light'}-photo")
        page.look(1280, 800)
        page.open(f"{address}/#/people")
        page.click("a.person", "Ada")
        page.click("button", "Forget this person")
        page.click("dialog button", "Forget permanently")
        page.shows("events.jsonl", "dialog")  # places where data may remain are shown until closed
        shot("forgotten")
        page.press("Enter")
        page.until("!document.querySelector('dialog') && location.hash === '#/people'")
    assert page.problems == []


def test_with_the_keyboard_only(page, address):
    page.open(f"{address}/#/settings")
    page.shows("Gone after")
    page.run("document.activeElement.blur()")
    page.press("Tab")
    assert page.run("document.activeElement.id") == "skip"
    reached = []
    for _ in range(len(HASHES) + 2):
        page.press("Tab")
        reached.append(page.run("document.activeElement.hash || document.activeElement.id"))
    assert [one for one in reached if one.startswith("#/")] == list(HASHES)
    assert "recognition.match" in reached
    outline = page.run("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"  # the focus is visible
    page.run("document.getElementById('recognition.window').focus()")
    page.run("document.activeElement.select()")
    page.write("0.75")
    page.press("Enter")
    page.shows("Saved", "#message")
    page.shows("Changed here on", "main form")
    page.click("main form button[type=button]", "Reset")
    page.shows("again", "#message")
    assert page.run("document.querySelector('main form').innerText.includes('Changed here')") is False
    page.run("document.getElementById('skip').click()")
    assert page.run("document.activeElement.id") == "view"


def test_a_wrong_setting_is_marked_and_called_as_the_page_calls_it(page, address, shot):
    page.open(f"{address}/#/settings")
    page.shows("Recognition", "legend")
    match, window = (f"document.getElementById('recognition.{name}')" for name in ("match", "window"))
    page.fill("[id='recognition.match']", "7")
    page.fill("[id='recognition.window']", "-1")
    page.press("Enter")
    page.shows("Match threshold (cosine) is 7.0, but must be from 0 to 1", "#message")
    marked = "[...document.querySelectorAll('[aria-invalid=true]')].map((one) => one.id).join()"
    assert page.run(marked) == "recognition.match,recognition.window"
    assert page.run("document.activeElement.id") == "recognition.match", "the first wrong field"
    for one in (match, window):  # a screen reader reads the message with the field
        described = f"{one}.getAttribute('aria-describedby').split(' ')"
        assert "must be from" in page.run(f"{described}.map((id) => document.getElementById(id).innerText).join()")
    assert "recognition." not in page.run("document.body.innerText"), "the page does not speak of keys"
    shot("settings-wrong")
    page.fill("[id='recognition.match']", "0.5")
    assert page.run(marked) == "recognition.window", "the mark goes when the value changes"
    page.run(f"{window}.value = ''; 1")
    page.click("button.main")
    page.shows("Gone after (seconds) must be a number", "main form")
    assert page.run("fetch('/v1/settings').then((one) => one.json()).then(({ items }) => items[0].source)") == "default"


def test_on_a_phone_the_views_are_in_a_menu(page, address):
    page.look(360, 780, phone=True)
    page.open(f"{address}/#/health")
    open_ = "document.getElementById('views').checkVisibility()"
    assert page.run(open_) is False
    page.click("#menu")
    assert page.run(open_) is True
    page.press("Escape")
    assert page.run(open_) is False and page.run("document.activeElement.id") == "menu"
    page.press("Enter")
    page.click("nav a", "People")
    page.until("document.querySelector('main h1').innerText === 'People'")
    assert page.run(open_) is False
    page.look(1280, 800)


def test_every_view_fits_a_phone_in_light_and_dark(page, address, shot):
    for dark in (False, True):
        page.look(390, 844, dark=dark, phone=True)
        for hash in HASHES:
            page.open(f"{address}/{hash}")
            page.until("Boolean(document.querySelector('main h1'))")
            if hash == "#/live":
                page.until("document.querySelector('canvas').getAttribute('aria-label') !== 'No picture yet'")
            if hash == "#/health":
                page.shows("Cameras", "main")
            if hash == "#/appearances":
                page.until("document.querySelectorAll('main li').length > 0")
            if hash == "#/people":
                page.until("[...document.querySelectorAll('main img[src]')].every((one) => one.complete)")
            wide = page.run("document.documentElement.scrollWidth")
            assert wide <= 390, f"{hash} is {wide} pixels wide"
            small = page.run(
                "[...document.querySelectorAll('button, select, input, nav a')].filter((one) => one.checkVisibility() "
                "&& !one.matches('.skip, [type=checkbox]') && one.getBoundingClientRect().height < 40)"
                ".map((one) => one.outerHTML)"
            )
            assert small == [], f"{hash}: too small for touch"
            shot(f"phone-{'dark' if dark else 'light'}-{hash[2:]}")
    page.look(1280, 800)


def test_signing_in_and_out(page, service, tmp_path, shot):
    write_password(tmp_path / "password", PASSWORD)
    with serve(service, port=0, password_file=tmp_path / "password") as address:
        page.open(address)
        page.shows("Sign in", "main")
        page.until("document.activeElement.id === 'password'")
        page.write("wrong password")
        page.press("Enter")
        page.shows("Wrong password")
        shot("sign-in")
        page.write(PASSWORD)
        page.press("Enter")
        page.until("Boolean(document.querySelector('canvas'))")  # sign out at once, while the view is still loading:
        page.click("button", "Sign out")
        page.shows("Password", "main")
        page.click("nav a", "People")
        page.shows("Sign in", "main")  # still signed out
        page.until("location.hash === '#/people' && document.activeElement.id === 'password'")
        page.write(PASSWORD)
        page.press("Enter")
        page.until("location.hash === '#/people' && document.querySelector('#who') !== null")
        page.click("nav a", "Live")
        page.until("document.querySelector('canvas')?.ariaLabel?.startsWith('No picture') === false")
        page.run(
            "fetch('/v1/session').then((one) => one.json()).then(({ token }) => "
            "fetch('/v1/session', { method: 'DELETE', headers: { 'x-csrf-token': token } })).then(() => 1)"
        )
        page.shows("Sign in", "main")  # ended by another client: the live view notices


class BusyService:
    """A service that does not tell what its cameras do while it is ``busy``."""

    def __init__(self, service):
        self._service, self.busy = service, True

    def __getattr__(self, name):
        return getattr(self._service, name)

    @property
    def cameras(self):
        if self.busy:
            raise busy("too many requests: try again in a moment")
        return self._service.cameras


def test_the_page_tries_again_while_the_service_is_busy(page, service):
    often_asked = BusyService(service)
    with serve(often_asked, port=0) as address:
        page.open(address)
        page.shows("Too many requests. Trying again")
        often_asked.busy = False
        page.shows("In front of the camera")


@pytest.fixture
def ordinary_page(browser):
    """A page that is not private: only there, a browser installs one."""
    with browser.ordinary_page() as page:
        yield page


def test_a_phone_can_install_the_page(ordinary_page, address):
    page = ordinary_page
    page.open(address)
    manifest = page.call("Page.getAppManifest")
    assert manifest["errors"] == [] and manifest["url"].endswith("/static/manifest.webmanifest")
    for icon in json.loads(manifest["data"])["icons"]:
        found = page.run(
            f"(async () => {{ const one = new Image(); one.src = '{icon['src']}'; await one.decode(); "
            "return one.naturalWidth + 'x' + one.naturalHeight; })()"
        )
        assert found == icon["sizes"], icon
    assert page.call("Page.getInstallabilityErrors")["installabilityErrors"] == []
    assert page.problems == []
