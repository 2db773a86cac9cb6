"""Which layer does the NPU compute wrongly? Run the debug build of a bundle on each core, and compare every output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Quantized, QuantizedBackend, Raw
from ..backends.shared_weights import SharedWeights
from ..core.debug_build import DebugBuild, DebugModel, LayerOutput
from ..core.errors import DeviceError
from ..core.manifest import Role
from ..core.progress import stage
from .golden import SIMULATOR_FLOOR, Golden, read_golden
from .open_bundle import open_model

# If an NPU rounds some values of every layer to the other neighbor, it is another INT8 model: about as far from the
# simulator as the simulator is from FP32 (tests/bench/layer_noise.py: up to 1.6 times). So that distance, plus a step,
# is the unit for what is too far; and a cosine may be lower where the simulator's own cosine to FP32 is low.
FARTHEST = 4.0
LOWER_COSINE = 4.0
INT8_STEPS = 255
GRID = 3  # dimensions of C×H×W
LARGEST = 1e9  # a distance, or a number of steps, beyond all others: JSON has no infinity
PIXELS = 16  # of a channel: with fewer, its distance says little by itself


@dataclass(frozen=True)
class Difference:
    """How an output differs from the simulator's, for the golden input with the largest difference.

    distance   root mean square distance from the simulator, in the channel where it is largest, as a multiple of the
               simulator's distance from FP32 plus one INT8 step
    steps      the largest difference in INT8 steps; those of a float output are 1/255 of its range
    cosine     between the NPU and the simulator
    reference  between the NPU and FP32
    expected   between the simulator and FP32
    """

    distance: float
    steps: float
    cosine: float
    reference: float
    expected: float

    @property
    def wrong(self) -> bool:
        # Both: a tensor of mostly zeros may have few wrong values, and one with a large mean a cosine near 1. Where
        # nothing differs by more than a few steps, such as in scores without a face, a cosine means nothing.
        least = min(SIMULATOR_FLOOR, 1 - LOWER_COSINE * (1 - self.expected))
        return not (self.distance <= FARTHEST and (self.cosine >= least or self.steps <= FARTHEST))


@dataclass(frozen=True)
class LayerResult:
    """What one core computes with the debug build of one model.

    core        None for the processor's only core
    compared    number of outputs
    layers      number of layers of the model
    first       the first output, in order of execution, that is wrong; None if none is
    difference  that of ``first``, or else the largest
    wrong       names of all wrong outputs, in order of execution
    build       cosine between the final outputs of the debug build and the bundle's model in the simulator; 1 if the
                same
    error       why the debug build did not run; "" if it did
    """

    role: Role
    core: int
    compared: int
    layers: int
    first: LayerOutput | None
    difference: Difference | None
    wrong: tuple[str, ...]
    build: float
    error: str = ""


def check_layers(debug: DebugBuild, cores: Sequence[int]) -> list[LayerResult]:
    """Run the debug build of each model on each of ``cores``. Raises BundleError if its golden vectors are damaged."""
    return [result for role in debug.models for result in _check_model(debug, role, cores)]


def _check_model(debug: DebugBuild, role: Role, cores: Sequence[int]) -> list[LayerResult]:
    golden, model, results = read_golden(debug.bundle, role), debug.models[role], []
    weights = SharedWeights()
    with stage(f"{role}: layers"), ExitStack() as opened:
        for core in cores:
            try:
                backend = open_model(debug.bundle, role, "npu", core=core, weights=weights)
                opened.callback(backend.close)
                assert isinstance(backend, QuantizedBackend)
                results.append(_result(role, core, model, _differences(backend, golden)))
            except DeviceError as error:
                count = len(model.outputs)
                results.append(LayerResult(role, core, count, model.layers, None, None, (), model.cosine, str(error)))
    return results


def _result(role: Role, core: int, model: DebugModel, differences: Sequence[Difference]) -> LayerResult:
    found = sorted(zip(model.outputs, differences, strict=True), key=lambda pair: pair[0].number)
    wrong = [pair for pair in found if pair[1].wrong]
    first, difference = wrong[0] if wrong else (None, max(differences, key=_badness))
    names = tuple(output.tensor for output, _ in wrong)
    return LayerResult(role, core, len(found), model.layers, first, difference, names, model.cosine)


def _differences(backend: QuantizedBackend, golden: Golden) -> list[Difference]:
    """The largest difference of each output."""
    worst: list[Difference] = []
    for index, image in enumerate(golden.inputs):
        found = [
            measure_difference(ours, simulator[index], reference[index])
            for ours, simulator, reference in zip(
                backend.infer_quantized(image), golden.simulator, golden.reference, strict=True
            )
        ]
        worst = [max(pair, key=_badness) for pair in zip(worst or found, found, strict=True)]
    return worst


def _badness(difference: Difference) -> tuple[bool, float, float]:
    return difference.wrong, difference.distance, -difference.cosine


def measure_difference(ours: Raw, simulator: NDArray[np.float32], reference: NDArray[np.floating[Any]]) -> Difference:
    """Compare one output of the NPU with the same output of the simulator and of FP32; C×H×W, or another shape."""
    values = ours.dequantize() if isinstance(ours, Quantized) else ours
    step = ours.scale if isinstance(ours, Quantized) else float(np.ptp(simulator)) / INT8_STEPS
    ours_by_channel, then, fp32 = (_by_channel(array, simulator.shape) for array in (values, simulator, reference))
    distances = _rms(ours_by_channel - then) / np.maximum(_rms(then - fp32) + step, np.finfo(np.float32).tiny)
    largest = float(np.abs(ours_by_channel - then).max())
    finite = bool(np.isfinite(largest))
    return Difference(
        distance=float(distances.max()) if finite else LARGEST,
        steps=min(round(largest / step, 1), LARGEST) if finite and step else LARGEST * (largest != 0),
        cosine=_cosine(ours_by_channel, then),
        reference=_cosine(ours_by_channel, fp32),
        expected=_cosine(then, fp32),
    )


def _by_channel(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Channels×values, of a tensor of this ``shape``; one channel if it has no grid, or a small one."""
    pixels = math.prod(shape[1:]) if len(shape) == GRID else 0
    return array.reshape(shape[0] if pixels >= PIXELS else 1, -1).astype(np.float64)


def _rms(array: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.sqrt(np.mean(array**2, axis=1))
    return found


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    first, second = a.ravel(), b.ravel()
    lengths = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if lengths == (0.0, 0.0):
        return 1.0
    product = lengths[0] * lengths[1]
    return float(first @ second) / product if np.isfinite(product) and product else 0.0
