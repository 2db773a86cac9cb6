"""Progress for people, on stderr: one line a stage, counted up in place on a terminal; a line that says what to do."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

REDRAW_SECONDS = 0.1
WIDTH = 24


class Stage:
    """A piece of work under way. ``advance`` and ``say`` show how far it is; its finished line ends with ``note``."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.note = ""
        self._name = name
        self._stream = stream
        self._live = stream.isatty()
        self._start = time.monotonic()
        self._drawn = 0.0
        if self._live:
            stream.write(f"  {name:{WIDTH}} …")
            stream.flush()

    def advance(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._drawn >= REDRAW_SECONDS:
            self._drawn = now
            left = f", {(now - self._start) / done * (total - done):.0f} s left" if done else ""
            self.say(f"{done}/{total}{left}")

    def say(self, text: str) -> None:
        """Show ``text`` behind the name until the next call."""
        if self._live:
            self._stream.write(f"\r\x1b[K  {self._name:{WIDTH}} {text} …")
            self._stream.flush()

    def finish(self) -> None:
        seconds = time.monotonic() - self._start
        end = f"  {self.note}" if self.note else ""
        self._stream.write(f"{self._clear()}  {self._name:{WIDTH}} {seconds:6.1f} s{end}\n")
        self._stream.flush()

    def abandon(self) -> None:
        self._stream.write(self._clear())
        self._stream.flush()

    def _clear(self) -> str:
        return "\r\x1b[K" if self._live else ""


@contextmanager
def stage(name: str, stream: TextIO | None = None) -> Iterator[Stage]:
    """Show ``name`` while the block runs, and its seconds when it is done; nothing stays of one that fails."""
    current = Stage(name, sys.stderr if stream is None else stream)
    try:
        yield current
    except BaseException:
        current.abandon()
        raise
    current.finish()


class ProgressLine:
    """One line that is written anew in place on a terminal. Elsewhere, each text is a line of its own."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._said = ""

    def say(self, text: str) -> None:
        if text == self._said:
            return
        self._said = text
        if self._live:  # a text that wraps could not be written over
            text = text[: shutil.get_terminal_size().columns - 1]
        self._stream.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
        self._stream.flush()

    def clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
