"""The hub's own server: its API, who may use it, and what it makes of heartbeats."""

import json
import os
import re
import time
from pathlib import Path

import pytest

for needed in ("fastapi", "uvicorn", "argon2", "httpx"):
    pytest.importorskip(needed, reason="the page of the hub needs rkface[web], its tests httpx")

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.hub import fleet
from rkface.runtime.hub.boards import add_board, add_site, revoke_board
from rkface.runtime.hub.people import add_person, erase_person
from rkface.runtime.hub.pull import sync
from rkface.runtime.hub.push import send_heartbeat
from rkface.runtime.hub_console.app import create_app, open_hub_console
from rkface.runtime.hub_console.hub_connections import HubConnections
from rkface.runtime.web.access import Access
from rkface.runtime.web.failures import RareLog
from rkface.runtime.web.password import PasswordCheck, hash_password

from .conftest import ONE, sample

SNAPSHOT, DOCS = Path(__file__).with_name("openapi.json"), Path(__file__).parents[3] / "docs/hub.md"
PASSWORD, TOKEN = "correct horse battery", "0123456789abcdef" * 2
STATE = {"release": "0.2.0", "queue": 3, "celsius": {"soc": 51.5, "gpu": 48.0}, "ok": True}


@pytest.fixture
def connections(hub, database):
    connections = HubConnections(database)
    yield connections
    connections.close()


@pytest.fixture
def client(connections):
    return TestClient(create_app(connections, Access(None, secure=False), RareLog()), base_url="http://localhost")


def describe_api():
    return create_app(None, Access(None, secure=False), RareLog()).openapi()


def test_the_api_has_not_changed():
    """For an intended change, run this test with RKFACE_SNAPSHOT=write and add a line to CHANGELOG.md."""
    description = json.dumps(describe_api(), indent=1, sort_keys=True) + "\n"
    if os.environ.get("RKFACE_SNAPSHOT") == "write":
        SNAPSHOT.write_text(description, encoding="utf-8")
    assert json.loads(description) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_the_documentation_lists_every_request_and_every_parameter_of_a_search():
    described = describe_api()["paths"]
    existing = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}
    table = re.findall(r"^\| (`[A-Z]+ /v1.*)$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert {one for row in table for one in re.findall(r"`([A-Z]+ /v1[^ `]+)`", row)} == existing
    for row in table:
        method, path = re.match(r"`([A-Z]+) (\S+)`", row).groups()
        named = set(re.findall(r"[?&](\w+)=", row))
        known = {one["name"] for one in described[path][method.lower()].get("parameters", ())}
        assert named == known - {"limit", "cursor"}, path


def boards_of(client):
    answer = client.get("/v1/boards")
    assert answer.status_code == 200, answer.text
    return {one["id"]: one for one in answer.json()["items"]}


def test_a_board_is_listed_with_what_it_says_how_far_it_is_behind_and_what_it_must_confirm(hub, board, client):
    add_board(hub, "door-0", "west", 3600.0)
    with board("door-1", "east", lease=600.0) as (own, gallery):
        person = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        sync(own, gallery)
        send_heartbeat(own, gallery, STATE)
        add_person(hub, "Bela", ["east"], [sample(2)], ONE)
        erase_person(hub, person)
        found = boards_of(client)
    one = found["door-1"]
    assert (one["site"], one["standing"], one["release"], one["queue"], one["celsius"]) == (
        "east", "ok", "0.2.0", 3, 51.5,
    )  # fmt: skip
    assert one["behind"] == 2 and one["unconfirmed"] == 1
    assert one["age"] + one["lease_left"] == pytest.approx(600) and one["seen_at"].endswith("Z")
    waiting = found["door-0"]
    assert waiting["standing"] == "waiting" and waiting["seen"] is waiting["lease_left"] is waiting["release"] is None


def test_the_command_says_what_the_page_shows(hub, board, client, database, capsys):
    add_board(hub, "door-0", "west", 3600.0)
    with board("door-1", "east", lease=86_400.0) as (own, gallery):
        person = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
        sync(own, gallery)
        send_heartbeat(own, gallery, STATE)
        add_person(hub, "Bela", ["east"], [sample(2)], ONE)
        erase_person(hub, person)
        assert main(["hub", "boards", "--hub", database]) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first.startswith("door-1 (east): ok; seen 2") and first.endswith(
            "; release 0.2.0; 2 changes behind; 3 events in the queue; 52 °C; lease ends in 1.0 days; "
            "1 erasure not confirmed"
        )
        assert second == "door-0 (west): waiting; never seen"
        assert main(["hub", "boards", "--hub", database, "--json"]) == 0
        printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    shown = boards_of(client)
    for one in printed:
        assert one.keys() <= shown[one["id"]].keys()
        assert all(shown[one["id"]][key] == one[key] for key in one.keys() - {"age", "lease_left"})


@pytest.mark.parametrize(
    "ago, state, standing",
    [(10, {}, "ok"), (10, {"ok": False}, "trouble"), (200, {}, "away"), (700, {}, "lease ended"), (-900, {}, "ok")],
)
def test_the_standing_of_a_board_depends_on_its_last_heartbeat(hub, board, client, ago, state, standing):  # noqa: PLR0917
    with board("door-1", "east", lease=600.0) as (own, gallery):
        send_heartbeat(own, gallery, state)
    hub.execute("UPDATE rkface.heartbeat SET seen = now() - make_interval(secs => %s)", [ago])
    assert boards_of(client)["door-1"]["standing"] == standing
    revoke_board(hub, "door-1")
    assert boards_of(client)["door-1"]["standing"] == "revoked"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(json_values, st.text())
@settings(max_examples=100, deadline=None)
def test_whatever_a_heartbeat_contains_is_shown_as_a_plain_value_or_not_at_all(value, text):
    for said in (json.dumps(value), text, None, "1e999", "NaN", "[" * 2000):
        release, queue, celsius = fleet.read_release(said), fleet.read_queue(said), fleet.read_celsius(said)
        assert release is None or (0 < len(release) <= fleet.RELEASE and release.isprintable())
        assert queue is None or 0 <= queue < 2**53
        assert celsius is None or abs(celsius) < float("inf")


def test_a_heartbeat_of_a_hostile_board_does_not_break_the_list(hub, board, client):
    with board("door-1", "east") as (own, gallery):
        for state in ({"release": ["x"], "queue": "1e400", "celsius": {"a": {"b": 1}}}, {"celsius": "x" * 10_000}):
            send_heartbeat(own, gallery, state)
            assert boards_of(client)["door-1"]["celsius"] is None


def test_the_connections_survive_that_the_hub_ends_them(hub, client):
    assert boards_of(client) == {}
    hub.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND datname = current_database()")  # fmt: skip
    assert boards_of(client) == {}


def test_appearances_come_newest_first_in_their_last_stage_and_erased_people_are_nobody(hub, board, client):
    add_site(hub, "east")
    person = add_person(hub, "Ada", ["east"], [sample(1)], ONE)
    for name, started, match in (("door-1", 100.0, person), ("door-2", 300.0, None)):
        with board(name, "east") as (own, _):
            for stage, ended in (("end", started + 9), ("start", 0.0)):  # the start was delayed
                event = appearance_event(started, stage, ended, match)
                insert(own, name, event)
            odd = appearance_event(50.0, "start", 0.0, None) | {"event": "odd", "match": {"person": [1]}}
            insert(own, name, odd)
            insert(own, name, {"schema": "rkface.appearance", "event": "no appearance", "started": 60, "best": "x"})
            assert len(client.get("/v1/appearances").json()["items"]) == (2 if name == "door-1" else 4)
    found = client.get("/v1/appearances?limit=2").json()
    assert "items" in found, found
    assert [(one["board"], one["name"], one["ended"]) for one in found["items"]] == [
        ("door-2", None, 309.0), ("door-1", "Ada", 109.0),
    ]  # fmt: skip
    rest = client.get("/v1/appearances", params={"limit": 2, "cursor": found["next"]}).json()
    assert {one["started"] for one in rest["items"]} == {50.0} and len(rest["items"]) == 2
    erase_person(hub, person)
    assert "Ada" not in client.get("/v1/appearances").text


def insert(own, name, event):
    own.execute("INSERT INTO rkface.event VALUES (%s, %s, %s)", [event["event"], name, json.dumps(event)])


def appearance_event(started, stage, ended, person):
    match = person and {"person": person, "name": "Ada of old", "cosine": 0.8}
    appearance = {"schema": "rkface.appearance", "version": 1, "id": f"a{started}", "source": "hall", "stage": stage}
    times = {"started": started, "best": started, "ended": ended}
    return {**appearance, **times, "match": match, "event": f"{started}-{stage}"}


def test_an_appearance_of_the_future_does_not_stay_the_newest(hub, board, client):
    with board("door-1", "east") as (own, _):
        insert(own, "door-1", appearance_event(4e9, "start", 0.0, None))
        insert(own, "door-1", appearance_event(1e300, "start", 0.0, None))
        items = client.get("/v1/appearances").json()["items"]
    assert len(items) == 2 and all(one["started"] <= time.time() + 5 for one in items)


def test_people_are_found_by_a_part_of_their_name_with_their_sites(hub, board, client):
    add_board(hub, "door-1", "east", 3600.0)
    add_board(hub, "door-2", "west", 3600.0)
    for number, (name, sites) in enumerate((("Ada", ["east", "west"]), ("Adam", ["west"]), ("Bela", []))):
        add_person(hub, name, sites, [sample(number)], ONE)
    first = client.post("/v1/people/search", json={"text": "ADA", "limit": 1}, headers=token(client)).json()
    assert [(one["name"], one["sites"], one["samples"]) for one in first["items"]] == [("Ada", ["east", "west"], 1)]
    body = {"text": "ada", "cursor": first["next"]}
    rest = client.post("/v1/people/search", json=body, headers=token(client)).json()
    assert [one["name"] for one in rest["items"]] == ["Adam"] and rest["next"] is None
    assert client.post("/v1/people/search", json={"cursor": "WzFd"}, headers=token(client)).status_code == 422


def token(client):
    return {"x-csrf-token": client.get("/v1/session").json()["token"]}


def test_metrics_tell_of_every_board_and_name_nobody_and_need_the_token(hub, board, connections):
    access = Access(PasswordCheck(hash_password(PASSWORD)), secure=False, metrics_token=TOKEN)
    client = TestClient(create_app(connections, access, RareLog()), base_url="http://hub.local")
    add_person(hub, "Ada", [], [sample(1)], ONE)
    with board("door-1", "east", lease=600.0) as (own, gallery):
        send_heartbeat(own, gallery, STATE)
    add_board(hub, "door-0", "east", 600.0)
    assert client.get("/metrics").status_code == 401
    answer = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    lines = answer.text.splitlines()
    assert 'rkface_board_queue_events{site="east",board="door-1"} 3' in lines and "rkface_hub_up 1" in lines
    assert 'rkface_board_temperature_celsius{site="east",board="door-1"} 51.5' in lines
    assert 'rkface_board_state{site="east",board="door-0",state="waiting"} 1' in lines
    assert not [line for line in lines if line.startswith("rkface_board_last_seen_seconds") and "door-0" in line]
    assert "Ada" not in answer.text


def test_metrics_say_that_the_hub_cannot_be_reached(connections, database):
    gone = HubConnections(database.replace("?", "x?"))
    client = TestClient(create_app(gone, Access(None, secure=False), RareLog()), base_url="http://localhost")
    assert "rkface_hub_up 0" in client.get("/metrics").text and client.get("/v1/boards").status_code == 503


def test_with_a_password_only_who_has_signed_in_or_has_a_token_may_use_it(connections):
    access = Access(PasswordCheck(hash_password(PASSWORD)), secure=False, metrics_token=TOKEN)
    client = TestClient(create_app(connections, access, RareLog()), base_url="http://hub.local")
    assert client.get("/").status_code == 200 and "default-src 'none'" in client.get("/").headers[
        "content-security-policy"
    ]  # fmt: skip
    for path in ("/v1/boards", "/v1/openapi.json"):
        assert client.get(path).status_code == 401
    assert client.get("/v1/boards", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 403
    assert client.post("/v1/session", json={"user": "", "password": PASSWORD}).status_code == 200
    assert client.get("/v1/boards").status_code == 200


def test_without_a_password_it_listens_on_this_machine_only(hub, database):
    with (
        pytest.raises(InputError, match=r"needs a password to listen on .* name its file with --password-file"),
        open_hub_console(database, "0.0.0.0", 0),
    ):
        pass


def test_a_database_that_is_not_a_hub_is_an_error_at_the_start(database):
    with pytest.raises(InputError, match="not a hub"), open_hub_console(database, "127.0.0.1", 0):
        pass
    gone = database.replace("?", "x?")
    with pytest.raises(WorkError, match="there is no such database"), open_hub_console(gone, "127.0.0.1", 0):
        pass


def test_a_taken_port_is_an_error_that_names_the_option(hub, database):
    with open_hub_console(database, "127.0.0.1", 0) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(InputError, match=r"in use.*another port with --port"):
            open_hub_console(database, "127.0.0.1", port).__enter__()
