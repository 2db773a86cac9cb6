"""The other shapes of a detector in a conversion: which there are, what they calibrate on, and which are left out."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rkface.convert import detector_shapes, refit
from rkface.convert.detector_shapes import (
    MOST_PHOTOS,
    OtherShapes,
    check_same_faces,
    other_sizes,
    prepare_shapes,
    quantize_shapes,
)
from rkface.convert.evaluate.parity import DetectionParity
from rkface.convert.recipe import TUNED
from rkface.convert.targets import find_target
from rkface.runtime.core.errors import ModelError, WorkError
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.letterbox import letterbox


@pytest.mark.parametrize(
    ("main", "others"),
    [
        ((640, 640), ((640, 384), (384, 640), (640, 480), (480, 640))),
        ((320, 320), ((320, 192), (192, 320), (320, 256), (256, 320))),
        ((416, 416), ((416, 256), (256, 416), (416, 320), (320, 416))),
        ((96, 96), ((96, 64), (64, 96))),  # for 4:3, it would be the square
        ((32, 32), ()),  # there is no smaller side
        ((640, 384), ()),  # already made for one aspect
    ],
)
def test_a_square_detector_gets_shapes_for_16_9_and_4_3_lying_and_upright(main, others):
    assert other_sizes(main) == others
    for (width, height), (long, short) in zip(others, ((16, 9), (16, 9), (4, 3), (4, 3)), strict=False):
        picture = (long, short) if width > height else (short, long)
        as_large = min(main[0] / picture[0], main[1] / picture[1])
        assert min(width / picture[0], height / picture[1]) == as_large, "faces are as large as in the square"


@pytest.mark.parametrize(("width", "height"), [(640, 360), (360, 640), (480, 360)])
def test_a_calibration_frame_is_fitted_without_its_black(width, height):
    photo = np.random.default_rng(1).integers(1, 256, (height, width, 3), np.uint8)
    photo[:, : width // 4] = 0  # black at the left belongs to the photo
    square = letterbox(photo, 640, 640).image
    for size in other_sizes((640, 640)):
        fitted = refit._refit(square, size)
        scale = min(size[0] / width, size[1] / height)
        used = fitted.any(axis=2)
        assert fitted.shape == (size[1], size[0], 3)
        assert np.flatnonzero(used.any(axis=0))[-1] + 1 == pytest.approx(width * scale, abs=2)
        assert np.flatnonzero(used.any(axis=1))[-1] + 1 == pytest.approx(height * scale, abs=2)
    assert not refit._refit(np.zeros((64, 64, 3), np.uint8), (64, 32)).any(), "a black frame stays black"


def test_photos_that_fit_a_shape_come_first(tmp_path):
    sizes = ((640, 640), (640, 384), (384, 640))
    photos = []
    for index in range(MOST_PHOTOS + 4):
        height, width = (90, 160) if index % 9 == 4 else (96, 128)
        photos.append(tmp_path / f"{index}.png")
        cv2.imwrite(str(photos[-1]), np.full((height, width, 3), index + 1, np.uint8))
    fitted = detector_shapes._fit_evaluation(evaluation(photos), (640, 384), sizes)
    assert fitted.photos == (*photos[4::9], *(one for at, one in enumerate(photos) if at % 9 != 4))[:MOST_PHOTOS]
    assert fitted.frames.shape == (MOST_PHOTOS, 384, 640, 3) and fitted.mosaics.shape[1:] == (384, 640, 3)
    assert fitted.scales[:4] == (4.0,) * 4 and [int(one[0, 0, 0]) for one in fitted.frames[:4]] == [5, 14, 23, 32]


def evaluation(photos):
    from rkface.convert.evaluation_set import EvaluationSet

    empty = np.zeros((0, 640, 640, 3), np.uint8)
    return EvaluationSet(tuple(photos), empty, (), (), (), empty, None, (), empty)


MAIN = DetectionParity(30, 100, 100, 100, 0, 0, 0.99, 0.95, 0.004, 0.01)


@pytest.fixture
def quantized(monkeypatch):
    """``quantized(failing, **found)``: the names that ``quantize_shapes`` returns of two shapes, and its notes. The
    toolkit fails on those in ``failing``; 640×384 differs from ``MAIN`` by ``found``."""

    def run(failing=(), **found):
        made = SimpleNamespace(
            image_list=lambda role: "frames.txt", evaluation=SimpleNamespace(scenes=np.zeros((2, 4, 4, 3), np.uint8))
        )
        detector = {"detector": SimpleNamespace(graph=None)}
        contexts = {
            name: SimpleNamespace(
                datasets=made, detector=None, models=detector, reference=SimpleNamespace(faces=parity)
            )
            for name, parity in (("detector-640x384", replace(MAIN, **found)), ("detector-384x640", MAIN))
        }

        def quantize(name, recipe, dataset, images):
            assert (recipe, dataset, len(images)) == (TUNED, "frames.txt", 2)
            if name in failing:
                raise WorkError("the toolkit crashed")
            return SimpleNamespace(outputs=[])

        monkeypatch.setattr(detector_shapes, "compare_faces", lambda parity, _: parity)
        monkeypatch.setattr(detector_shapes, "decode_faces", lambda *_: [])
        monkeypatch.setattr(detector_shapes, "predict_cost", lambda *_: None)
        shapes = OtherShapes(contexts, ("a note",))
        results, notes = quantize_shapes(shapes, quantize, TUNED, find_target("rk3588"), MAIN)
        return [one.name for one in results], notes

    return run


@pytest.mark.parametrize("found", [{}, {"matched": 95}, {"extra": 5}, {"landmark_error": 0.019}])
def test_every_shape_is_quantized_by_the_recipe_of_the_main_one(quantized, found):
    assert quantized(**found) == (["detector-640x384", "detector-384x640"], ("a note",))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"failing": ["detector-640x384"]}, "the toolkit crashed"),
        ({"matched": 94}, "finds 94 of the 100 faces"),
        ({"extra": 6}, "and 6 others"),
        ({"landmark_error": 0.021}, "landmark error is 2.1%, and must not be above 2.0%"),
    ],
)
def test_a_shape_that_is_not_good_is_left_out_with_a_note(quantized, how, why):
    names, notes = quantized(**how)
    assert names == ["detector-384x640"] and len(notes) == 2
    assert "detector-640x384 is not in the bundle" in notes[1] and why in notes[1]


def test_a_shape_in_which_fp32_finds_other_faces_is_refused():
    def faces(*lefts):
        boxes = np.array([(left, 0, left + 40, 40) for left in lefts], np.float32).reshape(-1, 4)
        return Faces(boxes, np.ones(len(boxes), np.float32), np.repeat(boxes[:, None, :2], 5, axis=1))

    check_same_faces([faces(0, 100), faces(50)], [faces(2, 101), faces()])  # a small face may be lost
    check_same_faces([faces()], [faces()])
    with pytest.raises(ModelError, match="finds only 1 of the 3 faces"):
        check_same_faces([faces(0, 100), faces(50)], [faces(2, 300), faces(200)])


@pytest.mark.parametrize("kind", [ModelError, WorkError])
def test_a_model_whose_size_cannot_be_changed_keeps_one_shape(monkeypatch, tmp_path, kind):
    def fixed(*_):
        raise kind("d.onnx does not run at this size")

    monkeypatch.setattr(detector_shapes, "_at_size", fixed)
    input = SimpleNamespace(width=640, height=640)
    shapes = prepare_shapes(SimpleNamespace(models={"detector": SimpleNamespace(input=input)}), tmp_path)
    assert not shapes.contexts and len(shapes.notes) == len(other_sizes((640, 640)))
    assert "no detector of 640×384" in shapes.notes[0] and "d.onnx does not run at this size" in shapes.notes[0]
