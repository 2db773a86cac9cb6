"""dlib's network as ONNX computes what the network computes, and no other file passes for it.

The file is made here, in dlib's format, with random weights. With the real file ($RKFACE_DLIB_MODEL) and dlib's Python
package, the embeddings are compared with dlib's own.
"""

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from torch import from_numpy
from torch.nn import functional

from rkface.convert.label_files import read_pairs
from rkface.convert.packs.dlib_resnet import BLOCKS, CHIP_SCALE, SIDE, export_dlib_resnet, read_dlib_resnet
from rkface.runtime.core.crop_template import TEMPLATES
from rkface.runtime.core.errors import InputError
from rkface.runtime.vision.align import align
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import unit
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.photo import find_faces

MEAN = (122.75, 117.0, 104.25)


def integer(value):
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def number(value):
    return integer(int(value * 1024)) + integer(-10)


def text(value):
    return integer(len(value)) + value.encode()


def tensor(values):
    data = np.asarray(values, "<f4").tobytes()
    return b"".join(map(integer, (2, len(data) // 4, 1, 1, 1))) + data


class Weights:
    """Random weights, and the file that holds them."""

    def __init__(self):
        random = np.random.default_rng(3)
        shapes = [(3, 32, 7, 2)]
        channels = 32
        for filters, halves in BLOCKS:
            shapes += [(channels, filters, 3, 2 if halves else 1), (filters, filters, 3, 1)]
            channels = filters
        self.layers = []
        for before, filters, side, stride in shapes:
            weights = random.normal(0, (2 / (before * side * side)) ** 0.5, (filters, before, side, side))
            bias, factor, offset = (random.normal(mean, 0.1, filters) for mean in (0, 0.7, 0))
            self.layers.append([array.astype(np.float32) for array in (weights, bias, factor, offset)] + [stride])
        self.matrix = random.normal(0, 0.05, (256, 128)).astype(np.float32)

    def file(self, side=SIDE, layers=29):
        parts = [text("loss_metric_2"), text("input_rgb_image_sized"), *map(number, MEAN), integer(side), integer(side)]
        for weights, bias, factor, offset, stride in self.layers[:layers]:
            filters, _, rows, _ = weights.shape
            padding = rows // 2 if stride == 1 else 0
            fields = (filters, rows, rows, stride, stride, padding, padding)
            parts += [text("con_4"), tensor([*weights.ravel(), *bias]), *map(integer, fields), b"\1\0\1\1"]
            parts += [text("affine_"), tensor([*factor, *offset]), integer(0), text("relu_"), b"\1\2"]
        parts += [text("fc_2"), integer(128), integer(256), tensor(self.matrix.ravel())]
        return b"".join(parts)

    def compute(self, chip):
        """The embedding of ``chip`` (H×W×3 uint8 RGB), as dlib describes the network: affine layers apart."""
        layers = iter(self.layers)

        def convolve(x):
            weights, bias, factor, offset, stride = next(layers)
            padding = weights.shape[2] // 2 if stride == 1 else 0
            x = functional.conv2d(x, from_numpy(weights), from_numpy(bias), stride, padding)
            return x * from_numpy(factor)[:, None, None] + from_numpy(offset)[:, None, None]

        picture = (chip - np.array(MEAN)) / CHIP_SCALE
        x = from_numpy(picture.transpose(2, 0, 1)[None].astype(np.float32))
        x = functional.max_pool2d(functional.relu(convolve(x)), 3, 2)
        for filters, halves in BLOCKS:
            inner = convolve(functional.relu(convolve(x)))
            if halves:
                x = functional.avg_pool2d(x, 2, 2)
                x = functional.pad(x, (0, 0, 0, 0, 0, filters - x.shape[1]))
                more = x.shape[2] - inner.shape[2]
                inner = functional.pad(inner, (0, more, 0, more))
            x = functional.relu(inner + x)
        return (x.mean((2, 3)) @ from_numpy(self.matrix)).numpy()[0]


@pytest.fixture(scope="module")
def weights():
    return Weights()


@pytest.fixture(scope="module")
def stored(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("dlib") / "resnet.dat"
    path.write_bytes(weights.file())
    return path


def embed(model, chip, mean):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    picture = (chip - np.array(mean)) / CHIP_SCALE
    return session.run(None, {"input": picture.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]


def chips(count):
    """Pictures that are smooth and noisy, uint8 RGB."""
    random, (rows, columns) = np.random.default_rng(0), np.mgrid[:SIDE, :SIDE]
    for number in range(count):
        wave = 60 * np.sin(columns / 9 + number) + 30 * np.cos(rows / 5)
        yield np.clip(random.normal(128, 40, (SIDE, SIDE, 3)) + wave[..., None], 0, 255).astype(np.uint8)


def test_the_model_computes_what_the_network_computes(weights, stored):
    network = read_dlib_resnet(stored)
    assert network.mean == MEAN
    model = export_dlib_resnet(network)
    assert {node.op_type for node in model.graph.node} == {
        "Conv", "Relu", "MaxPool", "AveragePool", "Pad", "Add", "GlobalAveragePool", "Flatten", "Gemm"
    }  # fmt: skip
    for chip in chips(2):
        expected = weights.compute(chip)
        assert np.abs(embed(model, chip, MEAN) - expected).max() < 1e-4 * np.abs(expected).max()


def test_another_or_a_damaged_file_is_refused(weights, stored, tmp_path):
    whole, path = stored.read_bytes(), tmp_path / "other.dat"
    at = whole.find(b"con_4")
    not_a_number = bytearray(whole)
    not_a_number[at + 30 : at + 50] = b"\xff" * 20
    for content, reason in (
        (b"", "a layer input_rgb_image_sized is missing"),
        (b"\x89PNG", "a layer input_rgb_image_sized is missing"),
        (whole[: len(whole) // 2], "truncated|missing"),
        (whole[:-100], "truncated"),
        (weights.file(side=112), "not an RGB image of 150×150"),
        (weights.file(layers=28), "a layer con_4 is missing"),
        (whole + text("con_4"), "more convolutions"),
        (bytes(not_a_number), "not a finite number"),
        (whole[:at].replace(integer(SIDE) * 2, integer(10**12) * 2) + whole[at:], "not an RGB image"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=reason):
            read_dlib_resnet(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_dlib_resnet(tmp_path / "missing.dat")


def test_embeddings_are_those_of_dlib():
    dlib = pytest.importorskip("dlib", reason="dlib's Python package is not installed (dlib-bin)")
    if not os.environ.get("RKFACE_DLIB_MODEL"):
        pytest.skip("set RKFACE_DLIB_MODEL to dlib_face_recognition_resnet_model_v1.dat")
    path = Path(os.environ["RKFACE_DLIB_MODEL"])
    network = read_dlib_resnet(path)
    model, theirs = export_dlib_resnet(network), dlib.face_recognition_model_v1(str(path))
    for chip in chips(5):
        assert np.abs(embed(model, chip, network.mean) - np.array(theirs.compute_face_descriptor(chip))).max() < 1e-5


def test_the_own_chip_separates_the_labeled_pairs(shared):
    """Better than any export that resamples ArcFace's crop did on these photos (AUC 0.9974)."""
    if not os.environ.get("RKFACE_DLIB_MODEL"):
        pytest.skip("set RKFACE_DLIB_MODEL to dlib_face_recognition_resnet_model_v1.dat")
    network = read_dlib_resnet(Path(os.environ["RKFACE_DLIB_MODEL"]))
    model, detector = export_dlib_resnet(network), Detector(*open_detector(shared / "models/scrfd_2.5g_kps.onnx"))
    pairs = read_pairs(shared / "data/people/master.csv")
    names = sorted({name for left, right, _ in pairs for name in (left, right)})
    chips = []
    for name in names:
        look = find_faces(detector, read_image(shared / "data/people" / name), detector.threshold)
        landmarks = look.faces.landmarks[look.faces.largest()]
        chips.append(align(look.image, landmarks, TEMPLATES["dlib-150"])[..., ::-1])
    raw = np.stack([embed(model, chip, network.mean) for chip in chips])
    units = unit((raw - raw.mean(axis=0)).astype(np.float32))
    cosines = np.array([units[names.index(left)] @ units[names.index(right)] for left, right, _ in pairs])
    same = np.array([one for *_, one in pairs])
    assert (same.sum(), len(same)) == (38, 300)
    assert (cosines[same][:, None] > cosines[~same]).mean() >= 0.9974
    assert cosines[same].mean() > 0.7 and cosines[~same].mean() < 0
