"""What a rule would have sent for the appearances of the last days."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from ..tracking.appearance import Appearance
from .matching import Progress, SeenPerson, advance, cooldown_key
from .rule import Rule

LONGEST = 8 * 86_400.0  # seconds: a longer appearance has seen each hour of the week


@dataclass(frozen=True)
class DryRun:
    """The result for one rule.

    appearances  number of appearances that were looked at
    alerts       those for which the rule would have sent an alert, oldest first
    quiet        number of those for which it would have, if there were no cool-down
    """

    appearances: int
    alerts: tuple[Appearance, ...]
    quiet: int


def dry_run(
    rule: Rule, logged: Iterable[tuple[float, Appearance]], identify: Callable[[Appearance], SeenPerson]
) -> DryRun:
    """Apply ``rule``, as if it were enabled, to appearances of the log, oldest first: when each began, by a clock that
    does not jump (in seconds), and its last stage. ``identify``: whom an appearance shows, by what is known today."""
    last: dict[tuple[str, str], float] = {}
    alerts: list[Appearance] = []
    count = quiet = 0
    rules = {"": replace(rule, enabled=True)}
    for began, appearance in logged:
        count += 1
        moments = moments_between(appearance.started, max(appearance.started, appearance.best, appearance.ended))
        _, applies = advance(Progress(), rules, appearance, identify(appearance), moments)
        if not applies:
            continue
        key = cooldown_key(appearance)
        if key in last and began - last[key] < rule.cooldown:
            quiet += 1
            continue
        last[key] = began
        alerts.append(appearance)
    return DryRun(count, tuple(alerts), quiet)


def moments_between(begin: float, end: float) -> Iterator[float]:
    """Moments in each minute from ``begin`` to ``end`` (seconds since 1970), and both of these."""
    end = min(end, begin + LONGEST)
    yield begin
    moment = begin - begin % 60 + 60
    while moment < end:
        yield moment
        moment += 60
    yield max(begin, end)
