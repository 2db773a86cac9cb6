"""The figures of the report about a detector: by hand, their basic property, mosaics, and in a real conversion."""

import json

import cv2
import numpy as np
import pytest

from rkface.convert.evaluate.detector_errors import (
    LOWEST,
    THRESHOLDS,
    DetectorEvidence,
    compare_scenes,
    detector_notes,
)
from rkface.convert.evaluate.output_errors import have_separate_scales, output_errors
from rkface.convert.mosaic import TILES, make_mosaics
from rkface.runtime.core.manifest import Input, Output
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.detectors import STRIDES, find_layout
from rkface.runtime.vision.detectors.retinaface import RETINAFACE, SIDES
from rkface.runtime.vision.detectors.scrfd import SCRFD
from rkface.runtime.vision.detectors.yunet import YUNET

from .test_parity import faces

SIDE = 64
LAYOUT = [
    Output(f"{kind}{stride}", (2 * (SIDE // stride) ** 2, channels))
    for kind, channels in (("score", 1), ("box", 4), ("point", 10))
    for stride in STRIDES
]


def scored(boxes, scores):
    found = faces(boxes)
    return type(found)(found.boxes, np.float32(scores), found.landmarks)


def raw(images, random):
    """Outputs like those of a detector: most scores are near 0."""
    return [
        np.float32(
            random.beta(0.3, 2, (images, *one.shape)) if one.shape[-1] == 1 else random.random((images, *one.shape))
        )
        for one in LAYOUT
    ]


def test_missed_lost_extra_and_invented_by_hand():
    boxes = [[0, 0, 40, 40], [100, 0, 140, 40], [200, 0, 240, 40], [300, 0, 340, 40]]
    before = [scored(boxes[:3], [0.9, 0.55, 0.52])]
    # The first is the same, the second has a slightly lower score, the third is missing, and one is not found by FP32.
    after = [scored([boxes[0], boxes[1], boxes[3]], [0.9, 0.45, 0.6])]
    (at,) = (one for one in compare_scenes(before, after, [1.0], 0.5).thresholds if one.threshold == 0.5)
    assert (at.faces, at.missed, at.lost, at.extra, at.invented) == (3, 2, 1, 1, 1)
    (higher,) = (one for one in compare_scenes(before, after, [1.0], 0.5).thresholds if one.threshold == 0.7)
    assert (higher.faces, higher.missed, higher.extra) == (1, 0, 0)


def test_faces_are_grouped_by_their_size_in_the_input():
    boxes = [[0, 0, 40, 40], [100, 0, 400, 300], [500, 0, 560, 60]]
    before, after = [scored(boxes, [0.9, 0.9, 0.9])], [scored([[2, 0, 42, 40], boxes[1]], [0.9, 0.9])]
    # The photo is shrunk by half: 20, 150 and 30 input pixels.
    small, medium, none, large = compare_scenes(before, after, [0.5], 0.5).sizes
    assert (small.faces, medium.faces, none.faces, large.faces) == (1, 1, 0, 1)
    assert (small.missed, medium.missed, medium.lost, large.missed) == (0, 1, 1, 0)
    # Landmarks are moved by 2 px, the eyes are 0.4 · 40 px apart; boxes share 38 of 42 columns.
    assert small.landmark_error == pytest.approx(2 / 16, abs=1e-5) and small.mean_iou == pytest.approx(
        38 / 42, abs=1e-5
    )
    assert large.landmark_error == 0 and large.mean_iou == 1


def test_one_decoding_is_enough_for_every_higher_threshold():
    random = np.random.default_rng(3)
    detector = Detector(None, Input("x", SIDE, SIDE, SCRFD.mean, SCRFD.std), LAYOUT)
    for image in zip(*raw(4, random), strict=True):
        all_of_them = detector.faces(image, 1.0, LOWEST)
        for threshold in THRESHOLDS:
            some, direct = all_of_them[all_of_them.scores >= threshold], detector.faces(image, 1.0, threshold)
            np.testing.assert_array_equal(some.boxes, direct.boxes)


def quantized(outputs, step):
    return [np.float32(np.round(array / step) * step) for array in outputs]


def test_errors_of_each_output():
    before = raw(3, np.random.default_rng(5))
    after = [array.copy() for array in quantized(before, 1 / 128)]
    for index in range(3):
        after[index] = np.minimum(after[index], 0.5)  # scores that saturate
    after[4] += 0.25  # box distances of stride 16
    errors = {(one.kind, one.stride): one for one in output_errors(find_layout(LAYOUT, SIDE, SIDE), before, after)}
    assert len(errors) == 9
    score, box = errors["score", 8], errors["box", 16]
    assert (
        score.bias < 0 and score.largest_quantized == 0.5 < score.largest_fp32 and score.step == pytest.approx(1 / 128)
    )
    # A quarter of 16 pixels, plus at most half a step of rounding.
    assert box.bias == pytest.approx(4, abs=0.02) and box.worst <= 4 + 16 / 256 + 1e-5
    assert box.step == pytest.approx(16 / 128) and errors["landmark", 32].bias == pytest.approx(0, abs=0.05)
    assert errors["score", 8].anchors == errors["box", 8].anchors > 20


def evidence(before, after, boxes=((0, 0, 20, 20),), lost=0):
    scenes = compare_scenes([faces(boxes)] * 25, [faces(boxes[: len(boxes) - lost])] * 25, [1.0] * 25, 0.5)
    return DetectorEvidence(output_errors(find_layout(LAYOUT, SIDE, SIDE), before, after), scenes, scenes)


def test_notes_about_shared_scales_saturation_and_lost_small_faces():
    before = raw(8, np.random.default_rng(6))
    own = [quantized([array], 1 / (200 + 3 * index))[0] for index, array in enumerate(before)]
    assert have_separate_scales(evidence(before, own).outputs) and not detector_notes(evidence(before, own))
    shared = quantized(before, 1 / 20)
    assert not have_separate_scales(evidence(before, shared).outputs)
    assert "steps of 0.05" in "".join(detector_notes(evidence(before, shared)))
    low = [np.minimum(array, 0.5) if index == 0 else array for index, array in enumerate(own)]
    assert "stride 8, scores do not exceed 0.50" in "".join(detector_notes(evidence(before, low)))
    (said,) = detector_notes(evidence(before, own, boxes=((0, 0, 20, 20), (30, 0, 50, 20)), lost=1))
    assert "of 50 faces of 0 to 24 input pixels" in said and "does not find 25" in said
    # FP16 has more values than INT8, so there is no note about steps.
    assert not detector_notes(evidence(before, before)) and not have_separate_scales(evidence(before, before).outputs)


def family_outputs(family, images=4, seed=7):
    shapes = [shape for shape, number in family.shapes(SIDE, SIDE).items() for _ in range(number)]
    random = np.random.default_rng(seed)
    outputs = [Output(str(index), (1, *shape)) for index, shape in enumerate(shapes)]
    return find_layout(outputs, SIDE, SIDE), [
        np.float32(random.uniform(0, 1, (images, *shape)) if shape[1] <= 2 else random.normal(0, 1, (images, *shape)))
        for shape in shapes
    ]


def test_each_of_two_scores_that_are_multiplied_has_its_own_figures():
    layout, before = family_outputs(YUNET)
    cut = layout.levels[0].scores[1].index
    after = [np.minimum(array, 0.5) if index == cut else array for index, array in enumerate(before)]
    errors = output_errors(layout, before, after)
    assert [(one.kind, one.stride) for one in errors[:6]] == [("score", stride) for stride in (8, 8, 16, 16, 32, 32)]
    (worse,) = (one for one in errors if one.mean)
    assert worse.output == cut and worse.largest_quantized == 0.5 < worse.largest_fp32 and worse.anchors > 50
    scenes = compare_scenes([faces([[0, 0, 20, 20]])] * 25, [faces([[0, 0, 20, 20]])] * 25, [1.0] * 25, 0.6)
    (note,) = detector_notes(DetectorEvidence(errors, scenes, scenes), quantized=False)
    assert "at stride 8, scores do not exceed 0.50" in note


def test_errors_of_decoded_boxes_are_in_pixels_whatever_the_family_computes():
    for family, unit, smallest, largest in (
        (YUNET, np.exp(0.1) - 1, 8, 8),
        (RETINAFACE, np.exp(0.02) - 1, *SIDES[8]),
    ):
        layout, before = family_outputs(family)
        box = layout.levels[0].boxes
        before[box.index][..., :] = 0
        after = [array.copy() for array in before]
        after[box.index][..., 2:] += 0.1  # the logarithm of the sides
        error = next(one for one in output_errors(layout, before, after) if (one.kind, one.stride) == ("box", 8))
        # Each of the four edges moves outward by half of what the side grows.
        assert smallest / 2 * unit <= error.bias * 1.0001 and error.worst <= largest / 2 * unit * 1.0001


def test_outputs_that_hold_all_strides_have_one_scale_each():
    layout, before = family_outputs(RETINAFACE)
    own = [quantized([array], 1 / (20 + 3 * index))[0] for index, array in enumerate(before)]
    assert have_separate_scales(output_errors(layout, before, own))
    assert not have_separate_scales(output_errors(layout, before, quantized(before, 1 / 20)))


def test_mosaics_are_shrunk_frames_and_always_the_same():
    frames = np.random.default_rng(1).integers(0, 256, (5, 96, 192, 3), np.uint8)
    made = make_mosaics(frames)
    assert made.shape == (len(TILES), 96, 192, 3) and np.array_equal(made, make_mosaics(frames))
    for mosaic, side in zip(made, TILES, strict=True):
        tile = mosaic[: 96 // side, : 192 // side]
        shrunk = [cv2.resize(frame, tile.shape[1::-1], interpolation=cv2.INTER_AREA) for frame in frames]
        assert any(np.array_equal(tile, one) or np.array_equal(tile, one[:, ::-1]) for one in shrunk)
    # The first five of the nine tiles are the five frames.
    shrunk = [cv2.resize(frame, (64, 32), interpolation=cv2.INTER_AREA) for frame in frames]
    tiles = [made[0][y : y + 32, x : x + 64] for y in (0, 32, 64) for x in (0, 64, 128)]
    assert all(any(np.array_equal(one, tile) for tile in tiles[:5]) for one in shrunk)
    assert any(np.array_equal(tiles[5], one[:, ::-1]) for one in shrunk)


def test_a_conversion_evaluates_crowds_of_small_faces(converted):
    figures = json.loads((converted.bundle / "report.json").read_text(encoding="utf-8"))
    found, html = figures["detector_errors"], (converted.bundle / "report.html").read_text(encoding="utf-8")
    assert (
        found["mosaics"]["images"] == len(TILES)
        and found["photos"]["images"] == figures["parity"]["detection"]["images"]
    )
    assert len(found["outputs"]) == 9 and [one["threshold"] for one in found["photos"]["thresholds"]] == list(
        THRESHOLDS
    )
    (usual,) = (one for one in found["photos"]["thresholds"] if one["threshold"] == 0.5)
    # The same figure as in the detection table, computed in another way.
    assert (usual["faces"], usual["missed"]) == tuple(
        figures["parity"]["detection"][key] for key in ("faces", "missed")
    )
    small = sum(one["faces"] for one in found["mosaics"]["sizes"] if one["high"] and one["high"] <= 48)
    assert small >= 50
    # The calibration faces are larger, so INT8 may cut off the scores of stride 8; then there is a note.
    cut = [
        one
        for one in found["outputs"]
        if one["kind"] == "score" and one["largest_quantized"] < 0.9 * one["largest_fp32"]
    ]
    assert len(cut) == sum("no score passes" in note for note in figures["notes"])
    assert "By face size" in html and "NPU bound" in html
    for model in figures["models"]:
        costs = [one["cost"] for one in model["recipes"] if one["cost"]["layers"]]
        assert len(costs) == 1 and f"{costs[0]['milliseconds']:.2f} ms" in html
