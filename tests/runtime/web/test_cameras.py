"""Zones, masks and the switch of a camera over the API: with the real service, which looks at rendered people."""

import json
import time

import cv2
import numpy as np
import pytest

from rkface.runtime.core.weekly import DAYS

from .conftest import eventually

LEFT = {"points": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}
RIGHT = {"points": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}
ALL = {"points": [[0, 0], [1, 0], [1, 1], [0, 1]]}
DOOR = "/v1/cameras/door"


@pytest.fixture
def door(client):
    """The client; afterwards, the camera is as before."""
    yield client
    client.delete(f"{DOOR}/area")
    client.delete(f"{DOOR}/schedule")
    client.put(f"{DOOR}/switch", json={"on": None})


def test_an_appearance_says_in_which_zones_its_face_was(door, service):
    area = {"min_face": 0.0, "hide_masks": False, "zones": {"left half": LEFT, "right half": RIGHT}, "masks": {}}
    before = door.get(DOOR).json()
    assert before["area"]["zones"] == {} and before["area_source"] == "configuration"
    changed = door.put(f"{DOOR}/area", json=area).json()
    assert changed["area"]["zones"]["left half"]["points"] == LEFT["points"] and changed["area_source"] == "console"
    halves = {"left half", "right half"}
    eventually(
        lambda: [one for one in door.get("/v1/appearances").json()["items"] if halves & {*one["zones"]}],
        "an appearance in a zone",
    )
    back = door.delete(f"{DOOR}/area").json()
    assert back["area"] == before["area"] and back["area_changed"] == ""


def test_faces_in_a_mask_are_ignored_and_the_picture_is_black_there(door, service):
    area = {"hide_masks": True, "masks": {"everything": ALL}}
    assert door.put(f"{DOOR}/area", json=area).status_code == 200
    picture = cv2.imdecode(np.frombuffer(door.get(f"{DOOR}/picture").content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.max() < 20
    ignored = service.watchers["door"].state.ignored
    eventually(lambda: service.watchers["door"].state.ignored > ignored + 3, "ignored faces")
    eventually(lambda: service.watchers["door"].tracked_faces == 0, "the tracks end")
    door.put(f"{DOOR}/area", json={"min_face": 1.0})
    ignored = service.watchers["door"].state.ignored
    eventually(lambda: service.watchers["door"].state.ignored > ignored + 3, "faces that are too small")
    assert "rkface_faces_ignored_total" in door.get("/metrics").text


def test_a_camera_that_is_switched_off_reads_nothing_and_is_no_problem(door, service):
    off = door.put(f"{DOOR}/switch", json={"on": False}).json()
    assert off["switch"] == {"on": False, "manual": True, "until": None, "until_at": None}
    eventually(lambda: service.workers["door"].camera._stream is None, "the device is released")
    answer = door.get(f"{DOOR}/picture")
    assert answer.status_code == 404 and "switched off" in answer.json()["detail"]
    health = door.get("/v1/health").json()
    [camera] = health["cameras"]
    assert (camera["on"], camera["connected"], health["problems"]) == (False, False, [])
    assert 'rkface_camera_on{camera="door"} 0' in door.get("/metrics").text
    assert "switched off" in door.get(f"{DOOR}/guidance").json()["advice"]
    frames = service.workers["door"].camera.state().frames
    on = door.put(f"{DOOR}/switch", json={"on": None}).json()
    assert on["switch"]["on"] and not on["switch"]["manual"]
    eventually(lambda: service.workers["door"].camera.state().frames > frames, "pictures again")
    eventually(lambda: door.get(f"{DOOR}/picture").status_code == 200, "a picture again")


def test_a_schedule_switches_the_camera_at_once(door, service):
    before = door.get(DOOR).json()
    assert (before["schedule"], before["schedule_source"]) == ({}, "configuration")
    today = time.gmtime().tm_wday  # not today, nor yesterday or tomorrow in any time zone
    never = {"days": [DAYS[(today + 3) % 7]], "hours": ["10:00-11:00"], "time_zone": "UTC"}
    off = door.put(f"{DOOR}/schedule", json={"hours": {"never": never}}).json()
    assert off["schedule"]["never"]["hours"] == ["10:00-11:00"] and off["schedule_source"] == "console"
    assert (off["switch"]["on"], off["switch"]["manual"]) == (False, False) and off["switch"]["until"]
    eventually(lambda: service.workers["door"].camera._stream is None, "the device is released")
    wrong = door.put(f"{DOOR}/schedule", json={"hours": {"a": {"hours": ["25:00-26:00"]}}})
    assert wrong.status_code == 400 and "are no hours of a day" in wrong.json()["detail"]
    assert door.put(f"{DOOR}/schedule", json={"hours": {"a": {"days": ["caturday"]}}}).status_code == 422
    assert door.get(DOOR).json()["schedule"] == off["schedule"]
    back = door.delete(f"{DOOR}/schedule").json()
    assert back["switch"]["on"] and back["schedule"] == {}


@pytest.mark.parametrize(
    "area, said",
    [
        ({"zones": {"a": {"points": [[0, 0], [1, 1], [1, 0], [0, 1]]}}}, "zones.a.points: the edges from corner 1"),
        ({"zones": {"a": {"points": [[0, 0], [1, 1]]}}}, "needs 3 corners"),
        ({"masks": {"a": {"points": [[0, 0], [2, 0], [0, 1]]}}}, "masks.a.points: corner 2 is outside the picture"),
        ({"zones": {" ": LEFT}}, "the name must be visible text"),
        ({"zones": {"\ud800": LEFT}}, "the name must be visible text"),
        ({"zones": {str(number): LEFT for number in range(17)}}, "may have 16 of them, not 17"),
        ({"min_face": 40}, "min_face must be from 0 to 1"),
        ({"min_face": -0.1}, "min_face must be from 0 to 1"),
        ({"min_face": "a"}, "min_face"),
        ({"zones": [1]}, "zones"),
    ],
)
def test_an_area_that_cannot_be_used_changes_nothing(door, area, said):
    before = door.get(DOOR).json()
    answer = door.put(f"{DOOR}/area", content=json.dumps(area), headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422) and said in str(answer.json())
    assert door.get(DOOR).json() == before


def test_a_camera_that_does_not_exist_is_not_found(client):
    for method, path in (("GET", ""), ("PUT", "/area"), ("DELETE", "/area"), ("PUT", "/switch"), ("PUT", "/schedule")):
        answer = client.request(method, f"/v1/cameras/cellar{path}", json={"on": True} if method == "PUT" else None)
        assert answer.status_code == 404 and "there is no camera 'cellar'" in answer.json()["detail"]
