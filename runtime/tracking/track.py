"""Which face is which of the last frame: ByteTrack (Zhang et al., ECCV 2022, arXiv 2110.06864) on faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.faces import Faces

# ByteTrack matches sure faces from an overlap (IoU) of 0.2 and doubtful ones from 0.5. It tracks whole
# bodies; a face that walks by moves its own width from one frame to the next, so boxes are grown for the comparison, as
# C-BIoU does (Yang et al., WACV 2023, arXiv 2211.14317: 0.3 of a side on each side), rather than the bar lowered.
OVERLAP, OVERLAP_DOUBTFUL = 0.2, 0.5
GROWN = 0.3
TOUCHING = 0.05  # overlap of two tracks, not grown, from which on either face may be taken for the other's

# Motion, in face heights (22 cm of an adult) and seconds. Nothing here was fitted to data.
MEASURED = 0.05  # standard deviation of a detected box's center: 2 px of 40, what SCRFD's boxes jitter by
AT_FIRST = 3.0  # of a new face's speed: 0.7 m/s, half of walking pace
CHANGE = 3.0  # of the change of its speed within a second: who walks can stop


@dataclass(frozen=True)
class Tracks:
    """The faces that are followed, after one frame; parallel arrays of M.

    ids        M int64, never used again for another
    boxes      M×4 float32: x1, y1, x2, y2 in pixels; predicted where the face was not seen in this frame
    faces      M int64: which of the frame's faces it is, -1 where it was not seen
    hits       M int64: frames in which it was seen
    ages       M float64: seconds since it was seen first
    lost       M float64: seconds since it was seen last, 0 where it was seen in this frame
    touching   M bool: it overlaps another one, or is back after it was lost: perhaps it is someone else by now
    confirmed  M bool: seen often enough to be a face and no flicker of the detector
    gone       ids that were followed after the last frame and are no more
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    faces: NDArray[np.int64]
    hits: NDArray[np.int64]
    ages: NDArray[np.float64]
    lost: NDArray[np.float64]
    touching: NDArray[np.bool_]
    confirmed: NDArray[np.bool_]
    gone: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


class Tracker:
    """Follows the faces of one camera from frame to frame; ``update`` wants its frames in order.

    First the faces with a score of ``sure`` and more are matched with all tracks by the overlap of their boxes, then
    what is left of the tracks seen in the last frame with the less sure faces: those are blurred, turned or half
    covered, and it is they that keep a track whole. Only a sure face begins a track; the ``confirm``-th frame with it
    confirms it, and one that misses a frame before that was a flicker. A track not seen for ``keep`` seconds is gone.

    Pairs are taken greedily, the largest overlap first, not by the Hungarian algorithm: the detector's suppression
    keeps the faces of one frame apart, so that two tracks hardly ever want the same one and both ways agree; and greedy
    is one sort for any crowd. A center moves at a constant velocity in a Kalman filter, one 2×2 covariance for x and y
    in units of the face's height; a box's size is that of its last detection, which errs less than a model of it.
    """

    def __init__(self, sure: float = 0.5, keep: float = 1.0, confirm: int = 2) -> None:
        self._sure, self._keep, self._confirm = sure, keep, confirm
        self._next = 0
        self._time: float | None = None
        self._ids = np.zeros(0, np.int64)
        self._centers = np.zeros((0, 2))
        self._speeds = np.zeros((0, 2))
        self._sizes = np.zeros((0, 2))
        self._spread = np.zeros((0, 3))  # variance of the place, covariance, variance of the speed, in heights
        self._hits = np.zeros(0, np.int64)
        self._ages = np.zeros(0)
        self._lost = np.zeros(0)

    def update(self, faces: Faces, time: float) -> Tracks:
        """The tracks after the frame of ``time`` (seconds) with ``faces``. A clock that jumps back stands still."""
        passed = 0.0 if self._time is None else max(0.0, time - self._time)
        self._time = time
        self._predict(passed)
        matched = self._match(faces, self._lost <= passed)
        returned = (matched >= 0) & (self._lost > passed)
        self._lost = np.where(matched >= 0, 0.0, self._lost)
        self._correct(faces, matched)
        stays = (matched >= 0) | ((self._hits >= self._confirm) & (self._lost <= self._keep))
        gone = tuple(self._ids[~stays].tolist())
        self._select(stays)
        matched, returned = matched[stays], returned[stays]
        new = np.setdiff1d(np.flatnonzero(faces.scores >= self._sure), matched)
        self._begin(faces.boxes[new])
        matched = np.concatenate([matched, new])
        boxes = self._boxes()
        touching = (overlaps(boxes, boxes) >= TOUCHING).sum(axis=1) > 1
        touching[: len(returned)] |= returned
        return Tracks(
            self._ids,
            boxes.astype(np.float32),
            matched,
            self._hits,
            self._ages,
            self._lost,
            touching,
            self._hits >= self._confirm,
            gone,
        )

    def clear(self) -> tuple[int, ...]:
        """Forget all tracks, as when the camera's picture changed its size; says which."""
        gone = tuple(self._ids.tolist())
        self._select(np.zeros(len(self._ids), bool))
        return gone

    def _predict(self, passed: float) -> None:
        self._centers = self._centers + self._speeds * passed
        place, both, speed = self._spread.T
        noise = CHANGE**2  # white noise of acceleration (Bar-Shalom et al., Estimation, 2001, section 6.2.2)
        self._spread = np.stack(
            [
                place + 2 * passed * both + passed**2 * speed + noise * passed**3 / 3,
                both + passed * speed + noise * passed**2 / 2,
                speed + noise * passed,
            ],
            axis=1,
        )
        self._ages = self._ages + passed
        self._lost = self._lost + passed

    def _match(self, faces: Faces, recent: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Which face each track is, -1 for none; doubtful faces are for the ``recent`` tracks."""
        matched = np.full(len(self._ids), -1, np.int64)
        sure = np.flatnonzero(faces.scores >= self._sure)
        doubtful = np.flatnonzero(faces.scores < self._sure)
        alive = self._lost <= self._keep  # after a pause whoever is there is no longer who was there
        likeness = overlaps(self._boxes(), faces.boxes, GROWN)
        for candidates, tracks, least in (
            (sure, alive, OVERLAP),
            (doubtful, alive & recent, OVERLAP_DOUBTFUL),
        ):
            rows = np.flatnonzero(tracks & (matched < 0))
            part = likeness[np.ix_(rows, candidates)]
            row, column = np.nonzero(part >= least)
            taken: set[int] = set()
            for one in np.argsort(-part[row, column], kind="stable").tolist():
                track, face = int(rows[row[one]]), int(candidates[column[one]])
                if matched[track] < 0 and face not in taken:
                    matched[track] = face
                    taken.add(face)
        return matched

    def _correct(self, faces: Faces, matched: NDArray[np.int64]) -> None:
        seen = np.flatnonzero(matched >= 0)
        boxes = faces.boxes[matched[seen]].astype(np.float64)
        place, both, speed = self._spread[seen].T
        gain, gain_speed = (part / (place + MEASURED**2) for part in (place, both))
        error = (boxes[:, :2] + boxes[:, 2:]) / 2 - self._centers[seen]
        self._centers[seen] += gain[:, None] * error
        self._speeds[seen] += gain_speed[:, None] * error
        self._sizes[seen] = boxes[:, 2:] - boxes[:, :2]
        self._spread[seen] = np.stack([place * (1 - gain), both * (1 - gain), speed - gain_speed * both], axis=1)
        self._hits = self._hits + (matched >= 0)

    def _begin(self, boxes: NDArray[np.float32]) -> None:
        count = len(boxes)
        boxes = boxes.astype(np.float64)
        self._ids = np.concatenate([self._ids, np.arange(self._next, self._next + count)])
        self._next += count
        self._centers = np.concatenate([self._centers, (boxes[:, :2] + boxes[:, 2:]) / 2])
        self._speeds = np.concatenate([self._speeds, np.zeros((count, 2))])
        self._sizes = np.concatenate([self._sizes, boxes[:, 2:] - boxes[:, :2]])
        self._spread = np.concatenate([self._spread, np.tile([MEASURED**2, 0, AT_FIRST**2], (count, 1))])
        self._hits = np.concatenate([self._hits, np.ones(count, np.int64)])
        self._ages = np.concatenate([self._ages, np.zeros(count)])
        self._lost = np.concatenate([self._lost, np.zeros(count)])

    def _select(self, which: NDArray[np.bool_]) -> None:
        self._ids, self._hits = self._ids[which], self._hits[which]
        self._ages, self._lost = self._ages[which], self._lost[which]
        self._centers, self._speeds = self._centers[which], self._speeds[which]
        self._sizes, self._spread = self._sizes[which], self._spread[which]

    def _boxes(self) -> NDArray[np.float64]:
        return np.concatenate([self._centers - self._sizes / 2, self._centers + self._sizes / 2], axis=1)


def overlaps(first: NDArray[Any], second: NDArray[Any], grown: float = 0.0) -> NDArray[np.float64]:
    """N×M intersection over union of N×4 and M×4 boxes, each ``grown`` by that share of its sides on every side."""
    a, b = _grown(first, grown)[:, None], _grown(second, grown)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.prod(np.maximum(sides, 0), axis=2)
    areas = [np.prod(np.maximum(one[..., 2:] - one[..., :2], 0), axis=2) for one in (a, b)]
    return np.asarray(common / np.maximum(areas[0] + areas[1] - common, np.finfo(np.float64).tiny))


def _grown(boxes: NDArray[Any], share: float) -> NDArray[np.float64]:
    boxes = np.asarray(boxes, np.float64)
    margin = (boxes[:, 2:] - boxes[:, :2]) * share
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)
