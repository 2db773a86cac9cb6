"""What receivers get of the picture of an alert. The service stores an alert with a reference to its picture:
``{"id", "kind", "type", "width", "height"}``; each channel turns the reference into what its receiver can use."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..core.errors import RkfaceError
from ..core.sqlite import DamagedError, NotADatabaseError
from .channel import UndeliveredError
from .event import ALERT_SCHEMA, TEST_SCHEMA, to_json
from .picture_links import PictureLinks
from .picture_store import PictureStore


def is_alert(event: Mapping[str, Any]) -> bool:
    """Whether ``event`` is an alert."""
    return event.get("schema") == ALERT_SCHEMA


def read_picture(alert: Mapping[str, Any], pictures: PictureStore | None) -> bytes | None:
    """The JPEG of ``alert``. None if it has none, or if that has expired, was deleted, or is damaged. Raises
    UndeliveredError if it cannot be read now."""
    picture = alert.get("picture")
    if not picture or pictures is None:
        return None
    try:
        return pictures.jpeg(picture["id"])
    except (DamagedError, NotADatabaseError):  # the service reports that; the alert must not wait for it
        return None
    except RkfaceError as error:
        raise UndeliveredError(str(error)) from error


def write_picture(body: bytes, pictures: PictureStore | None, links: PictureLinks | None = None) -> bytes:
    """The event ``body`` with its picture: inline, or as a link if there are ``links``. All events without a picture
    are returned unchanged. Raises UndeliveredError if the picture cannot be read now."""
    event = json.loads(body)
    if event.get("schema") not in (ALERT_SCHEMA, TEST_SCHEMA) or not event.get("picture"):
        return body
    image = read_picture(event, pictures)
    if image is None:
        return to_json({**event, "picture": None})
    more = links.describe(event["picture"]["id"]) if links else {"data": base64.b64encode(image).decode()}
    return to_json({**event, "picture": {**event["picture"], **more}})


def describe_event(event: Mapping[str, Any]) -> tuple[str, str] | None:
    """Title and text of a message to a person about an alert or a test; None for other events."""
    if event.get("schema") == TEST_SCHEMA:
        return "rkface: test message", f"Alerts from {event['device']} can reach you."
    return _describe_alert(event) if is_alert(event) else None


def _describe_alert(alert: Mapping[str, Any]) -> tuple[str, str]:
    appearance = alert["appearance"]
    who = appearance["match"]["name"] if appearance["match"] else "Stranger"
    when = datetime.fromtimestamp(appearance["started"]).astimezone()
    return f"{who}: {appearance['source']}", f"{when:%Y-%m-%d %H:%M:%S}, rule {alert['rule']}"
