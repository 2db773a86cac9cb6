"""Progress for people, on stderr: a line for each stage, updated in place on a terminal.

``set_detail`` makes it quiet or verbose, for --quiet and --verbose. Results, errors and instructions are not progress.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TextIO

from .text import in_a_line

REDRAW_SECONDS = 0.1
LINE_SECONDS = 5.0  # with --verbose, where each report is a line of its own
WIDTH = 24  # characters of a stage's name

Detail = Literal["quiet", "normal", "verbose"]
_detail: Detail = "normal"


def set_detail(detail: Detail) -> None:
    """How much the stages of this process show from now on: nothing, a line each, or also every step as a line."""
    global _detail  # noqa: PLW0603 - set once, by the command line
    _detail = detail


def get_detail() -> Detail:
    """How much the stages of this process show."""
    return _detail


class Stage:
    """A stage of work that is running. ``advance`` and ``say`` show how far it is; ``note`` ends its finished line."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.note = ""
        self._name = name
        self._stream = stream
        self._detail = _detail
        self._live = stream.isatty() and _detail == "normal"
        self._start = time.monotonic()
        self._shown = 0.0
        if self._live:
            self._write(f"{self._clear()}  {name:{WIDTH}} …")  # another stage may be shown, in another thread

    def advance(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` steps are finished, how many a second, and how long the others will take; not
        on every call."""
        now = time.monotonic()
        if now - self._shown >= (REDRAW_SECONDS if self._live else LINE_SECONDS):
            self._shown = now
            rate = done / max(now - self._start, 1e-3)
            self.say(f"{done}/{total}, {rate:.1f}/s, {(total - done) / rate:.0f} s left" if done else f"{done}/{total}")

    def say(self, text: str) -> None:
        """Show ``text`` behind the name until the next call; with --verbose, on a line of its own."""
        text = in_a_line(text)
        if self._live:
            self._write(f"\r\x1b[K  {self._name:{WIDTH}} {text} …")
        elif self._detail == "verbose":
            self._write(f"  {self._name:{WIDTH}} {text} …\n")

    def finish(self) -> None:
        if self._detail == "quiet":
            return
        seconds = time.monotonic() - self._start
        end = f"  {in_a_line(self.note)}" if self.note else ""
        self._write(f"{self._clear()}  {self._name:{WIDTH}} {seconds:6.1f} s{end}\n")

    def abandon(self) -> None:
        self._write(self._clear())

    def _clear(self) -> str:
        return "\r\x1b[K" if self._live else ""

    def _write(self, text: str) -> None:
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
    """One line that is rewritten in place on a terminal. Elsewhere, each text is a line of its own.

    It shows instructions that the user has to follow, so --quiet does not turn it off.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._last = ""

    def say(self, text: str) -> None:
        """Show ``text``, unless it is what the line shows already."""
        if text == self._last:
            return
        self._last = text
        if self._live:  # a text that wraps could not be overwritten
            import shutil  # not at the start of every command

            text = text[: shutil.get_terminal_size().columns - 1]
        self._stream.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
        self._stream.flush()

    def clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
