"""Families of detectors: recognized by their outputs, decoded as their papers say, whatever the outputs contain."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.backends import Quantized
from rkface.runtime.core.errors import ModelError
from rkface.runtime.core.manifest import Input, Output
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.detectors import FAMILIES, find_layout
from rkface.runtime.vision.detectors.retinaface import RETINAFACE
from rkface.runtime.vision.detectors.scrfd import SCRFD
from rkface.runtime.vision.detectors.yunet import YUNET

WIDTH, HEIGHT = 96, 64
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def shapes_of(family, width=WIDTH, height=HEIGHT):
    return [shape for shape, number in family.shapes(width, height).items() for _ in range(number)]


def outputs_of(family):
    return [Output(f"output {index}", (1, *shape)) for index, shape in enumerate(shapes_of(family))]


def random_outputs(family, seed=0):
    """Raw outputs with values as trained models have them: probabilities, and offsets of a few units."""
    random = np.random.default_rng(seed)
    return [
        random.uniform(0, 1, (1, *shape)).astype(np.float32)
        if shape[1] <= 2
        else random.normal(0, 1, (1, *shape)).astype(np.float32)
        for shape in shapes_of(family)
    ]


@families
def test_the_outputs_of_a_family_are_recognized_in_any_order_and_as_rows_and_columns(family):
    outputs, arrays = outputs_of(family), random_outputs(family)
    expected = find_layout(outputs, WIDTH, HEIGHT).decode(arrays, 0.5)
    assert len(expected) > 10 and find_layout(outputs, WIDTH, HEIGHT).family is family
    order = np.random.default_rng(1).permutation(len(outputs))
    layout = find_layout([Output("x", outputs[index].shape) for index in order], WIDTH, HEIGHT)
    faces = layout.decode([arrays[index] for index in order], 0.5)
    np.testing.assert_array_equal(faces.boxes, expected.boxes)
    np.testing.assert_array_equal(faces.landmarks, expected.landmarks)
    # TensorFlow's exports keep the rows and columns of cells: the same numbers in memory.
    apart = [array.reshape(1, 2, -1, array.shape[-1]) for array in arrays]
    found = find_layout([Output("x", array.shape) for array in apart], WIDTH, HEIGHT).decode(apart, 0.5)
    np.testing.assert_array_equal(found.boxes, expected.boxes)


@families
def test_a_missing_output_is_named_with_the_closest_family(family):
    rows, channels = shapes_of(family)[-1]
    with pytest.raises(
        ModelError, match=rf"as {family.name}, .* of shape {rows}×{channels}, but it has none.*export it"
    ):
        find_layout(outputs_of(family)[:-1], WIDTH, HEIGHT)
    channels_first = [Output("x", (1, 1, HEIGHT // 8, WIDTH // 8))] * 2
    with pytest.raises(ModelError, match=r"1×1×8×12.*each as anchors × numbers"):
        find_layout(channels_first, WIDTH, HEIGHT)


def by_stride(arrays, channels):
    """For each stride, the outputs with so many numbers per anchor."""
    counts = [(WIDTH // stride) * (HEIGHT // stride) for stride in (8, 16, 32)]
    return [[array[0] for array in arrays if array.shape[1:] == (count, channels)] for count in counts]


def test_yunet_equals_its_formula():
    arrays = random_outputs(YUNET)
    faces = find_layout(outputs_of(YUNET), WIDTH, HEIGHT).decode(arrays, 0.6)
    expected = []
    scored, boxes, points = (by_stride(arrays, channels) for channels in (1, 4, 10))
    for stride, (cls, obj), [box], [kps] in zip((8, 16, 32), scored, boxes, points, strict=True):
        for cell in range(len(cls)):
            score = math.sqrt(cls[cell, 0] * obj[cell, 0])
            if score < 0.6:
                continue
            row, column = divmod(cell, WIDTH // stride)
            x, y = (column + box[cell, 0]) * stride, (row + box[cell, 1]) * stride
            width, height = math.exp(box[cell, 2]) * stride, math.exp(box[cell, 3]) * stride
            marks = [((column + kps[cell, 2 * n]) * stride, (row + kps[cell, 2 * n + 1]) * stride) for n in range(5)]
            expected.append((score, (x - width / 2, y - height / 2, x + width / 2, y + height / 2), marks))
    check(faces, expected)


def test_retinaface_equals_its_formula():
    arrays = random_outputs(RETINAFACE)
    faces = find_layout(outputs_of(RETINAFACE), WIDTH, HEIGHT).decode(arrays, 0.6)
    conf, loc, landm = (next(array[0] for array in arrays if array.shape[-1] == size) for size in (2, 4, 10))
    expected, prior = [], 0
    # Pytorch_Retinaface computes in shares of the image: priors (cx, cy, w, h), and variances of 0.1 and 0.2.
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range(HEIGHT // stride):
            for column in range(WIDTH // stride):
                for side in sides:
                    cx, cy = (column + 0.5) * stride / WIDTH, (row + 0.5) * stride / HEIGHT
                    w, h = side / WIDTH, side / HEIGHT
                    dx, dy, dw, dh = loc[prior].tolist()
                    x, y = cx + dx * 0.1 * w, cy + dy * 0.1 * h
                    width, height = w * math.exp(dw * 0.2), h * math.exp(dh * 0.2)
                    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
                    marks = [(cx + a * 0.1 * w, cy + b * 0.1 * h) for a, b in landm[prior].reshape(5, 2).tolist()]
                    if conf[prior, 1] >= 0.6:
                        scale = (WIDTH, HEIGHT)
                        box = tuple(value * scale[at % 2] for at, value in enumerate(box))
                        marks = [(a * WIDTH, b * HEIGHT) for a, b in marks]
                        expected.append((float(conf[prior, 1]), box, marks))
                    prior += 1
    assert prior == len(conf)
    check(faces, expected)


def check(faces, expected):
    expected.sort(key=lambda one: -one[0])
    assert len(faces) == len(expected) > 10
    np.testing.assert_allclose(faces.scores, [score for score, *_ in expected], atol=1e-6)
    np.testing.assert_allclose(faces.boxes, [box for _, box, _ in expected], atol=1e-3)
    np.testing.assert_allclose(faces.landmarks, [marks for *_, marks in expected], atol=1e-3)


@families
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.77])
def test_int8_outputs_give_exactly_what_their_floats_give(family, threshold):
    layout, random = find_layout(outputs_of(family), WIDTH, HEIGHT), np.random.default_rng(3)
    raw = []
    for output in outputs_of(family):
        values = random.integers(-128, 128, output.shape, np.int8)
        raw.append(Quantized(values, -128, 1 / 255) if output.shape[-1] <= 2 else Quantized(values, 3, 0.03))
    ours, floats = layout.decode(raw, threshold), layout.decode([one.dequantize() for one in raw], threshold)
    assert len(ours) > 0 or threshold > 0.7
    for name in ("boxes", "scores", "landmarks"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(floats, name))


@families
def test_a_lower_threshold_adds_faces_and_changes_none(family):
    layout, arrays = find_layout(outputs_of(family), WIDTH, HEIGHT), random_outputs(family, 2)
    low = layout.decode(arrays, 0.2)
    for threshold in (0.2, 0.45, 0.6, 0.61):
        high = layout.decode(arrays, threshold)
        assert (high.scores >= threshold).all()
        np.testing.assert_array_equal(low[low.scores >= threshold].boxes, high.boxes)


@families
def test_each_number_of_each_output_belongs_to_one_stride(family):
    layout, outputs = find_layout(outputs_of(family), WIDTH, HEIGHT), random_outputs(family)
    places = np.concatenate([np.full(array.size, index) for index, array in enumerate(outputs)])
    named = [np.arange(array.size, dtype=np.float32).reshape(array.shape) for array in outputs]
    seen = [set() for _ in outputs]
    for level in layout.levels:
        for part in (*level.scores, level.boxes, level.landmarks):
            numbers = part.read(named)
            assert numbers.shape[:2] == (1, len(level.centers)) and not seen[part.index] & set(numbers.ravel())
            seen[part.index] |= set(numbers.ravel())
    # Only the scores of RetinaFace's background are not read.
    unread = len(places) - sum(map(len, seen))
    assert unread == (outputs[0].size // 2 if family is RETINAFACE else 0)


ODD = st.sampled_from([0.0, 0.5, 1.0, -1.0, 5.0, 88.0, 1e30, -1e30, np.inf, -np.inf, np.nan])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FAMILIES), st.lists(ODD, min_size=1, max_size=9), st.integers(0, 99), st.floats(0, 1))
def test_whatever_a_model_answers_the_faces_are_finite(family, values, seed, threshold):
    random = np.random.default_rng(seed)
    arrays = [random.choice(np.float32(values), output.shape) for output in outputs_of(family)]
    detector = Detector(None, Input("x", HEIGHT, WIDTH, (0.0,) * 3, (1.0,) * 3), outputs_of(family))
    with np.errstate(all="ignore"):
        faces = detector.faces(arrays, 0.4, threshold)
    assert all(np.isfinite(part).all() for part in (faces.boxes, faces.scores, faces.landmarks))


def test_preprocessing_and_defaults_are_those_of_the_sources():
    assert (SCRFD.mean, SCRFD.std, SCRFD.order) == ((127.5,) * 3, (128.0,) * 3, "RGB")
    assert (YUNET.mean, YUNET.std, YUNET.order) == ((0.0,) * 3, (1.0,) * 3, "BGR")
    assert (RETINAFACE.mean, RETINAFACE.order) == ((123.0, 117.0, 104.0), "BGR")
    assert [(one.threshold, one.nms_iou) for one in (SCRFD, YUNET, RETINAFACE)] == [(0.5, 0.4), (0.6, 0.3), (0.6, 0.4)]
