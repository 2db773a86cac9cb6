"""A twin with bundles of made-up models: the stand-in library does not compute them, it only has their answers.

One has the shapes and the contract of SCRFD and an ArcFace recognizer, the other those of the pack open: YuNet, and a
recognizer for dlib's chip with a constant taken off its embeddings.
"""

import ctypes
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rkface.boards.profile import find_profile
from rkface.boards.twin import HERE
from rkface.boards.twin.answers import write_answers
from rkface.boards.twin.board import build_twin, install_runtime
from rkface.boards.twin.ingredients import FLAGS, UnavailableError, gather_ingredients
from rkface.runtime.backends import bindings
from rkface.runtime.backends.npu import open_npu
from rkface.runtime.core.bundle import SUMS, files, read_bundle
from rkface.runtime.core.crop_template import ARCFACE_112, TEMPLATES, CropTemplate
from rkface.runtime.core.manifest import Input, Manifest, Model, Output, RecognizerSpec, Source, Thresholds, contract
from rkface.runtime.core.versions import TOOLKIT
from rkface.runtime.inference.golden import read_golden
from rkface.runtime.vision import embed
from rkface.runtime.vision.detectors import STRIDES
from rkface.runtime.vision.detectors.family import Family
from rkface.runtime.vision.detectors.scrfd import SCRFD
from rkface.runtime.vision.detectors.yunet import YUNET

from .debug_builds import make_debug_build

ROOT = Path(__file__).resolve().parents[2]
SIDE = 160
CONVERTED = ROOT / "build/rk3588"  # made by `make convert`
CELLS = {stride: (SIDE // stride) ** 2 for stride in STRIDES}


@dataclass(frozen=True)
class MadeUp:
    """What a made-up bundle has.

    shapes        of the detector's outputs, as in the manifest
    limits        the range of the quantized outputs by the first three letters of their names
    floats        outputs that stay float, like those of a model that is partly FP16
    mean, std     of the recognizer's input
    center        the constant that was taken off, whose length is that of the embedding
    """

    name: str
    family: Family
    shapes: dict[str, tuple[int, ...]]
    limits: dict[str, tuple[float, float]]
    floats: tuple[str, ...]
    crop: CropTemplate
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedding: int
    center: tuple[float, ...] = ()


MADE = (
    MadeUp(
        "made",
        SCRFD,
        {
            f"{name}{stride}": (cells * 2, width)
            for name, width in (("score", 1), ("box", 4), ("kps", 10))
            for stride, cells in CELLS.items()
        },
        {"sco": (0.0, 1.0), "box": (0.0, 7.5), "kps": (-4.1, 7.9)},
        ("kps32",),
        ARCFACE_112,
        embed.MEAN,
        embed.STD,
        512,
    ),
    MadeUp(
        "open",
        YUNET,
        {
            f"{name}_{stride}": (1, cells, width)
            for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
            for stride, cells in CELLS.items()
        },
        {"cls": (0.0, 1.0), "obj": (0.0, 1.0), "bbo": (-1.5, 3.1), "kps": (-4.1, 7.9)},
        ("obj_32", "kps_32"),
        TEMPLATES["dlib-150"],
        (122.782, 117.001, 104.298),
        (256.0,) * 3,
        128,
        tuple(float(value) for value in np.linspace(-0.2, 0.1, 128, dtype=np.float32)),
    ),
)


def grid(low, high):
    scale = np.float32((high - low) / 255)
    return round(-128 - low / float(scale)), scale


def write_rknn(path, ranges, contract):
    """Write the parts of a ``.rknn`` file that rkface reads: magic, version of the format, contract, toolkit, ranges of
    quantized outputs."""
    said = ", ".join(
        f"'{name}': {{'name': '{name}', 'dtype': 'float32', 'qtype': 'asym', 'min': [{low}], 'max': [{high}]}}"
        for name, (low, high) in ranges.items()
    )
    path.write_bytes(
        f"RKNN\0\0\0\0\6\0\0\0\0\0\0\0{contract}\0rk3588\0002.5.0(compiler version: 2.5.0)\0{{{said}}}".encode()
    )


def golden_outputs(rng, outputs, ranges, count):
    """Random FP32 and simulator outputs of ``count`` inputs; those with ``ranges`` are quantized."""
    reference, simulator = {}, {}
    for name, shape in outputs.items():
        low, high = ranges.get(name, (-1, 1))
        values = rng.uniform(low, high, (count, *shape)).astype(np.float32)
        if name.startswith(("score", "cls")):
            values = (values**12).astype(np.float32)  # most anchors have a low score
        reference[name] = simulator[name] = values
        if name in ranges:
            zero, scale = grid(low, high)
            steps = np.clip(np.rint(values / scale) + zero, -128, 127)
            simulator[name] = ((steps - zero) * scale).astype(np.float32)
    return reference, simulator


def make_bundle(folder, made):
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True)
    golden, models = {}, []
    detector = Input("input.1", SIDE, SIDE, made.family.mean, made.family.std)
    recognizer = Input("input.1", made.crop.height, made.crop.width, made.mean, made.std)
    limits = {name: made.limits[name[:3]] for name in made.shapes if name not in made.floats}
    for role, input, outputs, ranges, contracted in (
        ("detector", detector, made.shapes, limits, ()),
        (
            "recognizer",
            recognizer,
            {"embedding": (1, made.embedding)},
            {"embedding": (-5.01, 4.44)},
            (made.crop, made.center),
        ),
    ):
        write_rknn(folder / f"{role}.rknn", ranges, contract(role, input, "0" * 64, *contracted))
        shapes = {name: shape[1:] if shape[0] == 1 else shape for name, shape in outputs.items()}
        golden[f"{role}/inputs"] = rng.integers(0, 256, (3, input.height, input.width, 3), np.uint8)
        for source, arrays in zip(("reference", "simulator"), golden_outputs(rng, shapes, ranges, 3), strict=True):
            golden |= {f"{role}/{source}/{name}": array for name, array in arrays.items()}
        listed = tuple(Output(*one) for one in outputs.items())
        source = Source(f"{role}.onnx", "0" * 64, 10, "Apache-2.0")
        models.append(Model(f"{role}.rknn", f"reference/{role}.onnx", "int8", input, listed, source))
    models[1] = RecognizerSpec(**vars(models[1]), crop=made.crop, center=made.center)
    np.savez(folder / "golden.npz", **golden)
    manifest = Manifest(
        "made up", True, "2026-01-01T00:00:00Z", "rk3588", "2.5.0", "0.1.0", *models, Thresholds(0.5, 0.4, 0.4)
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in files(folder)]
    (folder / SUMS).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """The made-up bundles, and the bundle that `make convert` has made, if any."""
    folder = tmp_path_factory.mktemp("bundles")
    made = [make_bundle(folder / one.name, one) for one in MADE]
    make_debug_build(read_bundle(made[0]), write_rknn, golden_outputs)
    return [*made, *([CONVERTED] if (CONVERTED / "manifest.json").is_file() else [])]


@pytest.fixture(scope="session")
def converted_open(toolkit, open_models, shared, tmp_path_factory):
    """A bundle of the pack open, calibrated on the photos of `shared`. The quickest recipe: the twin looks answers
    up, so it does not matter how accurate they are."""
    out = tmp_path_factory.mktemp("converted") / "open"
    command = [sys.executable, "-m", "rkface.runtime.cli.main", "convert", "--pack", "open", "--recipe", "fast"]
    models = [word for role, path in open_models.items() for word in (f"--{role}", path)]
    photos = ["--calibration", shared / "data/people", "--accept", "--out", out]
    done = subprocess.run([*command, *models, *photos], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def make_twin(tmp_path_factory):
    def make(board, bundles, python=""):
        try:
            ingredients = gather_ingredients(ROOT / "build/twin", python)
        except UnavailableError as error:
            pytest.skip(f"no twin here: {error}")
        folder = tmp_path_factory.mktemp("twin")
        packages = install_runtime(folder / "packages")
        read = [read_bundle(one) for one in bundles]
        return build_twin(ingredients, folder / "board", find_profile(board), read, packages)

    return make


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    path = tmp_path_factory.mktemp("library") / "librknnrt.so"
    subprocess.run(["cc", *FLAGS, "-Werror", f'-DTOOLKIT="{TOOLKIT}"', "-o", path, HERE / "librknnrt.c"], check=True)
    return path


class Board:
    """The stand-in library as librknnrt of this machine. It takes it for a chip with one core."""

    def __init__(self, library, bundles, monkeypatch):
        self._library = ctypes.CDLL(library)
        self._set = monkeypatch.setenv
        self.bundle = bundles[0]
        self.images = read_golden(self.bundle, "recognizer").inputs
        self.copied = ctypes.c_uint64.in_dll(self._library, "rkface_twin_copied")  # bytes
        self.break_calls("")

    def break_calls(self, faults):
        self._set("RKFACE_TWIN_FAULTS", faults)

    def open(self, role="recognizer", **options):
        return open_npu(self.bundle.path(role), self.bundle.model(role), soc="rk3588", **options)

    def count(self):
        """Open contexts and copies of weights."""
        return tuple(
            ctypes.c_int.in_dll(self._library, f"rkface_twin_{name}").value for name in ("contexts", "weights")
        )


@pytest.fixture(scope="session")
def answered(bundles, tmp_path_factory):
    """The bundles that were read, and the folder with their answers."""
    folder, read = tmp_path_factory.mktemp("answers"), [read_bundle(folder) for folder in bundles]
    for bundle in read:
        write_answers(bundle, folder)
    return read, folder


@pytest.fixture
def board(library, answered, monkeypatch):
    read, folder = answered
    monkeypatch.setenv("RKFACE_TWIN_ANSWERS", str(folder))
    monkeypatch.setenv("RKFACE_NPU_BINDING", "direct")
    monkeypatch.setattr(bindings, "LIBRARIES", (str(library),))
    board = Board(library, read, monkeypatch)
    yield board
    assert board.count() == (0, 0), "every context was closed"
