"""Tokens of programs and users with roles: what each may do, that secrets are not stored, and that a change in another
process counts at once."""

import base64
import itertools
import stat

import pytest
from starlette.testclient import TestClient

from rkface.runtime.core.errors import DeviceError, InputError
from rkface.runtime.web.access import Access
from rkface.runtime.web.accounts import MOST_NOTES, PREFIX, Accounts, accounts_path
from rkface.runtime.web.password import PasswordCheck, password_hasher
from rkface.runtime.web.scopes import ROLES, SCOPES, SEARCH_PATHS, needed_scope
from rkface.runtime.web.serve import create_app

from .conftest import PASSWORD
from .fake_service import REMOTE, FakeService, sign_in


@pytest.fixture
def accounts(tmp_path):
    with Accounts(accounts_path(tmp_path / "gallery.sqlite")) as accounts:
        yield accounts


@pytest.fixture(scope="module")
def owner_hash():
    return password_hasher().hash(PASSWORD)


@pytest.fixture
def app(accounts, owner_hash):
    return create_app(FakeService(), Access(PasswordCheck(owner_hash), secure=False, accounts=accounts))


@pytest.fixture(scope="module")
def shared_accounts(tmp_path_factory):
    with Accounts(accounts_path(tmp_path_factory.mktemp("accounts") / "gallery.sqlite")) as accounts:
        yield accounts


@pytest.fixture(scope="module")
def shared_app(shared_accounts, owner_hash):
    """For requests whose answers do not depend on earlier ones: the first request to an application takes long."""
    return create_app(FakeService(), Access(PasswordCheck(owner_hash), secure=False, accounts=shared_accounts))


def program(app, secret):
    return TestClient(app, headers={"authorization": f"Bearer {secret}"}, **REMOTE)


def test_a_secret_is_not_on_the_disk_and_only_its_owner_can_read_the_file(accounts):
    token, secret = accounts.create_token("door", ["identify"])
    assert secret.startswith(f"{PREFIX}{token.id}_")
    content = b"".join(path.read_bytes() for path in accounts.path.parent.iterdir())
    random_part = secret.removeprefix(f"{PREFIX}{token.id}_")
    assert token.id.encode() in content and random_part.encode() not in content
    assert stat.S_IMODE(accounts.path.stat().st_mode) == 0o600


def test_another_process_creates_and_revokes_tokens_and_this_one_notices_at_once(accounts):
    with Accounts(accounts.path) as other:
        token, secret = other.create_token("door", ["read", "metrics"])
        assert accounts.find_token(secret).name == "door" and accounts.find_token(secret).scopes == ("metrics", "read")
        assert accounts.find_token(secret[:-1]) is None and accounts.find_token("") is None
        other.revoke_token(token.id)
    assert accounts.find_token(secret) is None
    with pytest.raises(InputError, match="there is no token"):
        accounts.revoke_token(token.id)


def test_the_last_use_is_written_at_most_once_a_minute(tmp_path):
    times = iter([100.0, 200.0, 210.0, 300.0])
    with Accounts(tmp_path / "accounts", wall=lambda: next(times)) as accounts:
        token, secret = accounts.create_token("door", ["read"])
        assert token.used is None
        used = []
        for _ in range(3):
            accounts.find_token(secret)
            used.append(accounts.tokens()[0].used)
    assert used == [200.0, 200.0, 300.0]


@pytest.mark.parametrize("name", ["", " door", "a\nb", "x" * 101])
def test_names_that_cannot_be_shown_are_refused(accounts, name):
    with pytest.raises(InputError, match="a name must have"):
        accounts.create_token(name, ["read"])
    with pytest.raises(InputError, match="a name must have"):
        accounts.set_user(name, "viewer", PASSWORD)


@pytest.mark.parametrize("name", ["owner", "Owner", "token door", "command line", "an unknown user", "a/b", ".."])
def test_no_user_looks_like_somebody_else_in_the_log_or_has_a_name_that_no_address_can_contain(accounts, name):
    with pytest.raises(InputError, match="choose another name"):
        accounts.set_user(name, "viewer", PASSWORD)
    accounts.set_user(f"{name[0]}x", "viewer", PASSWORD)


# Requests of a program with each scope: the least scope that may send it.
REQUESTS = [
    ("GET", "/v1/health", "metrics"),
    ("GET", "/v1/settings", "read"),
    ("POST", "/v1/identify", "identify"),
    ("POST", "/v1/detect", "identify"),
    ("POST", "/v1/compare", "identify"),
    ("POST", "/v1/enrollments/photo", "enroll"),
    ("POST", "/v1/enrolments/seen", "enroll"),
    ("PATCH", "/v1/people/x", "enroll"),
    ("POST", "/v1/people/x/merge", "enroll"),
    ("POST", "/v1/people/x/split", "enroll"),
    ("POST", "/v1/people/search", "read"),
    ("POST", "/v1/appearances/delete", "admin"),
    ("DELETE", "/v1/people/x/samples/1", "enroll"),
    ("DELETE", "/v1/people/x", "admin"),
    ("PATCH", "/v1/settings", "admin"),
    ("GET", "/v1/tokens", "admin"),
    ("POST", "/v1/tokens", "admin"),
    ("PUT", "/v1/users/ada", "admin"),
    ("GET", "/v1/audit", "admin"),
    ("POST", "/v1/something-new", "admin"),
]


@pytest.mark.parametrize(("scope", "request_sent"), list(itertools.product(SCOPES, REQUESTS)))
def test_a_token_may_do_what_its_scope_says_and_nothing_else(shared_app, shared_accounts, scope, request_sent):
    method, path, least = request_sent
    _, secret = shared_accounts.create_token("program", [scope])
    includes = {"read": {"metrics", "read"}, "admin": set(SCOPES)}.get(scope, {scope})
    with TestClient(
        shared_app, raise_server_exceptions=False, headers={"authorization": f"Bearer {secret}"}, **REMOTE
    ) as one:
        answer = one.request(method, path)
    allowed = least in includes
    assert (answer.status_code not in (401, 403)) == allowed, answer.text
    if not allowed:
        assert answer.json()["detail"] == f"token program may not do this: it needs the scope '{least}'"


@pytest.mark.parametrize("end", ["", "%0A", "%0a%0a", "/", "//", "%2F", "/%2e", "%20", "%00", ";x", "?x"])
@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/users", "/v1/audit"])
def test_no_spelling_of_a_path_shows_a_viewer_what_only_admins_may_see(shared_app, shared_accounts, path, end):
    _, secret = shared_accounts.create_token("program", ["read"])
    assert program(shared_app, secret).get(path + end).status_code in (403, 404)


def test_every_route_has_the_scope_that_its_method_suggests(app):
    """A new route that changes something is for admins until scopes.py says otherwise."""
    described = app.openapi()["paths"]
    for path, methods in described.items():
        for method in methods:
            scope = needed_scope(method.upper(), path)
            assert method != "get" or scope in ("metrics", "read", "admin"), path
            assert method == "get" or path in SEARCH_PATHS or scope not in ("metrics", "read"), path


def test_a_wrong_token_is_refused_although_this_machine_needs_none(accounts):
    app = create_app(FakeService(), Access(None, secure=False, accounts=accounts))
    local = TestClient(app, base_url="http://localhost")
    assert local.get("/v1/settings").status_code == 200
    wrong = local.get("/v1/settings", headers={"authorization": "Bearer rkface_0_0"})
    assert wrong.status_code == 401 and wrong.headers["www-authenticate"] == "Bearer"
    basic = local.get("/v1/settings", headers={"authorization": "Basic YTpi"})  # that of a proxy in front of it
    assert basic.status_code == 200


def test_a_program_needs_no_token_of_a_page_but_a_page_does(app, accounts):
    _, secret = accounts.create_token("program", ["admin"])
    assert program(app, secret).patch("/v1/settings", json={}).status_code == 200
    page = TestClient(app, **REMOTE)
    assert sign_in(page, PASSWORD).status_code == 200
    del page.headers["x-csrf-token"]
    assert page.patch("/v1/settings", json={}).status_code == 403


@pytest.mark.parametrize("role", ROLES)
def test_a_user_may_do_what_the_role_says(app, accounts, role):
    accounts.set_user("ada", role, "a long password")
    client = TestClient(app, **REMOTE)
    wrong = client.post("/v1/session", json={"user": "ada", "password": PASSWORD})
    assert wrong.status_code == 403 and wrong.json()["detail"] == "wrong user or password"
    assert client.post("/v1/session", json={"user": "eve", "password": PASSWORD}).status_code == 403
    state = client.post("/v1/session", json={"user": "ada", "password": "a long password"}).json()
    assert state["who"] == "ada" and set(state["scopes"]) == ROLES[role]
    client.headers["x-csrf-token"] = state["token"]
    assert client.get("/v1/settings").status_code == 200
    assert (client.patch("/v1/settings", json={}).status_code == 200) == (role == "admin")


def test_a_removed_user_is_out_at_once_also_if_another_process_removed_them(app, accounts):
    accounts.set_user("ada", "viewer", "a long password")
    client = TestClient(app, **REMOTE)
    client.post("/v1/session", json={"user": "ada", "password": "a long password"})
    assert client.get("/v1/settings").status_code == 200
    with Accounts(accounts.path) as other:
        other.remove_user("ada")
    assert client.get("/v1/settings").status_code == 401


def test_a_changed_password_ends_the_sessions(app, accounts):
    owner, ada = TestClient(app, **REMOTE), TestClient(app, **REMOTE)
    sign_in(owner, PASSWORD)
    changed = owner.put("/v1/users/ada", json={"role": "viewer", "password": "a long password"})
    assert changed.json()["role"] == "viewer"
    ada.post("/v1/session", json={"user": "ada", "password": "a long password"})
    assert ada.get("/v1/settings").status_code == 200
    owner.put("/v1/users/ada", json={"role": "operator"})
    assert "enroll" in ada.get("/v1/session").json()["scopes"], "a new role counts at once"
    owner.put("/v1/users/ada", json={"role": "operator", "password": "another long one"})
    assert ada.get("/v1/settings").status_code == 401
    assert ada.post("/v1/session", json={"user": "ada", "password": "another long one"}).status_code == 200
    assert owner.put("/v1/users/ada", json={"role": "viewer", "password": "short"}).status_code == 400


def test_a_password_that_another_process_changed_ends_the_sessions(app, accounts):
    accounts.set_user("ada", "viewer", "a long password")
    client = TestClient(app, **REMOTE)
    client.post("/v1/session", json={"user": "ada", "password": "a long password"})
    with Accounts(accounts.path) as other:
        other.set_user("ada", "operator", None)
        assert client.get("/v1/settings").status_code == 200
        other.set_user("ada", "operator", "another long one")
    assert client.get("/v1/settings").status_code == 401
    client.post("/v1/session", json={"user": "ada", "password": "another long one"})
    accounts.remove_user("ada")
    accounts.set_user("ada", "admin", "another long one")  # somebody else with the same name
    assert client.get("/v1/settings").status_code == 401


def test_a_user_who_signs_in_may_not_guess_the_password_of_the_owner_more_often(app, accounts):
    accounts.set_user("ada", "viewer", "a long password")
    client, refused = TestClient(app, **REMOTE), []
    for number in range(8):
        refused.append(client.post("/v1/session", json={"password": f"guess number {number}"}).status_code)
        client.post("/v1/session", json={"user": "ada", "password": "a long password"})
    assert refused[:5] == [403] * 5 and 429 in refused


def test_tokens_are_managed_over_the_api_and_shown_once(app):
    owner = TestClient(app, **REMOTE)
    sign_in(owner, PASSWORD)
    made = owner.post("/v1/tokens", json={"name": "door", "scopes": ["read"]})
    assert made.status_code == 201
    secret, id = made.json()["secret"], made.json()["token"]["id"]
    assert program(app, secret).get("/v1/settings").status_code == 200
    assert secret not in owner.get("/v1/tokens").text
    assert owner.delete(f"/v1/tokens/{id}").status_code == 204
    assert owner.delete(f"/v1/tokens/{id}").status_code == 404
    assert program(app, secret).get("/v1/settings").status_code == 401
    assert owner.post("/v1/tokens", json={"name": "door", "scopes": ["everything"]}).status_code == 422


def test_changes_and_sign_ins_are_logged_without_names_of_people(app, accounts):
    owner = TestClient(app, **REMOTE)
    owner.post("/v1/session", json={"password": "wrong password!"})
    owner.post("/v1/session", json={"user": "Ada Lovelace", "password": "wrong password!"})
    sign_in(owner, PASSWORD)
    owner.patch("/v1/settings", json={"recognition.match": 0.5})
    owner.patch("/v1/settings", json=[])  # refused: not a change
    page = owner.get("/v1/audit", params={"limit": 2}).json()
    notes = page["items"] + owner.get("/v1/audit", params={"cursor": page["next"]}).json()["items"]
    assert [(one["who"], one["what"]) for one in reversed(notes)] == [
        ("owner", "wrong password"),
        ("an unknown user", "wrong password"),
        ("owner", "signed in"),
        ("owner", "change_settings"),
    ]
    assert {one["client"] for one in notes} == {REMOTE["client"][0]}


def test_a_cursor_that_is_not_a_number_of_the_log_is_refused(app):
    owner = TestClient(app, **REMOTE)
    sign_in(owner, PASSWORD)
    for place in (f"[{10**30}]", "[1.5]", "[true]", "[]", '["1"]', "[NaN]", "1"):
        cursor = base64.urlsafe_b64encode(place.encode()).decode()
        assert owner.get("/v1/audit", params={"cursor": cursor}).status_code == 422, place
        if place != "[1.5]":  # which is a time
            assert owner.get("/v1/appearances", params={"cursor": cursor}).status_code == 422, place


def test_the_log_of_changes_has_a_limit(accounts, monkeypatch):
    assert MOST_NOTES >= 1000
    monkeypatch.setattr("rkface.runtime.web.accounts.MOST_NOTES", 3)
    for number in range(5):
        accounts.note("ada", str(number))
    assert [one.what for one in accounts.notes()] == ["4", "3", "2"]


def test_a_full_disk_does_not_undo_a_change(app, accounts, monkeypatch, caplog):
    owner = TestClient(app, **REMOTE)
    sign_in(owner, PASSWORD)

    def fail(*_):
        raise DeviceError("the disk is full")

    monkeypatch.setattr(accounts, "note", fail)
    assert owner.patch("/v1/settings", json={}).status_code == 200
    assert "the audit log cannot be written: the disk is full" in caplog.text
