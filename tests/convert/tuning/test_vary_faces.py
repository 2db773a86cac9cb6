"""The changed copies of the faces that calibrate, and what tuning takes from them."""

import cv2
import numpy as np
import onnx
import pytest

from rkface.convert.tuning.observe import observe_tensors
from rkface.convert.tuning.tune import tune
from rkface.convert.tuning.vary_faces import vary_faces

from ..conftest import calibration
from .test_tune import IMAGES, INPUT, separable


def test_copies_differ_from_their_faces_and_from_each_other_and_are_always_the_same():
    faces = np.random.default_rng(3).integers(0, 256, (20, 12, 9, 3), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    before = faces.copy()
    copies = vary_faces(faces)
    assert copies.shape == (40, *faces.shape[1:]) and copies.dtype == np.uint8
    assert np.array_equal(copies, vary_faces(faces)) and np.array_equal(faces, before)
    assert len({image.tobytes() for image in (*faces, *copies)}) == 20 + 40


def test_a_second_copy_of_each_face_is_narrow_or_wide_by_turns():
    """A disk becomes an ellipse. The networks answer to such faces as to people with rare features."""
    disk = np.zeros((2, 112, 112, 3), np.uint8)
    for image in disk:
        cv2.circle(image, (56, 56), 25, (255, 255, 255), -1)
    ratios = []
    for squeezed in vary_faces(disk)[2:]:
        rows, columns = np.nonzero(squeezed[..., 0] > 127)
        ratios.append(np.ptp(columns) / np.ptp(rows))
    assert ratios == pytest.approx([0.65, 1.5], rel=0.05)


def test_the_ranges_of_a_recognizer_contain_those_of_the_copies(tmp_path):
    onnx.save(separable(), tmp_path / "model.onnx")
    dataset = calibration(tmp_path / "set", IMAGES[:6])
    tuned = tune(tmp_path / "model.onnx", INPUT, dataset, tmp_path / "tuned.onnx", faces=True).corrected
    seen = observe_tensors(separable(), INPUT, vary_faces(IMAGES[:6]), tmp_path / "scratch.onnx")
    for name in ("c1", "a1", "c2", "a2", "out"):
        (low, high), (least, most) = tuned.observed[name], seen[name].range
        assert low <= least + 1e-4 and most - 1e-4 <= high
