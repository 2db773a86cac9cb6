"""The page in a real browser: enroll → appear → event → delete, by mouse and by keyboard, on a desk and on a phone.

Pictures of it are left in $RKFACE_SCREENSHOTS, for a person to look at.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkface.runtime.web.password import write_password
from rkface.runtime.web.serve import serve

from . import chromium
from .conftest import PASSWORD

pytestmark = pytest.mark.skipif(chromium.program() is None, reason="no Chromium to look at the page with")
HASHES = ("#/live", "#/people", "#/appearances", "#/health", "#/settings")


@pytest.fixture(scope="module")
def page():
    with chromium.browser() as page:
        page.look(1280, 800)
        yield page


@pytest.fixture
def shot(page, tmp_path):
    folder = Path(os.environ.get("RKFACE_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda name: page.screenshot(folder / f"{name}.png")


@pytest.fixture
def photos(portraits, tmp_path):
    contents = {"not-a-photo.jpg": b"<script>alert(1)</script>", "1.jpg": portraits[0], "2.jpg": portraits[1]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


def pixels(page):
    """How many different colors the live picture has."""
    return page.run(
        "(() => { const c = document.querySelector('canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; const seen = new Set(); "
        "for (let i = 0; i < d.length; i += 400) seen.add(d[i] << 16 | d[i+1] << 8 | d[i+2]); return seen.size; })()"
    )


def enroll_by_photo(page, photos, shot):
    """One that is no photo, then two that are."""
    page.click("nav a", "People")
    page.shows("Nobody is enrolled yet")
    page.fill("#who", "Ada <b>Lovelace</b>")  # a name is text, whatever it says
    page.choose_files("#photos", photos)
    page.click("form button", "Enroll")
    page.shows("2 of 3 photos enrolled")
    page.shows("2 samples", "a.person")  # the list beside it says so too
    page.shows("Refused: not a JPEG, PNG, WebP or BMP image")
    shot("people-enrolled")
    page.click("a.person", "Ada <b>Lovelace</b>")
    page.fill("#renamed", "Ada")
    page.press("Enter")
    page.until("document.querySelector('main h1').innerText === 'Ada'")


def enroll_from_camera(page, known, shot):
    """Whoever else walks by and is not known."""
    page.click("nav a", "Live")
    page.shows(known, "section.card")  # who was enrolled is recognized
    page.click("section.card li button", "Enroll…")
    page.until("document.activeElement.id === 'name' && document.querySelector('dialog form .grow').textContent")
    shot("live-who")
    page.write("Bela")
    page.press("Enter")
    page.until("!document.querySelector('dialog')")
    page.shows("Bela: enrolled")
    page.until("[...document.querySelectorAll('section.card li .known')].some((one) => one.innerText === 'Bela')")
    page.until(f"document.querySelectorAll('section.card')[1].innerText.includes({known!r} + ' came')")
    shot("live")


def test_enroll_appear_event_delete(page, address, service, photos, shot):
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
    page.choose("#whose", "Bela")
    page.until(
        "document.querySelectorAll('main li').length > 0 && "
        "[...document.querySelectorAll('main li a')].every((one) => one.innerText === 'Bela')"
    )
    page.choose("#whose", "Everybody")
    page.shows(ada.name, "main ul")
    shot("appearances")

    # Forgotten: she is unknown from now on, and nothing of her is listed.
    page.click("nav a", "People")
    page.click("a.person", ada.name)
    page.shows("quality", "main ul")
    page.until("[...document.querySelectorAll('main img')].every((one) => one.complete && one.naturalWidth === 112)")
    shot("person")
    page.click("main ul button", "Remove")
    page.click("dialog button", "Remove")
    page.until("document.querySelectorAll('main ul.grid li').length === 1")
    assert service.gallery.people()[0].samples == 1
    page.click("button", "Forget this person")
    page.shows("here and in all backups", "dialog")
    page.press("Escape")  # not yet
    page.until("!document.querySelector('dialog')")
    assert len(service.gallery.people()) == 2
    page.click("button", "Forget this person")
    page.click("dialog button", "Delete for good")
    page.until("location.hash === '#/people'")
    page.until("document.querySelectorAll('a.person').length === 1")
    assert [person.name for person in service.gallery.people()] == ["Bela"]
    assert service.appearances(200, person=ada.id) == []
    assert page.problems == []  # neither errors nor anything that the content security policy forbids


def test_a_photo_held_up_is_marked(page, judging, portraits, shot):
    judging.enroll("Ada", cv2.imdecode(np.frombuffer(portraits[0], np.uint8), cv2.IMREAD_COLOR), "test")
    marks = "[...document.querySelectorAll('main .fake')].map((one) => one.innerText)"
    seen = "document.querySelector('canvas').getAttribute('aria-label')"
    with serve(judging, port=0) as address:
        page.open(address)
        page.until(f"{seen} === 'In the picture: Ada (not live)'")
        page.until("document.querySelector('main .card li .fake')?.closest('li').innerText.includes('cosine')")
        shot("live-photo")
        page.until(f"{seen} === 'In the picture: Ada'")
        page.until("!document.querySelector('main .card li .fake')?.closest('li').querySelector('button')")  # here now
        for dark in (False, True):
            page.look(390, 844, dark=dark, phone=True)
            page.open(f"{address}/#/appearances")
            page.until(f"{marks}.length > 0 && {marks}.every((one) => one === 'not live')")
            assert page.run(f"{marks}.length < document.querySelectorAll('main li').length")  # she herself is not
            assert page.run("document.documentElement.scrollWidth") <= 390
            shot(f"phone-{'dark' if dark else 'light'}-photo")
        page.look(1280, 800)
        page.open(f"{address}/#/people")
        page.click("a.person", "Ada")
        page.click("button", "Forget this person")
        page.click("dialog button", "Delete for good")
        page.shows("events.jsonl", "dialog")  # what is out of reach stays to be read
        shot("forgotten")
        page.press("Enter")
        page.until("!document.querySelector('dialog') && location.hash === '#/people'")
    assert page.problems == []


def test_by_keyboard_alone(page, address):
    page.open(f"{address}/#/settings")
    page.shows("Gone after")
    page.run("document.activeElement.blur()")
    page.press("Tab")
    assert page.run("document.activeElement.id") == "skip"
    reached = []
    for _ in range(9):
        page.press("Tab")
        reached.append(page.run("document.activeElement.hash || document.activeElement.id"))
    assert [one for one in reached if one.startswith("#/")] == list(HASHES)
    assert "recognition.match" in reached
    outline = page.run("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"  # where the focus is can be seen
    page.run("document.getElementById('recognition.window').focus()")
    page.run("document.activeElement.select()")
    page.write("0.75")
    page.press("Enter")
    page.shows("Saved", "#said")
    page.fill("[id='recognition.match']", "7")
    page.press("Enter")
    page.until("document.getElementById('said').innerText.includes('recognition.match')")  # says which, and why
    page.run("document.getElementById('skip').click()")
    assert page.run("document.activeElement.id") == "view"


def test_every_view_fits_a_phone_in_light_and_dark(page, address, shot):
    for dark in (False, True):
        page.look(390, 844, dark=dark, phone=True)
        for hash in HASHES:
            page.open(f"{address}/{hash}")
            page.until("Boolean(document.querySelector('main h1'))")
            if hash == "#/live":
                page.until("document.querySelector('canvas').getAttribute('aria-label') !== 'no picture yet'")
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
            assert small == [], f"{hash}: too small for a finger"
            shot(f"phone-{'dark' if dark else 'light'}-{hash[2:]}")
    page.look(1280, 800)


def test_the_door(page, service, tmp_path, shot):
    write_password(tmp_path / "password", PASSWORD)
    with serve(service, port=0, password_file=tmp_path / "password") as address:
        page.open(address)
        page.shows("Sign in", "main")
        page.until("document.activeElement.id === 'password'")
        page.write("wrong password")
        page.press("Enter")
        page.shows("that is not the password")
        shot("door")
        page.write(PASSWORD)
        page.press("Enter")
        page.until("Boolean(document.querySelector('canvas'))")  # and at once, while its view still begins:
        page.click("button", "Sign out")
        page.shows("Password", "main")
        page.click("nav a", "People")
        page.shows("Sign in", "main")  # the door stays shut
        page.until("location.hash === '#/people' && document.activeElement.id === 'password'")
        page.write(PASSWORD)
        page.press("Enter")
        page.until("location.hash === '#/people' && document.querySelector('#who') !== null")
        page.click("nav a", "Live")
        page.until("document.querySelector('canvas')?.ariaLabel?.startsWith('no ') === false")
        page.run(
            "fetch('/v1/session').then((one) => one.json()).then(({ token }) => "
            "fetch('/v1/session', { method: 'DELETE', headers: { 'x-csrf-token': token } })).then(() => 1)"
        )
        page.shows("Sign in", "main")  # ended elsewhere: the live view finds out
