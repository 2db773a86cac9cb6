"""What `make bench-less` counts as a found face. The option --min-face is based on its figures."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are scripts

from detector_size import CAMERA, FACES, draw_crowds, measure_recall, place_in_frame
from scenes import DEMO, Material, cut_portraits

from rkface.convert.evaluate.parity import match_boxes
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector


def faces(*boxes):
    count = len(boxes)
    return Faces(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.ones(count, np.float32),
        np.tile(np.array([[3, 3], [9, 3], [6, 6], [4, 9], [8, 9]], np.float32), (count, 1, 1)),
    )


def test_faces_are_counted_by_their_size_in_the_input():
    small, large = [0, 0, 30, 30], [100, 100, 200, 200]
    result = measure_recall([faces(small, large)], [faces(large)], scale=0.5)
    assert (result.faces, result.recall, result.extra) == (2, 0.5, 0)
    # 15 pixels are between 14 and 16, and 50 are more than 48. Still smaller faces count as the smallest size.
    assert {low: counts for low, counts in result.by_size.items() if counts[1]} == {14: (0, 1), 48: (1, 1)}
    assert measure_recall([faces([0, 0, 2, 2])], [faces()], scale=1.0).by_size[FACES[0]] == (0, 1)


@pytest.fixture(scope="module")
def demo():
    detector = Detector(*open_detector(DEMO / "detector.onnx", threads=1))
    images = Material(DEMO / "detector.onnx", DEMO / "recognizer.onnx", None).images()
    return detector, cut_portraits([image for image, _ in zip(images, range(8), strict=False)], detector)


def test_the_faces_of_a_crowd_are_at_the_reported_boxes(demo):
    detector, portraits = demo
    total = found = 0
    for frame, boxes in draw_crowds(portraits, 60, 640, 8):
        assert frame.shape == (360, 640, 3) and len(boxes)
        assert np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)) == pytest.approx(60, abs=1)
        total += len(boxes)
        found += len(match_boxes(boxes, detector.detect(frame).boxes))
    # At IoU 0.5, a box that is off by half a face does not match. The demo detector misses at most one rendered face in
    # ten.
    assert found >= 0.9 * total


def test_a_photo_keeps_its_aspect_ratio_in_the_frame():
    photo = np.zeros((300, 200, 3), np.uint8)
    photo[:, 100:] = 255
    frame = place_in_frame(photo, CAMERA, 0)
    assert frame.shape == (CAMERA[1], CAMERA[0], 3)
    # It is 1080 · 200 / 300 = 720 pixels wide. The border between its halves is interpolated.
    assert frame[:, 600:955].max() == 0 and frame[:, 965:1320].min() == 255
