"""/v1/detect, /v1/identify and /v1/compare with the real service: who is in a photo of another program."""

import base64
from dataclasses import replace

import cv2
import numpy as np
import pytest

from rkface.runtime.gallery.ignored import ignore_face, stop_ignoring

from .conftest import black


@pytest.fixture(scope="module")
def enrolled(address, portraits):
    """The id of a person who is enrolled from two photos."""
    from .conftest import browser_like

    with browser_like(address) as client:
        for photo in portraits[:2]:
            assert client.post("/v1/enrollments/photo?name=Grace", content=photo).json()["status"] == "enrolled"
        (id,) = [person["id"] for person in client.get("/v1/people").json()["items"] if person["name"] == "Grace"]
        yield id
        client.delete(f"/v1/people/{id}")


@pytest.fixture(scope="module")
def stranger(cast):
    """A photo of the second person of the cast, who is not enrolled."""
    (image,) = cast.portraits(list(cast.cast)[1], 1)
    return cv2.imencode(".jpg", image)[1].tobytes()


def test_a_known_person_is_identified_and_the_answer_is_the_same_for_every_kind_of_body(client, enrolled, portraits):
    raw = client.post("/v1/identify", content=portraits[2]).json()
    assert raw["reason"] is None and raw["turned"] == 0
    (face,) = raw["faces"]
    assert face["person"]["person"] == enrolled and face["person"]["name"] == "Grace"
    assert face["person"]["cosine"] >= raw["threshold"] and face["flaw"] is None
    x1, y1, x2, y2 = face["box"]
    assert all(x1 < x < x2 and y1 < y < y2 for x, y in face["landmarks"])
    form = client.post("/v1/identify", files={"photo": ("x.jpg", portraits[2])}).json()
    encoded = client.post("/v1/identify", json={"photo": base64.b64encode(portraits[2]).decode()}).json()
    assert form == raw and encoded == raw
    assert "embedding" not in str(raw)


def test_an_unknown_person_gets_a_reason_and_the_most_similar_people(client, enrolled, stranger):
    answer = client.post("/v1/identify?people=5", content=stranger).json()
    (face,) = answer["faces"]
    assert face["person"] is None and face["matches"][0]["person"] == enrolled
    assert answer["reason"].startswith("unknown: the highest cosine is")
    low = client.post("/v1/identify?threshold=-1", content=stranger).json()
    assert low["faces"][0]["person"]["person"] == enrolled and low["threshold"] == -1


def test_a_face_on_the_ignore_list_is_nobody(client, service, enrolled, portraits):
    samples = service.gallery.samples(service.gallery.person(enrolled))
    entry = ignore_face(service.gallery, [replace(one, embedding=-one.embedding, crop=None) for one in samples])
    assert client.post("/v1/identify", content=portraits[2]).json()["faces"][0]["person"]["person"] == enrolled
    stop_ignoring(service.gallery, entry)
    probe = service.pipeline.recognize(cv2.imdecode(np.frombuffer(portraits[2], np.uint8), 1)).embeddings[0]
    entry = ignore_face(service.gallery, [replace(samples[0], embedding=probe, crop=None)])
    answer = client.post("/v1/identify", content=portraits[2]).json()
    stop_ignoring(service.gallery, entry)
    (face,) = answer["faces"]
    assert face["ignored"] and face["person"] is None and face["matches"] == []
    assert answer["reason"] == "this face is on the ignore list"


def test_without_anybody_no_threshold_makes_a_face_ignored(client, stranger):
    assert not client.post("/v1/identify?threshold=-1", content=stranger).json()["faces"][0]["ignored"]


def test_a_photo_without_a_face_and_a_bad_face_say_why(client, enrolled):
    answer = client.post("/v1/identify", content=black(64, 64)).json()
    assert answer["faces"] == [] and "no face found" in answer["reason"]
    crop = cv2.imdecode(np.frombuffer(client.get(f"/v1/people/{enrolled}/face").content, np.uint8), 1)
    dark = cv2.imencode(".png", crop // 64)[1].tobytes()
    for path in ("/v1/identify", "/v1/detect"):
        answer = client.post(f"{path}?aligned=true", content=dark).json()
        assert "too dark" in answer["reason"] and "too dark" in answer["faces"][0]["flaw"], path
        assert answer["faces"][0].get("person") is None


def test_two_photos_are_compared(client, portraits, stranger):
    def compare(first, second):
        return client.post("/v1/compare", files={"first": first, "second": second}).json()

    same, other = compare(portraits[0], portraits[2]), compare(portraits[0], stranger)
    assert same["same"] is True and other["same"] is False
    assert same["cosine"] >= same["threshold"] > other["cosine"]
    none = compare(portraits[0], black(64, 64))
    assert none["same"] is None and none["cosine"] is None and none["second"] is None and none["first"]
    assert none["reason"] == "the second photo: no face found, upright, turned or close up"


def test_an_aligned_face_is_not_searched_for_again(client, service, enrolled):
    crop = client.get(f"/v1/people/{enrolled}/face").content
    (face,) = client.post("/v1/identify?aligned=true", content=crop).json()["faces"]
    assert face["person"]["person"] == enrolled and face["person"]["cosine"] > 0.99
    assert face["box"] == [0, 0, 112, 112]
    refused = client.post("/v1/identify?aligned=true", content=black(64, 64))
    assert refused.status_code == 422 and "112×112 pixels, not 64×64" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("request_body", "status", "word"),
    [
        ({"content": b"no photo"}, 422, "photo"),
        ({"json": {"photo": "AAAA"}}, 422, "photo"),
        ({"json": {"photo": "data:image/jpeg;base64,AAAA"}}, 422, "plain base64"),
        ({"json": {"picture": "AAAA"}}, 422, "no field 'photo'"),
        ({"json": ["AAAA"]}, 422, "JSON object"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "not JSON"),
        ({"files": {"picture": b"x"}}, 422, "no field 'photo'"),
        ({"files": {f"{n}": b"x" for n in range(40)}}, 400, "more than"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "form"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, "form"),
    ],
)
def test_wrong_bodies_are_explained(client, request_body, status, word):
    answer = client.post("/v1/identify", **request_body)
    assert (answer.status_code, word in str(answer.json()["detail"])) == (status, True), answer.text


def test_two_photos_need_a_form_or_json(client):
    answer = client.post("/v1/compare", content=black(64, 64))
    assert answer.status_code == 415 and "multipart/form-data" in answer.json()["detail"]
