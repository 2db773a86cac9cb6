"""The tracker: follows faces from frame to frame. ByteTrack (Zhang et al., ECCV 2022, arXiv 2110.06864) on faces."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.faces import Faces

# Minimum overlap (IoU) for a match: ByteTrack takes 0.2 for sure faces and 0.5 for doubtful ones. ByteTrack tracks
# whole bodies, but the face of a person who walks by moves by its own width between two frames. Boxes are therefore
# enlarged for the comparison, as in C-BIoU (Yang et al., WACV 2023, arXiv 2211.14317: by 0.3 of a side on each side),
# instead of accepting a lower overlap.
OVERLAP, OVERLAP_DOUBTFUL = 0.2, 0.5
ENLARGED = 0.3
# Below this overlap (IoU) with its predicted place, a face may be that of another person who has come to the same place
# between two frames. At 10 frames a second, hardly a face of the rendered camera is below; at 2.5, one of eight.
EXPECTED = 0.5
TOUCHING = 0.05  # minimum overlap of two boxes, not enlarged, at which the tracker may confuse the two faces

# Motion, in face heights (22 cm for an adult) and seconds. None of these values was fitted to data.
MEASURED = 0.05  # standard deviation of a detected box's center: SCRFD's boxes jitter by 2 px of 40
NEW_SPEED = 3.0  # standard deviation of a new face's speed: 0.7 m/s, half of walking speed
SPEED_CHANGE = 3.0  # standard deviation of the change of speed within a second: a walking person can stop

# Few frames: below 3 a second, a face of a walking person has left its place before the next frame. A face that was
# seen once then already counts as a track, because it may not be seen in the same place again.
SLOW = 1 / 3  # seconds between frames, above which the frames are too few to follow a walking person
FEW = 5  # intervals between frames, of which the median counts: one late frame does not make a camera slow
REACH = 4.0  # seconds: after a longer interval, a face in the same place says nothing about who it is


@dataclass(frozen=True)
class Tracks:
    """The tracked faces after one frame: parallel arrays with M tracks.

    ids        M int64; the id of an ended track is never used again
    boxes      M×4 float32: x1, y1, x2, y2 in pixels; predicted if the face was not seen in this frame
    faces      M int64: index of the face in the frame, -1 if it was not seen
    hits       M int64: number of frames in which it was seen
    ages       M float64: seconds since it was first seen
    lost       M float64: seconds since it was last seen, 0 if it was seen in this frame
    touching   M bool: it overlaps another track, or returned after it was lost, and may now be another person
    jumped     M bool: it was seen elsewhere than expected, and may be another person
    confirmed  M bool: seen often enough not to be a false detection
    gone       ids of the tracks that ended with this frame
    interval   usual seconds between frames, 0 before the second frame
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    faces: NDArray[np.int64]
    hits: NDArray[np.int64]
    ages: NDArray[np.float64]
    lost: NDArray[np.float64]
    touching: NDArray[np.bool_]
    jumped: NDArray[np.bool_]
    confirmed: NDArray[np.bool_]
    gone: tuple[int, ...] = ()
    interval: float = 0.0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def slow(self) -> bool:
        """Whether the frames are too few to follow a person who walks."""
        return self.interval > SLOW


NO_TRACKS = Tracks(
    np.zeros(0, np.int64),
    np.zeros((0, 4), np.float32),
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
    np.zeros(0),
    np.zeros(0),
    np.zeros(0, np.bool_),
    np.zeros(0, np.bool_),
    np.zeros(0, np.bool_),
)


class Tracker:
    """Follows the faces of one camera from frame to frame.

    First, sure faces (a score of at least ``sure``) are matched with all tracks by the overlap of their boxes. Then,
    tracks that were seen in the last frame and have no match yet are matched with doubtful faces (a lower score). Those
    are blurred, turned or partly covered, and matching them keeps a track from breaking. Only a sure face starts a
    track. A track is confirmed by its ``confirm``-th frame; a track that misses a frame before that was a false
    detection. A track that was not seen for ``keep`` seconds ends.

    If frames are few (``SLOW``), a track is confirmed by its first frame, and a face may continue a track of the last
    frame although more than ``keep`` seconds have passed. Who it is must then be checked by other means.

    Matching is greedy, with the largest overlap first, instead of the Hungarian algorithm. The detector's non-maximum
    suppression keeps the faces of a frame apart, so two tracks rarely compete for one face, and both methods agree.
    Greedy matching needs only one sort, however many faces there are.

    A Kalman filter models a box's center with constant velocity, with one 2×2 covariance for x and y in units of the
    face's height. The size of a box is that of its last detection, which is more accurate than a model of the size.
    """

    def __init__(self, sure: float = 0.5, keep: float = 1.0, confirm: int = 2) -> None:
        self._sure, self._keep, self._confirm = sure, keep, confirm
        self._next = 0
        self._time: float | None = None
        self._intervals: deque[float] = deque(maxlen=FEW)
        self._ids = np.zeros(0, np.int64)
        self._centers = np.zeros((0, 2))
        self._speeds = np.zeros((0, 2))
        self._sizes = np.zeros((0, 2))
        self._spread = np.zeros((0, 3))  # variance of the position, covariance, variance of the speed, in heights
        self._hits = np.zeros(0, np.int64)
        self._ages = np.zeros(0)
        self._lost = np.zeros(0)

    def update(self, faces: Faces, time: float) -> Tracks:
        """Return the tracks after a frame with ``faces``, captured at ``time`` (seconds). Frames must come in order. If
        the clock jumps back, no time has passed."""
        passed = 0.0 if self._time is None else max(0.0, time - self._time)
        if self._time is not None:
            self._intervals.append(passed)
        self._time = time
        interval = float(np.median(self._intervals)) if self._intervals else 0.0
        slow = interval > SLOW
        if not len(self._ids) and not len(faces):  # most frames of most cameras: nobody is there
            return replace(NO_TRACKS, interval=interval)
        self._predict(passed)
        recent = self._lost <= passed
        # After a long pause, a face in the same place may be another person.
        matched = self._match(faces, recent, (self._lost <= self._keep) | (recent & slow & (passed <= REACH)))
        returned = (matched >= 0) & (self._lost > passed)
        jumped = self._find_jumps(faces, matched)
        self._lost = np.where(matched >= 0, 0.0, self._lost)
        self._correct(faces, matched)
        confirm = 1 if slow else self._confirm
        stays = (matched >= 0) | ((self._hits >= confirm) & (self._lost <= self._keep))
        gone = tuple(self._ids[~stays].tolist())
        self._select(stays)
        matched, returned, jumped = matched[stays], returned[stays], jumped[stays]
        new = np.setdiff1d(np.flatnonzero(faces.scores >= self._sure), matched)
        self._begin(faces.boxes[new])
        matched, jumped = np.concatenate([matched, new]), np.concatenate([jumped, np.zeros(len(new), bool)])
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
            jumped,
            self._hits >= confirm,
            gone,
            interval,
        )

    def clear(self) -> tuple[int, ...]:
        """End all tracks, for example because the picture size changed, and return their ids."""
        gone = tuple(self._ids.tolist())
        self._select(np.zeros(len(self._ids), bool))
        return gone

    def _predict(self, passed: float) -> None:
        self._centers = self._centers + self._speeds * passed
        position, both, speed = self._spread.T
        noise = SPEED_CHANGE**2  # white noise of acceleration (Bar-Shalom et al., Estimation, 2001, section 6.2.2)
        self._spread = np.stack(
            [
                position + 2 * passed * both + passed**2 * speed + noise * passed**3 / 3,
                both + passed * speed + noise * passed**2 / 2,
                speed + noise * passed,
            ],
            axis=1,
        )
        self._ages = self._ages + passed
        self._lost = self._lost + passed

    def _match(self, faces: Faces, recent: NDArray[np.bool_], alive: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the index of each track's face, -1 for no face. Only tracks that are ``alive`` are matched, and
        doubtful faces only with ``recent`` ones."""
        matched = np.full(len(self._ids), -1, np.int64)
        sure = np.flatnonzero(faces.scores >= self._sure)
        doubtful = np.flatnonzero(faces.scores < self._sure)
        likeness = overlaps(self._boxes(), faces.boxes, ENLARGED)
        for candidates, tracks, least in (
            (sure, alive, OVERLAP),
            (doubtful, alive & recent, OVERLAP_DOUBTFUL),
        ):
            rows = np.flatnonzero(tracks & (matched < 0))
            part = likeness[np.ix_(rows, candidates)]
            row, column = np.nonzero(part >= least)
            taken: set[int] = set()
            for pair in np.argsort(-part[row, column], kind="stable").tolist():
                track, face = int(rows[row[pair]]), int(candidates[column[pair]])
                if matched[track] < 0 and face not in taken:
                    matched[track] = face
                    taken.add(face)
        return matched

    def _find_jumps(self, faces: Faces, matched: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each track whether its face is elsewhere than expected."""
        jumped = np.zeros(len(matched), bool)
        seen = np.flatnonzero(matched >= 0)
        jumped[seen] = overlaps(self._boxes()[seen], faces.boxes[matched[seen]]).diagonal() < EXPECTED
        return jumped

    def _correct(self, faces: Faces, matched: NDArray[np.int64]) -> None:
        seen = np.flatnonzero(matched >= 0)
        boxes = faces.boxes[matched[seen]].astype(np.float64)
        position, both, speed = self._spread[seen].T
        gain, gain_speed = (part / (position + MEASURED**2) for part in (position, both))
        error = (boxes[:, :2] + boxes[:, 2:]) / 2 - self._centers[seen]
        self._centers[seen] += gain[:, None] * error
        self._speeds[seen] += gain_speed[:, None] * error
        self._sizes[seen] = boxes[:, 2:] - boxes[:, :2]
        self._spread[seen] = np.stack([position * (1 - gain), both * (1 - gain), speed - gain_speed * both], axis=1)
        self._hits = self._hits + (matched >= 0)

    def _begin(self, boxes: NDArray[np.float32]) -> None:
        count = len(boxes)
        boxes = boxes.astype(np.float64)
        self._ids = np.concatenate([self._ids, np.arange(self._next, self._next + count)])
        self._next += count
        self._centers = np.concatenate([self._centers, (boxes[:, :2] + boxes[:, 2:]) / 2])
        self._speeds = np.concatenate([self._speeds, np.zeros((count, 2))])
        self._sizes = np.concatenate([self._sizes, boxes[:, 2:] - boxes[:, :2]])
        self._spread = np.concatenate([self._spread, np.tile([MEASURED**2, 0, NEW_SPEED**2], (count, 1))])
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


def overlaps(first: NDArray[Any], second: NDArray[Any], enlarged: float = 0.0) -> NDArray[np.float64]:
    """Return the N×M intersection over union of N×4 and M×4 boxes, each enlarged by ``enlarged`` of its side on every
    side."""
    a, b = _enlarge(first, enlarged)[:, None], _enlarge(second, enlarged)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.prod(np.maximum(sides, 0), axis=2)
    areas = [np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=2) for boxes in (a, b)]
    return np.asarray(common / np.maximum(areas[0] + areas[1] - common, np.finfo(np.float64).tiny))


def _enlarge(boxes: NDArray[Any], share: float) -> NDArray[np.float64]:
    boxes = np.asarray(boxes, np.float64)
    margin = (boxes[:, 2:] - boxes[:, :2]) * share
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)
