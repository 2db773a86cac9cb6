"""The tracker: crossing and hidden people, doubtful faces, crowds, and clocks that jump."""

import numpy as np
import pytest

from rkface.runtime.core.faces import Faces
from rkface.runtime.tracking.track import Tracker, overlaps

RATE = 1 / 15  # seconds a frame
SIDE = 60.0  # pixels of a face


def faces(*centers, scores=None, side=SIDE):
    centers = np.array(centers, np.float32).reshape(-1, 2)
    half = np.float32(side / 2)
    boxes = np.concatenate([centers - half, centers + half], axis=1)
    scores = np.full(len(boxes), 0.8, np.float32) if scores is None else np.array(scores, np.float32)
    return Faces(boxes, scores, np.zeros((len(boxes), 5, 2), np.float32))


def ids_of(tracks, count):
    """The track of each of the frame's faces, -1 without a track."""
    ids = np.full(count, -1)
    seen = tracks.faces >= 0
    ids[tracks.faces[seen]] = tracks.ids[seen]
    return ids.tolist()


def follow(tracker, paths, *, start=0, jitter=0.0, order=None):
    """Track ``paths`` (frames × people × 2; NaN where a person is not seen). Returns the track ids, frames × people."""
    random, found = np.random.default_rng(7), []
    for number, centers in enumerate(paths, start):
        seen = np.flatnonzero(~np.isnan(centers[:, 0]))
        if order:
            seen = order(seen)
        tracks = tracker.update(faces(*(centers[seen] + random.normal(0, jitter, (len(seen), 2)))), number * RATE)
        row = np.full(len(centers), -1)
        row[seen] = ids_of(tracks, len(seen))
        found.append(row)
    return np.array(found)


def walk(frames, start, step):
    return np.array(start, float) + np.arange(frames)[:, None] * np.array(step, float)


def test_a_walking_face_keeps_its_track_in_any_order_of_faces():
    # 20 px a frame of 60: at 15 frames a second 1.1 m/s. The second walks the other way, three faces below.
    paths = np.stack([walk(60, (40, 100), (20, 1)), walk(60, (1240, 300), (-20, 0))], axis=1)
    found = follow(Tracker(), paths, jitter=2.0, order=lambda seen: np.random.default_rng(len(seen)).permutation(seen))
    assert (found == found[0]).all() and found[0, 0] != found[0, 1]


def test_a_fast_face_is_tracked_from_its_second_frame():
    # A whole side a frame: boxes do not even touch, and no speed is known yet.
    found = follow(Tracker(), walk(10, (40, 100), (0.7 * SIDE, 0))[:, None])
    assert (found == found[0]).all()


@pytest.mark.parametrize("hidden", [0, 4])
def test_people_who_cross_keep_their_tracks(hidden):
    """They pass each other at 0.4 of a face height. For ``hidden`` frames, the detector sees only one of them."""
    first, second = walk(40, (100, 200), (15, 0)), walk(40, (685, 200 + 0.4 * SIDE), (-15, 0))
    paths = np.stack([first, second], axis=1)
    middle = int(np.abs(first[:, 0] - second[:, 0]).argmin())
    paths[middle - hidden // 2 : middle + (hidden + 1) // 2, 0] = np.nan
    found = follow(Tracker(), paths, jitter=1.5)
    assert found[-1].tolist() == found[0].tolist()


def test_a_hidden_face_is_found_at_its_predicted_position_and_marked_as_touching():
    path = walk(60, (50, 200), (10, 0))[:, None]
    path[20:30] = np.nan  # 0.67 s behind a pillar, of the second that a track is kept: 100 px, not even near
    tracker = Tracker()
    found = follow(tracker, path[:30])
    assert set(found[30 - 10 :, 0]) == {-1}
    tracks = tracker.update(faces(path[30, 0]), 30 * RATE)
    assert tracks.ids[0] == found[0, 0] and tracks.touching[0]
    assert not tracker.update(faces(path[31, 0]), 31 * RATE).touching[0]


def test_a_track_that_is_lost_for_long_ends_and_its_id_is_never_reused():
    tracker = Tracker(keep=1.0)
    first = follow(tracker, walk(5, (50, 50), (0, 0))[:, None])[0, 0]
    assert tracker.update(faces(), 5 * RATE + 0.9).gone == ()
    tracks = tracker.update(faces(), 5 * RATE + 1.1)
    assert tracks.gone == (first,) and len(tracks) == 0
    assert follow(tracker, walk(2, (50, 50), (0, 0))[:, None], start=100)[0, 0] != first


def test_after_a_long_pause_a_face_in_the_same_place_is_a_new_track():
    tracker = Tracker(keep=1.0)
    first = follow(tracker, walk(5, (50, 50), (0, 0))[:, None])[0, 0]
    tracks = tracker.update(faces((50, 50)), 60.0)
    assert tracks.gone == (first,) and tracks.ids.tolist() != [first]


def test_a_doubtful_face_continues_a_track_but_starts_no_track():
    tracker = Tracker(sure=0.5)
    assert len(tracker.update(faces((100, 100), scores=[0.3]), 0.0)) == 0
    begun = tracker.update(faces((100, 100)), RATE)
    for number in range(2, 60):  # turned away for 4 s
        tracks = tracker.update(faces((100, 100), scores=[0.3]), number * RATE)
        assert tracks.ids.tolist() == begun.ids.tolist() and tracks.faces.tolist() == [0]


def test_a_sure_face_is_matched_before_a_nearer_doubtful_face():
    tracker = Tracker()
    tracker.update(faces((100, 100)), 0.0)
    tracks = tracker.update(faces((102, 100), (115, 100), scores=[0.3, 0.8]), RATE)
    assert tracks.faces.tolist() == [1]


def test_a_flickering_detection_is_never_confirmed():
    tracker = Tracker(confirm=2)
    for number in range(20):
        seen = faces((100, 100)) if number % 2 == 0 else faces()
        assert not tracker.update(seen, number * RATE).confirmed.any()


def test_overlapping_tracks_are_marked_as_touching():
    tracks = Tracker().update(faces((100, 100), (150, 100), (400, 100)), 0.0)
    by_face = dict(zip(tracks.faces.tolist(), tracks.touching.tolist(), strict=True))
    assert by_face == {0: True, 1: True, 2: False}


def test_fifty_moving_faces_keep_their_tracks():
    random = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.arange(10), np.arange(5)), axis=-1).reshape(-1, 2) * 180.0 + 100
    phase, speed = random.uniform(0, 6.3, (2, 50))
    frames = np.arange(90)[:, None]
    sway = np.stack([np.cos(phase + frames * speed / 20), np.sin(phase + frames * speed / 15)], axis=-1)
    found = follow(Tracker(), grid + 45 * sway, jitter=1.5, order=random.permutation)
    assert (found == found[0]).all() and len(set(found[0])) == 50


def test_irregular_frame_times_make_no_difference():
    random = np.random.default_rng(1)
    times = np.cumsum(random.uniform(0.01, 0.25, 40))  # 4 to 100 frames a second
    tracker = Tracker()
    found = [tracker.update(faces((50 + 200 * time, 100)), time).ids.tolist() for time in times]
    assert found == [found[0]] * len(times)


def test_a_clock_that_jumps_back_ends_no_track():
    tracker = Tracker()
    times = [0.0, 0.1, 0.2, -3600.0, -3599.9, -3599.8]
    found = [tracker.update(faces((100 + 10 * index, 100)), time).ids.tolist() for index, time in enumerate(times)]
    assert found == [found[0]] * len(times)


def test_frames_without_faces_have_no_tracks_and_clear_ends_all():
    tracker = Tracker()
    for number in range(3):
        assert len(tracker.update(faces(), number * RATE)) == 0
    begun = tracker.update(faces((10, 10), (200, 10)), 1.0)
    assert tracker.clear() == tuple(begun.ids.tolist())
    assert len(tracker.update(faces(), 1.1)) == 0


def test_overlaps_agree_with_values_computed_by_hand():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [12, 0, 22, 10], [3, 3, 3, 3]], np.float32)
    expected = [[1, 1 / 3, 0, 0], [1 / 3, 1, 3 / 17, 0]]
    np.testing.assert_allclose(overlaps(boxes[:2], boxes), expected, atol=1e-9)
    # Grown by 0.3 the first reaches from −3 to 13, the third from 9: 4 of 16 + 16 − 4 columns.
    np.testing.assert_allclose(overlaps(boxes[:1], boxes[2:3], 0.3), [[4 / 28]], atol=1e-9)
