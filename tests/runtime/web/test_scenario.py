"""A user who never sees Python enrolls somebody from in front of the camera, gets an alert with a picture on the phone,
ignores the postman for good, and corrects a wrong match, in a real browser. A program does the same with a token."""

import time

import cv2
import httpx
import numpy as np
import pytest

from rkface.runtime.gallery.ignored import list_ignored
from rkface.runtime.service.receiver_settings import NotifySettings
from rkface.runtime.service.settings import Keep
from rkface.runtime.web.accounts import Accounts
from rkface.runtime.web.serve import serve

from . import chromium
from .conftest import eventually, running

pytest.importorskip("apprise")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium.program() is None, reason="needs Chromium")]


MEASURED = "[...document.querySelectorAll('[aria-label=\"Measured by your answers\"] td')].map((one) => one.innerText)"


@pytest.fixture
def house(tmp_path, pictures, ntfy):
    """A service with a phone as its only receiver, and its console."""
    address = tmp_path / "phone-url"
    address.write_text(ntfy.url)
    address.chmod(0o600)
    receivers = {"phone": NotifySettings(f"file:{address}", picture="face")}
    keep = Keep(known_faces=1.0, embeddings=1.0)
    with (
        running(tmp_path, pictures, notify=receivers, keep=keep) as service,
        Accounts(tmp_path / "accounts") as accounts,
        serve(service, port=0, accounts=accounts) as address,
    ):
        yield service, address, ntfy


def await_message(ntfy, text, title):
    """Wait for a message with ``text`` whose title begins with ``title``, and with a picture that shows something."""

    def find():
        return [
            one for one in ntfy.messages.entries if text in one.get("message", "") and one["title"].startswith(title)
        ]

    message = eventually(find, f"a message with {text}")[0]
    picture = cv2.imdecode(np.frombuffer(message["body"], np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.std() > 10


def await_stranger(client):
    """Wait for somebody who is still a stranger: visits of people who were enrolled later are listed, too."""

    def find():
        strangers = client.get("/strangers", params={"least": 1}).json()["items"]
        return [one for one in strangers if one["person"] is None]

    return eventually(find, "a stranger came")[0]


@pytest.fixture
def find_postman(house, portraits_of_two, tmp_path):
    """Returns a photo of the one of the two people who is not enrolled, as a file."""

    def find():
        service = house[0]
        (photo,) = (photos[0] for photos in portraits_of_two if not service.photos.identify(photos[0]).faces[0].person)
        cv2.imwrite(str(tmp_path / "photo.jpg"), photo)
        return tmp_path / "photo.jpg"

    return find


@pytest.fixture
def program_does_it(ntfy, portraits):
    """Lets a program with a token do the same."""
    return lambda program: do_it_as_a_program(program, ntfy, portraits)


def test_a_person_does_everything_in_the_console_and_a_program_with_a_token(
    page, house, find_postman, program_does_it, shot
):
    service, address, ntfy = house
    enroll_in_the_console(page, address)
    make_a_rule(page, address, ntfy, shot)
    shot("scenario-rules")
    (grace,) = service.gallery.people()
    correct_a_wrong_match(page, address, service, grace, find_postman())
    ignore_the_postman(page, address, service, grace)
    page.look(1280, 800)
    page.open(f"{address}/#/access")
    page.fill("#token-name", "doorbell")
    page.run("document.getElementById('scope-admin').click()")
    page.click("form button", "Create token")
    page.until("document.querySelector('.secret') !== null")
    secret = page.run("document.querySelector('.secret').textContent")
    page.click("button", "Done")
    page.until("document.activeElement.innerText === 'Access'")
    bearer = {"authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=f"{address}/v1", headers=bearer, timeout=30, trust_env=False) as program:
        program_does_it(program)
        page.click("[aria-label='Revoke doorbell']")
        page.click("dialog button", "Revoke")
        page.shows("No program has a token")
        assert program.get("/people").status_code == 401
    assert page.problems == []


def enroll_in_the_console(page, address):
    page.look(360, 740, phone=True)
    page.open(f"{address}/#/live")
    page.click("main li button", "Enroll…")
    page.until("document.querySelector('dialog form button.main')?.disabled === false")
    page.write("Grace")
    page.press("Enter")
    page.shows("Grace: enrolled", "#message")


def make_a_rule(page, address, ntfy, shot):
    page.open(f"{address}/#/rules")
    page.click("[aria-label='Send a test message to notify.phone']")
    page.shows("It has the message", "[aria-label=Receivers]")
    for width, dark in ((360, True), (1280, True), (1280, False), (360, False)):
        page.look(width, 740, phone=width < 500, dark=dark)
        assert page.run("document.documentElement.scrollWidth") <= width
        shot(f"receivers-{width}-{'dark' if dark else 'light'}")
    await_message(ntfy, "can reach you", "rkface: test message")
    page.click("a.button", "New rule…")
    page.until("Boolean(document.getElementById('rule-name'))")
    page.fill("#rule-name", "visitors")
    page.click("label.choice", "notify.phone")
    page.click("button.main", "Save")
    page.shows("When a stranger is seen by any camera at any time, tell notify.phone")
    await_message(ntfy, "visitors", "Stranger: door")


def ignore_the_postman(page, address, service, grace):
    with httpx.Client(base_url=f"{address}/v1", trust_env=False) as client:
        await_stranger(client)
    page.open(f"{address}/#/strangers?all=yes")
    page.click("ul[aria-label=Strangers] li:not(:has(.known)) button", "Ignore for good…")
    page.until("document.querySelector('#note') !== null")
    page.write("the postman")
    page.press("Enter")
    page.shows("the postman", "ul[aria-label=Ignored]")
    page.until("document.activeElement.innerText === 'Strangers'")  # the button that was pressed is gone
    since = time.time()
    (ignored,) = list_ignored(service.gallery)
    assert ignored.note == "the postman"
    await_that_the_postman_is_nobody(service, grace.id, since)


def correct_a_wrong_match(page, address, service, grace, postman):
    """By mistake, a photo of the postman was added to Grace, so the camera takes him for her. The user says so, sees
    that it was counted, and removes the photo."""
    page.open(f"{address}/#/people/{grace.id}")
    page.until("document.querySelector('#photos') !== null")
    page.choose_files("#photos", [postman])
    page.click("form button.main", "Add")
    page.until("/unlike/i.test(document.querySelector('form [aria-live]').innerText)")
    # With several samples of Grace, the page asks first.
    page.run("document.querySelector('form [aria-live] button')?.click()")
    page.shows("photo.jpg", "[aria-label=Samples]")
    samples = service.gallery.samples(grace)

    def wrong():
        for one in service.appearances.newest(20, person=grace.id):
            (face, _) = service._resources.log.embedding(one.id)
            if "photo.jpg" in max(samples, key=lambda sample: sample.embedding @ face).source:
                return one
        return None

    seen = eventually(wrong, "the camera takes the postman for Grace")
    page.open(f"{address}/#/appearances?who={grace.id}")
    page.click(f"#review-{seen.id}")
    page.shows("This was Grace", "dialog")
    page.click("dialog button", "Somebody else, who is not enrolled")
    page.shows("wrong: somebody else", "main")
    page.open(f"{address}/#/gallery")
    page.until(f"{MEASURED}?.[0] === 'door'")
    assert page.run(f"{MEASURED}[4]") == "1"  # false matches
    page.open(f"{address}/#/people/{grace.id}")
    page.click("[aria-label=Samples] li:has(.faint) input[aria-label*='photo.jpg']")
    page.click(".bar button", "Remove…")
    page.click("dialog button", "Remove")
    page.until(
        "![...document.querySelectorAll('[aria-label=Samples] li')].some((one) => one.innerText.includes('photo.jpg'))"
    )


def await_that_the_postman_is_nobody(service, grace, since):
    """Wait until Grace has come twice more: the postman comes between, and there is no appearance of him."""

    def visits():
        return [one for one in service.appearances.newest(50, person=grace, since=since) if one.stage == "end"]

    eventually(lambda: len(visits()) >= 2, "Grace came twice more")
    assert service.appearances.newest(50, person="", since=since) == []


def do_it_as_a_program(program, ntfy, portraits):
    def done(answer):
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    for one in done(program.get("/people"))["items"]:
        done(program.delete(f"/people/{one['id']}"))
    for one in done(program.get("/ignored"))["items"]:
        done(program.delete(f"/ignored/{one['id']}"))
    verdicts = [done(program.post("/enrollments/photo", params={"name": "Ada"}, content=one)) for one in portraits]
    assert verdicts[0]["status"] == "enrolled"
    (face,) = done(program.post("/identify", content=portraits[1]))["faces"]
    ada = face["person"]["person"]
    done(program.put("/rules/family", json={"who": [f"person:{ada}"], "receivers": ["notify.phone"]}))
    await_message(ntfy, "family", "Ada")
    seen = eventually(lambda: done(program.get("/appearances", params={"person": ada}))["items"], "Ada was seen")[0]
    review = done(program.put(f"/appearances/{seen['id']}/review", json={"person": None}))
    assert review["outcome"] == "false match"
    stranger = await_stranger(program)
    assert done(program.post(f"/strangers/{stranger['id']}/ignore", json={"note": "the postman"}))["embeddings"]
    assert [one["note"] for one in done(program.get("/ignored"))["items"]] == ["the postman"]
