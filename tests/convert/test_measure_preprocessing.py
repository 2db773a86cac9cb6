"""The order of channels and the normalization of a recognizer are found on faces, or stated, and are never guessed."""

import os
import shutil

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

from onnx import helper, numpy_helper

from rkface.convert.measure_preprocessing import measure_preprocessing
from rkface.convert.packs.pack import DEMO
from rkface.convert.prepared_model import prepare_model, with_preprocessing
from rkface.convert.preprocessing import INSIDE, StatedPreprocessing
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import InputError, ModelError
from rkface.runtime.vision.embed import unit

from .conftest import calibration

ARC = ((127.5,) * 3, (127.5,) * 3)
REAL = ("mobilefacenet_128.onnx", *(["resnet29_dlib.onnx"] if os.environ.get("RKFACE_SLOW") else []))


@pytest.fixture(scope="module")
def crops():
    """48×112×112×3 RGB: two aligned rendered faces of each of 24 people whom the demo models do not know."""
    from rkface.convert.demo.render import CALIBRATE, render_crop

    return np.stack([render_crop(shot, person)[..., ::-1] for person in CALIBRATE[:24] for shot in range(2)])


def variant(path, *, bgr=False, inside=None, hidden=False, seed=None):
    """The demo recognizer, written to ``path``.

    bgr     with its first kernels reversed
    inside  (mean, std) that it applies to 0..255 itself; ``hidden``: where it cannot be read from the graph
    seed    of random weights
    """
    model = onnx.load(DEMO / "recognizer.onnx")
    graph = model.graph
    name = graph.input[0].name
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if bgr and tensor.name == next(node for node in graph.node if node.op_type == "Conv").input[1]:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[:, ::-1]), tensor.name))
        if seed is not None and values.ndim > 1:
            noise = np.random.default_rng(seed).normal(0, values.std(), values.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(noise, tensor.name))
    if inside is not None:
        graph.input[0].name = "raw"
        mean, std = (np.float32(values).reshape(1, 3, 1, 1) for values in inside)
        graph.initializer.extend([numpy_helper.from_array(mean, "mean"), numpy_helper.from_array(std, "std")])
        nodes = [
            helper.make_node("Sub", ["start", "mean"], ["centered"]),
            helper.make_node("Div", ["centered", "std"], [name]),
        ]
        # Abs changes nothing in values of 0..255, but what follows is no longer the first thing that is computed.
        nodes.insert(0, helper.make_node("Abs" if hidden else "Identity", ["raw"], ["start"]))
        for index, node in enumerate(nodes):
            graph.node.insert(index, node)
    onnx.save(model, path)
    return path


def prepared(path, tmp_path, **stated):
    return prepare_model(path, "recognizer", tmp_path, stated=StatedPreprocessing(**stated))


@pytest.mark.parametrize(("kind", "bgr"), [("outside", False), ("outside", True), ("inside", True), ("hidden", True)])
def test_order_and_normalization_are_found(tmp_path, crops, bgr, kind):
    inside = None if kind == "outside" else ARC
    model = prepared(variant(tmp_path / "r.onnx", bgr=bgr, inside=inside, hidden=kind == "hidden"), tmp_path)
    found = measure_preprocessing(model, crops)
    assert (found.bgr, found.order) == (bgr, "photos")
    assert (found.mean, found.std) == (ARC if kind == "outside" else INSIDE)
    assert found.normalization == {"outside": "default", "inside": "model", "hidden": "photos"}[kind]
    assert found.reasons and not found.doubt
    # What every backend is given, raw RGB, has the embeddings that the model was trained for.
    original = prepared(DEMO / "recognizer.onnx", tmp_path)
    expected = unit(original.backend.infer(crops[:4])[0])
    settled = with_preprocessing(model, found)
    assert settled.input.source_order == ("BGR" if bgr else "RGB")
    embeddings = unit(settled.backend.infer(crops[:4])[0])
    assert np.sum(embeddings * expected, axis=1).min() > 0.999


def test_the_simulator_of_the_npu_gets_the_same_image(tmp_path, crops, toolkit):
    """A BGR model that normalizes by itself, in INT8: nothing is swapped or normalized twice on the way."""
    from rkface.convert.toolkit.quantize import QuantizeJob, quantize

    model = prepared(variant(tmp_path / "r.onnx", bgr=True, inside=ARC), tmp_path)
    settled = with_preprocessing(model, measure_preprocessing(model, crops))
    np.save(tmp_path / "crops.npy", crops[40:])
    dataset = calibration(tmp_path / "set", crops[:20])
    job = QuantizeJob(settled.simplified.path, tmp_path / "r.rknn", "rk3588", settled.input, "{}", dataset,
                      evaluate=tmp_path / "crops.npy")  # fmt: skip
    simulated = unit(quantize(job, tmp_path / "log.txt").outputs[0])
    expected = unit(prepared(DEMO / "recognizer.onnx", tmp_path).backend.infer(crops[40:])[0])
    assert np.sum(simulated * expected, axis=1).min() > 0.97


def test_what_is_stated_is_applied_and_not_measured(tmp_path, crops):
    path = variant(tmp_path / "r.onnx", bgr=True)
    stated = measure_preprocessing(prepared(path, tmp_path, bgr=True, normalization=ARC), crops)
    assert (stated.bgr, stated.order, stated.normalization, stated.doubt) == (True, "stated", "stated", "")
    kept = measure_preprocessing(prepared(path, tmp_path, bgr=False), crops)
    assert (kept.bgr, kept.order) == (False, "stated")


def test_a_stated_mean_is_in_the_order_of_channels_that_is_measured(tmp_path, crops):
    unequal = ((120.0, 127.5, 135.0), (120.0, 127.5, 135.0))  # blue, green, red, as the model takes them
    path = variant(tmp_path / "r.onnx", bgr=True, inside=(ARC[0], ARC[1]), hidden=True)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in ("mean", "std"):  # undoes what is stated, in the model's own order, and then normalizes
            stated = np.float32(unequal[0]).reshape(1, 3, 1, 1)
            value = (127.5 - stated) / stated if tensor.name == "mean" else 127.5 / stated
            tensor.CopyFrom(numpy_helper.from_array(np.float32(value), tensor.name))
    model.graph.node[0].op_type = "Identity"
    onnx.save(model, path)
    found = measure_preprocessing(prepared(path, tmp_path, normalization=unequal), crops)
    assert (found.bgr, found.mean, found.std) == (True, unequal[0][::-1], unequal[1][::-1])


def test_a_wrong_statement_is_refused_and_the_right_one_is_named(tmp_path, crops):
    with pytest.raises(ModelError, match=r"--recognizer-mean and --recognizer-std are wrong: .* \(x − 127.5\) / 127.5"):
        measure_preprocessing(
            prepared(variant(tmp_path / "r.onnx"), tmp_path, normalization=((9e3,) * 3, (1e4,) * 3)), crops
        )
    with pytest.raises(InputError, match=r"would be normalized twice: leave them out, or write --recognizer-mean none"):
        prepared(variant(tmp_path / "i.onnx", inside=ARC), tmp_path, normalization=ARC)


def test_a_model_that_tells_nobody_apart_is_refused_and_the_photos_are_not_blamed(tmp_path, crops):
    untrained = prepared(variant(tmp_path / "untrained.onnx", seed=5), tmp_path)
    with pytest.raises(
        ModelError, match=r"untrained\.onnx does not tell faces apart: .*Photos of different people are not the cause"
    ):
        measure_preprocessing(untrained, crops)


@pytest.mark.parametrize("lasting", [True, False])
def test_a_model_that_gives_all_faces_one_embedding_is_refused(tmp_path, crops, lasting):
    """Or nearly: what is left of the differences would not be left in INT8."""
    model = onnx.load(DEMO / "recognizer.onnx")
    output = model.graph.output[0]
    for node in model.graph.node:
        node.output[:] = ["inner" if name == output.name else name for name in node.output]
    size = output.type.tensor_type.shape.dim[-1].dim_value
    constant = np.random.default_rng(2).normal(0, 1, (1, size)).astype(np.float32)
    weights = {"small": np.float32(0 if lasting else 1e-3).reshape(1, 1), "constant": constant}
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in weights.items())
    model.graph.node.append(helper.make_node("Mul", ["inner", "small"], ["faint"]))
    model.graph.node.append(helper.make_node("Add", ["faint", "constant"], [output.name]))
    onnx.save(model, tmp_path / "r.onnx")
    with pytest.raises(ModelError, match=r"r\.onnx does not tell faces apart"):
        measure_preprocessing(prepared(tmp_path / "r.onnx", tmp_path), crops)


def test_doubt_keeps_the_default_and_names_the_option(tmp_path, crops):
    model = prepared(variant(tmp_path / "r.onnx", bgr=True), tmp_path)
    few = measure_preprocessing(model, crops[:5])
    assert not few.bgr and "only 5 faces" in few.doubt and "--recognizer-input bgr" in few.doubt
    gray = np.repeat(crops.mean(axis=3, keepdims=True).astype(np.uint8), 3, axis=3)
    undecided = measure_preprocessing(model, gray)
    assert (undecided.bgr, undecided.order) == (False, "default") and "--recognizer-input bgr" in undecided.doubt


@pytest.mark.parametrize("file", REAL)
def test_real_recognizers_with_swapped_channels_are_noticed(shared, real_crops, tmp_path, file):
    model = onnx.load(shared / "models" / file)
    kernel = next(node for node in model.graph.node if node.op_type == "Conv").input[1]
    for tensor in model.graph.initializer:
        if tensor.name == kernel:
            values = np.ascontiguousarray(numpy_helper.to_array(tensor)[:, ::-1])
            tensor.CopyFrom(numpy_helper.from_array(values, kernel))
    onnx.save(model, tmp_path / "r.onnx")
    found = measure_preprocessing(prepared(tmp_path / "r.onnx", tmp_path), real_crops)
    assert (found.bgr, found.order, found.doubt) == (True, "photos", "")


def test_a_real_recognizer_with_a_constant_in_its_embeddings_is_taken(shared, real_crops, tmp_path):
    """dlib's network without the constant taken off: different people have a mean cosine of 0.88."""
    model = onnx.load(shared / "models/resnet29_dlib.onnx")
    (bias,) = (node.input[2] for node in model.graph.node if node.op_type == "Gemm")
    for tensor in model.graph.initializer:
        if tensor.name == bias:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), bias))
    onnx.save(model, tmp_path / "r.onnx")
    ready = prepared(tmp_path / "r.onnx", tmp_path, bgr=False)
    assert measure_preprocessing(ready, real_crops).normalization == "default"
    wrong = prepared(tmp_path / "r.onnx", tmp_path, bgr=False, normalization=INSIDE)
    with pytest.raises(ModelError, match="--recognizer-mean and --recognizer-std are wrong"):
        measure_preprocessing(wrong, real_crops)


@pytest.mark.parametrize("seed", range(2))
def test_random_weights_are_refused_on_photos(shared, real_crops, tmp_path, seed):
    model = onnx.load(shared / "models/mobilefacenet_128.onnx")
    random = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1 and values.dtype == np.float32:
            noise = random.normal(0, np.sqrt(2 / np.prod(values.shape[1:])), values.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(noise, tensor.name))
    onnx.save(model, tmp_path / "r.onnx")
    with pytest.raises(ModelError, match="does not tell faces apart"):
        measure_preprocessing(prepared(tmp_path / "r.onnx", tmp_path), real_crops)


@pytest.fixture(scope="module")
def real_crops(shared, tmp_path_factory):
    """The aligned faces in half of the photos of people, N×112×112×3 RGB; with RKFACE_SLOW in all."""
    from rkface.calibration.collect import collect_faces
    from rkface.convert.image_lists import to_rgb
    from rkface.runtime.vision.bare_onnx import open_detector
    from rkface.runtime.vision.detect import Detector

    folder = tmp_path_factory.mktemp("people")
    for photo in sorted((shared / "data/people").glob("*.jpg"))[:: 1 if "RKFACE_SLOW" in os.environ else 2]:
        shutil.copy(photo, folder)
    detector = Detector(*open_detector(shared / "models/scrfd_500m_kps.onnx", threads=1))
    return to_rgb(face.crop for face in collect_faces(folder, detector, ARCFACE_112).candidates)
