"""A twin with a bundle of made-up models: the stand-in library does not compute them, it only has their answers."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from rkface.boards.profile import find_profile
from rkface.boards.twin.board import build_twin, install_runtime
from rkface.boards.twin.ingredients import UnavailableError, gather_ingredients
from rkface.runtime.core.bundle import SUMS, files, read_bundle
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.manifest import Input, Manifest, Model, Output, RecognizerSpec, Source, Thresholds, contract
from rkface.runtime.vision import embed
from rkface.runtime.vision.detectors import STRIDES
from rkface.runtime.vision.detectors.scrfd import SCRFD

ROOT = Path(__file__).resolve().parents[2]
SIDE = 320
CONVERTED = ROOT / "build/rk3588"  # made by `make convert`


def grid(low, high):
    scale = np.float32((high - low) / 255)
    return round(-128 - low / float(scale)), scale


def write_rknn(path, role, input, ranges):
    """Write the parts of a ``.rknn`` file that rkface reads: magic, contract, toolkit, ranges of quantized outputs."""
    said = ", ".join(
        f"'{name}': {{'name': '{name}', 'dtype': 'float32', 'qtype': 'asym', 'min': [{low}], 'max': [{high}]}}"
        for name, (low, high) in ranges.items()
    )
    head = contract(role, input, "0" * 64, ARCFACE_112 if role == "recognizer" else None)
    path.write_bytes(f"RKNN\0\0\0\0{head}\0rk3588\0002.5.0(compiler version: 2.5.0)\0{{{said}}}".encode())


def golden_outputs(rng, outputs, ranges, count):
    """Random FP32 and simulator outputs of ``count`` inputs; those with ``ranges`` are quantized."""
    reference, simulator = {}, {}
    for name, shape in outputs.items():
        low, high = ranges.get(name, (-1, 1))
        values = rng.uniform(low, high, (count, *shape)).astype(np.float32)
        if name.startswith("score"):
            values = (values**12).astype(np.float32)  # most anchors have a low score
        reference[name] = simulator[name] = values
        if name in ranges:
            zero, scale = grid(low, high)
            steps = np.clip(np.rint(values / scale) + zero, -128, 127)
            simulator[name] = ((steps - zero) * scale).astype(np.float32)
    return reference, simulator


def make_bundle(folder):
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True)
    golden, models = {}, []
    counts = {stride: (SIDE // stride) ** 2 * 2 for stride in STRIDES}
    scrfd = {
        f"{name}{stride}": (count, width)
        for name, width in (("score", 1), ("box", 4), ("kps", 10))
        for stride, count in counts.items()
    }
    limits = {"sco": (0.0, 1.0), "box": (0.0, 7.5), "kps": (-4.1, 7.9)}
    for role, size, (mean, std), outputs, ranges in (
        # kps32 stays float, like an output of a model that is partly FP16.
        ("detector", SIDE, (SCRFD.mean, SCRFD.std), scrfd, {n: limits[n[:3]] for n in scrfd if n != "kps32"}),
        ("recognizer", 112, (embed.MEAN, embed.STD), {"embedding": (1, 512)}, {"embedding": (-5.01, 4.44)}),
    ):
        input = Input("input.1", size, size, mean, std)
        write_rknn(folder / f"{role}.rknn", role, input, ranges)
        shapes = {name: shape[-1:] if role == "recognizer" else shape for name, shape in outputs.items()}
        golden[f"{role}/inputs"] = rng.integers(0, 256, (3, size, size, 3), np.uint8)
        for source, arrays in zip(("reference", "simulator"), golden_outputs(rng, shapes, ranges, 3), strict=True):
            golden |= {f"{role}/{source}/{name}": array for name, array in arrays.items()}
        made = tuple(Output(*one) for one in outputs.items())
        source = Source(f"{role}.onnx", "0" * 64, 10, "Apache-2.0")
        models.append(Model(f"{role}.rknn", f"reference/{role}.onnx", "int8", input, made, source))
    models[1] = RecognizerSpec(**vars(models[1]), crop=ARCFACE_112)
    np.savez(folder / "golden.npz", **golden)
    manifest = Manifest(
        "made up", True, "2026-01-01T00:00:00Z", "rk3588", "2.5.0", "0.1.0", *models, Thresholds(0.5, 0.4, 0.4)
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in files(folder)]
    (folder / SUMS).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "made")


@pytest.fixture(scope="session")
def ingredients():
    try:
        return gather_ingredients(ROOT / "build/twin")
    except UnavailableError as error:
        pytest.skip(f"no twin here: {error}")


@pytest.fixture(scope="session")
def bundles(bundle):
    """The made-up bundle, and the converted demo bundle if `make convert` has made it."""
    return [bundle, *([CONVERTED] if (CONVERTED / "manifest.json").is_file() else [])]


@pytest.fixture(scope="session")
def make_twin(ingredients, bundles, tmp_path_factory):
    def make(board):
        folder = tmp_path_factory.mktemp("twin")
        packages = install_runtime(folder / "packages")
        read = [read_bundle(one) for one in bundles]
        return build_twin(ingredients, folder / "board", find_profile(board), read, packages)

    return make
