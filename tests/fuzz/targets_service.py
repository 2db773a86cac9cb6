"""Readers of runtime/service and runtime/events."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from fuzz_target import Target, temporary_folder

from rkface.runtime.core.polygons import find_flaw
from rkface.runtime.core.weekly import WeeklyHours
from rkface.runtime.events import Outbox
from rkface.runtime.events.broker import RetainedTopics
from rkface.runtime.events.camera_commands import CommandReader, SwitchRequests
from rkface.runtime.events.homeassistant import Topics, without_people
from rkface.runtime.events.old_spool import read_old_files
from rkface.runtime.frigate.event import read_event
from rkface.runtime.gallery.match import Match
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.config import check_settings, read_settings
from rkface.runtime.service.live_settings import read_changes
from rkface.runtime.service.renaming import list_renamings, undo_renaming
from rkface.runtime.service.score_drift import count_by_threshold, find_drift, read_scores
from rkface.runtime.service.settings import CameraSettings, Keep, Settings
from rkface.runtime.service.sighting import Sighting
from rkface.runtime.tracking.appearance import Appearance
from rkface.runtime.tracking.zones import Polygons, WatchedArea

COMMAND = "rkface/board/door/switch/set"
POLYGONS = (
    [[0, 0], [1, 0], [0.5, 1]],
    [[0, 0], [1, 1], [1, 0], [0, 1]],
    [[0.1, 0.1], [0.9, 0.1], [0.5, 0.5], [0.9, 0.9]],
)
SCHEDULED = CameraSettings("0", schedule={"night": WeeklyHours(hours=("22:00-06:00",), time_zone="UTC")})
FOLDER = temporary_folder()
SEEN = Appearance(
    "a", "door", "start", Match("p", "Ada", 0.7), 0.4, 1.8e9, 1.8e9, 0.0, (0.0, 0.0, 1.0, 1.0), 0.9, 0.8, 5
)


def read_service_settings(data: bytes) -> object:
    path = FOLDER / "rkface.toml"
    path.write_bytes(data)
    found, problems = check_settings(path)
    assert (found is None) == bool(problems)
    return read_settings(path)


def read_changed_settings(data: bytes) -> object:
    path = FOLDER / "changed-gallery.sqlite.toml"
    path.write_bytes(data)
    live = read_changes(path, Settings(gallery=FOLDER / "gallery.sqlite", camera={"door": SCHEDULED}))
    assert live.list_settings() and live.camera_setup("door", 1.8e9).switch.on is live.is_on("door", 1.8e9)
    return live.current


def read_retained_topics(data: bytes) -> object:
    path = FOLDER / "retained"
    path.write_bytes(data)
    return RetainedTopics(path).unused(["a"])


def read_broker_message(data: bytes) -> object:
    return without_people(data, {"p-1"})


def read_frigate_event(data: bytes) -> object:
    """A message on the topic of Frigate's events: what it names must be safe as a part of a path."""
    person = read_event(data)
    if person is not None:
        assert not {"/", "?", "#", "%", ".."} & {*person.id, *person.camera}
    return person


def read_camera_command(data: bytes) -> object:
    """``data``: the topic, a line feed, and the payload; the last byte says whether it was retained."""
    topic, _, payload = data.partition(b"\n")
    requests, topics = SwitchRequests(), Topics("rkface", "board")
    retained = payload[-1:] == b"1"
    payload = payload[:-1]
    CommandReader(topics, requests).read(topic.decode(errors="replace"), payload, retained, ["door", "a b"])
    found = requests.take()
    assert not found or (payload in (b"ON", b"OFF") and not retained and len(found) == 1)
    return found


def read_polygon(data: bytes) -> object:
    """``data``: the corners as JSON."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        points = [[float(x), float(y)] for x, y in json.loads(data)]
        if not find_flaw(points):
            assert Polygons([points]).contain(np.array(points)).all(), "a corner is in its polygon"
            return WatchedArea({"a": points}, [points], 0.1)
    return None


def read_spool(data: bytes) -> object:
    folder = FOLDER / "spool"
    folder.mkdir(exist_ok=True)
    cut = data.find(b"|")
    (folder / "cursor").write_bytes(data[: max(0, cut)])
    (folder / "0000000001.events").write_bytes(data[cut + 1 :])
    return list(read_old_files(folder))


def _fresh(name: str) -> Path:
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    return folder


def read_outbox(data: bytes) -> object:
    folder = _fresh("outbox")
    (folder / "outbox.sqlite").write_bytes(data)
    outbox = Outbox(folder)
    try:
        with suppress(OSError):  # what the disk refuses is tried again later
            for _ in range(50):
                event = outbox.peek()
                if event is None:
                    break
                outbox.advance(event)
            outbox.append([b"{}"])
            outbox.expire()
            outbox.erase({"p"})
    finally:
        outbox.close()
    return None


def read_log(data: bytes) -> object:
    folder = _fresh("log")
    (folder / "appearances.sqlite").write_bytes(data)
    with AppearanceLog(folder / "appearances.sqlite") as log:
        log.record(SEEN)
        log.prune(Keep(embeddings=1.0), ["p"], {"q": "p"})
        log.embeddings("model")
        for renaming in list_renamings(log):
            undo_renaming(log, renaming.id)
        find_drift(read_scores(log), 1.8e9)
        return count_by_threshold(log), log.find("a"), log.embedding("a"), log.newest(), log.face("a")


def outbox_seed() -> bytes:
    folder = _fresh("outbox seed")
    outbox = Outbox(folder)
    outbox.append([json.dumps({"id": number}).encode() for number in range(3)])
    outbox.close()
    return (folder / "outbox.sqlite").read_bytes()


def log_seed() -> bytes:
    folder = _fresh("log seed")
    with AppearanceLog(folder / "appearances.sqlite") as log:
        log.record(SEEN, Sighting(b"picture", np.float32([0.6, 0.8]), "model"))
        log.record(replace(SEEN, id="b"))
        log.prune(Keep(known_faces=1.0, embeddings=1.0), ["p"], {})
        with log.writing() as database:
            database.execute("UPDATE appearance SET renamed = 'r' WHERE id = 'b'")
    return (folder / "appearances.sqlite").read_bytes()


SETTINGS = b"""
device = "door"
[camera.door]
source = "rtsp://user:word@host/1"
looks = 5
min_face = 0.1
zones.steps.points = [[0, 0], [1, 0], [0.5, 1]]
schedule.night = { days = ["fri"], hours = ["22:00-06:00"], time_zone = "Europe/Warsaw" }
[recognition]
match = 0.4
[events.mqtt]
host = "broker"
[events.webhook]
url = "https://host/hook"
[keep]
appearances = 30
"""
CAMERAS = b"""[camera.door]
switched = { on = false, time = 1800000000.5 }
area_time = "2026"
[camera.door.area]
min_face = 0.1
masks.street.points = [[0, 0], [1, 0], [0.5, 1]]
"""
CHANGES = b'[recognition]\nmatch = 0.5\n[keep]\nappearances = 3.0\n[changed]\n"recognition.match" = "2026"\n'
FRIGATE = (
    b'{"type": "update", "after": {"id": "1607123955.475377-mxklsc", "camera": "front_door", "label": "person", '
    b'"false_positive": false, "has_snapshot": true, "sub_label": ["Ada", 0.5], "snapshot": {"frame_time": 1.5}}}'
)
PERSON = b'{"name":"Ada","person":"p-1","cosine":0.7,"appearance":"a","time":1.5}'

TARGETS = (
    Target("settings", read_service_settings, lambda: [SETTINGS, b"[camera]\n"]),
    Target("changed-settings", read_changed_settings, lambda: [CHANGES, CAMERAS, b""]),
    Target("retained-topics", read_retained_topics, lambda: [b'["rkface/board/door/person", "a"]', b"[]"]),
    Target(
        "camera-command", read_camera_command, lambda: [f"{COMMAND}\n{one}".encode() for one in ("ON0", "OFF1", "x")]
    ),
    Target("frigate-event", read_frigate_event, lambda: [FRIGATE]),
    Target("polygon", read_polygon, lambda: [json.dumps(one).encode() for one in POLYGONS]),
    Target("broker-message", read_broker_message, lambda: [PERSON, b"ON"]),
    Target("old-spool", read_spool, lambda: [b'1 0 6ab5b6ff|8c736521 {"a":1}\n', b"|"]),
    Target("outbox", read_outbox, lambda: [outbox_seed()], mutations=60),
    Target("appearance-log", read_log, lambda: [log_seed()], mutations=60),
)
