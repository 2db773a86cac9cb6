"""The NPU backend: it checks a model against its manifest, opens it (bindings.py) and runs it (librknn.py)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.crop_template import ARCFACE_112
from ..core.errors import DeviceError, InputError, ModelError
from ..core.manifest import RecognizerSpec, crop_entries, input_entries
from ..core.soc import CORES, read_soc
from . import Quantized, Raw, check_images, stack_runs
from .bindings import find_binding
from .librknn import CallError, Context
from .npu_errors import device_error
from .shared_weights import SharedWeights

if TYPE_CHECKING:
    from ..core.manifest import Input, Model, Output

HEAD_BYTES = 1 << 16  # of a .rknn file: the input contract is in its first two kilobytes
# What the contracts that rkface embedded at first did not say about a recognizer, because it was so for all.
FIRST_RECOGNIZERS = crop_entries(ARCFACE_112, ())


class NpuBackend:
    """One model in one context of the NPU. A context is not thread-safe: use it in one thread at a time."""

    name = "npu"

    def __init__(self, context: Context, path: Path, input: Input, outputs: Sequence[Output]) -> None:
        self._context: Context | None = context
        self._path = path
        self._input = input
        self._outputs = outputs

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        check_images(images, self._input.height, self._input.width)
        return stack_runs([[_floats(output) for output in self._run(image)] for image in images])

    def infer_quantized(self, image: NDArray[np.uint8]) -> list[Raw]:
        """Run one H×W×3 uint8 RGB image. INT8 outputs stay as the NPU computed them."""
        check_images(image[None], self._input.height, self._input.width)
        return self._run(image)

    def _run(self, image: NDArray[np.uint8]) -> list[Raw]:
        if self._context is None:
            raise DeviceError(f"{self._path}: the model is closed: open it again")
        try:
            flat = self._context.run(np.ascontiguousarray(image))
        except CallError as error:
            raise device_error(self._path, error.call, error.code) from error
        return [array.reshape(*output.shape) for array, output in zip(flat, self._outputs, strict=True)]

    @property
    def runtime(self) -> str:
        """The version of librknnrt; "" if the model is closed. Raises DeviceError if the library does not say it."""
        try:
            return self._context.version() if self._context else ""
        except CallError as error:
            raise device_error(self._path, error.call, error.code) from error

    def close(self) -> None:
        if self._context is not None:
            context, self._context = self._context, None
            context.close()


def open_npu(
    path: Path, model: Model, *, soc: str | None = None, core: int | None = None, weights: SharedWeights | None = None
) -> NpuBackend:
    """Load the ``.rknn`` at ``path`` into a new context. ``model`` is what the manifest says about it.

    ``soc`` is the chip of this machine; None reads it from the device tree. ``core`` is the NPU core to use, 0 or
    greater; None lets the driver choose. Models that are opened with the same ``weights``, which must be the same
    model, have their weights in memory once.

    Raises InputError if this machine has no such NPU or core; ModelError if the model does not match its manifest;
    DeviceError if the driver, the library or the NPU fails.
    """
    mask = _mask(soc or read_soc(), core)
    head = _head(path)
    _check_contract(path, head, model)
    binding, weights = find_binding(), weights or SharedWeights()
    try:
        context = weights.open(lambda: binding.open(path, mask), mask)
        try:
            _check_outputs(path, model.outputs, context.sizes)
        except BaseException:
            context.close()
            raise
    except CallError as error:
        raise device_error(path, error.call, error.code) from error
    return NpuBackend(context, path, model.input, model.outputs)


def _mask(soc: str | None, core: int | None) -> int | None:
    """The core mask: bit 0 is core 0, and 0 lets the driver choose. Chips with one core reject any mask: None."""
    if soc not in CORES:
        raise InputError(
            f"{soc or 'this machine'} has no NPU that librknnrt supports ({', '.join(CORES)}): use --backend reference"
        )
    if core is not None and not 0 <= core < CORES[soc]:
        raise InputError(f"{soc} has no NPU core {core}: its cores are 0 to {CORES[soc] - 1}")
    if CORES[soc] == 1:
        return None
    return 0 if core is None else 1 << core


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}: copy the bundle again") from error
    if head[:4] != b"RKNN":
        raise ModelError(f"{path} is not an RKNN model: `rkface convert` makes one")
    return head


def _check_contract(path: Path, head: bytes, model: Model) -> None:
    """Compare the input contract inside the ``.rknn`` (its custom string) with the manifest. If they differ, results
    would be wrong without any error."""
    found = re.search(rb'\{"rkface":[^{}]*\}', head)
    if found is None:
        raise ModelError(f"{path} has no input contract: convert it with rkface")
    stored = FIRST_RECOGNIZERS | json.loads(found[0])
    expected = input_entries(model.input)
    if isinstance(model, RecognizerSpec):
        expected |= crop_entries(model.crop, model.center)
    for key, value in expected.items():
        if stored.get(key) != value:
            raise ModelError(
                f"{path} was made for {key} {stored.get(key)}, its manifest says {value}: copy the bundle again"
            )


def _check_outputs(path: Path, outputs: Sequence[Output], sizes: Sequence[int]) -> None:
    if list(sizes) != [int(np.prod(output.shape)) for output in outputs]:
        expected = ", ".join("×".join(map(str, output.shape)) for output in outputs)
        raise ModelError(
            f"{path} has outputs of {sizes} values, its manifest says {expected}: copy the complete bundle again"
        )


def _floats(output: Raw) -> NDArray[np.float32]:
    return output.dequantize() if isinstance(output, Quantized) else output
