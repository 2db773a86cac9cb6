"""ONNX Runtime: the path that the NPU is held to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, ModelError
from . import check_images

if TYPE_CHECKING:
    from ..bundle import Input

PROVIDERS = {"cpu": "CPUExecutionProvider", "openvino": "OpenVINOExecutionProvider", "cuda": "CUDAExecutionProvider"}


def normalize(images: NDArray[np.uint8], input: Input) -> NDArray[np.float32]:
    """N×H×W×3 uint8 RGB → N×3×H×W float32, (x − mean) / std: what the ``.rknn`` does inside."""
    mean, std = np.asarray(input.mean, np.float32), np.asarray(input.std, np.float32)
    return np.ascontiguousarray(((images - mean) / std).transpose(0, 3, 1, 2))


class ReferenceBackend:
    """One ONNX model in ONNX Runtime."""

    name = "reference"

    def __init__(self, session: Any, input: Input) -> None:
        self._session = session
        self._input = input
        self._batch = session.get_inputs()[0].shape[0]

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        check_images(images, self._input.height, self._input.width)
        tensor = normalize(images, self._input)
        if self._batch != 1 or len(images) == 1:
            return self._run(tensor)
        runs = [self._run(one[None]) for one in tensor]
        return [np.concatenate(arrays) for arrays in zip(*runs, strict=True)]

    def _run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input.name: tensor})
        return outputs

    def close(self) -> None:
        self._session = None


def open_reference(
    path: Path, input: Input, providers: Sequence[str] = ("CPUExecutionProvider",), threads: int | None = None
) -> ReferenceBackend:
    """Load the ONNX model at ``path``. ``providers`` are ONNX Runtime's names or ours (cpu, openvino, cuda).

    InputError where onnxruntime or a provider is not installed; ModelError where the file cannot be loaded.
    """
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
    return ReferenceBackend(session, input)
