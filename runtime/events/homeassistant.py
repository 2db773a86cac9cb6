"""MQTT topics, and how Home Assistant finds them (home-assistant.io/integrations/mqtt, "MQTT discovery").

``<prefix>/<device>/availability``            online or offline, retained; offline is also the last will
``<prefix>/<device>/event``                   events of every other kind: notices about forgotten people
``<prefix>/<device>/<camera>/appearance``     every appearance
``<prefix>/<device>/<camera>/person``         the person seen last, JSON, retained
``<prefix>/<device>/<camera>/presence``       ON while somebody is in view, otherwise OFF, retained
``homeassistant/<component>/<object>/config`` one retained message for each of the camera's two entities
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from .event import to_json

ONLINE, OFFLINE = b"online", b"offline"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Message:
    """A message to publish."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True)
class Topics:
    """The topics of one device. Names of devices and cameras are written as ``topic_name`` does."""

    prefix: str
    device: str

    @property
    def availability(self) -> str:
        return f"{self.prefix}/{topic_name(self.device)}/availability"

    @property
    def other(self) -> str:
        return f"{self.prefix}/{topic_name(self.device)}/event"

    @property
    def people(self) -> str:
        """A filter for the person seen last by each camera, also by cameras that were removed."""
        return f"{self.prefix}/{topic_name(self.device)}/+/person"

    def camera(self, source: str, what: str) -> str:
        return f"{self.prefix}/{topic_name(self.device)}/{topic_name(source)}/{what}"


@dataclass(frozen=True)
class Presence:
    """Who is in view. ``visible``: for each camera, the appearances that have not ended, with the id of the person that
    each was last reported as ("": unknown)."""

    visible: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def after(self, event: Mapping[str, Any], old: bool, topics: Topics) -> tuple[Presence, list[Message]]:
        """Return the presence after ``event``, and the messages to publish because of it. ``old``: an earlier process
        stored the event. Then nobody counts as being in view, because that process cannot report the end any more."""
        source, identity, match = event["source"], event["id"], event["match"]
        visible = dict(self.visible.get(source, {}))
        person = match["person"] if match else ""
        messages = []
        if visible.get(identity) != person:
            shown = {
                "name": match["name"] if match else UNKNOWN,
                "person": person or None,
                "cosine": match["cosine"] if match else None,
                "appearance": identity,
                "time": event["started"],
            }
            messages.append(Message(topics.camera(source, "person"), to_json(shown), retain=True))
        visible[identity] = person
        if event["stage"] == "end" or old:
            del visible[identity]
        if bool(visible) != bool(self.visible.get(source)):
            messages.append(presence(source, bool(visible), topics))
        return Presence({**self.visible, source: visible}), messages


def presence(source: str, somebody: bool, topics: Topics) -> Message:
    """The message that says whether somebody is in view of a camera."""
    return Message(topics.camera(source, "presence"), b"ON" if somebody else b"OFF", retain=True)


def without_people(payload: bytes, people: Collection[str]) -> bytes:
    """Return the payload of a person topic without ``people`` (ids of the gallery): where it names one of them, it then
    says ``unknown``. It does not become empty, because Home Assistant ignores an empty payload and would continue to
    show the name."""
    try:
        shown = json.loads(payload)
    except ValueError:
        return payload
    person = shown.get("person") if isinstance(shown, dict) else None
    if not isinstance(person, str) or person not in people:
        return payload
    return to_json({**shown, "name": UNKNOWN, "person": None, "cosine": None})


def discovery(source: str, topics: Topics, root: str, version: str) -> list[Message]:
    """The messages that announce a camera to Home Assistant as a device with two entities: a sensor for the person seen
    last and a binary sensor for presence. ``root``: the prefix of discovery topics."""
    base = f"rkface_{topic_name(topics.device)}_{topic_name(source)}"
    common = {
        "availability_topic": topics.availability,
        "device": {
            "identifiers": [base],
            "name": f"{topics.device} {source}",
            "manufacturer": "rkface",
            "model": "Face recognition camera",
            "sw_version": version,
        },
        "origin": {"name": "rkface", "sw_version": version},
    }
    person = topics.camera(source, "person")
    sensor = {
        "name": "Last person",
        "unique_id": f"{base}_person",
        "icon": "mdi:account",
        "state_topic": person,
        "value_template": "{{ value_json.name }}",
        "json_attributes_topic": person,
        **common,
    }
    binary = {
        "name": "Presence",
        "unique_id": f"{base}_presence",
        "device_class": "occupancy",
        "state_topic": topics.camera(source, "presence"),
        **common,
    }
    return [
        Message(f"{root}/sensor/{base}_person/config", to_json(sensor), retain=True),
        Message(f"{root}/binary_sensor/{base}_presence/config", to_json(binary), retain=True),
    ]


def topic_name(name: str) -> str:
    """Return ``name`` in characters that MQTT topics and Home Assistant's ids both allow. A changed name gets a
    checksum, so that different names stay different."""
    plain = re.sub(r"[^a-zA-Z0-9_-]+", "_", name).strip("_")
    if plain == name:
        return name
    return f"{plain}_{zlib.crc32(name.encode(errors='backslashreplace')):08x}".lstrip("_")
