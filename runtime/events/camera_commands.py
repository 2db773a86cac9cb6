"""Commands from an MQTT broker that switch cameras on and off."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from .homeassistant import OFF, ON, Topics, topic_name
from .switch_requests import SwitchRequests

WARN_EVERY = 60.0  # seconds between two warnings about invalid commands, at least

log = logging.getLogger("rkface.events")


class CommandReader:
    """Reads commands for the cameras of ``topics``, and passes them to ``requests``. One thread uses it."""

    def __init__(self, topics: Topics, requests: SwitchRequests) -> None:
        self._topics, self._requests = topics, requests
        self._warn_at = 0.0  # not before this time, in seconds of the monotonic clock

    def read(self, topic: str, payload: bytes, retained: bool, cameras: Iterable[str]) -> None:
        """Pass on the command in a message of the broker, if it is valid: ON or OFF on the topic of one of ``cameras``.

        A command that the broker retains is ignored: it would switch the camera again at each new connection, whatever
        somebody has done since.
        """
        camera = next((name for name in cameras if self._topics.camera(name, "switch/set") == topic), None)
        if camera is None:
            return
        if retained:
            self._warn(
                f"a retained command for camera {topic_name(camera)} was ignored: send it without the flag retain"
            )
        elif payload not in (ON, OFF):
            self._warn(f"a command for camera {topic_name(camera)} was ignored: it is neither ON nor OFF")
        else:
            self._requests.add(camera, payload == ON)

    def _warn(self, text: str) -> None:
        now = time.monotonic()
        if now >= self._warn_at:
            self._warn_at = now + WARN_EVERY
            log.warning("%s", text)
