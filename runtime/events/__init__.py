"""Events for other systems: JSON lines, webhook, MQTT. docs/events.md describes them for receivers.

with Delivery("webhook", Webhook(url, secret), Outbox(folder)) as sink:
    sink.send(appearance.as_event())
"""

from .backoff import Backoff
from .broker import Broker
from .camera_commands import SwitchRequests
from .channel import Channel, ReceiverGoneError, RefusedError, Sink, SinkState, UndeliveredError
from .delivery import Delivery
from .event import OutgoingEvent, anonymize, encode, make_test_event
from .homeassistant import BoardReport, CameraReport
from .lines import LinesFile, LinesStream
from .move_events import is_event_folder, move_events, read_named_people
from .mqtt import Mqtt
from .mqtt_connection import publish_once
from .outbox import Outbox
from .outbox_file import OutboxInUseError, find_outboxes
from .outbox_limits import Limits
from .picture_links import PictureLinks
from .picture_store import PictureLimits, PictureStore, delete_pictures
from .push import Push
from .secret import read_secret
from .webhook import Webhook

__all__ = [
    "Backoff",
    "BoardReport",
    "Broker",
    "CameraReport",
    "Channel",
    "Delivery",
    "Limits",
    "LinesFile",
    "LinesStream",
    "Mqtt",
    "Outbox",
    "OutboxInUseError",
    "OutgoingEvent",
    "PictureLimits",
    "PictureLinks",
    "PictureStore",
    "Push",
    "ReceiverGoneError",
    "RefusedError",
    "Sink",
    "SinkState",
    "SwitchRequests",
    "UndeliveredError",
    "Webhook",
    "anonymize",
    "delete_pictures",
    "encode",
    "find_outboxes",
    "is_event_folder",
    "make_test_event",
    "move_events",
    "publish_once",
    "read_named_people",
    "read_secret",
]
