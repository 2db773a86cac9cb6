"""Golden vectors: check that a backend computes the same as when the bundle was made."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend
from ..core.bundle import Bundle
from ..core.errors import BundleError
from ..core.manifest import Model, role_of
from ..vision.detectors import find_layout

GOLDEN = "golden.npz"
# Minimum cosine of an output. An NPU may round an INT8 value to the next step where the simulator did not, which costs
# about 1e-4; for a model that an NPU computed wrongly, 0.42 was reported (airockchip/rknn-toolkit2#110). ONNX Runtime
# computes the same as when the bundle was made, except for float32 rounding on another processor.
SIMULATOR_FLOOR = 0.98
REFERENCE_FLOOR = 0.9999
# If all scores of both sides are below this, they are noise of an image without faces, and their cosine means nothing.
NOISE = 0.1
# By how much the cosine to FP32 may be lower on the NPU than on the simulator, for the worst golden input.
REFERENCE_SLACK = 0.01
WHICH_LAYER = "`rkface selftest --layers` says which layer"


@dataclass(frozen=True)
class Golden:
    """Inputs and expected outputs of one model.

    inputs     N×H×W×3 uint8 RGB
    reference  for each output of the model, its N results in FP32
    simulator  the same on the NPU's simulator
    """

    inputs: NDArray[np.uint8]
    reference: list[NDArray[np.float32]]
    simulator: list[NDArray[np.float32]]


@dataclass(frozen=True)
class Agreement:
    """How well a backend agrees with the golden vectors of one model. Cosines are the lowest over inputs and outputs.

    role       the model's name: its role; for another shape of the detector, also the size, as "detector-640x384"
    inputs     number of golden inputs
    simulator  cosine between the backend and the simulator
    reference  cosine between the backend and FP32
    expected   cosine between the simulator and FP32
    output     the kind of output that agrees least
    problem    what is wrong; "" if nothing is
    """

    role: str
    inputs: int
    simulator: float
    reference: float
    expected: float
    output: str
    problem: str


def read_golden(bundle: Bundle, name: str) -> Golden:
    """The golden vectors of the model ``name`` of ``bundle``. Raises BundleError if they are missing or damaged."""
    path = bundle.folder / GOLDEN
    outputs = [output.name for output in bundle.model(name).outputs]
    try:
        with np.load(path) as arrays:
            return Golden(
                arrays[f"{name}/inputs"],
                *([arrays[f"{name}/{source}/{output}"] for output in outputs] for source in ("reference", "simulator")),
            )
    except FileNotFoundError:
        raise BundleError(
            f"{path}: no such file, so there are no golden vectors of the {name}: convert again"
        ) from None
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: there are no golden vectors of the {name} ({error}): convert again") from error


def compare_golden(bundle: Bundle, name: str, golden: Golden, backend: Backend) -> Agreement:
    """Run the golden inputs of the model ``name`` on ``backend`` and compare the outputs. Raises DeviceError if the NPU
    fails."""
    model = bundle.model(name)
    results = (backend.infer(golden.inputs), golden.simulator, golden.reference)
    ours, then, fp32 = (by_kind(model, name, arrays) for arrays in results)
    simulator, reference = cosines(ours.values(), then.values()), cosines(ours.values(), fp32.values())
    expected = float(cosines(then.values(), fp32.values()).min())
    worst = int((reference if backend.name == "reference" else simulator).min(axis=1).argmin())
    least = float(simulator.min()), float(reference.min())
    problem = _problem(backend.name, *least, expected)
    if problem and backend.name != "reference" and name in bundle.manifest.roles:  # other shapes have no debug build
        problem += f"; {WHICH_LAYER}"
    return Agreement(name, len(golden.inputs), *least, expected, list(ours)[worst], problem)


def _problem(backend: str, simulator: float, reference: float, expected: float) -> str:
    if backend == "reference":
        if reference < REFERENCE_FLOOR:
            return f"ONNX Runtime here computes something else than when the bundle was made (cosine {reference:.4f})"
        return ""
    if simulator < SIMULATOR_FLOOR:
        return f"the NPU computes something else than its simulator (cosine {simulator:.4f}, not {SIMULATOR_FLOOR})"
    if reference < expected - REFERENCE_SLACK:
        return f"the NPU is less accurate than its simulator (cosine to FP32 {reference:.4f}, simulator {expected:.4f})"
    return ""


def by_kind(model: Model, name: str, arrays: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The values of each kind of output, N×M. The strides of a detector are joined, because the scores of a stride
    without faces are noise."""
    if role_of(name) != "detector":
        named = zip(model.outputs, arrays, strict=True)
        return {output.name: array.reshape(len(array), -1) for output, array in named}
    levels = find_layout(model.outputs, model.input.width, model.input.height).levels
    kinds = {
        "scores": [score for level in levels for score in level.scores],
        "boxes": [level.boxes for level in levels],
        "landmarks": [level.landmarks for level in levels],
    }
    return {
        kind: np.concatenate([part.read(arrays).reshape(len(arrays[0]), -1) for part in parts], axis=1)
        for kind, parts in kinds.items()
    }


def cosines(ours: Iterable[NDArray[np.float32]], theirs: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The cosine of each kind of output for each input, kinds×N. It is 1 if both sides are noise, and 0 if one side is
    all zero or contains NaN or infinity."""
    pairs = zip(ours, theirs, strict=True)
    return np.array([[_cosine(a, b) for a, b in zip(one, other, strict=True)] for one, other in pairs])


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    first, second = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    if max(np.abs(first).max(), np.abs(second).max()) < NOISE:
        return 1.0
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if np.isfinite(lengths) and lengths else 0.0
