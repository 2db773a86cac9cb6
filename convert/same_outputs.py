"""Checks on photos that a simplified model computes what the original computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rkface.runtime.backends.reference import normalize
from rkface.runtime.core.errors import ModelError, WorkError
from rkface.runtime.core.manifest import Input
from rkface.runtime.core.subprocess_call import ProcessDiedError, call_in_subprocess

from .native_steps import open_session
from .simplify import FixedModel, SimplifiedModel

SAME = 1e-4  # the largest allowed difference, as a share of the output's largest value (at least 1)


def check_same_outputs(model: FixedModel, simplified: SimplifiedModel, images: NDArray[np.uint8]) -> float:
    """The largest difference between the two models on ``images`` (N×H×W×3 uint8 RGB), as ``max_difference`` defines
    it.

    An original that was trained on BGR gets BGR. Raises WorkError above 1e-4: float32 sums in another order differ by
    less, another function by more.
    """
    models = model.proto.SerializeToString(), simplified.path.read_bytes()
    bgr = model.preprocessing.bgr
    try:
        worst = call_in_subprocess(_compare, *models, model.input, images, bgr=bgr)
    except ProcessDiedError as error:
        raise ModelError(f"{model.name}: ONNX Runtime {error.how} on a photo: export the model again") from error
    if worst > SAME:
        raise WorkError(
            f"{model.name}: the simplified model differs from the original by {worst:.1e} (limit: {SAME:.0e}): "
            "export the model again with fixed shapes, or with another opset"
        )
    return worst


def max_difference(before: Any, after: Any, input: Input, images: NDArray[np.uint8], *, bgr: bool = False) -> float:
    """The largest difference between the outputs of two ModelProtos on ``images`` (N×H×W×3 uint8 RGB).

    It is a share of each output's largest value (at least 1), and infinite if an output contains NaN. ``bgr`` says that
    ``before`` takes BGR.
    """
    worst = 0.0
    first, second = open_session(before.SerializeToString()), open_session(after.SerializeToString())
    for image in normalize(images, input):
        own = np.ascontiguousarray(image[::-1]) if bgr else image
        answers = first.run(None, {input.name: own[None]}), second.run(None, {input.name: image[None]})
        for left, right in zip(*answers, strict=True):
            scale = max(1.0, float(np.abs(left).max()))
            worst = float(np.fmax(worst, np.nan_to_num(np.abs(left - right).max() / scale, nan=np.inf)))
    return worst


def _compare(
    before: bytes,
    after: bytes,
    input: Input,
    images: NDArray[np.uint8],
    *,
    bgr: bool,
    progress: Callable[[int, int], None],  # of call_in_subprocess
) -> float:
    """``max_difference`` of two serialized models."""
    protos = onnx.ModelProto.FromString(before), onnx.ModelProto.FromString(after)
    return max_difference(*protos, input, images, bgr=bgr)
