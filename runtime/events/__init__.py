"""Appearances, told to the world: JSON lines, webhook, MQTT. docs/events.md is what a receiver reads.

with Delivery("webhook", Webhook(url, secret), Spool(folder)) as sink:
    sink.send(appearance.as_event())
"""

from .channel import Channel, Sink, SinkState, encode
from .delivery import Backoff, Delivery
from .lines import LinesFile, LinesStream
from .mqtt import Broker, Mqtt
from .secret import read_secret
from .spool import Limits, Spool, TakenError
from .webhook import Webhook

__all__ = [
    "Backoff", "Broker", "Channel", "Delivery", "Limits", "LinesFile", "LinesStream", "Mqtt", "Sink", "SinkState",
    "Spool", "TakenError", "Webhook", "encode", "read_secret",
]  # fmt: skip
