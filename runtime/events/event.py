"""An event as it travels from the camera service to a receiver: JSON on one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


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
    """Return ``event`` as JSON on one line, with the field ``event`` added: a digest of the content, by which receivers
    recognize an event that arrives twice. Raises ValueError or TypeError if JSON cannot express it."""
    plain = json.dumps(event, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return to_json({**event, "event": hashlib.sha256(plain.encode()).hexdigest()[:32]})


def anonymize(body: bytes, people: Collection[str]) -> bytes:
    """Return the event ``body`` without a match if it names one of ``people`` (ids of the gallery): it then reports an
    unknown person and has the digest of its new content; an alert then has no picture. Every other event is returned
    unchanged."""
    if not people:
        return body
    event = json.loads(body)
    if not isinstance(event, dict):
        return body
    if isinstance(event.get("appearance"), dict):  # an alert
        appearance = _without_match(event["appearance"], people)
        return body if appearance is None else _again({**event, "appearance": appearance, "picture": None})
    anonymous = _without_match(event, people)
    return body if anonymous is None else _again(anonymous)


def _without_match(appearance: Mapping[str, Any], people: Collection[str]) -> dict[str, Any] | None:
    """``appearance`` without its match; None if it names none of ``people``."""
    match = appearance.get("match")
    if not isinstance(match, dict) or match.get("person") not in people:
        return None
    return {**appearance, "match": None}


def _again(event: Mapping[str, Any]) -> bytes:
    """``event``, which was changed, with the digest of its new content."""
    return encode({name: value for name, value in event.items() if name != "event"})


def to_json(value: Any) -> bytes:
    """Return ``value`` as JSON in UTF-8, on one line. Bytes of a file name that are not text (Python's ``\\udcNN``) are
    written as escapes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")
