"""An event as it travels from the camera service to a receiver: JSON on one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

ALERT_SCHEMA = "rkface.alert"  # the kind of events about alerts; they contain an appearance
TEST_SCHEMA = "rkface.test"  # the kind of test messages, which are about nobody


@dataclass(frozen=True)
class OutgoingEvent:
    """An event for a receiver.

    body              its JSON, as ``encode`` writes it
    from_earlier_run  an earlier process stored it
    number            its place in the outbox; 0 where it is not stored in one
    forgotten_person  the id of the person that this event asks the receiver to delete; "" for all other events
    """

    body: bytes
    from_earlier_run: bool = False
    number: int = 0
    forgotten_person: str = ""


def encode(event: Mapping[str, Any]) -> bytes:
    """Return ``event`` as JSON on one line, with its digest. Raises ValueError or TypeError if JSON cannot express
    it."""
    return to_json(add_digest(event))


def add_digest(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``event`` with the field ``event``: a digest of the content, by which receivers recognize an event that
    arrives twice. Raises ValueError or TypeError if JSON cannot express it."""
    plain = json.dumps(event, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {**event, "event": hashlib.sha256(plain.encode()).hexdigest()[:32]}


def make_test_event(
    receiver: str, device: str, sent: float, picture: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The event that tests ``receiver``. ``device``: the name of this board; ``sent``: seconds since 1970. ``picture``:
    a reference to the sample picture, as in alerts; None if the receiver gets none."""
    event = {"schema": TEST_SCHEMA, "version": 1, "receiver": receiver, "device": device, "sent": sent}
    return {**event, "picture": picture}


def named_person(event: Mapping[str, Any]) -> str | None:
    """The id of the person whom ``event`` (an appearance, or an alert about one) names. None if it names nobody."""
    appearance = event.get("appearance") if event.get("schema") == ALERT_SCHEMA else event
    match = appearance.get("match") if isinstance(appearance, dict) else None
    person = match.get("person") if isinstance(match, dict) else None
    return person if isinstance(person, str) else None


def anonymize(body: bytes, people: Collection[str]) -> bytes:
    """Return the event ``body`` without a match if it names one of ``people`` (ids of the gallery): it then reports an
    unknown person and has the digest of its new content. An alert also loses its picture, which shows the person. Every
    other event is returned unchanged."""
    if not people:
        return body
    event = json.loads(body)
    if not isinstance(event, dict) or named_person(event) not in people:
        return body
    if event.get("schema") != ALERT_SCHEMA:
        return encode({**_without_digest(event), "match": None})
    appearance = {**_without_digest(event["appearance"]), "match": None}
    return encode({**_without_digest(event), "appearance": add_digest(appearance), "picture": None})


def _without_digest(event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "event"}


def to_json(value: Any) -> bytes:
    """Return ``value`` as JSON in UTF-8, on one line. Bytes of a file name that are not text (Python's ``\\udcNN``) are
    written as escapes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")
