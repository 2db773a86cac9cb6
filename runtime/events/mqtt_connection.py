"""One connection to an MQTT broker, with paho-mqtt: QoS 1, and every message is acknowledged before a call returns."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .backoff import Backoff
from .broker import Broker
from .channel import RefusedError, UndeliveredError
from .homeassistant import OFFLINE, Message

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties

KEEPALIVE = (
    30  # seconds; a broker that hears nothing for 1.5 times as long publishes the last will (MQTT 3.1.1, 3.1.2.10)
)
# Reason codes of a PUBACK (MQTT 5, 3.4.2.1) that blame the message: topic name or payload format invalid. All others
# depend on the broker's load or settings, which may change.
REFUSED = (0x90, 0x99)
SUBSCRIBE_ATTEMPTS = 3  # at once; from then on with pauses, because some brokers end the connection each time
PAUSES = Backoff(first=60.0, longest=3600.0)

log = logging.getLogger("rkface.events")


def publish_once(broker: Broker, client_id: str, messages: list[Message], timeout: float = 10.0) -> None:
    """Publish ``messages`` over a connection of its own. ``client_id``: no other client at the broker may have it, or
    the broker ends that one's connection. Raises UndeliveredError, RefusedError, and InputError if certificates cannot
    be used."""
    connection = BrokerConnection(broker, client_id, "", timeout, lambda *_: None)
    connection.connect(lambda: None)
    try:
        connection.publish(messages)
    finally:
        connection.disconnect()


class Subscription:
    """Messages that this client wants on ``topics``. ``refused``: what the log says while the broker allows none."""

    def __init__(self, topics: str, refused: str) -> None:
        self.topics, self.refused = topics, refused
        self.granted = False  # on this connection
        self.failures = 0  # in a row
        self.due = 0.0  # when the next attempt may begin, in seconds of ``time.monotonic``


class BrokerConnection:
    """The connection of one client to ``broker``. One thread uses it.

    ``availability``: the topic of the last will; "" for none. ``timeout``: seconds for each exchange.
    ``on_message`` is called with the topic and the payload of each message that arrives, and whether it was retained,
    in another thread. Raises InputError if certificates cannot be used.
    """

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        availability: str,
        timeout: float,
        on_message: Callable[[str, bytes, bool], None],
    ) -> None:
        self._broker, self._client_id, self._availability = broker, client_id, availability
        self._timeout, self._on_message = timeout, on_message
        self._tls = broker.open_tls()
        self._client: Client | None = None
        self._changed = threading.Condition()
        self._answer: str | None = None  # the broker's answer to CONNECT; "": accepted
        self._acknowledged: dict[int, int] = {}  # reason codes, by message id
        self._granted: bool | None = None  # the broker's answer to SUBSCRIBE
        self._kept: list[Subscription] = []
        self.broken = ""  # why the connection ended

    @property
    def open(self) -> bool:
        """Whether the connection is open, as far as we know."""
        return self._client is not None and not self.broken

    def connect(self, wake: Callable[[], None]) -> None:
        """Connect. ``wake`` is called when the connection breaks. Raises UndeliveredError."""
        from paho.mqtt.client import Client, MQTTv5, MQTTv311
        from paho.mqtt.enums import CallbackAPIVersion

        broker = self._broker
        five = broker.protocol == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if five else True,
            protocol=MQTTv5 if five else MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._timeout
        client.max_inflight_messages = 1000  # far more than we publish at once: paho must not queue messages by itself
        if self._availability:
            client.will_set(self._availability, OFFLINE, qos=1, retain=True)
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
            self._on_message(message.topic, message.payload, message.retain)

        def acknowledged(_client: Client, _data: Any, message: int, reason: Any, _properties: Any) -> None:
            with self._changed:
                self._acknowledged[message] = reason.value
                self._changed.notify_all()

        client.on_connect, client.on_disconnect, client.on_publish = connected, disconnected, acknowledged
        client.on_subscribe, client.on_message = subscribed, received
        self._answer, self._granted, self.broken = None, None, ""
        self._acknowledged.clear()
        try:
            client.connect(broker.host, broker.port or (8883 if broker.tls else 1883), KEEPALIVE)
        except OSError as error:
            raise UndeliveredError(f"{self._broker.place}: {error}") from error
        self._client = client
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._answer is not None or self.broken, self._timeout)
            trouble = self._answer or (self.broken if self._answer is None else "")
            if self._answer is None and not trouble:
                trouble = f"no answer within {self._timeout:g} s"
        if trouble:
            self.drop()
            raise UndeliveredError(f"{self._broker.place}: {trouble}")

    def keep(self, subscription: Subscription) -> None:
        """Subscribe, unless that is done, or it failed and the next attempt is not due. A broker may refuse; some (AWS
        IoT) close the connection instead, and UndeliveredError is raised. The log says once what is refused."""
        if subscription.granted or time.monotonic() < subscription.due:
            return
        subscription.failures += 1
        try:
            subscription.granted = self._subscribe(subscription.topics)
        finally:
            tried, place = subscription.failures, self._broker.place
            if subscription.granted:
                self._kept.append(subscription)
                subscription.failures = 0
                if tried > SUBSCRIBE_ATTEMPTS:
                    log.info("%s lets us read %s again", place, subscription.topics)
            elif tried >= SUBSCRIBE_ATTEMPTS:
                subscription.due = time.monotonic() + PAUSES.seconds(tried - SUBSCRIBE_ATTEMPTS + 1)
                if tried == SUBSCRIBE_ATTEMPTS:
                    log.warning("%s does not let us read %s: %s", place, subscription.topics, subscription.refused)

    def _subscribe(self, topics: str) -> bool:
        if self._client is None:
            return False
        self._granted = None
        self._client.subscribe(topics, qos=1)
        with self._changed:
            self._changed.wait_for(lambda: self._granted is not None or self.broken, self._timeout)
            granted = bool(self._granted)
        if self.broken:
            raise UndeliveredError(f"{self._broker.place}: {self.broken}")
        return granted

    def publish(self, messages: list[Message]) -> None:
        """Publish ``messages``; when this returns, the broker has acknowledged all of them."""
        client = self._client
        if client is None:
            raise UndeliveredError(f"{self._broker.place}: not connected")
        with self._changed:
            self._acknowledged.clear()
        waited = [
            client.publish(
                message.topic, message.payload, qos=1, retain=message.retain, properties=self._properties(message)
            )
            for message in messages
        ]
        identities = {info.mid for info in waited}
        with self._changed:
            self._changed.wait_for(lambda: self.broken or identities <= self._acknowledged.keys(), self._timeout)
            missing = identities - self._acknowledged.keys()
            reasons = [self._acknowledged.get(info.mid, 0) for info in waited]
            trouble = self.broken or f"no acknowledgement within {self._timeout:g} s"
        if missing:
            self._note(broken=trouble)
            raise UndeliveredError(f"{self._broker.place}: {trouble}")
        for message, reason in zip(messages, reasons, strict=True):
            if reason >= 0x80:
                kind = RefusedError if reason in REFUSED else UndeliveredError
                raise kind(f"{self._broker.place} refused {message.topic} with reason code 0x{reason:02x}")

    def _properties(self, message: Message) -> Properties | None:
        """When the broker deletes ``message`` (MQTT 5, 3.3.2.3.3); None if it never does."""
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        if not message.expiry or self._broker.protocol != "5":
            return None
        properties = Properties(PacketTypes.PUBLISH)
        properties.MessageExpiryInterval = message.expiry
        return properties

    def disconnect(self) -> None:
        """End the connection in an orderly way: the broker does not publish the last will."""
        if self._client is not None and not self.broken:
            self._client.disconnect()
        self.drop()

    def drop(self) -> None:
        """End the connection without DISCONNECT, so that the broker publishes the last will."""
        client, self._client = self._client, None
        for subscription in self._kept:
            subscription.granted = False
        self._kept.clear()
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
            self.broken = broken or self.broken
            self._changed.notify_all()
