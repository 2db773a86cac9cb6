"""ONNX Runtime: the path that the NPU is held to."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import DeviceError, InputError, ModelError
from . import check_images, stack_runs

if TYPE_CHECKING:
    from ..core.bundle import Input

PROVIDERS = {"cpu": "CPUExecutionProvider", "openvino": "OpenVINOExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Tensor(threading.local):
    """A model's input, each thread's own, kept for the same reason as runtime.detect.Canvas."""

    def __init__(self, input: Input) -> None:
        values = np.arange(256, dtype=np.float32)  # a byte has 256 values: look them up
        self._tables = [
            (values - np.float32(mean)) / np.float32(std) for mean, std in zip(input.mean, input.std, strict=True)
        ]
        self._planes = tuple(np.empty((input.height, input.width), np.uint8) for _ in range(3))
        self._floats = np.empty((0, 3, input.height, input.width), np.float32)
        self._filled = 0  # rows of a single image that are not black; 0 where nothing is known

    def fill(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As ``normalize``, but only good until the thread's next images.

        Below a letterboxed frame all is black, as it was below the one before: that is not written again.
        """
        if len(images) > len(self._floats):
            self._floats, self._filled = np.empty((len(images), *self._floats.shape[1:]), np.float32), 0
        rows = self._filled if len(images) == 1 else 0
        if not rows or images[0, rows:].max(initial=0):
            rows = images.shape[1]
            self._filled = int(images[0].any(axis=(1, 2)).nonzero()[0].max(initial=-1)) + 1 if len(images) == 1 else 0
        planes, filled = [plane[:rows] for plane in self._planes], self._floats[: len(images)]
        for image, target in zip(images, filled, strict=True):
            cv2.split(image[:rows], planes)
            for plane, table, floats in zip(planes, self._tables, target, strict=True):
                cv2.LUT(plane, table, dst=floats[:rows])
        return filled


def normalize(images: NDArray[np.uint8], input: Input) -> NDArray[np.float32]:
    """N×H×W×3 uint8 RGB → N×3×H×W float32, (x − mean) / std: what the ``.rknn`` does inside."""
    return Tensor(input).fill(images)


class ReferenceBackend:
    """One ONNX model in ONNX Runtime."""

    name = "reference"

    def __init__(self, session: Any, input: Input) -> None:
        self._session = session
        self._input = input
        self._batch = session.get_inputs()[0].shape[0]
        self._tensor = Tensor(input)

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        check_images(images, self._input.height, self._input.width)
        # All of them first: after an inference nothing of this is left in the cache.
        tensor = self._tensor.fill(images)
        return self._run(tensor) if self._batch != 1 else stack_runs([self._run(one[None]) for one in tensor])

    def _run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if self._session is None:
            raise DeviceError("this model is closed: open it again")
        try:
            outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input.name: tensor})
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise DeviceError(f"ONNX Runtime failed: {str(error).splitlines()[0]}") from error
        return outputs

    def close(self) -> None:
        self._session = None


def open_reference(
    path: Path, input: Input, providers: Sequence[str] = ("CPUExecutionProvider",), threads: int | None = None
) -> ReferenceBackend:
    """Load the ONNX model at ``path``. ``providers`` are ONNX Runtime's names or ours (cpu, openvino, cuda).

    InputError where onnxruntime or a provider is not installed; ModelError where the file cannot be loaded.
    """
    session = open_session(path, providers, threads)
    for batch in map(fixed_size, session.get_inputs()[0].shape[:1]):
        if batch not in (None, 1):
            raise ModelError(f"{path}: the model takes {batch} images at once: export it with batch 1")
    return ReferenceBackend(session, input)


def open_session(path: Path, providers: Sequence[str], threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("the reference backend needs onnxruntime: pip install 'rkface[reference]'") from error
    wanted = [PROVIDERS.get(name, name) for name in providers]
    missing = [name for name in wanted if name not in onnxruntime.get_available_providers()]
    if missing:
        have = ", ".join(onnxruntime.get_available_providers())
        raise InputError(f"ONNX Runtime here has no {missing[0]} (it has {have}): install the package that brings it")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=wanted)
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise ModelError(f"{path}: ONNX Runtime cannot load this model: {str(error).splitlines()[0]}") from error
    if session.get_providers()[0] != wanted[0]:
        # Its libraries are missing (CUDA's, mostly): ONNX Runtime goes on with the CPU and says so only in its log.
        raise InputError(f"ONNX Runtime cannot start {wanted[0]} here: install the driver and libraries that it needs")
    return session


def fixed_size(dimension: Any) -> int | None:
    """A static dimension; None for a dynamic one, which ONNX Runtime gives as a name or None."""
    return dimension if isinstance(dimension, int) and dimension > 0 else None
