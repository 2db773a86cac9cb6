"""What is wrong with the parts of a service now, while the rest goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger

from ..core.errors import RkfaceError

log = getLogger("rkface.service")


class Problems:
    """By part, until it goes well again. Any thread may use it."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._now.values()))

    def note(self, part: str, text: str) -> None:
        if self._now.get(part) != text:  # said once
            log.error("%s: %s", part, text)
        self._now[part] = text

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """An RkfaceError in the block becomes a problem of ``part``, and the caller goes on behind it."""
        try:
            yield
        except RkfaceError as error:
            self.note(part, str(error))
        else:
            self._now.pop(part, None)
