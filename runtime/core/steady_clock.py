"""Time for the ages of stored data: it continues over restarts, and a wall clock that jumps does not move it.

A board without a battery for its clock starts in 1970, or at the date of its system image, and jumps to the right time
when a time server answers. A broken clock may stand in 2040 for a while. Ages from such a clock would delete what is
young. The monotonic clock never jumps, but it says nothing about the time between two runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

SET_SINCE = 1_735_689_600.0  # 2025-01-01: a wall clock that shows an earlier time was never set
LONGEST = 366 * 86_400.0  # seconds: a wall clock that is further ahead than this is wrong
SETTLED = 600.0  # seconds of running after which a wall clock that has jumped ahead counts as right
ACCURACY = 60.0  # seconds by which two clocks may differ without one of them having jumped


@dataclass(frozen=True)
class SteadyClock:
    """Seconds since 1970, if the wall clock was right at the start; later than the right time it is never.

    It counts the time that passes while rkface runs. Time between two runs counts once the wall clock has agreed with
    it for ``SETTLED`` seconds: what the wall clock is ahead of the furthest that it was before, up to ``LONGEST``. A
    wall clock in the past, or further ahead, changes nothing.

    now     the time
    ahead   seconds that the wall clock was ahead of ``now`` when it was last right; None before that
    agreed  when it was last right. Time that counts later passed after that
    seen    seconds that it is ahead at present; None if it is not set
    since   time since which it is that far ahead
    """

    now: float
    ahead: float | None = None
    agreed: float = 0.0
    seen: float | None = None
    since: float = 0.0

    def restarted(self) -> SteadyClock:
        """Return the clock at the start of a run: the wall clock must agree for ``SETTLED`` seconds again."""
        return replace(self, now=self.now + 0.001, seen=None)  # later than everything of the run before

    def after(self, passed: float, wall: float) -> SteadyClock:
        """Return the clock after ``passed`` seconds of the monotonic clock, when the wall clock shows ``wall``."""
        now = self.now + max(0.0, passed)
        if not wall >= SET_SINCE:
            return replace(self, now=now, seen=None)
        seen = wall - now
        if self.seen is None or abs(seen - self.seen) > ACCURACY:
            return replace(self, now=now, seen=seen, since=now)
        missed = 0.0 if self.ahead is None else seen - self.ahead
        if now - self.since < SETTLED or not -ACCURACY <= missed <= LONGEST:
            return replace(self, now=now)
        if missed <= ACCURACY:
            return replace(self, now=now, ahead=seen, agreed=now)
        return replace(self, now=now + missed, agreed=now + missed, seen=self.ahead, since=self.since + missed)
