"""A bundle without weights: tiny models with SCRFD's and ArcFace's exact layouts, whose answers are known."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkface.runtime.core.bundle import SUMS, files
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.manifest import (
    Input,
    LivenessSpec,
    Manifest,
    Model,
    Output,
    RecognizerSpec,
    Source,
    Thresholds,
    shape_name,
)
from rkface.runtime.service.settings import Recognition
from rkface.runtime.vision import embed
from rkface.runtime.vision.detectors import STRIDES
from rkface.runtime.vision.detectors.scrfd import SCRFD

onnx = pytest.importorskip("onnx", reason="the tiny models are made with onnx")
from onnx import TensorProto, helper, numpy_helper

WIDTH, HEIGHT = 320, 256  # of the detector's input: not square, so that swapped sides show
CELL = 32
# Five landmarks in a cell, in its stride: the face fills the cell.
LANDMARKS = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]], np.float32)


@pytest.fixture(scope="session", autouse=True)
def quick_passwords():
    """Hashing a password takes tens of milliseconds, so that guessing takes long: not in the tests' own process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rkface.runtime.web.password.PASSES", 1)
        patch.setattr("rkface.runtime.web.password.MEMORY", 8)
        yield


@pytest.fixture
def quick_looks(monkeypatch):
    """Looks at a face follow each other quickly, to make the tests fast."""
    rules = Recognition.rules
    monkeypatch.setattr(
        Recognition, "rules", lambda *given: replace(rules(*given), patience=0.1, spacing=0.1, decide=0.2)
    )


@pytest.fixture(scope="session")
def browser():
    """A Chromium for the pages of all tests."""
    from .web import chromium

    with chromium.started() as browser:
        yield browser


@pytest.fixture
def apprise_at_once(monkeypatch):
    """Apprise waits for seconds between two messages to one service, so that it does not refuse them."""
    monkeypatch.setattr("apprise.plugins.base.NotifyBase.request_rate_per_sec", 0)


@pytest.fixture
def ntfy(apprise_at_once):
    """A phone: a receiver of messages like ntfy."""
    from .events.ntfy_server import NtfyServer

    server = NtfyServer()
    yield server
    server.close()


def saved(path, nodes, shape, outputs, constants):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output.name, TensorProto.FLOAT, output.shape) for output in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def make_detector(path, width=WIDTH, height=HEIGHT):
    """SCRFD's nine outputs. A cell of 32×32 pixels that is red is a face that fills it; nothing else is a face.

    Redness is red − green − blue of the cell's mean, normalized: 3 for red, 1 for black, less for the rest. Strides 8
    and 16 look too, but their bias silences them. The second anchor of a cell is the same face, a little less sure.
    """
    nodes, constants, outputs = [], {"shape": np.array([-1, 1])}, []
    counts = {stride: (width // stride) * (height // stride) * 2 for stride in STRIDES}
    for stride, count in counts.items():
        bias = -12 if stride == CELL else -99
        constants[f"w{stride}"] = np.float32([[6, -6, -6], [5, -5, -5]])[:, :, None, None]
        constants[f"b{stride}"] = np.float32([bias, bias * 5 / 6])
        pooled = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes += [
            helper.make_node("AveragePool", ["input.1"], [f"p{stride}"], **pooled),
            helper.make_node("Conv", [f"p{stride}", f"w{stride}", f"b{stride}"], [f"c{stride}"]),
            helper.make_node("Transpose", [f"c{stride}"], [f"t{stride}"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"t{stride}", "shape"], [f"r{stride}"]),
            helper.make_node("Sigmoid", [f"r{stride}"], [f"score{stride}"]),
        ]
        outputs.append(Output(f"score{stride}", (count, 1)))
    for name, said in (("box", np.float32([0, 0, 1, 1])), ("kps", LANDMARKS.ravel())):
        for stride, count in counts.items():
            constants[f"{name}{stride}_"] = np.tile(said, (count, 1))
            nodes.append(helper.make_node("Identity", [f"{name}{stride}_"], [f"{name}{stride}"]))
            outputs.append(Output(f"{name}{stride}", (count, len(said))))
    saved(path, nodes, [1, 3, height, width], outputs, constants)
    return outputs


def make_recognizer(path, crop=ARCFACE_112):
    """The embedding is how green and blue each quarter of the crop's middle is: 8 numbers."""
    middle = np.arange(48).reshape(3, 4, 4)[1:, 1:3, 1:3].ravel()  # of 4×4 parts; the outer ones show background
    weights, side = np.zeros((48, 8), np.float32), [crop.height // 4, crop.width // 4]
    weights[middle, np.arange(8)] = 1
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["p"], kernel_shape=side, strides=side),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["embedding"]),
    ]
    outputs = [Output("embedding", (1, 8))]
    saved(path, nodes, [1, 3, crop.height, crop.width], outputs, {"w": weights, "b": np.ones(8, np.float32)})
    return outputs


def make_liveness(path, side=24):
    """Three classes, logits: the brighter the crop_around, the more class 1, a live face; black ones are class 0."""
    weights = np.float32([[-4, 4, 0]] * 3)  # of each channel's mean, -1 to 1
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["p"], kernel_shape=[side, side]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["classes"]),
    ]
    outputs = [Output("classes", (1, 3))]
    saved(path, nodes, [1, 3, side, side], outputs, {"w": weights})
    return outputs


def write_sums(folder):
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in files(folder)]
    (folder / SUMS).write_text("\n".join(lines) + "\n")


def write_demo_bundle(folder):
    """A bundle of the demo models, for the reference backend: made in a moment, without a conversion."""
    from rkface.convert.demo import unconverted
    from rkface.convert.demo.measure import outputs

    (folder / "reference").mkdir(parents=True)
    models = []
    for role, (file, input) in unconverted.MODELS.items():
        (folder / f"reference/{role}.onnx").write_bytes((unconverted.FOLDER / file).read_bytes())
        models.append((input, outputs(unconverted.FOLDER / file)))
    write_bundle(folder, *models, threshold=unconverted.THRESHOLDS.match)


def write_bundle(folder, detector, recognizer, threshold, liveness=None, *, crop=ARCFACE_112, shapes=None):
    """Manifest and seal around the ONNX models that are in reference/ already; each is (Input, outputs). ``shapes``:
    other shapes of the detector by name."""
    models = {}
    given = {"detector": detector, "recognizer": recognizer} | ({"liveness": liveness} if liveness else {})
    for name, (input, outputs) in (given | (shapes or {})).items():
        (folder / f"{name}.rknn").write_bytes(b"RKNN placeholder")
        source = Source(f"{name}.onnx", "0" * 64, 10, "Apache-2.0")
        models[name] = Model(f"{name}.rknn", f"reference/{name}.onnx", "int8", input, tuple(outputs), source)
    manifest = Manifest(
        name="tiny",
        synthetic=True,
        created="2026-01-01T00:00:00Z",
        target="rk3588",
        toolkit="2.5.0",
        rkface="0.1.0",
        detector=models["detector"],
        recognizer=RecognizerSpec(**vars(models["recognizer"]), crop=crop),
        thresholds=Thresholds(0.5, 0.4, threshold),
        liveness=(
            LivenessSpec(**vars(models["liveness"]), scale=2.7, live=1, logits=True, threshold=0.5)
            if liveness
            else None
        ),
        shapes=tuple(models[name] for name in shapes or ()),
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    write_sums(folder)


def make_bundle(folder, liveness=False, crop=ARCFACE_112, size=(WIDTH, HEIGHT), others=()):
    """``size`` is (width, height) of the detector's input, ``others`` those of its other shapes."""
    (folder / "reference").mkdir(parents=True)

    def shape(name, width, height):
        made = make_detector(folder / f"reference/{name}.onnx", width, height)
        return Input("input.1", height, width, SCRFD.mean, SCRFD.std), made

    recognizer = Input("input.1", crop.height, crop.width, embed.MEAN, embed.STD)
    judge = Input("input.1", 24, 24, (127.5,) * 3, (127.5,) * 3)
    write_bundle(
        folder,
        shape("detector", *size),
        (recognizer, make_recognizer(folder / "reference/recognizer.onnx", crop)),
        threshold=0.6,
        liveness=(judge, make_liveness(folder / "reference/liveness.onnx")) if liveness else None,
        crop=crop,
        shapes={shape_name(*one): shape(shape_name(*one), *one) for one in others},
    )
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The tiny bundle, for reading only."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def live_bundle(tmp_path_factory):
    """The tiny bundle with a model for liveness, to which what is dark is a picture; for reading only."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "live", liveness=True)


@pytest.fixture
def shapes_bundle(tmp_path):
    """A tiny bundle with the detector in three shapes, for a picture of any aspect."""
    return make_bundle(tmp_path / "shapes", size=(320, 320), others=((320, 192), (192, 320)))


@pytest.fixture
def own_bundle(tmp_path):
    """A tiny bundle that a test may spoil."""
    return make_bundle(tmp_path / "own")


class Photo:
    """A white photo of 640×512, which the detector sees at half its size: faces are 64×64 squares."""

    SIDE = 64

    def __init__(self):
        self.image = np.full((512, 640, 3), 255, np.uint8)

    def face(self, column, row, person=0, red=255):
        """A face in a cell of the 10×8 grid. ``person`` says which half is greenish: 0 left, 1 right."""
        y, x = row * self.SIDE, column * self.SIDE
        square = self.image[y : y + self.SIDE, x : x + self.SIDE]
        square[:] = (0, 0, red)
        half = slice(0, self.SIDE // 2) if person == 0 else slice(self.SIDE // 2, None)
        square[:, half, 1] = 40
        return self

    def save(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), self.image)
        return path


TEXTURE = np.random.default_rng(1).integers(-60, 60, (16, 16)).repeat(4, 0).repeat(4, 1)  # of a face that is sharp


def scene(*faces):
    """A photo with faces that are sharp enough to be embedded, each (person, column) or (person, column, row)."""
    photo = Photo()
    for person, column, *row in faces:
        y, x = (row[0] if row else 3) * Photo.SIDE, column * Photo.SIDE
        photo.face(column, y // Photo.SIDE, person, red=200)
        square = photo.image[y : y + Photo.SIDE, x : x + Photo.SIDE]
        square[..., 2] = np.clip(square[..., 2] + TEXTURE, 0, 255)
    return photo.image


def darkened(image):
    """A scene whose white is black, as of a picture in a dark frame."""
    dark = image.copy()
    dark[(image == 255).all(axis=2)] = 0
    return dark


@pytest.fixture
def photo(tmp_path):
    """Writes a photo with the faces given, each (column, row, person, red), and says where it is."""

    def write(name, *faces):
        drawn = Photo()
        for face in faces:
            drawn.face(*face)
        return drawn.save(tmp_path / name)

    return write


@pytest.fixture(scope="session")
def real_bundle(shared, tmp_path_factory):
    """SCRFD-500M and MobileFaceNet in a bundle, outside the repository, for reading only."""
    from rkface.runtime.backends.reference import open_reference

    folder = tmp_path_factory.mktemp("bundles") / "real"
    (folder / "reference").mkdir(parents=True)
    models = []
    for role, file, input in (
        ("detector", "scrfd_500m_kps.onnx", Input("images", 640, 640, SCRFD.mean, SCRFD.std)),
        ("recognizer", "mobilefacenet_128.onnx", Input("input", 112, 112, embed.MEAN, embed.STD)),
    ):
        path = folder / f"reference/{role}.onnx"
        path.write_bytes((shared / "models" / file).read_bytes())
        arrays = open_reference(path, input).infer(np.zeros((1, input.height, input.width, 3), np.uint8))
        models.append((input, [Output(str(index), array.shape) for index, array in enumerate(arrays)]))
    write_bundle(folder, *models, threshold=0.43)
    return folder


@pytest.fixture
def synced(monkeypatch):
    """What was brought to the disk, in that order."""
    paths, fsync = [], os.fsync

    def noted(handle):
        paths.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    return paths
