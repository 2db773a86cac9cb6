"""MQTT topics and what Home Assistant is told about them (home-assistant.io/integrations/mqtt, "MQTT discovery").

``<prefix>/<device>/availability``            online or offline, retained; offline also as last will
``<prefix>/<device>/event``                   events that are no appearance: who is forgotten
``<prefix>/<device>/<camera>/appearance``     every appearance, as everywhere
``<prefix>/<device>/<camera>/person``         who came last, JSON, retained
``<prefix>/<device>/<camera>/presence``       ON while somebody is there, otherwise OFF, retained
``homeassistant/<component>/<object>/config`` one retained message for each of the camera's two entities
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from .channel import to_json

ONLINE, OFFLINE = b"online", b"offline"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True)
class Topics:
    """Of one device. Cameras are called what ``slug`` makes of their names."""

    prefix: str
    device: str

    @property
    def availability(self) -> str:
        return f"{self.prefix}/{slug(self.device)}/availability"

    @property
    def other(self) -> str:
        return f"{self.prefix}/{slug(self.device)}/event"

    @property
    def people(self) -> str:
        """A filter: who came last before each camera, also before those that are no more."""
        return f"{self.prefix}/{slug(self.device)}/+/person"

    def camera(self, source: str, what: str) -> str:
        return f"{self.prefix}/{slug(self.device)}/{slug(source)}/{what}"


@dataclass(frozen=True)
class Presence:
    """``there``: the appearances that go on, by camera, with the person each was last reported as."""

    there: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def after(self, event: Mapping[str, Any], old: bool, topics: Topics) -> tuple[Presence, list[Message]]:
        """Presence once ``event`` happened, and what has to be published of it.

        Nobody of an ``old`` event can still be there: the process that would have seen them go is gone itself.
        """
        source, identity, match = event["source"], event["id"], event["match"]
        there = dict(self.there.get(source, {}))
        person = match["person"] if match else ""
        messages = []
        if there.get(identity) != person:
            shown = {
                "name": match["name"] if match else UNKNOWN,
                "person": person or None,
                "cosine": match["cosine"] if match else None,
                "appearance": identity,
                "time": event["started"],
            }
            messages.append(Message(topics.camera(source, "person"), to_json(shown), retain=True))
        there[identity] = person
        if event["stage"] == "end" or old:
            del there[identity]
        if bool(there) != bool(self.there.get(source)):
            messages.append(presence(source, bool(there), topics))
        return Presence({**self.there, source: there}), messages


def presence(source: str, somebody: bool, topics: Topics) -> Message:
    return Message(topics.camera(source, "presence"), b"ON" if somebody else b"OFF", retain=True)


def nobody(payload: bytes, people: Collection[str]) -> bytes:
    """What a topic keeps; where it says that one of ``people``, ids of the gallery, came last, that it was unknown who.

    Not nothing: Home Assistant passes over an empty payload, and would go on showing the name."""
    try:
        shown = json.loads(payload)
    except ValueError:
        return payload
    person = shown.get("person") if isinstance(shown, dict) else None
    if not isinstance(person, str) or person not in people:
        return payload
    return to_json({**shown, "name": UNKNOWN, "person": None, "cosine": None})


def discovery(source: str, topics: Topics, root: str, version: str) -> list[Message]:
    """A sensor of the last person and a binary sensor of presence; both belong to one Home Assistant device."""
    base = f"rkface_{slug(topics.device)}_{slug(source)}"
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


def slug(name: str) -> str:
    """``name`` in the letters that topics and Home Assistant's ids both allow; other names stay different ones."""
    plain = re.sub(r"[^a-zA-Z0-9_-]+", "_", name).strip("_")
    if plain == name:
        return name
    return f"{plain}_{zlib.crc32(name.encode(errors='backslashreplace')):08x}".lstrip("_")
