"""POST /v1/search at the hub's own server."""

import base64

import cv2
import psycopg
import pytest

for needed in ("fastapi", "uvicorn", "argon2", "httpx"):
    pytest.importorskip(needed, reason="the page of the hub needs rkface[web], its tests httpx")

from starlette.testclient import TestClient

from rkface.runtime.core.errors import InputError
from rkface.runtime.gallery.people import Sample, embedding_identity
from rkface.runtime.hub.boards import add_site
from rkface.runtime.hub.people import add_person
from rkface.runtime.hub_console.app import create_app, open_hub_console
from rkface.runtime.hub_console.hub_connections import HubConnections
from rkface.runtime.inference.open_bundle import open_bundle
from rkface.runtime.web.access import Access
from rkface.runtime.web.accounts import Accounts
from rkface.runtime.web.failures import RareLog
from rkface.runtime.web.password import PasswordCheck, hash_password

from ..conftest import scene

PASSWORD = hash_password("correct horse battery")
PHOTO = cv2.imencode(".png", scene((0, 3)))[1].tobytes()


@pytest.fixture(scope="module")
def pipeline(bundle):
    with open_bundle(bundle, "reference") as opened:
        yield opened


@pytest.fixture
def client_for(hub, database, tmp_path):
    """``client_for(pipeline, scope)``: a program with a token of this scope; None: without a token."""
    connections = HubConnections(database)

    def open_client(pipeline, scope="identify"):
        access = Access(PasswordCheck(PASSWORD), False, "", accounts)
        app = create_app(connections, access, RareLog(), pipeline)
        client = TestClient(app, base_url="http://localhost")
        if scope:
            client.headers["authorization"] = f"Bearer {accounts.create_token(scope, [scope])[1]}"
        return client

    with Accounts(tmp_path / "accounts.sqlite") as accounts:
        yield open_client
    connections.close()


@pytest.fixture
def ada(hub, pipeline):
    """Ada, whose face is in PHOTO, at the north site."""
    embedding = pipeline.recognize_photo(scene((0, 3))).faces.embeddings[0]
    identity = embedding_identity(pipeline.manifest)
    for site in ("north", "south"):
        add_site(hub, site)
    add_person(hub, "Ada", ["north"], [Sample(embedding, None, 0.9, "photo.png", identity=identity)], identity)


def test_a_photo_is_answered_with_people_cosines_and_sites(ada, client_for, pipeline):
    client = client_for(pipeline)
    for body in (
        {"content": PHOTO},
        {"files": {"photo": PHOTO}},
        {"json": {"photo": base64.b64encode(PHOTO).decode()}},
    ):
        answer = client.post("/v1/search?site=north&site=south&people=3", **body)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        (face,) = found["faces"]
        (match,) = face["matches"]
        assert (match["name"], match["sites"], match["same"]) == ("Ada", ["north"], True)
        assert match["cosine"] == pytest.approx(1, abs=1e-5)
        assert (found["method"], found["lacks_index"], found["reason"]) == ("exact", False, None)
    found = client.post("/v1/search?site=south", content=PHOTO).json()
    assert found["faces"][0]["matches"] == [] and found["reason"] == "nobody is known at this site"


def test_wrong_requests_are_refused_with_what_is_wrong(ada, client_for, pipeline):
    client = client_for(pipeline)
    for url, body, status, said in (
        ("/v1/search?site=east", PHOTO, 422, "no site 'east'"),
        ("/v1/search?site=a%00b", PHOTO, 422, "cannot be the name of a site"),
        ("/v1/search?people=0", PHOTO, 422, "people"),
        ("/v1/search?people=101", PHOTO, 422, "people"),
        ("/v1/search?threshold=nan", PHOTO, 422, "threshold"),
        ("/v1/search", b"no photo", 422, "photo"),
        ("/v1/search", b"", 422, "photo"),
    ):
        answer = client.post(url, content=body)
        assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


def test_without_a_bundle_the_server_says_how_to_get_one(client_for):
    answer = client_for(None).post("/v1/search", content=PHOTO)
    assert answer.status_code == 503 and "--bundle DIR" in answer.json()["detail"]


def test_a_bundle_of_another_model_is_refused_at_the_start_and_later(hub, database, client_for, pipeline):
    hub.execute("INSERT INTO rkface.setting VALUES ('identity', %s)", ["0" * 32])
    with (
        pytest.raises(InputError, match="another model"),
        open_hub_console(database, "127.0.0.1", 0, pipeline=pipeline),
    ):
        pass
    answer = client_for(pipeline).post("/v1/search", content=PHOTO)
    assert answer.status_code == 503 and "another model" in answer.json()["detail"]


def test_a_program_needs_the_scope_identify(ada, client_for, pipeline):
    for scope, status in (("identify", 200), ("read", 403), (None, 401)):
        assert client_for(pipeline, scope).post("/v1/search", content=PHOTO).status_code == status


def test_a_request_checks_the_model_and_the_sites_once(ada, client_for, pipeline, monkeypatch):
    asked = []
    execute = psycopg.Connection.execute

    def note(self, query, *more, **options):
        asked.append(str(query))
        return execute(self, query, *more, **options)

    client = client_for(pipeline)
    monkeypatch.setattr(psycopg.Connection, "execute", note)
    assert client.post("/v1/search?site=north", content=PHOTO).status_code == 200
    for table in ("FROM rkface.setting", "FROM rkface.site "):
        assert len([one for one in asked if table in one]) == 1, asked
