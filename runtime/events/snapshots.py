"""The pictures of alerts that an MQTT broker retains, one for each camera."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..core.errors import RkfaceError
from ..core.sqlite import DamagedError, NotADatabaseError
from .alert_picture import read_picture
from .channel import UndeliveredError
from .homeassistant import Message
from .picture_store import PictureStore


class Snapshots:
    """Which picture of ``pictures`` is retained on which topic; iterating yields the topics. ``pictures``: None if the
    broker gets none."""

    def __init__(self, pictures: PictureStore | None) -> None:
        self._pictures = pictures
        self._retained: dict[str, str] = {}  # by topic: the id of the picture
        self._refused = ""  # id of the last picture that could not be published

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._retained))

    def take(self, alert: dict[str, Any], topic: str) -> Message | None:
        """The picture of ``alert`` as a message to retain on ``topic``, which is noted in the alert; None if there is
        no picture, and the alert then says so. Raises UndeliveredError if it cannot be read now."""
        image = read_picture(alert, self._pictures)
        if image is None or self._pictures is None or alert["picture"]["id"] == self._refused:
            alert["picture"] = None
            return None
        self._retained[topic] = alert["picture"]["id"]
        alert["picture"]["topic"] = topic
        return Message(topic, image, retain=True, expiry=max(1, int(self._pictures.limits.seconds)))

    def refuse(self, topic: str) -> None:
        """The picture for ``topic`` could not be published: it may be too large for the broker, or the topic forbidden.
        The next attempt is made without it, because the alert must not wait for it."""
        self._refused = self._retained[topic]

    def drop_expired(self) -> None:
        """Forget the topics whose pictures must not be retained any more: they have expired, or their person is
        forgotten. Raises UndeliveredError if that cannot be found out now."""
        self._retained = {topic: id for topic, id in self._retained.items() if self._is_stored(id)}

    def _is_stored(self, id: str) -> bool:
        try:
            return self._pictures is not None and self._pictures.has(id)
        except (DamagedError, NotADatabaseError):
            return False
        except RkfaceError as error:
            raise UndeliveredError(str(error)) from error
