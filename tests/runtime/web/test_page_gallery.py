"""The pages Gallery and Appearances in a real browser: what is wrong with samples, twins, and who an appearance was."""

import cv2
import numpy as np
import pytest

from rkface.runtime.gallery.backup import forget
from rkface.runtime.gallery.people import Sample
from rkface.runtime.gallery.reviews import list_reviews, remove_reviews

from . import chromium
from .conftest import eventually

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium.program() is None, reason="needs Chromium")]


@pytest.fixture
def people(service):
    """Ada has a sample that shows Grace, and Hedy looks like Ida. Returns their ids by name."""
    dimensions = service.pipeline.manifest.recognizer.outputs[0].shape[-1]
    faces = np.random.default_rng(4).standard_normal((40, dimensions)).astype(np.float32)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)

    def sample(who, grain, noise=0.4):
        mixed = who + noise * faces[grain]
        color = np.full((112, 112, 3), (grain * 40 % 256, 90, 160), np.uint8)
        return Sample(mixed / np.linalg.norm(mixed), cv2.imencode(".png", color)[1].tobytes(), 0.8, f"{grain}.jpg")

    twin = faces[2] + faces[3]
    for name, samples in {
        "Ada": [sample(faces[0], 10), sample(faces[0], 11), sample(faces[1], 12)],
        "Grace": [sample(faces[1], 13), sample(faces[1], 14)],
        "Hedy": [sample(faces[2], 15, 0.1), sample(faces[2], 16, 0.1)],
        "Ida": [sample(twin, 17, 0.1), sample(twin, 18, 0.1)],
    }.items():
        service.gallery.add(name, samples)
    yield {person.name: person.id for person in service.gallery.people()}
    for person in service.gallery.people():
        forget(service.gallery, person)
    remove_reviews(service.gallery, [one.appearance for one in list_reviews(service.gallery)])


def test_a_wrong_sample_is_moved_and_twins_get_a_threshold(page, address, service, people, shot):
    page.open(f"{address}/#/gallery")
    page.shows("This sample of Ada looks more like Grace", "main")
    page.until("[...document.querySelectorAll('main figure img')].every((one) => one.naturalWidth === 112)")
    shot("gallery")
    page.click("main li button", "Move to Grace")
    page.until("!document.querySelector('main').innerText.includes('looks more like')")
    assert [service.gallery.person(people[name]).samples for name in ("Ada", "Grace")] == [2, 3]
    page.shows(": cosine 0.", "main")
    page.click("main li button", "Recognize both only from")
    page.shows("No problems.", "main")
    assert all(service.gallery.person(people[name]).threshold > 0.7 for name in ("Hedy", "Ida"))
    page.open(f"{address}/#/people/{people['Hedy']}")
    page.until("Number(document.querySelector('#own-threshold')?.value) > 0.7")
    page.fill("#own-threshold", "")
    page.press("Enter")
    eventually(lambda: service.gallery.person(people["Hedy"]).threshold is None, "the threshold is gone")


def test_a_user_says_who_an_appearance_was(page, address, service, people, shot):
    eventually(service.appearances.newest, "somebody was seen")
    page.open(f"{address}/#/appearances")
    page.click("main li button", "Who was it?")
    page.shows("Nobody who is enrolled", "dialog")
    shot("review")
    page.click("dialog button", "Nobody who is enrolled")
    page.shows("rightly unknown", "main")
    page.until("document.activeElement.innerText === 'Reviewed…'")
    page.press("Enter")
    page.click("dialog button", "A person who is enrolled…")
    page.until("document.querySelectorAll('dialog li button').length > 1")
    page.press("Enter")
    page.until("document.activeElement.matches('dialog li button')")  # it is not clear who is meant
    page.fill("#person-search", "grace")
    page.press("Enter")  # before the list shows what was typed
    page.until("document.querySelector('main').innerText.includes('missed')")
    (review,) = list_reviews(service.gallery)
    assert review.person == people["Grace"] and review.outcome == "missed match"
    page.open(f"{address}/#/gallery")
    page.shows("Measured by your answers", "main")
    page.click("main li button", "Take back")
    page.until("!document.querySelector('main').innerText.includes('Your last answers')")
    assert list_reviews(service.gallery) == []
