"""Progress on stderr: one line per stage with its duration. On a terminal the line shows how far the stage is.

``set_quiet(True)`` turns off all progress of this process, for ``--quiet``. Results and errors are not progress.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

REDRAW_SECONDS = 0.1
WIDTH = 24  # characters of a stage's name

quiet = False


def set_quiet(value: bool) -> None:
    """Show no progress in this process (True), or show it (False, as at the start)."""
    global quiet  # noqa: PLW0603 (one switch for the process, like stderr)
    quiet = value


class Stage:
    """A stage of work that is running. ``advance`` and ``say`` show how far it is; ``note`` ends its finished line."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.note = ""
        self._name = name
        self._stream = stream
        self._live = stream.isatty()
        self._start = time.monotonic()
        self._drawn = 0.0
        if self._live:
            self._write(f"  {name:{WIDTH}} …")

    def advance(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` steps are finished, and the remaining time."""
        now = time.monotonic()
        if now - self._drawn >= REDRAW_SECONDS:
            self._drawn = now
            left = f", {(now - self._start) / done * (total - done):.0f} s left" if done else ""
            self.say(f"{done}/{total}{left}")

    def say(self, text: str) -> None:
        """Show ``text`` after the name until the next call."""
        if self._live:
            self._write(f"\r\x1b[K  {self._name:{WIDTH}} {text} …")

    def finish(self) -> None:
        seconds = time.monotonic() - self._start
        end = f"  {self.note}" if self.note else ""
        self._write(f"{self._clear()}  {self._name:{WIDTH}} {seconds:6.1f} s{end}\n")

    def abandon(self) -> None:
        self._write(self._clear())

    def _clear(self) -> str:
        return "\r\x1b[K" if self._live else ""

    def _write(self, text: str) -> None:
        if not quiet:
            self._stream.write(text)
            self._stream.flush()


@contextmanager
def stage(name: str, stream: TextIO | None = None) -> Iterator[Stage]:
    """Show ``name`` while the block runs, and its duration at the end. If the block fails, its line is removed."""
    current = Stage(name, sys.stderr if stream is None else stream)
    try:
        yield current
    except BaseException:
        current.abandon()
        raise
    current.finish()


class ProgressLine:
    """A line that is redrawn in place on a terminal. Elsewhere, each text is printed on its own line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._last = ""

    def say(self, text: str) -> None:
        """Show ``text``, unless it is what the line shows already."""
        if text == self._last or quiet:
            return
        self._last = text
        if self._live:  # a text that wraps could not be overwritten
            text = text[: shutil.get_terminal_size().columns - 1]
        self._stream.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
        self._stream.flush()

    def clear(self) -> None:
        if self._live and not quiet:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
