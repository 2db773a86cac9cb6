"""How long a delivery waits between attempts."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts, in seconds: doubled from ``first`` up to ``longest``. Each is shortened by up to half at
    random, so that many boards do not reconnect at the same moment ("equal jitter", M. Brooker, Exponential Backoff and
    Jitter, AWS 2015)."""

    first: float = 1.0
    longest: float = 120.0

    def seconds(self, failures: int) -> float:
        """The pause after this many failed attempts in a row, 1 or more."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)


@dataclass
class Attempts:
    """Failed attempts in a row, and how many of them ended in an error that no channel is supposed to raise."""

    failures: int = 0
    unexpected: int = 0

    def reset(self) -> None:
        """An attempt succeeded."""
        self.failures = self.unexpected = 0
