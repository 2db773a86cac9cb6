"""Links to the pictures of alerts: they work without a password, and nothing else of the console does."""

import pytest
from starlette.testclient import TestClient

from rkface.runtime.events import PictureLinks, PictureStore
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.appearance_requests import AppearanceRequests
from rkface.runtime.web.access import Access
from rkface.runtime.web.password import PasswordCheck, password_hasher
from rkface.runtime.web.serve import create_app

from .conftest import PASSWORD
from .fake_service import REMOTE, FakeService

JPEG = b"\xff\xd8\xff\xe0 the face"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with PictureStore(tmp_path_factory.mktemp("links") / "g.alert-pictures") as store:
        yield store


@pytest.fixture(scope="module")
def clock():
    return [0.0]


@pytest.fixture(autouse=True)
def now(clock):
    clock[0] = 1_780_000_000.0
    return clock


@pytest.fixture(scope="module")
def links(store, clock):
    return PictureLinks(store.link_key(), "http://board.local/", 3600.0, wall=lambda: clock[0])


@pytest.fixture(scope="module")
def client(store, links, tmp_path_factory):
    """Of a console with a password; nobody is signed in. The first request to an application takes long."""
    service, access = FakeService(), Access(PasswordCheck(password_hasher().hash(PASSWORD)), secure=False)
    with AppearanceLog(tmp_path_factory.mktemp("links") / "log") as log:
        service.appearances = AppearanceRequests(None, log, {}, crop=None, pictures=store, links=links)
        yield TestClient(create_app(service, access), **REMOTE)


@pytest.fixture
def link(store, links):
    return links.describe(store.add(JPEG, "a-1", "p-1"))["url"]


def test_a_link_shows_the_picture_without_signing_in_also_to_pages_of_other_sites(client, link):
    answer = client.get(link, headers={"origin": "https://dashboard.example"})
    assert answer.status_code == 200 and answer.content == JPEG and answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["cache-control"] == "no-store" and answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/v1/people").status_code == 401
    assert client.get("/v1/people").headers["cross-origin-resource-policy"] == "same-origin"


def test_an_expired_link_is_not_found(client, link, now):
    now[0] += 3601
    answer = client.get(link)
    assert answer.status_code == 404 and "expired" in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_after_forgetting_the_link_is_not_found(client, link, store):
    store.erase({"p-1"})
    assert client.get(link).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link[:-1] + ("A" if link[-1] != "A" else "B"),
        lambda link: link.replace("expires=1", "expires=2"),
        lambda link: link.replace("alert-pictures/", "alert-pictures/0"),
        lambda link: link.partition("&")[0] + "&signature=",
        lambda link: link.replace("expires=1", "expires=-1"),
        lambda link: link.partition("?")[0],
        lambda link: link.replace("expires=", "expires=9" * 40),
        lambda link: link + "x" * 200,
        lambda link: link.replace("?", "/../people?"),
        lambda link: link.replace("?", "%0a?"),
    ],
)
def test_a_changed_link_shows_nothing(client, link, change):
    answer = client.get(change(link))
    assert answer.status_code in (401, 404, 422) and JPEG not in answer.content
    assert answer.json()["status"] == answer.status_code


def test_the_path_lets_nobody_change_anything(client, link):
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert client.request(method, link).status_code == 401, "nobody is signed in"
