"""``/v1`` about reviews, thresholds of single people, and the health of the gallery, with the real service."""

import numpy as np
import pytest

from rkface.runtime.gallery.backup import forget
from rkface.runtime.gallery.people import Sample
from rkface.runtime.gallery.reviews import list_reviews, remove_reviews
from rkface.runtime.service.sighting import Sighting

from .conftest import eventually


@pytest.fixture
def ada(service, portraits, client):
    """A person who is enrolled from a photo."""
    answer = client.post("/v1/enrollments/photo?name=Ada", content=portraits[0])
    assert answer.json()["status"] == "enrolled"
    person = service.gallery.person("Ada")
    yield person
    for one in service.gallery.people():
        forget(service.gallery, one)
    remove_reviews(service.gallery, [one.appearance for one in list_reviews(service.gallery)])


def put_review(client, appearance, person, **more):
    return client.put(f"/v1/appearances/{appearance}/review", json={"person": person, **more})


def identify(client, photo, **query):
    return client.post("/v1/identify", params=query, content=photo).json()


def test_a_threshold_of_ones_own_is_honored_by_photos_and_cameras(client, service, ada, portraits):
    assert identify(client, portraits[1])["faces"][0]["person"]["name"] == "Ada"
    eventually(lambda: service.appearances.newest(person=ada.id), "the camera recognizes Ada")
    set_to = client.put(f"/v1/people/{ada.id}/threshold", json={"threshold": 1.0})
    assert set_to.json()["threshold"] == 1.0
    found = identify(client, portraits[1], threshold=0.1)
    assert found["faces"][0]["person"] is None and found["faces"][0]["matches"][0]["threshold"] == 1.0
    assert "1.000 is needed" in found["reason"]
    latest = max(one.started for one in service.appearances.newest(1))
    eventually(
        lambda: any(one.started > latest and one.match is None for one in service.appearances.newest(20, person="")),
        "the camera does not recognize anybody any more",
    )
    assert not [one for one in service.appearances.newest(20, person=ada.id) if one.started > latest + 1]
    for wrong in (1.5, -0.1, "much"):
        assert client.put(f"/v1/people/{ada.id}/threshold", json={"threshold": wrong}).status_code == 422
    assert client.put("/v1/people/nobody/threshold", json={"threshold": 0.5}).status_code == 404
    assert client.put(f"/v1/people/{ada.id}/threshold", json={"threshold": None}).json()["threshold"] is None


def test_a_review_is_stored_listed_counted_and_withdrawn(client, service, ada):
    seen = eventually(lambda: service.appearances.newest(person=ada.id), "the camera recognizes Ada")[0]
    result = put_review(client, seen.id, None)
    assert result.json()["outcome"] == "false match" and result.json()["review"]["started_at"].endswith("Z")
    assert "vector" not in result.text and result.json()["review"]["embedding"] is False
    assert [one["review"]["appearance"] for one in client.get("/v1/reviews").json()["items"]] == [seen.id]
    health = client.get("/v1/gallery/health").json()
    assert health["reviews"][0]["false_matches"] == 1 and health["quality"]["samples"] == 1
    assert health["cameras"][0]["camera"] == "door" and health["created_at"].endswith("Z")
    assert put_review(client, seen.id, ada.id).json()["outcome"] == "right"
    assert client.delete(f"/v1/appearances/{seen.id}/review").status_code == 204
    assert client.delete(f"/v1/appearances/{seen.id}/review").status_code == 404
    assert client.get("/v1/reviews").json()["items"] == []


def test_a_reviewed_face_becomes_a_sample_or_is_ignored(client, service, ada):
    unknown = eventually(
        # One that goes on would be recorded again, over what this test records of it.
        lambda: [one for one in service.appearances.newest(50, person="") if one.face and one.stage == "end"],
        "the camera has seen a stranger",
    )[0]
    result = put_review(client, unknown.id, ada.id, add=True).json()
    assert (result["outcome"], result["verdict"]["status"]) == ("missed match", "enrolled")
    assert service.gallery.person("Ada").samples > 1
    refused = put_review(client, unknown.id, None, ignore=True)  # the service keeps no embeddings
    assert refused.status_code == 400 and "embedding" in refused.json()["detail"]
    vector = np.random.default_rng(0).standard_normal(len(service.gallery.samples(ada)[0].embedding))
    vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    service._resources.log.record(unknown, Sighting(None, vector, service.gallery.identity))
    assert put_review(client, unknown.id, None, ignore=True).json()["ignored"] is True
    assert service.gallery.search(vector[None])[0] == []


def test_wrong_reviews_are_refused(client, service, ada):
    seen = eventually(service.appearances.newest, "somebody is seen")[0]
    for appearance, body, status in (
        ("nothing", {"person": None}, 404),
        (seen.id, {"person": "nobody"}, 404),
        (seen.id, {"person": "Ada"}, 404),  # a name is not an id
        (seen.id, {}, 422),
        (seen.id, {"person": None, "add": True}, 400),
        (seen.id, {"person": ada.id, "ignore": True}, 400),
        (seen.id, {"person": 7}, 422),
    ):
        answer = client.put(f"/v1/appearances/{appearance}/review", json=body)
        assert answer.status_code == status and answer.json()["detail"], body
    assert list_reviews(service.gallery) == []


def test_the_list_of_people_in_an_answer_is_limited(client, service, ada, monkeypatch):
    monkeypatch.setattr("rkface.runtime.web.reviews.MOST_PEOPLE", 1)
    service.gallery.add("Grace", [Sample(-service.gallery.samples(ada)[0].embedding, None, 0.9, "g")])
    assert len(client.get("/v1/gallery/health").json()["quality"]["people"]) == 1
