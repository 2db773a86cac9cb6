"""What Frigate publishes about a person that it tracks: the messages on ``frigate/events``.

The fields are those of Frigate's documentation (docs.frigate.video/integrations/mqtt).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..core.errors import InputError
from ..core.files import parse_json

MOST_BYTES = 1 << 18  # of a message; those of Frigate have a few kilobytes
ID = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}-[A-Za-z0-9]{1,16}")  # 1607123955.475377-mxklsc: it becomes a part of a URL
CAMERA = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True)
class TrackedPerson:
    """A person whom Frigate tracks, or tracked.

    id          Frigate's id of the event
    camera      Frigate's name of the camera
    ended       whether the person is gone
    snapshot    whether Frigate keeps a snapshot
    frame_time  when the best picture was taken, seconds since 1970; None if Frigate does not say
    sub_label   the name that the event has already; "" without one
    """

    id: str
    camera: str
    ended: bool
    snapshot: bool
    frame_time: float | None
    sub_label: str


def read_event(payload: bytes) -> TrackedPerson | None:
    """The person in a message on ``frigate/events``; None for other objects, and for false alarms. Raises InputError if
    it is not a message of Frigate."""
    if len(payload) > MOST_BYTES:
        raise InputError(f"a message of {len(payload)} bytes is not one of Frigate")
    try:
        message = parse_json(payload)
    except ValueError as error:
        raise InputError("a message is not JSON") from error
    after = message.get("after") if isinstance(message, dict) else None
    if not isinstance(after, dict) or not isinstance(message.get("type"), str):
        raise InputError("a message has no event: is the topic that of Frigate's events?")
    if after.get("label") != "person" or after.get("false_positive") is True:
        return None
    id, camera = after.get("id"), after.get("camera")
    if not isinstance(id, str) or not ID.fullmatch(id) or not isinstance(camera, str) or not CAMERA.fullmatch(camera):
        raise InputError("an event has no id or camera of Frigate's form")
    return TrackedPerson(
        id, camera, message["type"] == "end", after.get("has_snapshot") is True, _frame_time(after), _sub_label(after)
    )


def _frame_time(after: dict[str, object]) -> float | None:
    snapshot = after.get("snapshot")
    found = snapshot.get("frame_time") if isinstance(snapshot, dict) else after.get("snapshot_time")
    return float(found) if isinstance(found, (int, float)) and 0 < found < 1e11 else None


def _sub_label(after: dict[str, object]) -> str:
    """The sub label: a name, or a list of a name and its score."""
    found = after.get("sub_label")
    if isinstance(found, list) and found:
        found = found[0]
    return found if isinstance(found, str) else ""
