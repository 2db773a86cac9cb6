"""Events to an MQTT broker, through paho-mqtt (the extra ``rkface[mqtt]``): 3.1.1 or 5, QoS 1.

paho keeps one connection at a time and nothing longer than that: what was not acknowledged when it broke is still the
spool's, and is published again on the next.
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
from ..tracking.appearance import SCHEMA
from .channel import RefusedError, UndeliveredError
from .homeassistant import OFFLINE, ONLINE, Message, Presence, Topics, discovery, nobody, presence, slug
from .spool import Record

if TYPE_CHECKING:
    from paho.mqtt.client import Client

KEEPALIVE = 30  # seconds; after one and a half of it in silence a broker publishes the last will (MQTT 3.1.1, 3.1.2.10)
# Reason codes of a PUBACK (MQTT 5, 3.4.2.1) for a message that will not do: topic name, payload format. All others are
# about the broker's load or settings, which change.
REFUSED = (0x90, 0x99)
LISTEN = 3  # tries to be told what the broker keeps, until it is taken for one that tells nothing

log = logging.getLogger("rkface.events")


@dataclass(frozen=True)
class Broker:
    """``port`` 0: 8883 with ``tls``, else 1883. ``ca``: in place of the system's certificates; ``certificate`` and
    ``key``: of ours, where the broker asks for one. ``user`` and ``password`` come from ``read_secret``."""

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
    """A ``Channel``. ``device``: this board's name, which no other at the broker may have. ``sources``: the cameras
    that are known beforehand; others are announced when their first event comes. ``discovery_root`` "" tells Home
    Assistant nothing. InputError if paho-mqtt is missing or certificates cannot be used.
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
            raise InputError("MQTT needs paho-mqtt: pip install 'rkface[mqtt]'") from error
        self._broker = broker
        self._topics = Topics(prefix.strip("/"), device)
        self._root = discovery_root.strip("/")
        self._sources: list[str] = []
        self._retained: dict[str, Message] = {}  # what a broker that forgot it is told again, by topic
        self._kept: dict[str, bytes] = {}  # what it keeps, as far as we know: also what an earlier run had said
        self._gone: Collection[str] = ()
        self._unheard = 0  # tries to listen that came to nothing
        self._listening = False
        self._timeout = timeout
        self._tls = _context(broker) if broker.tls else None
        self._presence = Presence()
        for source in sources:
            self._learn(source, self._introduce(source))
        self._client: Client | None = None
        self._changed = threading.Condition()
        self._answer: str | None = None  # what the broker said to CONNECT; "": welcome
        self._acknowledged: dict[int, int] = {}  # reason codes, by message id
        self._granted: bool | None = None  # what it said to SUBSCRIBE
        self._broken = ""  # why the connection ended

    def keep(self, lost: Callable[[], None]) -> bool:
        if self._gone:
            for topic, message in self._retained.items():
                self._retained[topic] = replace(message, payload=nobody(message.payload, self._gone))
        if self._client is None or self._broken:
            self._drop()
            self._connect(lost)
            online = Message(self._topics.availability, ONLINE, retain=True)
            try:
                self._publish([online, *self._retained.values()])
            except (RefusedError, UndeliveredError) as error:
                self._drop()  # not connected before this is said
                raise UndeliveredError(str(error)) from error
        if self._gone:
            self._listen()
            self._withdraw()
        return True

    def forget(self, people: Collection[str]) -> bool:
        self._gone = people
        return True

    def deliver(self, record: Record) -> None:
        event = json.loads(record.body)
        if event.get("schema") != SCHEMA:
            self._publish([Message(self._topics.other, record.body)])
            return
        source = event["source"]
        after, messages = self._presence.after(event, record.old, self._topics)
        if source not in self._sources:
            messages = [*self._introduce(source), *messages]
        with self._changed:
            self._kept.update({message.topic: message.payload for message in messages if message.retain})
        # The event goes last, and acknowledgements come in order (MQTT 3.1.1, 4.6): it is not sent again for the sake
        # of those before it.
        self._publish([*messages, Message(self._topics.camera(source, "appearance"), record.body)])
        self._presence = after
        self._learn(source, messages)

    def close(self) -> None:
        if self._client is not None and not self._broken:
            nobody = [presence(source, False, self._topics) for source in self._sources]
            with suppress(UndeliveredError, RefusedError):
                self._publish([*nobody, Message(self._topics.availability, OFFLINE, retain=True)])
            self._client.disconnect()
        self._drop()

    def _introduce(self, source: str) -> list[Message]:
        told = discovery(source, self._topics, self._root, version("rkface")) if self._root else []
        return [*told, presence(source, False, self._topics)]

    def _learn(self, source: str, messages: list[Message]) -> None:
        if source not in self._sources:
            self._sources.append(source)
        self._retained.update({message.topic: message for message in messages if message.retain})

    def _connect(self, lost: Callable[[], None]) -> None:
        from paho.mqtt.client import Client, MQTTv5, MQTTv311
        from paho.mqtt.enums import CallbackAPIVersion

        broker = self._broker
        five = broker.protocol == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"rkface-{slug(self._topics.device)}",
            clean_session=None if five else True,
            protocol=MQTTv5 if five else MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._timeout
        client.max_inflight_messages = 1000  # far more than we ever have under way: nothing may wait unseen in paho
        client.will_set(self._topics.availability, OFFLINE, qos=1, retain=True)
        if broker.user or broker.password:
            client.username_pw_set(broker.user, broker.password or None)
        if self._tls is not None:
            client.tls_set_context(self._tls)

        def connected(_client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            self._note(answer=str(reason) if reason.is_failure else "")

        def disconnected(_client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            self._note(broken=f"connection lost: {reason}")
            lost()

        def subscribed(_client: Client, _data: Any, _message: int, reasons: Any, _properties: Any) -> None:
            self._note(granted=not any(reason.is_failure for reason in reasons))

        def heard(_client: Client, _data: Any, message: Any) -> None:
            with self._changed:
                self._kept[message.topic] = message.payload
            if nobody(message.payload, self._gone) != message.payload:
                lost()

        def acknowledged(_client: Client, _data: Any, message: int, reason: Any, _properties: Any) -> None:
            with self._changed:
                self._acknowledged[message] = reason.value
                self._changed.notify_all()

        client.on_connect, client.on_disconnect, client.on_publish = connected, disconnected, acknowledged
        client.on_subscribe, client.on_message = subscribed, heard
        self._answer, self._granted, self._broken, self._listening = None, None, "", False
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

    def _listen(self) -> None:
        """Have the broker say who came last, as it keeps it from earlier runs and of cameras that are no more.

        It need not let us. One that ends the connection over it (AWS IoT does) is not asked for ever."""
        if self._client is None or self._listening or self._unheard >= LISTEN:
            return
        self._unheard += 1
        self._client.subscribe(self._topics.people, qos=1)
        with self._changed:
            self._changed.wait_for(lambda: self._granted is not None or self._broken, self._timeout)
            self._listening = bool(self._granted)
            broken = self._broken
        if self._listening:
            self._unheard = 0
        elif self._unheard == LISTEN:
            log.warning(
                "%s does not let us read %s: who is forgotten may still be named there by an earlier run",
                self._place,
                self._topics.people,
            )
        if broken:
            raise UndeliveredError(f"{self._place}: {broken}")

    def _withdraw(self) -> None:
        """Overwrite what the broker keeps of those who are forgotten."""
        with self._changed:
            stale = [
                Message(topic, unknown, retain=True)
                for topic, payload in self._kept.items()
                if (unknown := nobody(payload, self._gone)) != payload
            ]
        for message in stale:
            try:
                self._publish([message])
            except (RefusedError, UndeliveredError) as error:
                if self._broken:
                    raise UndeliveredError(str(error)) from error
                log.warning("%s: it may still name who is forgotten", error)
            with self._changed:
                self._kept[message.topic] = message.payload

    def _publish(self, messages: list[Message]) -> None:
        """On return the broker has acknowledged them all."""
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
        """End the connection without a farewell."""
        client, self._client = self._client, None
        if client is None:
            return
        client.on_disconnect = None
        connection = client.socket()
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                # Of the plain socket: paho's thread may be reading the TLS around it. It ends when this ends.
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
        raise InputError(f"{broker.certificate or broker.ca}: not certificate and key in PEM: {error}") from error
    return context
