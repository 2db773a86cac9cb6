"""The clock of a watcher: seconds that have passed, although the clock of the frames may jump, or no frame arrives."""

from __future__ import annotations

from collections.abc import Callable


class FrameClock:
    """``now`` is 0 at the first frame, and never goes back. Not thread-safe.

    ``to_utc`` turns the time of a frame into seconds since 1970; ``monotonic`` measures how long no frame has arrived.
    """

    def __init__(self, to_utc: Callable[[float], float], monotonic: Callable[[], float]) -> None:
        self.now = 0.0
        self._to_utc, self._monotonic = to_utc, monotonic
        self._last: float | None = None  # time of the last frame, plus what ``tick`` has added since then
        self._framed = 0.0  # ``now`` at the last frame
        self._looked = monotonic()  # at the last frame, or tick

    def note_frame(self, moment: float) -> float:
        """A frame of the time ``moment`` has arrived. Return the seconds since the frame before, 0 for the first."""
        self._looked = self._monotonic()
        self._advance(moment)
        passed, self._framed = self.now - self._framed, self.now
        return passed

    def tick(self, least: float) -> bool:
        """Advance by the time without a frame, if it is more than ``least`` seconds. Return whether it is; False before
        the first frame."""
        silent = self._monotonic() - self._looked
        if self._last is None or silent <= least:
            return False
        self._looked += silent
        self._advance(self._last + silent)
        return True

    @property
    def silence(self) -> float:
        """Seconds of this clock since the last frame."""
        return self.now - self._framed

    @property
    def utc_offset(self) -> float:
        """Seconds to add to ``now`` to get UTC."""
        return self._to_utc(self._last or 0.0) - self.now

    def _advance(self, moment: float) -> None:
        if self._last is not None:
            self.now += max(0.0, moment - self._last)
        self._last = moment
