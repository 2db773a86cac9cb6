"""What `make bench` reports about times and results, and the frames that it draws. People quote these figures."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are scripts

from comparison_faces import count_same_faces, draw_pictures
from comparison_rkface import touch_lines
from comparison_statistics import compare_results, compare_times, lowest_cosine, summarize_times
from insightface_comparison import OURS, SideProcess
from scenes import DEMO, GRIDS, Material, cut_portraits, draw_scene_with

from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector


def results(boxes, embeddings):
    return {"boxes": np.array(boxes, float).tolist(), "embeddings": np.array(embeddings, float).tolist()}


BOXES, VECTORS = [[10, 10, 50, 60], [100, 20, 160, 90]], [[1, 0], [0, 1]]


def test_the_same_faces_in_another_order_agree():
    found = compare_results(results(BOXES, VECTORS), results(BOXES[::-1], VECTORS[::-1]), 1.0)
    assert (found.pixels, found.own_crop, found.problem) == (0, 1, "")


@pytest.mark.parametrize(
    ("theirs", "same_crop", "problem"),
    [
        (results(BOXES[:1], VECTORS[:1]), 1.0, "2 and 1 faces"),
        (results([BOXES[0], [100, 20, 160, 91.1]], VECTORS), 1.0, "boxes differ by 1.10 px"),
        (results([BOXES[0], BOXES[0]], VECTORS), 1.0, "boxes differ by inf px"),
        (results(BOXES, VECTORS), 0.9989, "cosine 0.9989"),
        (results(BOXES, VECTORS), float("nan"), "cosine nan"),
    ],
)
def test_different_results_are_not_comparable(theirs, same_crop, problem):
    assert compare_results(results(BOXES, VECTORS), theirs, same_crop).problem == problem


@pytest.mark.parametrize(
    ("shift", "pixel", "agree"),
    [(0.9, 1.0, True), (1.1, 1.0, False), (2.9, 3.0, True), (3.1, 3.0, False), (4.9, 1.0, True), (5.1, 3.0, False)],
)
def test_a_box_may_differ_by_a_pixel_of_the_input_or_a_share_of_the_face(shift, pixel, agree):
    side = 1000 if shift > 4 else 100  # 0.5 % of a face of 1000 pixels are 5
    ours, theirs = (results([[0, 0, side, side + more]], VECTORS[:1]) for more in (0, shift))
    assert compare_results(ours, theirs, 1.0, pixel).within is agree


def test_lost_and_extra_faces_are_counted():
    ours, theirs = results(BOXES[:1], VECTORS[:1]), results([*BOXES, [300, 300, 340, 350]], [[1, 0]] * 3)
    nobody, shifted = results([], []), results([[13, 10, 53, 60]], VECTORS[:1])
    pairs = [
        (ours, theirs, 1.0),
        (theirs, ours, 1.0),
        (nobody, nobody, 1.0),
        (ours, shifted, 1.0),
        (ours, shifted, 3.0),
    ]
    found = count_same_faces("photos", pairs)
    assert (found.images, found.ours, found.theirs, found.lost, found.extra, found.moved) == (5, 6, 6, 2, 2, 1)


def test_the_bound_of_shrinking_touches_the_rows_that_bilinear_interpolation_needs():
    frame = np.zeros((2160, 64, 3), np.uint8)
    frame[2::6], frame[3::6] = 7, 9
    assert touch_lines(frame, 360) == 9 and touch_lines(frame[:1080], 180) == 9
    frame[2::6] = frame[3::6] = 0
    frame[[0, 1, 4, 5]] = 200
    assert touch_lines(frame, 360) == 0, "no other row"
    assert touch_lines(frame, 720) == 200 and touch_lines(frame, 700) == 200, "the middle of three, and every row"


def test_frames_without_faces_agree():
    nobody = {"boxes": [], "embeddings": []}
    assert compare_results(nobody, nobody, None).problem == "" and lowest_cosine([], []) is None


def test_different_own_crops_are_reported_but_are_not_a_problem():
    turned = [[0.6, 0.8], [0, 1]]
    found = compare_results(results(BOXES, VECTORS), results(BOXES, turned), 1.0)
    assert found.own_crop == pytest.approx(0.6) and not found.problem


def test_ratios_are_those_of_pairs():
    # If the machine becomes a hundred times slower half way through, no ratio of two successive runs changes.
    ours = np.array([0.010] * 20 + [1.0] * 20)
    found = compare_times(ours, ours * np.tile([1.9, 2.1], 20))
    assert 1.9 <= found.low <= found.median <= found.high <= 2.1
    assert found.quartiles == (1.9, 2.1)
    assert summarize_times([0.001, 0.002, 0.003]).median == 2


@pytest.fixture(scope="module")
def material():
    return Material(DEMO / "detector.onnx", DEMO / "recognizer.onnx", None)


@pytest.fixture(scope="module")
def detector(material):
    return Detector(*open_detector(material.detector, threads=1))


@pytest.fixture(scope="module")
def portraits(material, detector):
    return cut_portraits([image for image, _ in zip(material.images(), range(12), strict=False)], detector)


@pytest.fixture(scope="module")
def pictures(portraits):
    return [portrait.image for portrait in portraits]


@pytest.mark.parametrize("count", GRIDS)
def test_frames_show_the_stated_number_of_faces(detector, pictures, count):
    frame = draw_scene_with(pictures, detector, count, (1280, 720))
    assert frame.shape == (720, 1280, 3) and len(detector.detect(frame)) == count


def test_the_box_of_a_portrait_is_that_of_its_face(portraits):
    assert len(portraits) >= 8
    for portrait in portraits:
        box = portrait.box
        # A portrait is twice as high as its face. The face is detected a second time, so the box differs a little.
        assert box[3] - box[1] == pytest.approx(0.5, abs=0.1)
        assert 0 < box[0] < box[2] < 1 and portrait.image.shape[0] == portrait.image.shape[1]


@pytest.mark.parametrize("timer", ["wall", "cpu"])
def test_the_process_of_a_side_reports_faces_and_the_time_of_each_stage(material, detector, pictures, tmp_path, timer):
    frame = draw_scene_with(pictures, detector, 5, (1280, 720))
    np.save(tmp_path / "frame.npy", frame)
    with SideProcess(Path(sys.executable), OURS, [material.recognizer, material.detector], timer=timer) as side:
        side.call("load", image=str(tmp_path / "frame.npy"))
        found = side.call("recognize")
        ((whole, inference),) = side.call("time", runs=1)["times"]
        stages, bound = (side.call(what, runs=2)[what] for what in ("stages", "bound"))
    expected = {"boxes": detector.detect(frame).boxes, "embeddings": found["embeddings"]}
    assert compare_results(expected, found, 1.0).problem == ""
    assert 0 < inference < whole
    parts = {"touch", "tensor", "scores", "crops"}
    assert len(bound) == 2 and all(set(one) == parts and min(one.values()) > 0 for one in bound)
    # Each stage was measured: a function that the pipeline no longer calls would stay at 0.
    assert all(min(seconds) > 0 for name, seconds in stages.items() if name != "rest")


def test_a_side_that_cannot_start_reports_the_reason(tmp_path):
    missing = Material(tmp_path / "missing.onnx", tmp_path / "missing.onnx", None)
    with (
        SideProcess(Path(sys.executable), OURS, [missing.recognizer, missing.detector]) as side,
        pytest.raises(SystemExit, match=r"missing\.onnx"),
    ):
        side.call("recognize")


def test_both_sides_also_look_at_the_photos_in_frames_of_a_camera_and_at_mosaics(tmp_path, portraits):
    for index, one in enumerate(portraits[:3]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), one.image)
    photos, frames, mosaics = (pictures for _, pictures in draw_pictures(Material(DEMO, DEMO, tmp_path)))
    assert len(photos) == 3 and [frame.shape for frame in frames] == [(1080, 1920, 3)] * 3 and len(mosaics) >= 1
