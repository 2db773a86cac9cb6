"""A bundle's golden vectors: does a backend compute what was computed when the bundle was made?"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend
from ..core.bundle import Bundle, Output, Role
from ..core.errors import BundleError

GOLDEN = "golden.npz"
# The least cosine of an output that passes. INT8 on silicon may round a value to the next step where the simulator
# did not, which costs about 1e-4; a model that the NPU computes wrongly was seen at 0.42 (airockchip/rknn-toolkit2
# #110). The reference computes what it computed then, but for another processor's float32.
SIMULATOR_FLOOR = 0.98
REFERENCE_FLOOR = 0.9999
# Below this, scores of both sides are noise of a picture without faces, where one rounding turns the direction.
NOISE = 0.1
KINDS = {1: "scores", 4: "boxes", 10: "landmarks"}  # of SCRFD's outputs, by how many values an anchor has
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
    """The least cosine over golden inputs and kinds of output to the simulator and to FP32; ``expected`` is what the
    simulator itself had to FP32; ``output`` names the worst kind; ``problem`` is empty where all is well."""

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
    outputs = bundle.model(role).outputs
    results = (backend.infer(golden.inputs), golden.simulator, golden.reference)
    ours, then, fp32 = (by_kind(outputs, arrays) for arrays in results)
    simulator, reference = cosines(ours.values(), then.values()), cosines(ours.values(), fp32.values())
    expected = float(cosines(then.values(), fp32.values()).min())
    worst = int((reference if backend.name == "reference" else simulator).min(axis=1).argmin())
    least = float(simulator.min()), float(reference.min())
    problem = _problem(backend.name, *least, expected)
    return Agreement(role, len(golden.inputs), *least, expected, list(ours)[worst], problem)


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


def by_kind(outputs: Sequence[Output], arrays: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Kind of output → N×M values. SCRFD's three strides go together: one may have no face in it, and then its scores
    are noise."""
    kinds: dict[str, list[NDArray[np.float32]]] = {}
    for output, array in zip(outputs, arrays, strict=True):
        kinds.setdefault(KINDS.get(output.shape[-1], output.name), []).append(array.reshape(len(array), -1))
    return {kind: np.concatenate(parts, axis=1) for kind, parts in kinds.items()}


def cosines(ours: Iterable[NDArray[np.float32]], theirs: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Kinds×N: the cosine between each kind of output of each input. 1 where both are next to nothing, 0 where one is
    all zero, or where something is no number."""
    pairs = zip(ours, theirs, strict=True)
    return np.array([[_cosine(a, b) for a, b in zip(one, other, strict=True)] for one, other in pairs])


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    first, second = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    if max(np.abs(first).max(), np.abs(second).max()) < NOISE:
        return 1.0
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if np.isfinite(lengths) and lengths else 0.0
