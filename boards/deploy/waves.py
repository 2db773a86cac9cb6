"""A roll-out in waves: a few boards first, more if all of them succeeded."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Board = TypeVar("Board")
Outcome = TypeVar("Outcome")
REST = "rest"
SIZES = "give the boards of each wave, separated by commas, such as 1,5,rest"


@dataclass(frozen=True)
class Waves:
    """The number of boards in each wave; then, with ``rest``, one wave with all others."""

    sizes: tuple[int, ...] = ()
    rest: bool = True


ONE_WAVE = Waves()


def parse_waves(text: str) -> Waves:
    """The waves in "1,5,rest". A type for argparse. Raises ArgumentTypeError."""
    words = [word.strip() for word in text.split(",")]
    rest = words[-1] == REST
    if rest:
        words.pop()
    for word in words:
        if word == REST:
            raise ArgumentTypeError(f"{REST} can only be the last wave: {text!r}")
        if not word.isdecimal() or not word.isascii() or len(word) > 9 or int(word) == 0:
            raise ArgumentTypeError(f"{word!r} is not a number of boards, 1 or greater: {SIZES}")
    return Waves(tuple(map(int, words)), rest)


def split_into_waves(boards: Sequence[Board], waves: Waves) -> tuple[list[list[Board]], list[Board]]:
    """``boards`` in their order as waves, none of them empty, and the boards that no wave contains."""
    split, start = [], 0
    for size in waves.sizes:
        split.append(list(boards[start : start + size]))
        start += size
    left = list(boards[start:])
    if waves.rest:
        split.append(left)
        left = []
    return [wave for wave in split if wave], left


@dataclass(frozen=True)
class RolloutEnd(Generic[Board, Outcome]):
    """How a roll-out ended: the outcomes of each wave that began, and the boards that were not touched.

    ``interrupted``: the user stopped it.
    """

    waves: tuple[tuple[Outcome, ...], ...]
    untouched: tuple[Board, ...]
    interrupted: bool


def roll_out(
    waves: Sequence[Sequence[Board]],
    work: Callable[[Board, int], Outcome],
    failed: Callable[[Outcome], bool],
    parallel: int,
    stop: threading.Event,
) -> RolloutEnd[Board, Outcome]:
    """Call ``work(board, wave)`` for the boards of one wave after another, at most ``parallel`` at a time.

    A wave starts only if no board of the wave before ``failed``. Waves count from 1. ``work`` returns an outcome
    instead of raising. When ``stop`` is set, no other board is begun, and the call waits for boards in work.
    """
    done: list[tuple[Outcome, ...]] = []
    untouched: list[Board] = []
    for number, wave in enumerate(waves, 1):
        if any(failed(outcome) for outcomes in done for outcome in outcomes):
            untouched += wave
            continue
        with ThreadPoolExecutor(min(len(wave), parallel)) as pool:
            futures = [pool.submit(_work_unless, stop, work, board, number) for board in wave]
        found = [future.result() for future in futures]
        outcomes = tuple(one for ended in found for one in ended)
        done += [outcomes] if outcomes else []
        untouched += [board for board, ended in zip(wave, found, strict=True) if not ended]
    return RolloutEnd(tuple(done), tuple(untouched), stop.is_set())


def _work_unless(
    stop: threading.Event, work: Callable[[Board, int], Outcome], board: Board, number: int
) -> tuple[Outcome, ...]:
    """The outcome of a board; empty if it was not begun."""
    return () if stop.is_set() else (work(board, number),)


@contextmanager
def set_on_interrupt(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C sets ``stop`` instead of ending the block; a second one raises KeyboardInterrupt.

    An exception could come at any place of the block, between starting a thread and knowing about it. Python only
    lets the main thread handle signals: in another one, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
