"""Limits on requests that take long or much memory, so that they delay no other request.

Used in the thread of the event loop only.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import HTTPException

Result = TypeVar("Result")

RETRY_AFTER = 2  # seconds after which a refused client should try again
PATIENCE = 20.0  # seconds that a request waits for a place


@dataclass(eq=False)
class Waiting:
    """A request in the queue. ``given``: whether it got a place."""

    urgency: tuple[int, ...]
    number: int
    turn: asyncio.Future[None]
    given: bool = False


class Places:
    """A few places, and a short queue in front of them.

    If the queue is full, the least urgent request is refused at once: the new one, or one in the queue. ``refusal`` is
    the message for it.
    """

    def __init__(self, places: int, waiting: int, refusal: str, patience: float = PATIENCE) -> None:
        self._free, self._most_waiting, self._refusal, self._patience = places, waiting, refusal, patience
        self._waiting: list[Waiting] = []
        self._numbers = itertools.count()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, urgency: tuple[int, ...] = ()) -> AsyncIterator[None]:
        """Hold a place in the block. The lowest ``urgency`` comes first, then the request that came first.

        Raises HTTPException 503, with Retry-After, if the queue is full or no place becomes free in time.
        """
        await self._enter(urgency)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, urgency: tuple[int, ...]) -> None:
        if self._free:
            self._free -= 1
            return
        one = Waiting(urgency, next(self._numbers), asyncio.get_running_loop().create_future())
        # A request whose wait has ended may still be in the queue until its task runs.
        queue = [*(each for each in self._waiting if not each.turn.done()), one]
        self._waiting = sorted(queue, key=lambda each: (each.urgency, each.number))
        if len(self._waiting) > self._most_waiting:
            self._waiting.pop().turn.set_exception(busy(self._refusal))
        try:
            await asyncio.wait_for(one.turn, self._patience)
        except asyncio.TimeoutError:
            if not one.given:  # else the place came at the moment in which the time was over
                raise busy(self._refusal) from None
        except asyncio.CancelledError:
            if one.given:
                self._leave()  # the place came at the moment in which the request ended
            raise
        finally:
            if one in self._waiting:
                self._waiting.remove(one)

    def _leave(self) -> None:
        while self._waiting:
            one = self._waiting.pop(0)
            if not one.turn.done():
                one.given = True
                one.turn.set_result(None)
                return
        self._free += 1


class Pool:
    """Threads for one kind of call, apart from the threads that answer all other requests."""

    def __init__(self, threads: int, waiting: int, refusal: str) -> None:
        self._places = Places(threads, waiting, refusal)
        self._threads = CapacityLimiter(threads)

    @property
    def waiting(self) -> int:
        return self._places.waiting

    async def run(self, call: Callable[[], Result], urgency: tuple[int, ...] = ()) -> Result:
        """The result of ``call``, which may block. Raises what ``Places.place`` raises."""
        async with self._places.place(urgency):
            return await anyio.to_thread.run_sync(call, limiter=self._threads)


class Workload:
    """The limits of one console.

    uploads  photos in memory: 24 MiB each, while they arrive and until they are enrolled
    photos   decoding and enrolling: up to 150 MB each
    guesses  checks of passwords: 19 MiB and tens of milliseconds each
    slow     calls that wait for the NPU or for a broker
    """

    def __init__(self) -> None:
        self.uploads = Places(2, 8, "busy with other photos: try again in a moment")
        self.photos = Pool(1, 2, "busy with other photos: try again in a moment")
        # Two on a board with four cores or more: then 24 who guess delay the owner by less than two seconds.
        self.guesses = Pool(
            min(2, max(1, (os.cpu_count() or 1) // 2)), 40, "busy with other passwords: try again in a moment"
        )
        self.slow = Pool(4, 16, "busy with other requests: try again in a moment")


def busy(detail: str) -> HTTPException:
    """The error for a request that should be sent again, after RETRY_AFTER."""
    return HTTPException(503, detail, {"retry-after": str(RETRY_AFTER)})
