"""A bundle's golden vectors: does a backend compute what was computed when the bundle was made?"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .backends import Backend
from .bundle import Bundle, Role
from .errors import BundleError

GOLDEN = "golden.npz"
# The least cosine of an output that passes. INT8 on silicon may round a value to the next step where the simulator
# did not, which costs about 1e-4; a model that the NPU computes wrongly was seen at 0.42 (airockchip/rknn-toolkit2
# #110). The reference computes what it computed then, but for another processor's float32.
SIMULATOR_FLOOR = 0.98
REFERENCE_FLOOR = 0.9999
# How much further from FP32 than the simulator was, at the worst golden input, the NPU may be.
REFERENCE_SLACK = 0.01


@dataclass(frozen=True)
class Golden:
    """inputs N×H×W×3 uint8; for each output of the model its N results, in FP32 and on the simulator of the NPU."""

    inputs: NDArray[np.uint8]
    reference: list[NDArray[np.float32]]
    simulator: list[NDArray[np.float32]]


@dataclass(frozen=True)
class Agreement:
    """The least cosine over golden inputs and outputs to the simulator and to FP32; ``expected`` is what the simulator
    itself had to FP32; ``output`` names the worst output; ``problem`` is empty where all is well."""

    role: Role
    inputs: int
    simulator: float
    reference: float
    expected: float
    output: str
    problem: str


def read_golden(bundle: Bundle, role: Role) -> Golden:
    path = bundle.folder / GOLDEN
    names = [output.name for output in bundle.model(role).outputs]
    try:
        with np.load(path) as arrays:
            return Golden(
                arrays[f"{role}/inputs"],
                *([arrays[f"{role}/{source}/{name}"] for name in names] for source in ("reference", "simulator")),
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: no golden vectors of the {role} ({error}): convert again") from error


def agree(bundle: Bundle, role: Role, golden: Golden, backend: Backend) -> Agreement:
    """Run the golden inputs of ``role`` on ``backend`` and compare. DeviceError where the NPU fails."""
    outputs = backend.infer(golden.inputs)
    simulator, reference = cosines(outputs, golden.simulator), cosines(outputs, golden.reference)
    expected = float(cosines(golden.simulator, golden.reference).min())
    worst = int((reference if backend.name == "reference" else simulator).min(axis=1).argmin())
    least = float(simulator.min()), float(reference.min())
    return Agreement(
        role, len(golden.inputs), *least, expected, bundle.model(role).outputs[worst].name,
        _problem(backend.name, *least, expected),
    )  # fmt: skip


def _problem(backend: str, simulator: float, reference: float, expected: float) -> str:
    if backend == "reference":
        if reference < REFERENCE_FLOOR:
            return f"ONNX Runtime here computes something else than when the bundle was made (cosine {reference:.4f})"
        return ""
    if simulator < SIMULATOR_FLOOR:
        return f"the NPU computes something else than its simulator (cosine {simulator:.4f}, not {SIMULATOR_FLOOR})"
    if reference < expected - REFERENCE_SLACK:
        return f"the NPU is further from FP32 than its simulator ({reference:.4f}, the simulator {expected:.4f})"
    return ""


def cosines(ours: Sequence[NDArray[np.float32]], theirs: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Outputs×N: the cosine between each output of each input. 1 where both are all zero, 0 where one is, or where
    something is no number."""
    pairs = zip(ours, theirs, strict=True)
    return np.array([[_cosine(a, b) for a, b in zip(one, other, strict=True)] for one, other in pairs])


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    first, second = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not np.isfinite(lengths):
        return 0.0
    if lengths == 0:
        return float(not first.any() and not second.any())
    return float(first @ second) / lengths
