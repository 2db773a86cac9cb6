"""Events to an MQTT broker, with paho-mqtt (the extra ``rkface[mqtt]``): MQTT 3.1.1 or 5, QoS 1.

Each connection has a paho client of its own. A message that was not acknowledged when a connection broke is still in
the outbox, and is published again on the next connection.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..core.errors import InputError
from ..core.missing_package import import_error
from ..tracking.appearance import SCHEMA
from .channel import RefusedError, UndeliveredError
from .event import OutgoingEvent
from .homeassistant import OFFLINE, ONLINE, Message, Presence, Topics, discovery, presence, topic_name, without_people

if TYPE_CHECKING:
    from paho.mqtt.client import Client

KEEPALIVE = (
    30  # seconds; a broker that hears nothing for 1.5 times as long publishes the last will (MQTT 3.1.1, 3.1.2.10)
)
# Reason codes of a PUBACK (MQTT 5, 3.4.2.1) that blame the message: topic name or payload format invalid. All others
# depend on the broker's load or settings, which may change.
REFUSED = (0x90, 0x99)
SUBSCRIBE_ATTEMPTS = 3  # to the retained messages, until we assume that the broker never allows it

log = logging.getLogger("rkface.events")


@dataclass(frozen=True)
class Broker:
    """How to reach a broker. ``port`` 0: 8883 with ``tls``, otherwise 1883. ``ca``: certificates to trust instead of
    the system's. ``certificate`` and ``key``: this client's, if the broker requires one. ``user`` and ``password`` come
    from ``read_secret``."""

    host: str
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    protocol: Literal["3.1.1", "5"] = "5"


class Mqtt:
    """A ``Channel``. ``device``: this board's name, unique among the clients of the broker. ``sources``: the cameras
    that are known at the start; others are announced with their first event. ``discovery_root``: the topic prefix of
    Home Assistant's discovery; "" announces nothing. ``timeout``: seconds for each exchange with the broker. Raises
    InputError if paho-mqtt is missing or certificates cannot be used.
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
    ) -> None:
        try:
            import paho.mqtt.client  # noqa: F401
        except ImportError as error:
            raise import_error(error, "MQTT needs paho-mqtt", "pip install 'rkface[mqtt]'") from error
        self._broker = broker
        self._topics = Topics(prefix.strip("/"), device)
        self._root = discovery_root.strip("/")
        self._sources: list[str] = []
        self._retained: dict[str, Message] = {}  # by topic: published again on each new connection
        self._at_broker: dict[str, bytes] = {}  # retained payloads as far as we know, also those of earlier runs
        self._forgotten: Collection[str] = ()
        self._failed_subscriptions = 0
        self._subscribed = False
        self._timeout = timeout
        self._tls = _context(broker) if broker.tls else None
        self._presence = Presence()
        for source in sources:
            self._learn(source, self._introduce(source))
        self._client: Client | None = None
        self._changed = threading.Condition()
        self._answer: str | None = None  # the broker's answer to CONNECT; "": accepted
        self._acknowledged: dict[int, int] = {}  # reason codes, by message id
        self._granted: bool | None = None  # the broker's answer to SUBSCRIBE
        self._broken = ""  # why the connection ended

    def maintain(self, wake: Callable[[], None]) -> bool:
        if self._forgotten:
            for topic, message in self._retained.items():
                self._retained[topic] = replace(message, payload=without_people(message.payload, self._forgotten))
        if self._client is None or self._broken:
            self._drop()
            self._connect(wake)
            online = Message(self._topics.availability, ONLINE, retain=True)
            try:
                self._publish([online, *self._retained.values()])
            except (RefusedError, UndeliveredError) as error:
                self._drop()  # without these messages it does not count as connected
                raise UndeliveredError(str(error)) from error
        if self._forgotten:
            self._subscribe()
            self._overwrite_retained()
        return True

    def withdraw(self, people: Collection[str]) -> bool:
        self._forgotten = people
        return True

    def deliver(self, event: OutgoingEvent) -> None:
        content = json.loads(event.body)
        if content.get("schema") != SCHEMA:
            self._publish([Message(self._topics.other, event.body)])
            return
        source = content["source"]
        after, messages = self._presence.after(content, event.from_earlier_run, self._topics)
        if source not in self._sources:
            messages = [*self._introduce(source), *messages]
        with self._changed:
            self._at_broker.update({message.topic: message.payload for message in messages if message.retain})
        # The event is the last message. Acknowledgements come in order (MQTT 3.1.1, 4.6), so that it is not sent again
        # because an earlier message was not acknowledged.
        self._publish([*messages, Message(self._topics.camera(source, "appearance"), event.body)])
        self._presence = after
        self._learn(source, messages)

    def close(self) -> None:
        if self._client is not None and not self._broken:
            empty = [presence(source, False, self._topics) for source in self._sources]
            with suppress(UndeliveredError, RefusedError):
                self._publish([*empty, Message(self._topics.availability, OFFLINE, retain=True)])
            self._client.disconnect()
        self._drop()

    def _introduce(self, source: str) -> list[Message]:
        told = discovery(source, self._topics, self._root, version("rkface")) if self._root else []
        return [*told, presence(source, False, self._topics)]

    def _learn(self, source: str, messages: list[Message]) -> None:
        if source not in self._sources:
            self._sources.append(source)
        self._retained.update({message.topic: message for message in messages if message.retain})

    def _connect(self, wake: Callable[[], None]) -> None:
        from paho.mqtt.client import Client, MQTTv5, MQTTv311
        from paho.mqtt.enums import CallbackAPIVersion

        broker = self._broker
        five = broker.protocol == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"rkface-{topic_name(self._topics.device)}",
            clean_session=None if five else True,
            protocol=MQTTv5 if five else MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._timeout
        client.max_inflight_messages = 1000  # far more than we publish at once: paho must not queue messages by itself
        client.will_set(self._topics.availability, OFFLINE, qos=1, retain=True)
        if broker.user or broker.password:
            client.username_pw_set(broker.user, broker.password or None)
        if self._tls is not None:
            client.tls_set_context(self._tls)

        def connected(_client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            self._note(answer=str(reason) if reason.is_failure else "")

        def disconnected(_client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            self._note(broken=f"connection lost: {reason}")
            wake()

        def subscribed(_client: Client, _data: Any, _message: int, reasons: Any, _properties: Any) -> None:
            self._note(granted=not any(reason.is_failure for reason in reasons))

        def received(_client: Client, _data: Any, message: Any) -> None:
            with self._changed:
                self._at_broker[message.topic] = message.payload
            if without_people(message.payload, self._forgotten) != message.payload:
                wake()

        def acknowledged(_client: Client, _data: Any, message: int, reason: Any, _properties: Any) -> None:
            with self._changed:
                self._acknowledged[message] = reason.value
                self._changed.notify_all()

        client.on_connect, client.on_disconnect, client.on_publish = connected, disconnected, acknowledged
        client.on_subscribe, client.on_message = subscribed, received
        self._answer, self._granted, self._broken, self._subscribed = None, None, "", False
        self._acknowledged.clear()
        try:
            client.connect(broker.host, broker.port or (8883 if broker.tls else 1883), KEEPALIVE)
        except OSError as error:
            raise UndeliveredError(f"{self._place}: {error}") from error
        self._client = client
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._answer is not None or self._broken, self._timeout)
            trouble = self._answer or (self._broken if self._answer is None else "")
            if self._answer is None and not trouble:
                trouble = f"no answer within {self._timeout:g} s"
        if trouble:
            self._drop()
            raise UndeliveredError(f"{self._place}: {trouble}")

    def _subscribe(self) -> None:
        """Ask the broker for the retained messages about people, also of earlier runs and of removed cameras.

        A broker may refuse. Some (AWS IoT) close the connection instead, so that the number of attempts is limited."""
        if self._client is None or self._subscribed or self._failed_subscriptions >= SUBSCRIBE_ATTEMPTS:
            return
        self._failed_subscriptions += 1
        self._client.subscribe(self._topics.people, qos=1)
        with self._changed:
            self._changed.wait_for(lambda: self._granted is not None or self._broken, self._timeout)
            self._subscribed = bool(self._granted)
            broken = self._broken
        if self._subscribed:
            self._failed_subscriptions = 0
        elif self._failed_subscriptions == SUBSCRIBE_ATTEMPTS:
            log.warning(
                "%s does not let us read %s: messages of an earlier run there may still name a forgotten person",
                self._place,
                self._topics.people,
            )
        if broken:
            raise UndeliveredError(f"{self._place}: {broken}")

    def _overwrite_retained(self) -> None:
        """Replace retained messages that name a forgotten person."""
        with self._changed:
            stale = [
                Message(topic, unknown, retain=True)
                for topic, payload in self._at_broker.items()
                if (unknown := without_people(payload, self._forgotten)) != payload
            ]
        for message in stale:
            try:
                self._publish([message])
            except (RefusedError, UndeliveredError) as error:
                if self._broken:
                    raise UndeliveredError(str(error)) from error
                log.warning("%s: its retained message may still name a forgotten person", error)
            with self._changed:
                self._at_broker[message.topic] = message.payload

    def _publish(self, messages: list[Message]) -> None:
        """Publish ``messages``; when this returns, the broker has acknowledged all of them."""
        client = self._client
        if client is None:
            raise UndeliveredError(f"{self._place}: not connected")
        with self._changed:
            self._acknowledged.clear()
        waited = [client.publish(message.topic, message.payload, qos=1, retain=message.retain) for message in messages]
        identities = {info.mid for info in waited}
        with self._changed:
            self._changed.wait_for(lambda: self._broken or identities <= self._acknowledged.keys(), self._timeout)
            missing = identities - self._acknowledged.keys()
            reasons = [self._acknowledged.get(info.mid, 0) for info in waited]
            trouble = self._broken or f"no acknowledgement within {self._timeout:g} s"
        if missing:
            self._note(broken=trouble)
            raise UndeliveredError(f"{self._place}: {trouble}")
        for message, reason in zip(messages, reasons, strict=True):
            if reason >= 0x80:
                kind = RefusedError if reason in REFUSED else UndeliveredError
                raise kind(f"{self._place} refused {message.topic} with reason code 0x{reason:02x}")

    def _drop(self) -> None:
        """End the connection without DISCONNECT, so that the broker publishes the last will."""
        client, self._client = self._client, None
        if client is None:
            return
        client.on_disconnect = None
        connection = client.socket()
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                # The plain socket under TLS, because paho's thread may be reading from the TLS layer. It ends with the
                # socket.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        client.loop_stop()

    def _note(self, answer: str | None = None, broken: str = "", granted: bool | None = None) -> None:
        with self._changed:
            self._answer = self._answer if answer is None else answer
            self._granted = self._granted if granted is None else granted
            self._broken = broken or self._broken
            self._changed.notify_all()

    @property
    def _place(self) -> str:
        return f"mqtt{'s' if self._broker.tls else ''}://{self._broker.host}"


def _context(broker: Broker) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(broker.ca) if broker.ca else None)
        if broker.certificate:
            context.load_cert_chain(broker.certificate, broker.key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"{broker.certificate or broker.ca}: not a certificate and key in PEM format: {error}"
        ) from error
    return context
