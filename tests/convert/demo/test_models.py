"""The committed demo models, and the architecture that they share with InsightFace's."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from rkface.convert.demo import measure
from rkface.runtime.core.bundle import sha256
from rkface.runtime.vision.detectors import find_layout

torch = pytest.importorskip("torch", reason="torch is not installed")

from rkface.convert.demo import losses, models, samples
from rkface.convert.demo.muon import orthogonal

FOLDER = Path(models.__file__).parent
SIDE = 416  # of the detector's input
SCALE = samples.WIDTH / 640
OFF = (1 - SCALE) / 2  # distance of labels to the right of the pixels that they mark, see samples.augment


@pytest.fixture(scope="module")
def figures():
    return json.loads((FOLDER / measure.FIGURES).read_text())


@pytest.fixture(scope="module")
def detector():
    return measure.open_detector(FOLDER / measure.DETECTOR)


def test_files_are_small_and_those_that_were_measured(figures):
    for name in (measure.DETECTOR, measure.RECOGNIZER):
        assert figures["files"][name]["sha256"] == sha256(FOLDER / name)
        assert figures["files"][name]["bytes"] == (FOLDER / name).stat().st_size
    assert sum(entry["bytes"] for entry in figures["files"].values()) <= 4_000_000


def test_recorded_figures_of_detection_and_int8_are_good_enough(figures):
    assert figures["detection"]["recall"] >= 0.98 and figures["detection"]["false_per_image"] <= 0.05
    assert figures["int8"]["cosine_mean"] >= 0.99 and figures["int8"]["cosine_min"] >= 0.98
    assert figures["int8"]["matched"] >= 0.98
    recognized = figures["verification"]
    assert recognized["far"] == 1e-3 and recognized["identities"] >= 200
    assert figures["match_threshold"] == pytest.approx(recognized["threshold"], abs=5e-4)


def test_the_recorded_landmark_error_is_small_enough(figures):
    assert figures["detection"]["landmark_error"] <= 0.04


def test_the_recorded_tar_is_high_enough(figures):
    assert figures["verification"]["tar"] >= 0.95


def test_detection_is_as_recorded_on_a_held_out_sample(detector, figures):
    # 60 of the 500 scenes of figures.json: about 180 faces, so one missed face is half a percent.
    found = measure.detection(detector, 60)
    assert found.faces > 120
    assert found.recall >= 0.97 and found.false_per_image <= 0.07
    assert found.landmark_error == pytest.approx(figures["detection"]["landmark_error"], rel=0.2)


def test_verification_is_as_recorded_on_a_held_out_sample(detector, figures):
    # 60 of the 250 people, 3 images each: 180 pairs of one person and 15,930 of two; 10 of 180 may differ by chance.
    embedder = measure.open_recognizer(FOLDER / measure.RECOGNIZER)
    recognized = measure.verification(detector, embedder, 60, 3)
    assert recognized.same_pairs == 180 and recognized.different_pairs == 15_930
    assert recognized.tar >= figures["verification"]["tar"] - 0.06
    assert abs(recognized.threshold - figures["match_threshold"]) < 0.1


def test_nine_outputs_in_insightfaces_order():
    outputs = measure.outputs(FOLDER / measure.DETECTOR)
    counts = [5408, 1352, 338]  # two anchors in each cell of 416 / 8, 16 and 32 squared
    assert [output.shape for output in outputs] == [(count, size) for size in (1, 4, 10) for count in counts]
    found = find_layout(outputs, SIDE, SIDE).levels
    assert [(level.scores[0].index, level.boxes.index, level.landmarks.index) for level in found] == [
        (0, 3, 6),
        (1, 4, 7),
        (2, 5, 8),
    ]


@pytest.mark.parametrize("name", [measure.DETECTOR, measure.RECOGNIZER])
def test_input_contract(name):
    model = onnx.load(FOLDER / name)
    (given,) = [one for one in model.graph.input if one.name not in {part.name for part in model.graph.initializer}]
    side = {measure.DETECTOR: SIDE, measure.RECOGNIZER: 112}[name]
    assert given.name == "input.1"
    assert [size.dim_value for size in given.type.tensor_type.shape.dim] == [1, 3, side, side]
    assert model.opset_import[0].version == models.OPSET
    onnx.checker.check_model(model)


def test_the_recognizer_has_only_the_operators_of_iresnet():
    kinds = models.node_counts(FOLDER / measure.RECOGNIZER)
    assert set(kinds) == {"Conv", "BatchNormalization", "PRelu", "Add", "Flatten", "Gemm"}


def test_weights_have_no_outliers():
    for name in (measure.DETECTOR, measure.RECOGNIZER):
        for tensor in onnx.load(FOLDER / name).graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            assert np.isfinite(values).all()


def test_the_full_size_iresnet50_is_exactly_r50(iresnet50):
    kinds = models.node_counts(iresnet50)
    kinds.pop("Identity", None)  # shared weights of the export, which onnxsim removes
    assert kinds == {"Conv": 53, "BatchNormalization": 26, "PRelu": 25, "Add": 24, "Flatten": 1, "Gemm": 1}
    # w600k_r50.onnx has 174,383,860 bytes; names and metadata differ a little.
    assert iresnet50.stat().st_size == pytest.approx(174_383_860, rel=2e-3)


def test_training_targets_decode_to_the_face():
    grid = losses.anchors(SIDE, SIDE)
    boxes = np.array([[40, 50, 70, 90], [120, 100, 240, 250], [250, 20, 275, 50]], np.float32)
    marks = boxes[:, None, :2] + np.linspace(0.2, 0.8, 5)[None, :, None] * (boxes[:, 2:] - boxes[:, :2])[:, None]
    targets = losses.assign(boxes, marks.astype(np.float32), grid)
    assert 9 <= targets.positive.sum() <= 100
    answers = []
    for values in (targets.positive[:, None].astype(np.float32), targets.boxes, targets.points):
        answers += [values[grid.strides == stride] for stride in (8, 16, 32)]
    faces = find_layout(measure.outputs(FOLDER / measure.DETECTOR), SIDE, SIDE).decode(answers, 0.5)
    # The tolerance is that of float32 for coordinates up to 416.
    assert {tuple(box) for box in faces.boxes.round(2)} == {tuple(box) for box in boxes}
    order = [int(np.abs(boxes - box).sum(1).argmin()) for box in faces.boxes]
    np.testing.assert_allclose(faces.landmarks, marks[order], atol=1e-3)


def test_mirroring_keeps_left_landmarks_on_the_left():
    picture = measure.scene(1)
    frame = samples.TrainingFrame(
        np.zeros((samples.HEIGHT, samples.WIDTH, 3), np.uint8), picture.boxes * SCALE, picture.landmarks * SCALE
    )
    for seed in range(6):
        _, targets = samples.augment(frame, np.random.default_rng(seed))
        points = targets.points[targets.positive].reshape(-1, 5, 2)
        assert len(points) and (points[:, 0, 0] < points[:, 1, 0]).all() and (points[:, 3, 0] < points[:, 4, 0]).all()


def test_mirrored_labels_stay_on_their_pixels():
    # A dot at pixel 100 of the frame is at 100.5 / 0.65 − 0.5 in the scene, and its label is 0.65 times that.
    image = np.zeros((samples.HEIGHT, samples.WIDTH, 3), np.uint8)
    image[120, 100] = 255
    marks = np.full((1, 5, 2), (100 + OFF, 120 + OFF), np.float32)
    frame = samples.TrainingFrame(image, np.array([[80, 100, 120, 140]], np.float32), marks)
    places = set()
    for seed in range(8):
        moved, targets = samples.augment(frame, np.random.default_rng(seed))
        grid = losses.anchors(samples.WIDTH, samples.HEIGHT)
        at = np.flatnonzero(targets.positive)[0]
        label = grid.centers[at] + targets.points[at, :2] * grid.strides[at]
        dot = np.argwhere(moved[..., 0] == 255)[0][::-1]
        np.testing.assert_allclose(label - OFF, dot, atol=1e-3)
        places.add(int(dot[0]) > samples.WIDTH / 2)
    assert places == {True, False}, "some frames were mirrored, some were not"


def test_giou_of_known_boxes():
    box = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    half = torch.tensor([[1.0, 1.0, 0.0, 1.0]])
    torch.testing.assert_close(losses.giou(box, box), torch.tensor([1.0]))
    # Half the area, and the hull is the larger box: GIoU = IoU = ½ (arXiv 1902.09630).
    torch.testing.assert_close(losses.giou(box, half), torch.tensor([0.5]))


def test_verification_counts_a_missed_face_as_rejected(detector):
    class Blind:
        def detect(self, image):
            faces = detector.detect(image)
            return faces[:0]

    embedder = measure.open_recognizer(FOLDER / measure.RECOGNIZER)
    recognized = measure.verification(Blind(), embedder, 3, 2)
    assert recognized.undetected == 6 and recognized.tar == 0


def test_the_update_of_muon_is_nearly_orthogonal():
    for shape in ((40, 360), (64, 27), (16, 16)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        values = torch.linalg.svdvals(orthogonal(matrix)) / max(1.0, shape[0] / shape[1]) ** 0.5
        # K. Jordan's coefficients are fast but not exact: singular values are between 0.7 and 1.2, and the smallest are
        # lower.
        assert values.max() < 1.25 and values.median() > 0.6


def test_windows_contain_only_complete_faces():
    picture = measure.scene(1)
    image = np.zeros((samples.HEIGHT, samples.WIDTH, 3), np.uint8)
    frame = samples.TrainingFrame(image, picture.boxes * SCALE, picture.landmarks * SCALE)
    seen = 0
    for seed in range(20):
        part = samples.window(frame, 96, np.random.default_rng(seed))
        assert part.image.shape == (96, 96, 3)
        assert (part.boxes >= -2).all() and (part.boxes <= 98).all()
        seen += len(part.boxes)
    assert seen >= 10, "most windows contain a face"
