"""Progress of several boards at a time: one line for each, on stderr.

On a terminal, the lines of the boards in work are redrawn in place below those of the finished ones. Elsewhere, a line
follows when a board has finished; with --verbose, each step is a line too.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rkface.runtime.core.progress import REDRAW_SECONDS, get_detail
from rkface.runtime.core.text import in_a_line

WIDTH = 24  # characters of a board's name


class Shown(Protocol):
    """A step that is shown: ``say`` says how far it is, and ``note`` what came out of it."""

    note: str

    def say(self, text: str) -> None: ...


class BoardLines:
    """The lines; several threads may change them at the same time."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._detail = get_detail()
        self._live = self._stream.isatty() and self._detail == "normal"
        self._lock = threading.Lock()
        self._working: dict[str, str] = {}
        self._drawn = 0  # lines of boards in work on the terminal
        self._drawn_at = 0.0

    @contextmanager
    def step(self, board: str, name: str) -> Iterator[Shown]:
        """Show that ``board`` is in the step ``name`` while the block runs."""
        self.show(board, name, at_once=True)
        shown = _Step(self, board, name)
        start = time.monotonic()
        yield shown
        if self._detail == "verbose":
            note = f"  {in_a_line(shown.note)}" if shown.note else ""
            self._write(f"  {board:{WIDTH}} {name} {time.monotonic() - start:.1f} s{note}\n")

    def show(self, board: str, text: str, *, at_once: bool = False) -> None:
        """Show ``text`` behind the name of ``board``, which is in work; unless ``at_once``, not on every call."""
        with self._lock:
            self._working[board] = in_a_line(text)
            if self._live and (at_once or time.monotonic() - self._drawn_at >= REDRAW_SECONDS):
                self._draw("")

    def finish(self, board: str, text: str) -> None:
        """Replace the line of ``board`` by ``text``, which stays."""
        with self._lock:
            self._working.pop(board, None)
            line = f"  {board:{WIDTH}} {in_a_line(text)}\n"
            if self._live:
                self._draw(line)
            elif self._detail != "quiet":
                self._write(line)

    def _draw(self, finished: str) -> None:
        size = shutil.get_terminal_size()
        shown = list(self._working.items())[: max(1, size.lines - 2)]  # more could not be overwritten
        lines = [f"  {board:{WIDTH}} {text} …"[: size.columns - 1] + "\n" for board, text in shown]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._write(f"{up}\r\x1b[J{finished}{''.join(lines)}")
        self._drawn, self._drawn_at = len(lines), time.monotonic()

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class _Step:
    def __init__(self, lines: BoardLines, board: str, name: str) -> None:
        self.note = ""
        self._lines, self._board, self._name = lines, board, name

    def say(self, text: str) -> None:
        self._lines.show(self._board, f"{self._name} {text}")
