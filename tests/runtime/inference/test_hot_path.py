"""The cost of a frame, counted instead of timed: allocated bytes, calls, and lines executed in the loop over a crowd.

Each bound of bytes or lines is the count when it was set (Python 3.11, numpy 1.26) plus at least half. What it guards
against, a new canvas or a float image for each frame, is ten times as large. A bound of calls is the count plus about a
tenth. Change a bound only with a reason.
"""

import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from rkface.runtime.backends import Quantized
from rkface.runtime.backends.reference import Tensor
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.manifest import Input, Output
from rkface.runtime.inference.open_bundle import open_bundle
from rkface.runtime.vision.align import TEMPLATE, align
from rkface.runtime.vision.detect import Detector, suppress
from rkface.runtime.vision.detectors import STRIDES, find_layout
from rkface.runtime.vision.detectors.scrfd import SCRFD
from rkface.runtime.vision.embed import Embedder, unit
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.letterbox import Canvas

SIDE = 640
CANVAS, CROP = SIDE * SIDE * 3, 112 * 112 * 3
INPUT = Input("image", SIDE, SIDE, SCRFD.mean, SCRFD.std)
OUTPUTS = [
    Output(f"{width} of {stride}", ((SIDE // stride) ** 2 * 2, width)) for width in (1, 4, 10) for stride in STRIDES
]


def peak(call):
    """The maximum of bytes allocated while ``call`` runs, with the arrays of numpy and OpenCV."""
    call()  # the first call allocates what is reused
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def lines(call):
    """The number of Python lines that ``call`` executes."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def functions(call):
    """The functions of Python and C that ``call`` calls outside ONNX Runtime, each as often as it is called."""
    seen = []

    def watch(frame, event, argument):
        if event in ("call", "c_call") and "onnxruntime" not in frame.f_code.co_filename:
            code = frame.f_code
            seen.append(argument.__qualname__ if event == "c_call" else (code.co_filename, code.co_name))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(before)
    return seen


class Answers:
    """A backend with the same outputs for every image: five faces, each with a dozen anchors."""

    name = "answers"

    def __init__(self):
        self.outputs = [np.zeros(output.shape, np.float32) for output in OUTPUTS]
        level = find_layout(OUTPUTS, SIDE, SIDE).levels[1]
        for x in range(60, 600, 120):
            near = np.argsort(((level.centers - (x, 200)) ** 2).sum(axis=1))[:12]
            edges = [level.centers[near] - (x - 30, 170), (x + 30, 230) - level.centers[near]]
            points = (TEMPLATE - 56) / 2 + (x, 200) - level.centers[near, None]
            self.outputs[level.scores[0].index][near] = 0.8
            self.outputs[level.boxes.index][near] = np.hstack(edges) / level.stride
            self.outputs[level.landmarks.index][near] = points.reshape(len(near), 10) / level.stride

    def infer(self, images):
        return self.outputs


class QuantizedAnswers(Answers):
    def __init__(self):
        super().__init__()
        self.quantized = [Quantized(np.round(output * 16).astype(np.int8), 0, 1 / 16) for output in self.outputs]

    def infer_quantized(self, image):
        return self.quantized


class PictureAnswers(Answers):
    def infer_picture(self, picture):
        return self.outputs


FRAME = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)


@pytest.mark.parametrize("backend", [Answers(), QuantizedAnswers(), PictureAnswers()], ids=["float", "int8", "picture"])
def test_a_frame_allocates_neither_a_canvas_nor_a_float_image(backend):
    detector = Detector(backend, INPUT, OUTPUTS)
    assert len(detector.detect(FRAME)) == 5
    assert peak(lambda: detector.detect(FRAME)) < 24_000 < CANVAS / 10


@pytest.mark.parametrize(("side", "bound"), [(100, 57_000), (200, 105_000), (400, 240_000)])
def test_aligning_allocates_only_the_crop_and_the_halved_face(side, bound):
    landmarks = TEMPLATE / 112 * side + 300
    assert peak(lambda: align(FRAME, landmarks)) < bound < FRAME.size / 20


@pytest.mark.parametrize("shape", [(1080, 1920), (360, 640)])
def test_a_picture_becomes_a_tensor_without_a_copy(shape):
    canvas, tensor = Canvas(SIDE, SIDE), Tensor(INPUT)
    frame = FRAME[: shape[0], : shape[1]]
    assert peak(lambda: tensor.fill_picture(canvas.shrink(frame)[0])) < 24_000 < CANVAS / 10
    assert shape != (360, 640) or canvas.shrink(frame)[0] is frame


def test_embedding_allocates_the_crops_once():
    vectors = np.ones((20, 512), np.float32)
    embedder = Embedder(SimpleNamespace(infer=lambda images: [vectors]), ARCFACE_112, 512)
    crops = [np.zeros((112, 112, 3), np.uint8)] * 20
    assert peak(lambda: embedder.embed(crops)) < 1.5 * 20 * CROP


@pytest.mark.parametrize("shape", [(1, 512), (20, 128), (3, 7), (512,)])
def test_embeddings_are_scaled_to_the_bits_of_numpys_norm(shape):
    vectors = np.random.default_rng(0).normal(0, 9, shape).astype(np.float32)
    expected = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    np.testing.assert_array_equal(unit(vectors), expected)
    assert not unit(np.zeros(shape, np.float32)).any()


def crowd(faces):
    random = np.random.default_rng(faces)
    center = random.uniform(0, 1920, (faces, 1, 2)) + random.normal(0, 2, (faces, 12, 2))
    half = 1920 / faces**0.5 / 3
    boxes = np.concatenate([center - half, center + half], axis=2).reshape(-1, 4)
    return random.permutation(boxes).astype(np.float32).tolist()


def test_the_time_of_suppression_grows_linearly_with_the_crowd():
    small, large = (lines(lambda boxes=boxes: suppress(boxes, 0.4)) for boxes in map(crowd, (20, 1000)))
    assert large < 1.5 * small * 1000 / 20


@pytest.mark.parametrize(
    ("faces", "calls", "different"),
    [((), 58, 41), (((1, 2),), 150, 78), (((1, 2), (4, 2), (7, 2), (1, 5), (4, 5)), 240, 78)],
    ids=["no face", "one", "five"],
)
def test_a_frame_calls_few_functions(bundle, photo, faces, calls, different):
    """An inference empties the processor's caches, so each other function takes 5 to 25 µs (docs/hot-path.md)."""
    pytest.importorskip("onnxruntime")
    image = read_image(photo("faces.png", *faces))
    with open_bundle(bundle, "reference", threads=1) as pipeline:
        assert len(pipeline.recognize(image)) == len(faces)
        seen = functions(lambda: pipeline.recognize(image))
    assert len(seen) <= calls and len(set(seen)) <= different, seen
