"""Events to an MQTT broker, with paho-mqtt (the extra ``rkface[mqtt]``): MQTT 3.1.1 or 5, QoS 1.

Each connection has a paho client of its own. A message that was not acknowledged when a connection broke is still in
the outbox, and is published again on the next connection.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from ..core.installed import package_version
from ..core.missing_package import import_error
from ..tracking.appearance import SCHEMA
from .alert_picture import is_alert
from .broker import Broker, RetainedTopics
from .camera_commands import CommandReader
from .channel import RefusedError, UndeliveredError
from .event import OutgoingEvent, to_json
from .homeassistant import (
    NOBODY,
    OFFLINE,
    ONLINE,
    BoardReport,
    Discovery,
    Message,
    Presence,
    Topics,
    presence,
    topic_name,
    without_people,
)
from .mqtt_connection import BrokerConnection, Subscription
from .picture_store import PictureStore
from .snapshots import Snapshots
from .switch_requests import SwitchRequests

READING = 1.0  # seconds that a broker has to send what it retains
REPORT_EVERY = 30.0  # seconds between two reports of the board's state, at least
MOST_PAYLOAD, MOST_TOPICS = 64 * 1024, 10_000  # bytes and number of the retained messages about people that we note

log = logging.getLogger("rkface.events")


class Mqtt:
    """A ``Channel``. ``device``: this board's name, unique among the clients of the broker. ``sources``: the cameras
    that are known at the start; others are announced with their first event. ``discovery_root``: the topic prefix of
    Home Assistant's discovery; "" announces nothing. ``timeout``: seconds for each exchange with the broker.
    ``retained_file``: remembers where messages are retained, so that those of renamed and removed cameras are
    withdrawn. ``console``: see ``Discovery``. ``report`` returns the state of the board; None while it is not known.
    ``switches``: where to pass commands that switch cameras; None if they cannot be switched. ``pictures``: where the
    pictures of alerts are; None if the broker gets none.
    Raises InputError if paho-mqtt is missing or certificates cannot be used.
    """

    def __init__(
        self,
        broker: Broker,
        device: str,
        sources: Iterable[str] = (),
        *,
        prefix: str = "rkface",
        discovery_root: str = "homeassistant",
        timeout: float = 10.0,
        retained_file: Path | None = None,
        console: str = "",
        report: Callable[[], BoardReport | None] = lambda: None,
        switches: SwitchRequests | None = None,
        pictures: PictureStore | None = None,
    ) -> None:
        try:
            import paho.mqtt.client  # noqa: F401
        except ImportError as error:
            raise import_error(error, "MQTT needs paho-mqtt", "pip install 'rkface[mqtt]'") from error
        self._broker = broker
        self._topics = Topics(prefix.strip("/"), device)
        root = discovery_root.strip("/")
        release = package_version(("rkface",)) or ""
        about = {"switches": switches is not None, "snapshots": pictures is not None}
        self._discovery = Discovery(self._topics, root, release, console, _support(), **about) if root else None
        self._snapshots = Snapshots(pictures)
        self._people = Subscription(
            self._topics.people, "messages of an earlier run there may still name a forgotten person"
        )
        self._commands = Subscription(self._topics.commands, "cameras cannot be switched over MQTT")
        self._reader = CommandReader(self._topics, switches) if switches else None
        self._stored = RetainedTopics(retained_file)
        self._search = not self._stored.known  # for messages of earlier runs, which stored no topics
        self._report, self._report_due = report, 0.0
        self._sources: list[str] = []
        self._retained: dict[str, Message] = {}  # by topic: published again on each new connection
        self._at_broker: dict[str, bytes] = {}  # retained payloads as far as we know, also those of earlier runs
        self._forgotten: Collection[str] = ()
        self._presence = Presence()
        if self._discovery:
            self._retained.update({message.topic: message for message in self._discovery.board()})
        for source in sources:
            self._learn(source, self._introduce(source))
        self._changed = threading.Condition()  # of ``_at_broker``
        self._wake: Callable[[], None] = lambda: None
        name, availability = f"rkface-{topic_name(device)}", self._topics.availability
        self._connection = BrokerConnection(broker, name, availability, timeout, self._note_message)
        if switches:
            switches.when_switched(self._report_soon)

    def maintain(self, wake: Callable[[], None]) -> bool:
        if self._forgotten:
            for topic, message in self._retained.items():
                self._retained[topic] = replace(message, payload=without_people(message.payload, self._forgotten))
        self._wake = wake
        if not self._connection.open:
            self._connection.drop()
            self._connection.connect(wake)
            online = Message(self._topics.availability, ONLINE, retain=True)
            self._stored.add([online.topic, *self._retained])
            try:
                self._connection.publish([online, *self._retained.values()])
            except (RefusedError, UndeliveredError) as error:
                self._connection.drop()  # without these messages it does not count as connected
                raise UndeliveredError(str(error)) from error
            self._report_due = 0.0
        if self._forgotten or self._search:
            self._connection.keep(self._people)
        if self._reader:
            self._connection.keep(self._commands)
        if self._forgotten:
            self._overwrite_retained()
        self._snapshots.drop_expired()
        self._withdraw_unused()
        self._publish_report()
        return True

    def withdraw(self, people: Collection[str]) -> bool:
        self._forgotten = people
        return True

    def deliver(self, event: OutgoingEvent) -> None:
        content = json.loads(event.body)
        if is_alert(content):
            self._deliver_alert(content, event.from_earlier_run)
            return
        if content.get("schema") != SCHEMA:
            self._connection.publish([Message(self._topics.other, event.body)])
            return
        source = content["source"]
        after, messages = self._presence.after(content, event.from_earlier_run, self._topics)
        if source not in self._sources:
            # A camera of an earlier run may be gone by now: its events are passed on, but nothing is retained.
            messages = [] if event.from_earlier_run else [*self._introduce(source), *messages]
        self._stored.add(message.topic for message in messages if message.retain)
        with self._changed:
            self._at_broker.update({message.topic: message.payload for message in messages if message.retain})
        # The event is the last message. Acknowledgements come in order (MQTT 3.1.1, 4.6), so that it is not sent again
        # because an earlier message was not acknowledged.
        self._connection.publish([*messages, Message(self._topics.camera(source, "appearance"), event.body)])
        if messages or source in self._sources:
            self._presence = after
            self._learn(source, messages)

    def close(self) -> None:
        if self._connection.open:
            empty = [presence(source, False, self._topics) for source in self._sources]
            empty += [Message(topic, b"", retain=True) for topic in self._snapshots]
            with suppress(UndeliveredError, RefusedError):
                self._connection.publish([*empty, Message(self._topics.availability, OFFLINE, retain=True)])
        self._connection.disconnect()

    def _deliver_alert(self, alert: dict[str, Any], from_earlier_run: bool) -> None:
        source = alert["appearance"]["source"]
        if from_earlier_run and source not in self._sources:
            alert["picture"] = None  # nothing is retained for a camera that is gone
        topic = self._topics.camera(source, "snapshot")
        snapshot = self._snapshots.take(alert, topic)
        if snapshot is not None:
            self._stored.add([topic])
            try:
                self._connection.publish([snapshot])
            except (RefusedError, UndeliveredError):
                self._snapshots.refuse(topic)
                raise
        self._connection.publish([Message(self._topics.camera(source, "alert"), to_json(alert))])

    def _introduce(self, source: str) -> list[Message]:
        return [*(self._discovery.camera(source) if self._discovery else []), presence(source, False, self._topics)]

    def _learn(self, source: str, messages: list[Message]) -> None:
        if source not in self._sources:
            self._sources.append(source)
        self._retained.update({message.topic: message for message in messages if message.retain})

    @property
    def _used(self) -> set[str]:
        """The topics on which messages of this run are retained."""
        cameras = {
            self._topics.camera(source, what) for source in self._sources for what in ("person", "state", "switch")
        }
        return {self._topics.availability, self._topics.state, *self._retained, *self._snapshots, *cameras}

    def _report_soon(self) -> None:
        self._report_due = 0.0
        self._wake()

    def _note_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """A command, or a message that the broker retains, has arrived. What cannot be ours is ignored: it would fill
        the memory."""
        if topic.endswith("/switch/set"):
            if self._reader:
                self._reader.read(topic, payload, retained, list(self._sources))
            return
        with self._changed:
            if len(payload) > MOST_PAYLOAD or (topic not in self._at_broker and len(self._at_broker) >= MOST_TOPICS):
                return
            self._at_broker[topic] = payload
            self._changed.notify_all()
        if self._search or without_people(payload, self._forgotten) != payload:
            self._wake()

    def _withdraw_unused(self) -> None:
        """Delete what is retained of cameras that were renamed or removed, and of earlier prefixes."""
        used = self._used
        with self._changed:
            found = [topic for topic, payload in self._at_broker.items() if payload and topic not in used]
        for topic in found if self._search else []:
            camera = topic.split("/")[-2]
            announced = self._discovery.camera(camera) if self._discovery else []
            states = [self._topics.camera(camera, what) for what in ("person", "presence", "state", "switch")]
            self._stored.add([*states, *(message.topic for message in announced)])
        gone = self._stored.unused(used)
        if gone:
            log.info("%s: withdraws %d messages of cameras that are gone", self._broker.place, len(gone))
            self._publish_or_warn([Message(topic, b"", retain=True) for topic in gone])
            self._stored.remove(gone)
            with self._changed:
                self._at_broker.update(dict.fromkeys(gone, b""))

    def _publish_report(self) -> None:
        if time.monotonic() < self._report_due:
            return
        self._report_due = time.monotonic() + REPORT_EVERY  # before the state is read: it may change meanwhile
        report = self._report()
        if report is None:
            self._report_due = 0.0
        else:
            messages = report.messages(self._topics)
            self._stored.add(message.topic for message in messages)
            self._publish_or_warn(messages)

    def _publish_or_warn(self, messages: list[Message]) -> None:
        """Publish ``messages``, which may be refused: events do not wait for them."""
        try:
            self._connection.publish(messages)
        except (RefusedError, UndeliveredError) as error:
            if self._connection.broken:
                raise UndeliveredError(str(error)) from error
            log.warning("%s", error)

    def _doubt_unread(self) -> list[Message]:
        """Messages that replace what earlier runs retained about people, where the broker does not let us read it."""

        def unread() -> list[str]:
            return [one for one in self._stored if one.endswith("/person") and one not in self._at_broker]

        with self._changed:
            self._changed.wait_for(lambda: not unread() or self._connection.broken, READING)
            return [Message(one, NOBODY, retain=True) for one in unread()]

    def _overwrite_retained(self) -> None:
        """Replace retained messages that name a forgotten person."""
        unread = self._doubt_unread()
        with self._changed:
            stale = [
                Message(topic, unknown, retain=True)
                for topic, payload in self._at_broker.items()
                if (unknown := without_people(payload, self._forgotten)) != payload
            ]
        for message in [*stale, *unread]:
            self._publish_or_warn([message])
            with self._changed:
                self._at_broker[message.topic] = message.payload


def _support() -> str:
    """The address of rkface's own page, as its package names it; "" if it names none."""
    with suppress(PackageNotFoundError):
        for entry in metadata("rkface").get_all("Project-URL") or []:
            return str(entry).rpartition(", ")[2]
    return ""
