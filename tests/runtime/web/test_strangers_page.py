"""The console's page Strangers, and its API: people without a name are enrolled, renamed, ignored, and shown again."""

import cv2
import numpy as np
import pytest

from rkface.runtime.gallery.ignored import list_ignored, stop_ignoring
from rkface.runtime.gallery.people import Sample
from rkface.runtime.service.sighting import Sighting
from rkface.runtime.tracking.appearance import Appearance
from rkface.runtime.vision.embed import unit
from rkface.runtime.web.scopes import needed_scope

from . import chromium

NOW = 1_800_000_000.0
needs_browser = pytest.mark.skipif(chromium.program() is None, reason="needs Chromium")
IDS = [f"visit{number}" for number in range(5)]


def seen(id, started):
    return Appearance(id, "door", "end", None, 0.4, started, started, started + 1, (0, 0, 1, 1), 0.9, 0.8, 5)


@pytest.fixture
def visits(service):
    """Somebody who came five times, with pictures, and somebody who came once. Nothing stays of them, and nobody is
    ignored: tests of other files share the service."""
    stop_ignoring_all(service.gallery)
    log, identity = service._resources.log, service._watch.identity
    rng = np.random.default_rng(3)
    size = service.pipeline.manifest.recognizer.outputs[0].shape[-1]
    faces = unit(rng.normal(size=(2, size)).astype(np.float32))
    png = cv2.imencode(".png", rng.integers(0, 255, (112, 112, 3)).astype(np.uint8))[1].tobytes()
    before = {person.id for person in service.gallery.people()}
    keep = service._settings.keep
    service.change_settings({"keep.embeddings": 1.0, "keep.appearances": 3650.0})
    for number, id in enumerate(IDS):
        vector = unit(faces[0] + 0.02 * rng.normal(size=size).astype(np.float32))
        log.record(seen(id, started=NOW + number), Sighting(png, vector, identity))
    log.record(seen("visitor", started=NOW + 9), Sighting(png, faces[1], identity))
    yield faces
    stop_ignoring_all(service.gallery)
    log.delete([*IDS, "visitor"])
    for person in service.gallery.people():
        if person.id not in before:
            service.erasure.forget(person.id)
    service.change_settings({"keep.embeddings": keep.embeddings, "keep.appearances": keep.appearances})


def stop_ignoring_all(gallery):
    for entry in list_ignored(gallery):
        stop_ignoring(gallery, entry)


def mine(client, least=1):
    items = client.get("/v1/strangers", params={"least": least}).json()["items"]
    return [one for one in items if one["id"] in (*IDS, "visitor")]


def test_a_program_lists_enrolls_renames_and_undoes(client, visits):
    once, often = mine(client)
    assert (once["times"], often["times"], often["pictures"]) == (1, 5, 5) and often["id"] == IDS[0]
    assert often["started_at"].startswith("2027") and often["last_at"] > often["started_at"] and often["person"] is None
    assert client.get(f"/v1/strangers/{IDS[3]}").json() == often
    answer = client.post(f"/v1/strangers/{IDS[2]}/enroll", json={"name": "Pat", "rename": True})
    assert answer.status_code == 200 and answer.json()["verdict"]["status"] == "enrolled", answer.text
    assert answer.json()["renamed"]["appearances"] == 5
    assert [one["times"] for one in mine(client)] == [1]
    (renaming,) = client.get("/v1/renamings").json()["items"]
    assert renaming["name"] == "Pat"
    assert client.delete(f"/v1/renamings/{renaming['id']}").status_code == 204
    assert next(one for one in mine(client) if one["times"] == 5)["person"]["name"] == "Pat"
    again = client.post("/v1/renamings", json={"person": renaming["person"], "appearances": IDS[:2]})
    assert again.json()["renaming"]["appearances"] == 2


def test_a_program_ignores_a_stranger_and_stops(client, service, visits):
    entry = client.post(f"/v1/strangers/{IDS[0]}/ignore", json={"note": "the postman"}).json()
    assert entry["face"] and entry["embeddings"] >= 1 and [one["times"] for one in mine(client)] == [1]
    assert service.gallery.search(visits[:1]) == [[]]
    assert client.get("/v1/ignored").json()["items"] == [entry]
    assert client.get(f"/v1/ignored/{entry['id']}/face").content.startswith(b"\x89PNG")
    assert client.delete(f"/v1/ignored/{entry['id']}").json() == {"left": []}
    assert len(mine(client)) == 2 and client.get("/v1/ignored").json()["items"] == []


def test_a_refused_stranger_is_422_with_the_verdict(client, service, visits):
    service.gallery.add("Quinn", [Sample(visits[0], None, 0.9, "test")])
    answer = client.post(f"/v1/strangers/{IDS[0]}/enroll", json={"name": "Pat"})
    assert answer.status_code == 422 and "already enrolled as 'Quinn'" in answer.json()["verdict"]["reason"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("GET", "/v1/strangers/nobody", None, 404),
        ("GET", "/v1/strangers?least=0", None, 422),
        ("GET", "/v1/strangers?cursor=x", None, 422),
        ("POST", "/v1/strangers/nobody/enroll", {"name": "Pat"}, 404),
        ("POST", "/v1/strangers/visit0/enroll", {"name": ""}, 422),
        ("POST", "/v1/strangers/visit0/enroll", {"name": "Pat", "appearances": ["visitor"]}, 400),
        ("POST", "/v1/strangers/visit0/ignore", {"note": "x" * 201}, 422),
        ("GET", "/v1/ignored/nobody/face", None, 404),
        ("DELETE", "/v1/ignored/nobody", None, 404),
        ("DELETE", "/v1/renamings/nobody", None, 404),
        ("POST", "/v1/renamings", {"person": "nobody"}, 404),
    ],
)
def test_wrong_requests_are_problems(client, visits, wrong):
    method, path, body, status = wrong
    answer = client.request(method, path, json=body)
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json", answer.text


@pytest.mark.slow
@needs_browser
def test_the_page_enrolls_undoes_ignores_and_shows_again(page, address, service, visits, shot):
    page.open(f"{address}/#/strangers")
    page.until("document.querySelectorAll('ul[aria-label=Strangers] li').length >= 1")
    page.shows("seen 5 times since", "main")
    assert "seen once" not in page.run("document.querySelector('main').innerText")
    shot("strangers")
    page.click("li button", "Enroll…")
    page.fill("#name", "Pat")
    page.click("dialog button.main")
    page.until("!document.querySelector('dialog') && document.body.innerText.includes('Named afterwards')")
    assert {one.match.name for one in service._resources.log.newest() if one.id in IDS} == {"Pat"}
    page.click("ul[aria-label='Named afterwards'] button", "Undo")
    page.until("document.body.innerText.includes('now recognized as Pat')")
    service.erasure.forget(service.gallery.person("Pat").id)


@pytest.mark.slow
@needs_browser
def test_the_page_ignores_for_good_says_what_is_kept_and_stops(page, address, service, visits, shot):
    page.look(360, 740)
    page.open(f"{address}/#/strangers")
    page.until("document.querySelectorAll('ul[aria-label=Strangers] li').length >= 1")
    assert page.run("document.documentElement.scrollWidth <= 360")
    page.click("ul[aria-label=Strangers] li button", "Ignore for good…")
    page.shows("who was not asked", "dialog")
    page.fill("#note", "the postman")
    page.click("dialog button.main")
    page.until("document.body.innerText.includes('the postman')")
    assert service.gallery.search(visits[:1]) == [[]]
    shot("strangers-ignored")
    page.click("ul[aria-label=Ignored] button", "Stop ignoring…")
    page.click("dialog button.danger")
    page.until("document.querySelector('ul[aria-label=Ignored] li') === null")
    assert service.gallery.search(visits[:1])[0] or not service.gallery.people()
    page.look(1280, 800)


def test_an_operator_may_change_strangers_and_a_viewer_may_look_at_them():
    changes = ["POST /v1/strangers/x/enroll", "POST /v1/strangers/x/ignore", "POST /v1/renamings"]
    for change in [*changes, "DELETE /v1/ignored/x", "DELETE /v1/renamings/x"]:
        assert needed_scope(*change.split()) == "enroll"
    assert needed_scope("GET", "/v1/strangers") == needed_scope("GET", "/v1/ignored/x/face") == "read"
