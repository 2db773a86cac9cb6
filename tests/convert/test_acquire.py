"""What is known about the models to convert: license, threshold, input, provenance."""

import hashlib
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkface.convert.acquire import own_sources, pack_sources
from rkface.convert.packs.dlib_resnet import CHIP_SCALE
from rkface.convert.packs.known_packs import DLIB_RESNET, OPEN, RESEARCH, SFACE, W600K_R50, find_pack
from rkface.convert.packs.pack import DEMO
from rkface.convert.prepared_model import prepare_model
from rkface.convert.preprocessing import INSIDE, StatedPreprocessing
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Input, Manifest, Model, Output, RecognizerSpec, Thresholds, contract
from rkface.runtime.gallery.people import embedding_identity

from .test_dlib_resnet import MEAN, Weights


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_the_demo_pack_needs_no_network_and_is_marked_synthetic(tmp_path):
    sources = pack_sources(find_pack("demo"), tmp_path, accepted=False)
    assert sources.synthetic and "rendered" in sources.licenses["recognizer"] and sources.known
    assert sources.stated is None, "its input is InsightFace's"
    assert all(path.is_file() for path in sources.paths.values()) and not list(tmp_path.iterdir())


INPUT = Input("x", 112, 112, (127.5,) * 3, (127.5,) * 3)


def manifest_of(source):
    """The manifest of a bundle whose recognizer was made from ``source``."""
    model = Model("recognizer.rknn", "reference/recognizer.onnx", "int8", INPUT, (Output("y", (1, 512)),), source)
    return Manifest(
        name="test", synthetic=True, created="", target="rk3588", toolkit="2.5.0", rkface="0.1.0", detector=model,
        recognizer=RecognizerSpec(**vars(model), crop=ARCFACE_112), thresholds=Thresholds(0.5, 0.4, 0.4), provenance={},
    )  # fmt: skip


def test_the_identity_of_embeddings_covers_weights_in_other_files(tmp_path):
    """Two models whose .onnx files agree and whose weights differ; and the first of them in a single file."""
    proto = onnx.load(DEMO / "recognizer.onnx")
    onnx.save(proto, tmp_path / "inside.onnx")
    paths = [tmp_path / "inside.onnx"]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / "r.onnx")
        onnx.save(
            onnx.load(tmp_path / "inside.onnx"), paths[-1], save_as_external_data=True, size_threshold=0, location="w"
        )
    weights = np.fromfile(tmp_path / "b/w", np.float32)
    (weights[::-1]).tofile(tmp_path / "b/w")
    assert paths[1].read_bytes() == paths[2].read_bytes()
    inside, one, other = (own_sources(DEMO / "detector.onnx", path, "").source("recognizer") for path in paths)
    assert one.sha256 == inside.sha256 == digest(paths[0].read_bytes()) and one.bytes == inside.bytes
    assert other.sha256 != one.sha256
    first, second, third = (embedding_identity(manifest_of(source)) for source in (inside, one, other))
    assert first == second != third
    contracts = {contract("recognizer", INPUT, source.sha256) for source in (inside, one, other)}
    assert len(contracts) == 2, "the .rknn file names the model that it was made from"


# protobuf: models with an empty graph
MODELS = (bytes([0x3A, 2, 0x12, 0]), bytes([0x3A, 3, 0x12, 1, 0x61]))


@pytest.fixture
def own(tmp_path):
    paths = tmp_path / "a.onnx", tmp_path / "b.onnx"
    for path, model in zip(paths, MODELS, strict=True):
        path.write_bytes(model)
    return paths


def test_own_files_are_recognized_by_their_checksum(own, monkeypatch):
    sources = own_sources(*own, "mine")
    assert sources.licenses == {"detector": "mine", "recognizer": "mine"} and "not measured" in sources.evidence
    assert not sources.known
    known = replace(find_pack("buffalo_l"), recognizer=replace(W600K_R50, sha256=digest(MODELS[1])))
    monkeypatch.setattr("rkface.convert.packs.known_packs.BUFFALO", (known,))
    sources = own_sources(*own, "mine")
    assert sources.licenses == {"detector": "mine", "recognizer": str(RESEARCH)} and sources.match == 0.4078
    assert sources.known and sources.stated is None
    with pytest.raises(InputError, match=r"c\.onnx: no such model"):
        own_sources(own[0], own[0].with_name("c.onnx"), "")


def test_the_input_of_a_known_recognizer_is_that_of_the_catalog(own, monkeypatch):
    means, by_256 = (122.782, 117.001, 104.298), (256.0,) * 3
    known = replace(DLIB_RESNET, onnx_sha256=digest(MODELS[1]))
    monkeypatch.setattr("rkface.convert.packs.known_packs.OPEN", (replace(OPEN[0], recognizer=known),))
    sources = own_sources(*own, "mine")
    assert sources.stated == StatedPreprocessing(bgr=False, normalization=(means, by_256)) and sources.known
    assert "CC0-1.0" in sources.licenses["recognizer"] and "commercial use allowed" in sources.licenses["recognizer"]


def sface_like(path):
    """A recognizer as opencv_zoo exports SFace: it normalizes 0..255 by itself, 112×112 RGB to 128 numbers."""
    random = np.random.default_rng(0)
    constants = {"mean": np.float32(127.5), "factor": np.float32(1 / 128)}
    constants |= {"w": random.normal(0, 0.1, (8, 3, 16, 16)), "m": random.normal(0, 0.1, (128, 8 * 49))}
    nodes = [
        helper.make_node("Sub", ["data", "mean"], ["centered"]),
        helper.make_node("Mul", ["centered", "factor"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "w"], ["seen"], strides=[16, 16]),
        helper.make_node("Flatten", ["seen"], ["flat"]),
        helper.make_node("Gemm", ["flat", "m"], ["fc1"], transB=1),
    ]
    tensors = [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in constants.items()]
    ends = [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])]
    ends.append(helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, 128]))
    graph = helper.make_graph(nodes, "sface", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)


def test_sface_gets_values_of_0_to_255_and_the_crop_of_arcface(tmp_path, monkeypatch):
    path = tmp_path / "sface.onnx"
    sface_like(path)
    pack = replace(find_pack("open-sface"), recognizer=replace(SFACE, sha256=digest(path.read_bytes())))
    monkeypatch.setattr("rkface.convert.packs.known_packs.OPEN", (pack,))
    sources = own_sources(DEMO / "detector.onnx", path, "mine")
    assert "Apache-2.0" in sources.licenses["recognizer"] and sources.match == 0.363
    model = prepare_model(path, "recognizer", tmp_path, stated=sources.stated, crop=sources.crop)
    assert (model.input.mean, model.input.std) == INSIDE and model.input.source_order == "RGB"
    assert model.fixed.known_crop() == ARCFACE_112 and model.simplified.outputs[0].shape == (1, 128)


def test_another_network_in_dlibs_format_is_read_with_the_mean_in_its_file(tmp_path):
    path = tmp_path / "trained-here.dat"
    path.write_bytes(Weights().file())
    sources = own_sources(DEMO / "detector.onnx", path, "mine", tmp_path / "cache")
    assert sources.stated == StatedPreprocessing(bgr=False, normalization=(MEAN, (CHIP_SCALE,) * 3))
    assert sources.name == "detector + trained-here" and not sources.known and sources.licenses["recognizer"] == "mine"
    made = sources.paths["recognizer"]
    first = made.read_bytes()
    made.unlink()
    again = own_sources(DEMO / "detector.onnx", path, "mine", tmp_path / "cache").paths["recognizer"]
    assert again == made and again.read_bytes() == first, "the embeddings keep their identity"


def test_a_damaged_file_of_dlib_is_refused(tmp_path):
    path = tmp_path / "damaged.dat"
    path.write_bytes(b"not a network")
    with pytest.raises(InputError, match=r"damaged\.dat is not dlib_face_recognition_resnet_model_v1\.dat"):
        own_sources(DEMO / "detector.onnx", path, "", tmp_path / "cache")
    with pytest.raises(InputError, match=r"missing\.dat: cannot be read"):
        own_sources(DEMO / "detector.onnx", tmp_path / "missing.dat", "", tmp_path / "cache")
