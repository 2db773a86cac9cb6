"""The current problems of the service's parts, while the rest of the service continues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger

from ..core.errors import RkfaceError

log = getLogger("rkface.service")


class Problems:
    """One problem per part, until that part works again; iterating yields their texts, and what several parts say, such
    as that the disk is full, once. Thread-safe."""

    def __init__(self) -> None:
        self._by_part: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(list(self._by_part.values())))

    def note(self, part: str, text: str) -> None:
        """Set the problem of ``part``. A new problem is logged, a repeated one is not."""
        if self._by_part.get(part) != text:
            log.error("%s: %s", part, text)
        self._by_part[part] = text

    def clear(self, part: str) -> None:
        """Note that ``part`` works."""
        self._by_part.pop(part, None)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Turn an RkfaceError in the block into the problem of ``part``; the caller continues after the block. A block
        without an error clears the problem."""
        try:
            yield
        except RkfaceError as error:
            self.note(part, str(error))
        else:
            self.clear(part)
