"""Whether the scores of a camera get worse over weeks: its lens is dirty, it was moved, or the people have changed.

Each camera has a row for each week with quantiles. A warning needs more: the last week is compared with the weeks
before. Each cosine counts as the difference from the median of the same person at the same camera in the weeks before,
so that other visitors do not look like drift. The statistic is the difference of the medians of the two periods, and
its interval is a bootstrap percentile interval in which whole days are drawn, because the appearances of one day are
alike (Davison and Hinkley: Bootstrap Methods and their Application, 1997, sections 3.8 and 5.3).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .appearance_log import AppearanceLog
from .settings import DAY

WEEK = 7 * DAY
MOST_WEEKS = 8  # that the last week is compared with; and that are listed
QUANTILES = (0.1, 0.5, 0.9)
FEWEST, FEWEST_DAYS = 20, 4  # appearances and days with any, in both periods: fewer say nothing
FEWEST_OF_PERSON = 3  # appearances in the weeks before, for a median of this person
REPEATS, SEED = 999, 20_260_101
BATCH = 20_000  # numbers that are computed at a time: 160 kB, which fits into a cache
COVERAGE = 0.99  # many cameras are compared, week after week: about one in 200 comparisons without drift is below
SMALLEST_FALL = 0.02  # a fall that is certain but smaller changes nobody's recognition
MONDAY = 4 * DAY  # 1970 began on a Thursday: seconds from its first Monday

Measure = Literal["cosine", "quality"]


@dataclass(frozen=True)
class Score:
    """What the log has about one appearance. ``person`` and ``cosine`` are None if the camera named nobody.
    ``started``: seconds since 1970; ``quality``: 0 to 1."""

    source: str
    started: float
    person: str | None
    cosine: float | None
    quality: float


@dataclass(frozen=True)
class CameraWeek:
    """One week of one camera.

    Attributes:
        week: The date of its Monday (UTC), as in "2026-11-23".
        appearances: Number of appearances.
        recognized: How many of them were recognized.
        cosine: The 10 %, 50 % and 90 % quantiles of the cosines; None if nobody was recognized.
        quality: Likewise, of the quality of all appearances.
    """

    week: str
    appearances: int
    recognized: int
    cosine: tuple[float, ...] | None
    quality: tuple[float, ...] | None


@dataclass(frozen=True)
class ScoreShift:
    """How the last week differs from the weeks before.

    Attributes:
        measure: "cosine" (each compared with the same person's before) or "quality".
        shift: The difference of the medians.
        low: Lower end of its 99 % interval.
        high: Upper end.
        recent: Number of appearances of the last week that were compared.
        before: Number of appearances of the weeks before.
        fell: Whether even the upper end is a fall of 0.02 or more.
    """

    measure: Measure
    shift: float
    low: float
    high: float
    recent: int
    before: int
    fell: bool


@dataclass(frozen=True)
class CameraDrift:
    """The scores of one camera, newest week first. A shift is missing if there are too few appearances."""

    camera: str
    weeks: tuple[CameraWeek, ...]
    shifts: tuple[ScoreShift, ...]


def read_scores(log: AppearanceLog) -> list[Score]:
    """The scores of all appearances in ``log``, oldest first. A person who was named afterwards has no cosine, and
    damaged entries are left out."""
    scores = []
    for source, started, person, cosine, quality, named in log.read(
        "SELECT source, started, person, json_extract(event, '$.match.cosine'), json_extract(event, '$.quality'), "
        "renamed IS NULL FROM appearance WHERE json_valid(event) ORDER BY started"
    ):
        known = bool(named) and _is_number(cosine)
        if _is_number(quality):
            scores.append(Score(source, started, person if known else None, cosine if known else None, quality))
    return scores


def count_by_threshold(log: AppearanceLog) -> Counter[tuple[str, float]]:
    """How many appearances ``log`` has of each camera and threshold."""
    rows = log.read(
        "SELECT source, json_extract(event, '$.threshold') AS least, count(*) FROM appearance "
        "WHERE json_valid(event) GROUP BY source, least"
    )
    return Counter({(source, least): count for source, least, count in rows if _is_number(least)})


def find_drift(scores: Sequence[Score], now: float) -> tuple[CameraDrift, ...]:
    """The drift of each camera, by name. ``now``: seconds since 1970. Scores from after ``now`` are left out."""
    cameras: dict[str, list[Score]] = {}
    for score in scores:
        if now - (MOST_WEEKS + 1) * WEEK < score.started <= now:
            cameras.setdefault(score.source, []).append(score)
    return tuple(
        CameraDrift(camera, tuple(_list_weeks(own)), tuple(_find_shifts(own, now)))
        for camera, own in sorted(cameras.items())
    )


def describe_drift(drift: CameraDrift) -> Iterator[str]:
    """A sentence for each measure that fell."""
    for shift in drift.shifts:
        if shift.fell:
            what = "cosines of recognized people" if shift.measure == "cosine" else "quality of faces"
            yield (
                f"camera {drift.camera}: the {what} fell by {-shift.shift:.3f} in the last week (99 % interval "
                f"{-shift.high:.3f} to {-shift.low:.3f}, {shift.recent} appearances after {shift.before}): look at its "
                "picture (dirt, focus, light, position), then at how old the samples are"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _list_weeks(scores: Sequence[Score]) -> Iterator[CameraWeek]:
    weeks: dict[int, list[Score]] = {}
    for score in scores:
        weeks.setdefault(int((score.started - MONDAY) // WEEK), []).append(score)
    for number, own in sorted(weeks.items(), reverse=True):
        cosines = [score.cosine for score in own if score.cosine is not None]
        yield CameraWeek(
            week=time.strftime("%Y-%m-%d", time.gmtime(number * WEEK + MONDAY)),
            appearances=len(own),
            recognized=len(cosines),
            cosine=_quantiles(cosines),
            quality=_quantiles([score.quality for score in own]),
        )


def _quantiles(values: Sequence[float]) -> tuple[float, ...] | None:
    return tuple(round(float(one), 4) for one in np.quantile(values, QUANTILES)) if values else None


def _find_shifts(scores: Sequence[Score], now: float) -> Iterator[ScoreShift]:
    started = np.array([score.started for score in scores])
    recent = started > now - WEEK
    days = ((now - started) // DAY).astype(np.int64)
    people = np.array([score.person or "" for score in scores])
    cosines = np.array([np.nan if score.cosine is None else score.cosine for score in scores])
    quality = np.array([score.quality for score in scores])
    differences = _subtract_usual(cosines, people, recent)
    measures: tuple[tuple[Measure, NDArray[np.float64]], ...] = (("cosine", differences), ("quality", quality))
    for measure, values in measures:
        known = np.isfinite(values)
        new, old = known & recent, known & ~recent
        enough = min(new.sum(), old.sum()) >= FEWEST
        if enough and min(len(np.unique(days[new])), len(np.unique(days[old]))) >= FEWEST_DAYS:
            shift = float(np.median(values[new]) - np.median(values[old]))
            low, high = _interval((values[new], days[new]), (values[old], days[old]))
            fell = high <= -SMALLEST_FALL
            shift, low, high = (round(one, 4) for one in (shift, low, high))
            yield ScoreShift(measure, shift, low, high, int(new.sum()), int(old.sum()), fell)


def _subtract_usual(
    cosines: NDArray[np.float64], people: NDArray[np.str_], recent: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Each cosine minus the median of the same person in the weeks before; NaN for people who were not there then."""
    differences = np.full(len(cosines), np.nan)
    for person in np.unique(people[np.isfinite(cosines)]):
        own = (people == person) & np.isfinite(cosines)
        before = cosines[own & ~recent]
        if len(before) >= FEWEST_OF_PERSON:
            differences[own] = cosines[own] - np.median(before)
    return differences


def _interval(
    recent: tuple[NDArray[np.float64], NDArray[np.int64]], before: tuple[NDArray[np.float64], NDArray[np.int64]]
) -> tuple[float, float]:
    """The percentile interval of the difference of medians. Each period: its values and their days."""
    random = np.random.default_rng(SEED)
    shifts = _draw_medians(*recent, random) - _draw_medians(*before, random)
    low, high = np.quantile(shifts, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def _draw_medians(
    values: NDArray[np.float64], days: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.float64]:
    """The medians of ``REPEATS`` samples of as many whole days as there are, drawn with replacement."""
    order = np.argsort(values)
    ordered = values[order]
    _, numbers = np.unique(days[order], return_inverse=True)
    count = int(numbers.max()) + 1
    medians = np.empty(REPEATS)
    rows = max(1, BATCH // len(values))
    for start in range(0, REPEATS, rows):
        drawn = random.integers(0, count, (min(rows, REPEATS - start), count))
        cells = drawn + count * np.arange(len(drawn))[:, None]
        times = np.bincount(cells.ravel(), minlength=cells.size).reshape(drawn.shape)
        passed = times[:, numbers].cumsum(axis=1)
        medians[start : start + rows] = ordered[(passed < passed[:, -1:] / 2).sum(axis=1)]
    return medians
