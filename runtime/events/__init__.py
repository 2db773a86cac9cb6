"""Events for other systems: JSON lines, webhook, MQTT. docs/events.md describes them for receivers.

with Delivery("webhook", Webhook(url, secret), Outbox(folder)) as sink:
    sink.send(appearance.as_event())

What talks to a receiver over the network is imported from its own module, where one is configured: ``webhook``,
``mqtt``, ``push``.
"""

from .backoff import Backoff
from .channel import Channel, ReceiverGoneError, RefusedError, Sink, SinkState, UndeliveredError
from .delivery import Delivery
from .event import OutgoingEvent, anonymize, encode, make_test_event
from .lines import LinesFile, LinesStream
from .move_events import is_event_folder, move_events, read_named_people
from .outbox import Outbox
from .outbox_file import OutboxInUseError, find_outboxes
from .outbox_limits import Limits
from .picture_links import PictureLinks
from .picture_store import PictureLimits, PictureStore, delete_pictures
from .secret import read_secret
from .switch_requests import SwitchRequests

__all__ = [
    "Backoff",
    "Channel",
    "Delivery",
    "Limits",
    "LinesFile",
    "LinesStream",
    "Outbox",
    "OutboxInUseError",
    "OutgoingEvent",
    "PictureLimits",
    "PictureLinks",
    "PictureStore",
    "ReceiverGoneError",
    "RefusedError",
    "Sink",
    "SinkState",
    "SwitchRequests",
    "UndeliveredError",
    "anonymize",
    "delete_pictures",
    "encode",
    "find_outboxes",
    "is_event_folder",
    "make_test_event",
    "move_events",
    "read_named_people",
    "read_secret",
]
