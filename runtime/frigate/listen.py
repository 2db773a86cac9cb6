"""The connection to Frigate's broker: each message about a person goes to an ``EventNamer``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection

from ..core.errors import InputError
from ..events.backoff import Backoff
from ..events.broker import Broker
from ..events.channel import UndeliveredError
from ..events.mqtt_connection import BrokerConnection, Subscription
from .event import read_event
from .event_namer import EventNamer

TIMEOUT = 10.0  # seconds for an answer of the broker
CHECK = 1.0  # seconds
WARN_EVERY = 60.0  # seconds between two warnings about messages that cannot be read, at least

log = logging.getLogger("rkface.frigate")


def listen(
    broker: Broker, prefix: str, namer: EventNamer, stopping: threading.Event, cameras: Collection[str] = ()
) -> None:
    """Read Frigate's events until ``stopping`` is set; connect again when the connection breaks.

    ``prefix``: Frigate's ``topic_prefix``. ``cameras``: only these; all if it is empty. Raises InputError if
    certificates cannot be used.
    """
    topic = f"{prefix}/events"
    warn_at = 0.0  # not before this time, in seconds of the monotonic clock

    def receive(_topic: str, payload: bytes, retained: bool) -> None:
        nonlocal warn_at
        try:
            person = None if retained else read_event(payload)
        except InputError as error:
            if (now := time.monotonic()) >= warn_at:
                warn_at = now + WARN_EVERY
                log.warning("%s: %s; it was ignored", topic, error)
            return
        if person is not None and (not cameras or person.camera in cameras):
            namer.note(person)

    connection = BrokerConnection(broker, "rkface-frigate", "rkface/frigate/availability", TIMEOUT, receive)
    failures, backoff = 0, Backoff()
    try:
        while not stopping.is_set():
            try:
                connection.connect(lambda: None)
                connection.keep(subscription := Subscription(topic, "nobody can be identified"))
                if not subscription.granted:
                    raise UndeliveredError(f"{broker.place} does not let us read {topic}: nobody can be identified")
                log.info("%s: listening to %s", broker.place, topic)
                failures = 0
                while connection.open and not stopping.wait(CHECK):
                    pass
                trouble = connection.broken
            except UndeliveredError as error:
                trouble = str(error)
            if not stopping.is_set():
                failures += 1
                if failures == 1:
                    log.warning("%s; trying again", trouble)
                connection.drop()
                stopping.wait(backoff.seconds(failures))
    finally:
        connection.disconnect()
