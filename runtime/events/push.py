"""Alerts as messages to people, by Apprise (the extra ``rkface[notify]``): mail, ntfy, Telegram and many more.

An Apprise URL contains secrets, such as a password or the name of a topic. Apprise writes URLs and answers into its
log, so nothing of that log is passed on.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..core.missing_package import import_error
from .alert_picture import describe_event, read_picture
from .channel import UndeliveredError
from .event import OutgoingEvent
from .picture_store import PictureStore

if TYPE_CHECKING:
    from apprise import Apprise

KIND = re.compile(r"([a-z][a-z0-9+.-]{0,19}):", re.IGNORECASE)  # the start of a URL, which may be shown
WITH_PICTURE = 3  # attempts with the picture, which may be too large for the service; then the text alone is sent
TIMEOUT = 30.0  # seconds for one message; the timeouts of single connections are in the URL (`cto`, `rto`)
STATUS = re.compile(r"\berror=([1-5]\d\d)\b")  # how Apprise's plugins write the status of an HTTP answer


@dataclass(frozen=True)
class _Failed:
    """How many ``attempts`` to send the alert ``id`` were made."""

    id: str = ""
    attempts: int = 0


class Push:
    """A ``Channel`` that sends alerts to the Apprise ``url``, with their picture from ``pictures``, and test messages.
    Other events are skipped. A service that takes no attachments gets the text, and so does one that has refused the
    picture ``WITH_PICTURE`` times. Raises InputError if Apprise is missing or does not know the URL."""

    def __init__(self, url: str, pictures: PictureStore | None = None) -> None:
        try:
            import apprise
        except ImportError as error:
            raise import_error(error, "messages need Apprise", "pip install 'rkface[notify]'") from error
        _silence_logs()
        found = KIND.match(url.strip())
        self._kind = found[1].lower() if found else ""
        self._pictures = pictures
        self._failed = _Failed()
        asset = apprise.AppriseAsset(
            app_id="rkface",
            app_desc="rkface",
            storage_mode=apprise.PersistentStoreMode.MEMORY,  # no files of Apprise on the disk
            secure_logging=True,
            image_url_mask="",  # no icon that phones would load from another site
            service_timeout=TIMEOUT,
        )
        self._receiver: Apprise = apprise.Apprise(asset=asset)
        try:
            known = self._receiver.add(url.strip())
        except Exception:  # of one of its many plugins; the text may contain the URL
            known = False
        if not known or len(self._receiver) != 1:
            kind = f", of the kind {self._kind!r}" if self._kind else ""
            raise InputError(
                f"this is not one URL that Apprise can use{kind}: see https://github.com/caronc/apprise for the URL "
                "of your service, and try it with `apprise --body test URL`"
            )

    def maintain(self, wake: Callable[[], None]) -> None:
        return None

    def withdraw(self, people: Collection[str]) -> bool:
        return False  # messages that were sent belong to who received them

    def close(self) -> None:
        pass

    def deliver(self, event: OutgoingEvent) -> None:
        from apprise import NotifyFormat
        from apprise.attachment.memory import AttachMemory

        alert = json.loads(event.body)
        message = describe_event(alert)
        if message is None:
            return
        title, text = message
        image = read_picture(alert, self._pictures)
        if self._failed.id != (id := alert.get("id", "")):
            self._failed = _Failed(id)
        shown = image is not None and self._failed.attempts < WITH_PICTURE
        attachment = AttachMemory(image, name="picture.jpg", mimetype="image/jpeg") if shown else None
        self._failed = replace(self._failed, attempts=self._failed.attempts + 1)
        try:
            result = self._receiver.notify(text, title, body_format=NotifyFormat.TEXT, attach=attachment)
        except Exception as error:  # of one of its many plugins; the text may contain the URL
            raise UndeliveredError(f"{self._kind}: failed with {type(error).__name__}") from None
        if not result:
            raise UndeliveredError(f"{self._kind}: {_explain(result)}")


def _silence_logs() -> None:
    """Keep what the packages that send messages log from getting anywhere: it contains URLs and answers."""
    for name in ("apprise", "requests", "urllib3", "requests_oauthlib", "oauthlib"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())  # otherwise Python writes warnings to stderr


def _explain(result: Any) -> str:
    """Why a message was not sent, without a word of Apprise's own log but the status of an HTTP answer."""
    lines = [entry.message for service in result.results for entry in service.logs()]
    statuses = [found[1] for line in lines if (found := STATUS.search(line))]
    return f"answered {statuses[-1]}" if statuses else "the message could not be sent"
