"""Rules for alerts and groups of people in the API."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rkface.runtime.web.scopes import needed_scope

NIGHT = {"who": ["stranger"], "hours": ["22:00-06:00"], "time_zone": "Europe/Warsaw", "cooldown": 60}


@pytest.fixture(autouse=True)
def no_rules(client):
    yield
    for rule in client.get("/v1/rules").json()["items"]:
        client.delete(f"/v1/rules/{rule['name']}")


def test_a_rule_is_made_changed_switched_off_and_deleted(client, service):
    made = client.put("/v1/rules/night", json=NIGHT).json()
    assert made["words"].startswith(
        "When a stranger is seen by any camera every day from 22:00 to 06:00 of the next day"
    )
    assert (made["source"], made["configured"], made["sent"]) == ("console", False, 0)
    assert made["notes"] == ["it has no receivers, so nobody gets its alerts"]
    off = client.put("/v1/rules/night", json={**NIGHT, "enabled": False}).json()
    assert off["words"].startswith("Switched off: when a stranger")
    assert service.rules.list_rules()[0].rule.enabled is False
    assert client.delete("/v1/rules/night").status_code == 204
    assert client.get("/v1/rules").json()["items"] == [] and client.delete("/v1/rules/night").status_code == 404


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"hours": ["22-6"]}, "are no hours of a day"),
        ({"time_zone": "Warsaw"}, "did you mean Europe/Warsaw?"),
        ({"who": ["strangers"]}, "did you mean stranger?"),
        ({"cameras": ["dor"]}, "did you mean door?"),
        ({"receivers": ["webhook"]}, "there is no receiver 'webhook': none is configured"),
        ({"cooldown": -1}, "cooldown is -1, but must be from 0 to 86400 seconds"),
    ],
)
def test_a_wrong_rule_is_refused_and_changes_nothing(client, rule, said):
    answer = client.put("/v1/rules/night", json={**NIGHT, **rule})
    assert answer.status_code in (400, 422) and said in answer.json()["detail"]
    assert client.get("/v1/rules").json()["items"] == []


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {}, optional={key: st.lists(st.text(max_size=8), max_size=2) | st.none() | st.floats() for key in NIGHT}
    )
)
def test_any_rule_is_accepted_or_refused(client, rule):
    """A property test in place of a fuzz target: what is accepted can be written to the file and explained."""
    import json

    body = json.dumps(rule).encode("utf-8", "surrogatepass")
    answer = client.put("/v1/rules/any", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 422), answer.text
    assert client.get("/v1/rules").status_code == 200


def test_a_rule_is_tried_on_the_appearances_of_the_last_days_without_being_stored(client, service):
    found = client.post("/v1/rules/dry-run", json={"rule": {"who": ["anybody"], "cooldown": 0}, "days": 1}).json()
    assert found["alerts"] == found["appearances"] and found["quiet"] == 0
    assert found["appearances"] <= service._resources.log.count()  # the camera goes on meanwhile
    starts = [one["started"] for one in found["newest"]]
    assert starts == sorted(starts, reverse=True)
    none = client.post("/v1/rules/dry-run", json={"rule": {"who": ["group:nobody"]}}).json()
    assert (none["alerts"], none["newest"], none["days"]) == (0, [], 7.0)
    assert client.get("/v1/rules").json()["items"] == []


def test_people_get_groups(client, service):
    ada = service.gallery.add("Grouped Ada", [])
    try:
        changed = client.put(f"/v1/people/{ada.id}/groups", json={"groups": ["family", "home", "family"]}).json()
        assert changed["groups"] == ["family", "home"]
        assert client.get("/v1/groups").json()["items"] == [
            {"name": "family", "people": 1},
            {"name": "home", "people": 1},
        ]
        assert client.put(f"/v1/people/{ada.id}/groups", json={"groups": ["a\nb"]}).status_code in (400, 422)
        assert client.put(f"/v1/people/{ada.id}/groups", json={"groups": []}).json()["groups"] == []
        assert client.get("/v1/groups").json()["items"] == []
    finally:
        service.erasure.forget(ada.id)


def test_who_may_do_what():
    assert needed_scope("GET", "/v1/rules") == needed_scope("POST", "/v1/rules/dry-run") == "read"
    assert needed_scope("PUT", "/v1/rules/night") == needed_scope("DELETE", "/v1/rules/night") == "admin"
    assert needed_scope("PUT", "/v1/people/1/groups") == "enroll"
