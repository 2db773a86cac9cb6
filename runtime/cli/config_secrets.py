"""What ``rkface config check`` says about secrets: whether they are there, and who may read them. No note has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InputError

if TYPE_CHECKING:
    from ..service.settings import Settings


def find_secret_problems(settings: Settings) -> Iterator[str]:
    """A sentence for each secret that ``settings`` name and that cannot be used here, each with its key: an environment
    variable that is not set, a file that is missing, empty, or readable by other users, and text that is not such a
    secret. On another machine, or with the environment of the service, it may be right."""
    from ..core.private_file import read_private_file
    from ..events import read_secret

    def secret(where: str) -> None:
        if where:
            read_secret(where)

    def private(path: Path | None) -> None:
        if path:
            read_private_file(path, "the secret", lambda content: content)

    events, web = settings.events, settings.web
    checks: dict[str, Callable[[], object]] = {
        "key": partial(_check_key, settings.key),
        "web.password_file": partial(private, web.password_file),
        "web.token_file": partial(private, web.token_file),
        "web.key": partial(private, web.key),
    }
    if events.webhook:
        checks["events.webhook.secret"] = partial(_check_webhook, events.webhook.url, events.webhook.secret)
    if events.mqtt:
        checks["events.mqtt.password"] = partial(secret, events.mqtt.password)
        checks["events.mqtt.key"] = partial(private, events.mqtt.key)
    if settings.hub and not settings.hub.address.startswith("embedded:"):
        checks["hub.address"] = partial(secret, settings.hub.address)
    for name, notify in settings.notify.items():
        checks[f"notify.{name}.url"] = partial(_check_push, notify.url)
    for key, check in checks.items():
        try:
            check()
        except InputError as error:
            yield f"{key}: {error}"


def _check_key(path: Path | None) -> None:
    from ..gallery.encryption import read_key

    if path:
        read_key(path)


def _check_webhook(url: str, secret: str) -> None:
    from ..events import read_secret
    from ..events.webhook import Webhook

    if secret:
        Webhook(url, read_secret(secret))


def _check_push(where: str) -> None:
    from ..events import read_secret
    from ..events.push import Push

    Push(read_secret(where))
