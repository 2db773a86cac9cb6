"""/v1 with the real service: people, good and bad photos, appearances, pictures, events, settings."""

import asyncio
import base64
import json
import os
import re
import struct
import zlib
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
import websockets.sync.client as sockets
from websockets.exceptions import InvalidStatus

from rkface.runtime.gallery.match import Match
from rkface.runtime.tracking.appearance import Appearance
from rkface.runtime.web.access import Access
from rkface.runtime.web.live import MAX_STREAMS
from rkface.runtime.web.serve import create_app

from .conftest import black, eventually
from .fake_service import FakeService

SNAPSHOT = Path(__file__).parent / "openapi.json"


def enroll(client, name, photo, **more):
    answer = client.post("/v1/enrollments/photo", params={"name": name, **more}, content=photo)
    assert answer.status_code in (200, 422), answer.text
    if answer.status_code == 200:
        return answer.json()
    problem = answer.json()  # RFC 9457
    assert answer.headers["content-type"] == "application/problem+json" and problem["title"] == "Unprocessable Entity"
    assert problem["verdict"]["reason"] == problem["detail"] and problem["verdict"]["status"] == "refused"
    return problem["verdict"]


def forget(client, *names):
    for person in client.get("/v1/people").json()["items"]:
        if person["name"] in names:
            result = client.delete(f"/v1/people/{person['id']}").json()
            assert result["left"] == [] and result["done"]


@pytest.fixture
def ada(client, portraits):
    """A person who is enrolled from two photos."""
    verdicts = [enroll(client, "Ada", photo) for photo in portraits[:2]]
    person = next(person for person in client.get("/v1/people").json()["items"] if person["name"] == "Ada")
    assert {(one["status"], one["id"]) for one in verdicts} == {("enrolled", person["id"])}
    yield person
    forget(client, "Ada", "Ada L.", "Eve")


def test_the_api_has_not_changed():
    """For an intended change, run this test with RKFACE_SNAPSHOT=write and add a line to CHANGELOG.md."""
    description = (
        json.dumps(create_app(FakeService(), Access(None, secure=False)).openapi(), indent=1, sort_keys=True) + "\n"
    )
    if os.environ.get("RKFACE_SNAPSHOT") == "write":
        SNAPSHOT.write_text(description, encoding="utf-8")
    assert json.loads(description) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_a_person_is_enrolled_changed_and_forgotten(client, ada, portraits):
    known = client.get(f"/v1/people/{ada['id']}").json()
    assert [sample["source"] for sample in known["samples"]] == ["web upload"] * 2
    assert "embedding" not in json.dumps(known)  # the API never returns it
    face = client.get(f"/v1/people/{ada['id']}/face", params={"sample": known["samples"][1]["id"]})
    assert face.headers["content-type"] == "image/png" and face.headers["cache-control"] == "no-store"
    assert cv2.imdecode(np.frombuffer(face.content, np.uint8), 1).shape == (112, 112, 3)
    again = enroll(client, "Ada", portraits[0])
    assert (again["status"], again["id"]) == ("known", ada["id"])
    second = f"/v1/people/{ada['id']}/samples/{known['samples'][1]['id']}"
    assert client.delete(second).json()["samples"] == 1
    assert client.delete(second).status_code == 404
    renamed = client.patch(f"/v1/people/{ada['id']}", json={"name": "Ada L."}).json()
    assert (renamed["id"], renamed["name"]) == (ada["id"], "Ada L.")
    forget(client, "Ada L.")
    for path in ("", "/face"):
        assert client.get(f"/v1/people/{ada['id']}{path}").status_code == 404


def test_people_come_in_pages_and_a_new_or_deleted_one_hides_nobody(client, ada, portraits):
    names = ["Ada", "zoe", "aaron", "Beth"]
    for name in names[1:]:
        assert enroll(client, name, portraits[2], force=True)["status"] in ("enrolled", "known")
    seen, cursor = [], None
    while True:
        page = client.get("/v1/people", params={"limit": 1} | ({"cursor": cursor} if cursor else {})).json()
        seen += [one["name"] for one in page["items"]]
        if seen[-1] == "aaron":
            forget(client, "zoe")  # before the place where the next page begins
        cursor = page["next"]
        assert not any(name in str(base64.b64decode(cursor or "")) for name in names), "no name in an address"
        if cursor is None:
            break
    assert seen == names
    for wrong in ("x", "bnVsbA==", "W251bGxd", "\ufffd"):
        assert client.get("/v1/people", params={"cursor": wrong}).status_code == 422
    forget(client, "aaron", "Beth")


def test_a_person_who_is_enrolled_under_another_name_is_noticed(client, ada, portraits):
    verdict = enroll(client, "Eve", portraits[2])
    assert verdict["status"] == "refused" and verdict["near"]["person"] == ada["id"]
    assert enroll(client, "Eve", portraits[2], force=True)["status"] == "enrolled"
    eve = next(person for person in client.get("/v1/people").json()["items"] if person["name"] == "Eve")
    assert client.get(f"/v1/people/{eve['id']}").json()["nearest"][0]["person"] == ada["id"]
    merged = client.post(f"/v1/people/{eve['id']}/merge", json={"into": ada["id"]}).json()
    assert (merged["id"], merged["samples"]) == (ada["id"], 3)
    assert client.get(f"/v1/people/{eve['id']}").status_code == 404


def test_people_are_found_by_a_part_of_their_name(client, ada, portraits):
    for name in ("Łukasz Ada", "Beth"):
        enroll(client, name, portraits[2], force=True)

    def search(**body):
        answer = client.post("/v1/people/search", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert [one["name"] for one in search(text="ADA")["items"]] == ["Ada", "Łukasz Ada"]
    first = search(text="ada", limit=1)
    assert search(text="ada", limit=1, cursor=first["next"]) | {"items": 0} == {"items": 0, "next": None}
    assert [one["name"] for one in search()["items"]] == ["Ada", "Beth", "Łukasz Ada"]
    for cursor in ("x", "WzEsICJ4Il0=", "WyJcdWQ4MDAiLCAieCJd", "WyJ4Il0="):  # [1, "x"], half a character, ["x"]
        assert client.post("/v1/people/search", json={"cursor": cursor}).status_code == 422
    assert client.post("/v1/people/search", content=b'{"text": "\\ud800"}').status_code == 422
    forget(client, "Łukasz Ada", "Beth")


def test_samples_of_somebody_else_are_given_to_that_person(client, ada, portraits):
    samples = [one["id"] for one in client.get(f"/v1/people/{ada['id']}").json()["samples"]]
    path = f"/v1/people/{ada['id']}/split"
    eve = client.post(path, json={"name": "Eve", "samples": samples[:1]}).json()
    assert (eve["name"], eve["samples"]) == ("Eve", 1)
    assert [one["id"] for one in client.get(f"/v1/people/{eve['id']}").json()["samples"]] == samples[:1]
    for body, status in (({"samples": samples[1:]}, 400), ({"samples": [2**70]}, 422), ({"samples": []}, 422)):
        assert client.post(path, json={"name": "Eve"} | body).status_code == status
    assert client.post("/v1/people/nobody/split", json={"name": "Eve", "samples": [1]}).status_code == 404


@pytest.fixture
def strangers(cast):
    """Photos of the second person, as images."""
    return cast.portraits(list(cast.cast)[1], 2)


def as_jpeg(image):
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()


def test_a_photo_of_somebody_else_is_refused_unless_forced(client, ada, strangers):
    verdict = enroll(client, "Ada", as_jpeg(strangers[0]))
    assert verdict["status"] == "refused" and "unlike the other samples of 'Ada'" in verdict["reason"]
    assert verdict["own"] < 0.4
    assert client.get(f"/v1/people/{ada['id']}").json()["person"]["samples"] == 2
    assert enroll(client, "Ada", as_jpeg(strangers[0]), force=True)["status"] == "enrolled"


def test_one_of_several_faces_is_chosen_by_its_number(client, cast, strangers):
    both = as_jpeg(np.hstack([cast.portraits(next(iter(cast.cast)), 1)[0], strangers[0]]))
    verdict = enroll(client, "Eve", both)
    assert verdict["status"] == "refused" and len(verdict["faces"]) == 2 and verdict["turned"] == 0
    assert {face["number"] for face in verdict["faces"]} == {1, 2}
    right = max(verdict["faces"], key=lambda face: face["box"][0])
    assert enroll(client, "Eve", both, face=3)["status"] == "refused"
    assert enroll(client, "Eve", both, face=right["number"])["status"] == "enrolled"
    # Now the photo shows one face that matches Eve's samples.
    assert enroll(client, "Eve", both)["status"] == "known"
    assert enroll(client, "Eve", as_jpeg(strangers[1]))["status"] == "enrolled"
    forget(client, "Eve")


def png_of(width, height):
    """A few bytes that form a complete PNG and claim this size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        (b"", "not a JPEG, PNG, WebP or BMP"),
        (b"<svg onload=alert(1)>", "not a JPEG, PNG, WebP or BMP"),
        (black(64, 64)[:300], "truncated"),
        (png_of(30_000, 30_000), "900.*pixels is more|30000×30000 pixels is more"),
        (png_of(100, 100), "damaged"),
        (black(320, 240), "no face found"),
    ],
)
def test_a_bad_photo_is_refused_with_a_reason(client, photo, reason):
    verdict = enroll(client, "Mallory", photo)
    assert verdict["status"] == "refused"
    assert re.search(reason, verdict["reason"]), verdict
    assert "Mallory" not in [person["name"] for person in client.get("/v1/people").json()["items"]]


@pytest.mark.parametrize("wrong", [
    ("GET", "/v1/people/nobody", None, 404), ("DELETE", "/v1/people/Ada", None, 404),  # a name is not an id
    ("POST", "/v1/enrollments/photo", None, 422),
    ("POST", "/v1/enrollments/seen", {"name": "", "appearance": "x"}, 422),
    ("GET", "/v1/cameras/yard/picture", None, 404), ("GET", "/v1/cameras/yard/guidance", None, 404),
    ("GET", "/v1/appearances/none/face", None, 404), ("GET", "/v1/appearances?limit=0", None, 422),
    ("GET", "/v1/people/%2e%2e%2f%2e%2e%2fetc", None, 404), ("GET", "/static/../api.py", None, 404),
    ("PATCH", "/v1/settings", {"no.such": 1}, 400), ("PATCH", "/v1/settings", {"recognition.match": 7}, 400),
    ("PATCH", "/v1/settings", {"recognition.match": "high"}, 400),
])  # fmt: skip
def test_wrong_requests_get_an_error_message(client, ada, wrong):
    method, path, body, status = wrong
    answer = client.request(method, path, json=body)
    assert answer.status_code == status and answer.json()["detail"]
    assert ada["id"] in [person["id"] for person in client.get("/v1/people").json()["items"]]


def test_messages_about_bodies_speak_of_json(client):
    sent = {"content-type": "application/json"}
    malformed = client.put("/v1/rules/night", content="{", headers=sent)
    no_list = client.put("/v1/rules/night", json={"cameras": "door"})
    assert (malformed.status_code, no_list.status_code) == (422, 422)
    assert "the body is not valid JSON" in malformed.json()["detail"]
    assert no_list.json()["detail"] == "cameras: Input should be a valid list"


def test_a_refused_photo_says_how_to_force_it_without_a_command_line(client, ada, portraits):
    refused = enroll(client, "Mallory", portraits[0])
    assert "API: force=true" in refused["reason"]


@pytest.mark.parametrize("name", ["Eve\0", "\x1b[2JEve", "Eve\nAda", " "])
def test_an_invalid_name_is_refused(client, ada, portraits, name):
    answers = [
        client.patch(f"/v1/people/{ada['id']}", json={"name": name}),
        client.post("/v1/enrollments/photo", params={"name": name, "force": True}, content=portraits[2]),
    ]
    assert [answer.status_code for answer in answers] == [400, 400], [answer.text for answer in answers]
    assert [person["name"] for person in client.get("/v1/people").json()["items"]] == ["Ada"]


def test_live_pictures_come_with_the_people_in_them(client, address):
    with sockets.connect(address.replace("http", "ws") + "/v1/cameras/door/live", proxy=None) as socket:

        def faces():
            socket.send("next")
            message = json.loads(socket.recv(timeout=60))
            if not message["fresh"]:
                return None
            picture = cv2.imdecode(np.frombuffer(socket.recv(timeout=60), np.uint8), 1)
            assert picture.shape == (360, 640, 3)
            return [one for one in message["present"] if one["appearance"]]

        x1, y1, x2, y2 = eventually(faces, "somebody in the picture")[0]["box"]
        assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
    with pytest.raises(InvalidStatus):
        sockets.connect(address.replace("http", "ws") + "/v1/cameras/yard/live", proxy=None)
    assert client.get("/v1/cameras/door/picture").content[:3] == b"\xff\xd8\xff"


def test_appearances_are_sent_as_events_and_listed(client, ada):
    with client.stream("GET", "/v1/events", timeout=60) as stream:
        lines = stream.iter_lines()
        data = eventually(lambda: (line := next(lines)).startswith("data: ") and '"Ada"' in line and line, "Ada comes")
    event = json.loads(data.removeprefix("data: "))
    assert event["schema"] == "rkface.appearance" and event["match"]["person"] == ada["id"]

    def listed(**more):
        return client.get("/v1/appearances", params=more).json()

    known = eventually(lambda: listed(person=ada["id"])["items"], "Ada in the list")
    assert {one["match"]["person"] for one in known} == {ada["id"]}
    page = eventually(lambda: (found := listed(person="", limit=1))["next"] and found, "somebody unknown")
    assert {one["match"] for one in page["items"]} == {None}
    before = listed(person="", cursor=page["next"])["items"]
    assert all(one["started"] < page["items"][-1]["started"] for one in before)
    first = page["items"][0]
    assert datetime.fromisoformat(first["started_at"].replace("Z", "+00:00")).timestamp() == pytest.approx(
        first["started"], abs=1e-3
    )
    assert (first["ended_at"] is None) == (first["ended"] is None) == (first["stage"] != "end")
    with_face = eventually(lambda: [one for one in listed(person="")["items"] if one["face"]], "a face")
    assert client.get(f"/v1/appearances/{with_face[0]['id']}/face").content[:4] == b"\x89PNG"


def test_appearances_of_a_day_are_listed_and_chosen_ones_deleted(client, service):
    def ended():
        items = [one for one in client.get("/v1/appearances").json()["items"] if one["stage"] == "end"]
        older = [one for one in items if one["started"] < items[0]["started"] - 0.01]
        return (items[0], older[0]) if older else None

    def moment(seconds):
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat()

    newest, older = eventually(ended, "two appearances")
    middle = (older["started"] + newest["started"]) / 2
    between = {"since": moment(older["started"] - 0.01), "until": moment(middle)}
    listed = client.get("/v1/appearances", params=between).json()
    assert older["id"] in [one["id"] for one in listed["items"]]
    assert newest["id"] not in [one["id"] for one in listed["items"]]
    for wrong in ("yesterday", "2026-11-29T10:00:00"):  # without a time zone
        assert client.get("/v1/appearances", params={"since": wrong}).status_code == 422
    chosen = {"appearances": [older["id"], "nothing"]}
    assert client.post("/v1/appearances/delete", json=chosen).json() == {"deleted": 1}
    assert older["id"] not in [one["id"] for one in client.get("/v1/appearances").json()["items"]]
    assert client.post("/v1/appearances/delete", json={"appearances": []}).status_code == 422


def test_journeys_of_a_day_are_listed_in_pages(client, service, ada):
    """In the past, where no camera of the test adds any."""
    noon, match = 1_500_000_000.0, Match(ada["id"], "a former name", 0.8)
    times = [noon, noon + 100, noon + 7200]
    for number, (camera, started) in enumerate(zip(("door", "hall", "door"), times, strict=True)):
        last = started + 10 * (number < 2)
        service._resources.log.record(
            Appearance(f"past-{number}", camera, "end", match, 0.4, started, started, last, (0, 0, 1, 1), 0.9, 0.8, 9)
        )

    def listed(**more):
        until = datetime.fromtimestamp(noon + 10_000, timezone.utc).isoformat()
        return client.get("/v1/journeys", params={"until": until, **more}).json()

    page = listed(limit=1)
    assert [stop["appearance"] for stop in page["items"][0]["stops"]] == ["past-2"] and page["items"][0][
        "name"
    ] == "Ada"
    (first,) = listed(cursor=page["next"])["items"]
    assert [(stop["source"], stop["started"]) for stop in first["stops"]] == [("door", noon), ("hall", noon + 100)]
    assert first["last"] == noon + 110 and first["started_at"] == "2017-07-14T02:40:00.000Z"
    assert len(listed(pause=7200)["items"]) == 1 and len(listed(source="hall")["items"]) == 1
    assert listed(person="nobody") == {"items": [], "next": None}
    for wrong in ({"cursor": "x"}, {"pause": 0}, {"pause": "nan"}, {"since": "yesterday"}):
        assert client.get("/v1/journeys", params=wrong).status_code == 422
    assert client.post("/v1/appearances/delete", json={"appearances": ["past-0", "past-1", "past-2"]}).is_success


def test_exactly_the_pictures_that_were_shown_are_enrolled(client):
    def offered():
        for one in client.get("/v1/appearances", params={"person": ""}).json()["items"]:
            if shots := client.get(f"/v1/appearances/{one['id']}/shots").json()["items"]:
                return one["id"], shots
        return None

    appearance, shots = eventually(offered, "an appearance with pictures")
    assert [shot["quality"] for shot in shots] == sorted((shot["quality"] for shot in shots), reverse=True)
    last = shots[-1]["id"]  # not the best one
    shown = client.get(f"/v1/appearances/{appearance}/face", params={"shot": last}).content
    assert shown[:4] == b"\x89PNG"
    assert client.get(f"/v1/appearances/{appearance}/face", params={"shot": "0" * 16}).status_code == 404
    body = {"name": "Grace", "appearance": appearance, "shots": ["0" * 16]}
    refused = client.post("/v1/enrollments/seen", json=body).json()["verdict"]
    assert refused["status"] == "refused" and "choose the person again" in refused["reason"]
    assert client.post("/v1/enrollments/seen", json=body | {"shots": [last]}).json()["status"] == "enrolled"
    grace = next(person for person in client.get("/v1/people").json()["items"] if person["name"] == "Grace")
    assert grace["samples"] == 1 and client.get(f"/v1/people/{grace['id']}/face").content == shown
    forget(client, "Grace")
    # Who is forgotten is also gone from the pictures that were shown.
    assert client.get(f"/v1/appearances/{appearance}/face", params={"shot": last}).status_code == 404


def test_settings_change_together_or_not_at_all(client):
    def window():
        return {one["key"]: one["value"] for one in client.get("/v1/settings").json()["items"]}["recognition.window"]

    assert window() == 0.5
    refused = client.patch("/v1/settings", json={"recognition.window": 0.7, "no.such": 1})
    assert refused.status_code == 400
    said = [(one["loc"], one["msg"]) for one in refused.json()["errors"]]
    assert said == [(["body", "no.such"], "cannot be changed while the service runs")]  # a page marks this field
    assert window() == 0.5
    assert client.patch("/v1/settings", json={"recognition.window": 0.7}).status_code == 200
    assert window() == 0.7
    client.patch("/v1/settings", json={"recognition.window": 0.5})


def test_health_and_metrics(client):
    health = eventually(
        lambda: (answer := client.get("/v1/health").json())["cameras"][0]["fps"] and answer, "frames are analyzed"
    )
    assert health["synthetic"] and [camera["name"] for camera in health["cameras"]] == ["door"]
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    assert client.get("/v1/cameras/door/guidance").json()["advice"]


def test_the_number_of_listeners_is_limited_even_if_all_connect_at_the_same_time():
    """All get the start of their answer first; then all disconnect before their stream starts."""
    app, statuses, answered = create_app(FakeService(), Access(None, secure=False)), [], asyncio.Event()
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/v1/events", "raw_path": b"/v1/events",
             "query_string": b"", "root_path": "", "headers": [(b"host", b"localhost")],
             "asgi": {"version": "3.0", "spec_version": "2.4"}}  # fmt: skip

    async def connect():
        async def receive():
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                if len(statuses) == 2 * MAX_STREAMS:
                    answered.set()
                await answered.wait()
                raise OSError("gone")

        await app(dict(scope), receive, send)

    async def connect_all():
        await asyncio.gather(*(connect() for _ in range(2 * MAX_STREAMS)), return_exceptions=True)

    asyncio.run(connect_all())
    assert sorted(statuses) == [200] * MAX_STREAMS + [503] * MAX_STREAMS
    assert app.state.listeners == 0


def test_the_number_of_live_views_is_limited(client, address):
    live = address.replace("http", "ws") + "/v1/cameras/door/live"

    def connects():
        try:
            with sockets.connect(live, proxy=None):
                return True
        except InvalidStatus:
            return False

    with ExitStack() as opened:
        for _ in range(MAX_STREAMS):
            opened.enter_context(sockets.connect(live, proxy=None))
        assert not connects()
        assert client.get("/v1/people").status_code == 200

    eventually(connects, "a place is free after they disconnected")
