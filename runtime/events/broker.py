"""How to reach an MQTT broker, and what was stored there."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..core.atomic import write_atomically
from ..core.errors import InputError, RkfaceError
from ..core.files import parse_json, read_file
from ..core.trust import trust_only

MOST_BYTES = 1 << 20  # of the list of topics: thousands of cameras

log = logging.getLogger("rkface.events")


@dataclass(frozen=True)
class Broker:
    """How to reach a broker. ``port`` 0: 8883 with ``tls``, otherwise 1883. ``ca``: certificates to trust instead of
    the system's. ``certificate`` and ``key``: this client's, if the broker requires one. ``user`` and ``password`` come
    from ``read_secret``."""

    host: str
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    protocol: Literal["3.1.1", "5"] = "5"

    @property
    def place(self) -> str:
        """The broker in messages."""
        return f"mqtt{'s' if self.tls else ''}://{self.host}"

    def open_tls(self) -> ssl.SSLContext | None:
        """The TLS context; None without ``tls``. Raises InputError if a certificate or key cannot be used."""
        if not self.tls:
            return None
        context = trust_only(self.ca)
        try:
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            files = " and ".join(str(file) for file in (self.certificate, self.key) if file)
            raise InputError(f"{files}: not a certificate and its key in PEM format: {error}") from error
        return context


class RetainedTopics:
    """The topics on which a broker retains messages of ours, in ``file`` (mode 0600): what is no longer used must be
    withdrawn, also by a later process. A topic is stored before the first message is published there. Without a file,
    it is only in memory.

    ``known``: whether an earlier process has stored its topics.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._topics: set[str] = set()
        self.known = file is None
        if file is not None:
            with suppress(InputError, ValueError):
                stored = parse_json(read_file(file, MOST_BYTES))
                if isinstance(stored, list):
                    self.known = True
                    self._topics = {one for one in stored if isinstance(one, str) and is_topic(one)}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._topics))

    def add(self, topics: Iterable[str]) -> None:
        """Store ``topics``, on which messages are about to be retained."""
        self._change(self._topics | set(topics))

    def remove(self, topics: Iterable[str]) -> None:
        """Note that nothing is retained on ``topics`` any more."""
        self._change(self._topics - set(topics))

    def unused(self, used: Iterable[str]) -> list[str]:
        """The topics that are not among those in use."""
        return sorted(self._topics - set(used))

    def _change(self, topics: set[str]) -> None:
        if topics == self._topics and self.known:
            return
        self._topics = topics
        if self._file is None:
            return
        try:
            write_atomically(self._file, json.dumps(sorted(topics)).encode())
            self.known = True
        except RkfaceError as error:  # a full disk must not keep events from being sent
            log.warning("%s: if a camera is renamed, its old messages stay at the broker", error)


def is_topic(text: str) -> bool:
    """Whether messages can be published on ``text`` (MQTT 5, 4.7)."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= 65_535 and not set(text) & set("+#\0")
