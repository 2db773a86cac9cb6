"""What `make bench` says of times and answers, and its frames: figures that people will quote."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are scripts

from comparison_statistics import agreement, lowest_cosine, ratio, times
from insightface_comparison import OURS, Side
from scenes import DEMO, GRIDS, Material, fitting_scene, portraits

from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector


def answer(boxes, embeddings):
    return {"boxes": np.array(boxes, float).tolist(), "embeddings": np.array(embeddings, float).tolist()}


BOXES, VECTORS = [[10, 10, 50, 60], [100, 20, 160, 90]], [[1, 0], [0, 1]]


def test_the_same_faces_in_another_order_agree():
    said = agreement(answer(BOXES, VECTORS), answer(BOXES[::-1], VECTORS[::-1]), 1.0)
    assert (said.pixels, said.own_crop, said.problem) == (0, 1, "")


@pytest.mark.parametrize(
    ("theirs", "same_crop", "problem"),
    [
        (answer(BOXES[:1], VECTORS[:1]), 1.0, "2 against 1 faces"),
        (answer([BOXES[0], [100, 20, 160, 90.6]], VECTORS), 1.0, "boxes 0.60 px apart"),
        (answer([BOXES[0], BOXES[0]], VECTORS), 1.0, "boxes inf px apart"),
        (answer(BOXES, VECTORS), 0.9989, "cosine 0.9989"),
        (answer(BOXES, VECTORS), float("nan"), "cosine nan"),
    ],
)
def test_other_results_are_not_comparable(theirs, same_crop, problem):
    assert agreement(answer(BOXES, VECTORS), theirs, same_crop).problem.startswith(problem[:18])


def test_frames_without_faces_agree():
    nobody = {"boxes": [], "embeddings": []}
    assert agreement(nobody, nobody, None).problem == "" and lowest_cosine([], []) is None


def test_own_crops_are_told_but_do_not_decide():
    turned = [[0.6, 0.8], [0, 1]]
    said = agreement(answer(BOXES, VECTORS), answer(BOXES, turned), 1.0)
    assert said.own_crop == pytest.approx(0.6) and not said.problem


def test_ratios_are_those_of_pairs():
    # A machine that slows down by a hundred times half way through changes no ratio of neighbors.
    ours = np.array([0.010] * 20 + [1.0] * 20)
    found = ratio(ours, ours * np.tile([1.9, 2.1], 20))
    assert 1.9 <= found.low <= found.median <= found.high <= 2.1
    assert found.quartiles == (1.9, 2.1)
    assert times([0.001, 0.002, 0.003]).median == 2


@pytest.fixture(scope="module")
def demo():
    material = Material(DEMO / "detector.onnx", DEMO / "recognizer.onnx", None)
    detector = Detector(*open_detector(material.detector, threads=1))
    images = [image for image, _ in zip(material.images(), range(12), strict=False)]
    found = portraits(images, detector)
    return detector, [picture for picture, _ in found], [box for _, box in found]


@pytest.mark.parametrize("count", GRIDS)
def test_frames_show_as_many_faces_as_they_say(demo, count):
    detector, pictures, _ = demo
    frame = fitting_scene(pictures, detector, count, (1280, 720))
    assert frame.shape == (720, 1280, 3) and len(detector.detect(frame)) == count


def test_a_portrait_knows_where_its_face_is(demo):
    _, pictures, boxes = demo
    assert len(pictures) >= 8
    for picture, box in zip(pictures, boxes, strict=True):
        # Cut at twice the face's height, so it fills half of it; detected anew, hence not exactly.
        assert box[3] - box[1] == pytest.approx(0.5, abs=0.1)
        assert 0 < box[0] < box[2] < 1 and picture.shape[0] == picture.shape[1]


@pytest.mark.parametrize("timer", ["wall", "cpu"])
def test_a_sides_process_tells_the_same_faces_and_where_its_time_goes(demo, tmp_path, timer):
    detector, pictures, _ = demo
    frame = fitting_scene(pictures, detector, 5, (1280, 720))
    np.save(tmp_path / "frame.npy", frame)
    material = Material(DEMO / "detector.onnx", DEMO / "recognizer.onnx", None)
    with Side(Path(sys.executable), OURS, material, 1, timer) as side:
        side.ask("load", image=str(tmp_path / "frame.npy"))
        said = side.ask("answer")
        ((whole, inside),) = side.ask("time", runs=1)["times"]
        stages = side.ask("stages", runs=2)["stages"]
    here = detector.detect(frame)
    assert agreement({"boxes": here.boxes, "embeddings": said["embeddings"]}, said, 1.0).problem == ""
    assert 0 < inside < whole
    # Each stage is there to be seen: a function that the pipeline no longer calls would stay at 0.
    assert all(min(seconds) > 0 for name, seconds in stages.items() if name != "rest")


def test_a_side_that_cannot_start_says_why(tmp_path):
    nothing = Material(tmp_path / "none.onnx", tmp_path / "none.onnx", None)
    with Side(Path(sys.executable), OURS, nothing, 1, "wall") as side, pytest.raises(SystemExit, match="none"):
        side.ask("answer")
