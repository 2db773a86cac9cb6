"""MQTT topics, and how Home Assistant finds them (home-assistant.io/integrations/mqtt, "MQTT discovery").

``<prefix>/<device>/availability``            online or offline, retained; offline is also the last will
``<prefix>/<device>/state``                   problems and waiting frames and events, JSON, retained
``<prefix>/<device>/event``                   events of every other kind: notices about forgotten people
``<prefix>/<device>/<camera>/appearance``     every appearance
``<prefix>/<device>/<camera>/person``         the person seen last, JSON, retained
``<prefix>/<device>/<camera>/presence``       ON while somebody is in view, otherwise OFF, retained
``<prefix>/<device>/<camera>/state``          connection and detections per second, JSON, retained
``<prefix>/<device>/<camera>/switch``         ON, or OFF while the camera is switched off, retained
``<prefix>/<device>/<camera>/switch/set``     commands to the board: ON or OFF
``<prefix>/<device>/<camera>/alert``          every alert
``<prefix>/<device>/<camera>/snapshot``       the picture of the last alert, JPEG, retained until it expires
``homeassistant/<component>/<object>/config`` one retained message for each entity
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.files import parse_json
from .event import to_json

ONLINE, OFFLINE = b"online", b"offline"
ON, OFF = b"ON", b"OFF"
STRANGER = "stranger"  # not "unknown": Home Assistant takes that for a sensor without a value

# The attributes of an alert in Home Assistant. Its filter `to_json` makes any name safe.
ALERT_TEMPLATE = (
    "{% set match = value_json.appearance.match %}"
    "{{ {'event_type': 'person' if match else 'stranger', 'name': match.name if match else none, "
    "'person': match.person if match else none, 'cosine': match.cosine if match else none, "
    "'rule': value_json.rule, 'appearance': value_json.appearance.id, 'time': value_json.appearance.started} "
    "| to_json }}"
)

NOBODY = to_json({"name": STRANGER, "person": None, "cosine": None})  # on the topic of the person seen last


@dataclass(frozen=True)
class Message:
    """A message to publish. ``expiry``: seconds after which a broker deletes it, with MQTT 5; 0: never."""

    topic: str
    payload: bytes
    retain: bool = False
    expiry: int = 0


@dataclass(frozen=True)
class Topics:
    """The topics of one device. Names of devices and cameras are written as ``topic_name`` does."""

    prefix: str
    device: str

    @property
    def availability(self) -> str:
        return f"{self.prefix}/{topic_name(self.device)}/availability"

    @property
    def state(self) -> str:
        return f"{self.prefix}/{topic_name(self.device)}/state"

    @property
    def other(self) -> str:
        return f"{self.prefix}/{topic_name(self.device)}/event"

    @property
    def test_picture(self) -> str:
        """The sample picture of a test message. No camera has this topic, so that none loses its snapshot."""
        return f"{self.prefix}/{topic_name(self.device)}/snapshot"

    @property
    def people(self) -> str:
        """A filter for the person seen last by each camera, also by cameras that were removed."""
        return f"{self.prefix}/{topic_name(self.device)}/+/person"

    @property
    def commands(self) -> str:
        """A filter for the commands that switch cameras."""
        return f"{self.prefix}/{topic_name(self.device)}/+/switch/set"

    def camera(self, source: str, what: str) -> str:
        return f"{self.prefix}/{topic_name(self.device)}/{topic_name(source)}/{what}"


@dataclass(frozen=True)
class CameraReport:
    """The state of a camera: whether frames arrive, how many of them are searched for faces each second, and whether
    the camera is switched on."""

    connected: bool
    looks: float
    on: bool = True

    def messages(self, source: str, topics: Topics) -> list[Message]:
        """The messages with this state. While a camera is switched off, Home Assistant shows its connection as
        unknown, not as a problem."""
        connected = ("ON" if self.connected else "OFF") if self.on else None
        state = to_json({"connected": connected, "looks": round(self.looks, 1)})
        switch = Message(topics.camera(source, "switch"), ON if self.on else OFF, retain=True)
        return [Message(topics.camera(source, "state"), state, retain=True), switch]


@dataclass(frozen=True)
class BoardReport:
    """The state of a board: its current problems, frames that wait for the NPU, events that wait for receivers, and the
    state of each camera."""

    problems: tuple[str, ...]
    frames: int
    events: int
    cameras: Mapping[str, CameraReport]

    def messages(self, topics: Topics) -> list[Message]:
        """The messages with this state."""
        board = {
            "problem": "ON" if self.problems else "OFF",
            "problems": self.problems,
            "frames": self.frames,
            "events": self.events,
        }
        cameras = [message for source, one in self.cameras.items() for message in one.messages(source, topics)]
        return [Message(topics.state, to_json(board), retain=True), *cameras]


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
                "name": match["name"] if match else STRANGER,
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
    return Message(topics.camera(source, "presence"), ON if somebody else OFF, retain=True)


def without_people(payload: bytes, people: Collection[str]) -> bytes:
    """Return the payload of a person topic without ``people`` (ids of the gallery): where it names one of them, it then
    says ``stranger``. It does not become empty, because Home Assistant ignores an empty payload and would continue to
    show the name."""
    try:
        shown = parse_json(payload)
    except ValueError:
        return payload
    person = shown.get("person") if isinstance(shown, dict) else None
    if not isinstance(person, str) or person not in people:
        return payload
    return to_json({**shown, "name": STRANGER, "person": None, "cosine": None})


@dataclass(frozen=True)
class Discovery:
    """How Home Assistant learns of the board and its cameras. ``root``: the prefix of discovery topics. ``console``:
    the address of the web console; "" if other machines cannot reach one. ``support``: the address of rkface's own
    page, where to ask for help. ``switches``: whether cameras can be switched on and off. ``snapshots``: whether
    alerts have pictures."""

    topics: Topics
    root: str
    version: str
    console: str = ""
    support: str = ""
    switches: bool = False
    snapshots: bool = False

    def board(self) -> list[Message]:
        """The messages that announce the board as a device: its problems, and what waits in it."""
        base = f"rkface_{topic_name(self.topics.device)}"
        device = {"identifiers": [base], "name": f"rkface {self.topics.device}", "model": "Face recognition board"}
        state = {"state_topic": self.topics.state, "entity_category": "diagnostic"}
        waiting = {"icon": "mdi:tray-full", "state_class": "measurement", **state}
        return [
            self._entity("binary_sensor", base, "problem", device, {
                "name": "Problem", "device_class": "problem", "value_template": "{{ value_json.problem }}",
                "json_attributes_topic": self.topics.state, **state,
            }),
            self._entity("sensor", base, "frames", device, {
                "name": "Waiting frames", "value_template": "{{ value_json.frames }}", **waiting,
            }),
            self._entity("sensor", base, "events", device, {
                "name": "Waiting events", "value_template": "{{ value_json.events }}", **waiting,
            }),
        ]  # fmt: skip

    def camera(self, source: str) -> list[Message]:
        """The messages that announce a camera as a device: the person seen last, presence, the switch, alerts and the
        picture of the last one, and for diagnosis, when that person was seen, whether frames arrive, and detections per
        second."""
        board = f"rkface_{topic_name(self.topics.device)}"
        base = f"{board}_{topic_name(source)}"
        device = {
            "identifiers": [base],
            "name": f"{self.topics.device} {source}",
            "model": "Face recognition camera",
            "via_device": board,
        }
        person, state = self.topics.camera(source, "person"), self.topics.camera(source, "state")
        diagnosis = {"state_topic": state, "entity_category": "diagnostic"}
        switch = self._entity("switch", base, "switch", device, {
            "name": "Camera", "icon": "mdi:cctv", "state_topic": self.topics.camera(source, "switch"),
            "command_topic": self.topics.camera(source, "switch/set"),
        })  # fmt: skip
        return [
            *([switch] if self.switches else []),
            self._entity("sensor", base, "person", device, {
                "name": "Last person", "icon": "mdi:account", "state_topic": person,
                "value_template": "{{ value_json.name }}", "json_attributes_topic": person,
            }),
            self._entity("binary_sensor", base, "presence", device, {
                "name": "Presence", "device_class": "occupancy",
                "state_topic": self.topics.camera(source, "presence"),
            }),
            self._entity("sensor", base, "seen", device, {
                "name": "Last seen", "device_class": "timestamp", "state_topic": person,
                "value_template": "{{ as_datetime(value_json.time) }}", "entity_category": "diagnostic",
            }),
            self._entity("binary_sensor", base, "connected", device, {
                "name": "Connected", "device_class": "connectivity",
                "value_template": "{{ value_json.connected }}", **diagnosis,
            }),
            self._entity("sensor", base, "looks", device, {
                "name": "Detections per second", "icon": "mdi:speedometer", "unit_of_measurement": "1/s",
                "state_class": "measurement", "value_template": "{{ value_json.looks }}", **diagnosis,
            }),
            self._entity("event", base, "alert", device, {
                "name": "Alert", "icon": "mdi:account-alert", "event_types": ["person", "stranger"],
                "state_topic": self.topics.camera(source, "alert"), "value_template": ALERT_TEMPLATE,
            }),
            *([self._entity("image", base, "snapshot", device, {
                "name": "Last alert", "content_type": "image/jpeg",
                "image_topic": self.topics.camera(source, "snapshot"),
            })] if self.snapshots else []),
        ]  # fmt: skip

    def _entity(
        self, component: str, base: str, what: str, device: Mapping[str, Any], entity: Mapping[str, Any]
    ) -> Message:
        about = {**device, "manufacturer": "rkface", "sw_version": self.version}
        if self.console:
            about["configuration_url"] = self.console
        origin = {"name": "rkface", "sw_version": self.version}
        if self.support or self.console:
            origin["support_url"] = self.support or self.console
        config = {
            **entity,
            "unique_id": f"{base}_{what}",
            "availability_topic": self.topics.availability,
            "device": about,
            "origin": origin,
        }
        return Message(f"{self.root}/{component}/{base}_{what}/config", to_json(config), retain=True)


def topic_name(name: str) -> str:
    """Return ``name`` in characters that MQTT topics and Home Assistant's ids both allow. A changed name gets a
    checksum, so that different names stay different."""
    plain = re.sub(r"[^a-zA-Z0-9_-]+", "_", name).strip("_")
    if plain == name:
        return name
    return f"{plain}_{zlib.crc32(name.encode(errors='backslashreplace')):08x}".lstrip("_")
