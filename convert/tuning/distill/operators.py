"""The ONNX operators that occur in face recognizers, as functions of torch.

Each takes the inputs of a node (None for one that is left out), N first, and its attributes, and returns its output.
The definitions are those of https://onnx.ai/onnx/operators. A form of an operator that recognizers do not use raises
WorkError instead of computing something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rkface.runtime.core.errors import WorkError

Attributes = Mapping[str, Any]
Operator = Callable[[Sequence[Any], Attributes], Tensor]

MOVES = frozenset({"Concat", "Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "Squeeze", "Transpose",
                   "Unsqueeze"})  # fmt: skip


def _conv(given: Sequence[Any], options: Attributes) -> Tensor:
    require(len(options.get("kernel_shape", (1, 1))) == 2, "Conv that is not two-dimensional")
    images, padding = _padded(given[0], options, 0.0)
    bias = given[2] if len(given) > 2 else None
    strides, dilations = options.get("strides", (1, 1)), options.get("dilations", (1, 1))
    return functional.conv2d(images, given[1], bias, strides, padding, dilations, options.get("group", 1))


def _padded(images: Tensor, options: Attributes, value: float) -> tuple[Tensor, tuple[int, int]]:
    """``images`` and the padding that is the same on opposite sides; other padding is added here."""
    require(options.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID"), "auto_pad")
    top, left, bottom, right = options.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return images, (top, left)
    return functional.pad(images, (left, right, top, bottom), value=value), (0, 0)


def _gemm(given: Sequence[Any], options: Attributes) -> Tensor:
    left = given[0].T if options.get("transA", 0) else given[0]
    right = given[1].T if options.get("transB", 0) else given[1]
    product: Tensor = options.get("alpha", 1.0) * (left @ right)
    if len(given) > 2 and given[2] is not None:
        product = product + options.get("beta", 1.0) * given[2]
    return product


def _batch_norm(given: Sequence[Any], options: Attributes) -> Tensor:
    values, scale, bias, mean, variance = given
    return functional.batch_norm(values, mean, variance, scale, bias, eps=options.get("epsilon", 1e-5))


def _clip(given: Sequence[Any], options: Attributes) -> Tensor:
    # Before opset 11, the limits were attributes.
    low = given[1] if len(given) > 1 else options.get("min")
    high = given[2] if len(given) > 2 else options.get("max")
    return torch.clamp(given[0], None if low is None else float(low), None if high is None else float(high))


def _prelu(given: Sequence[Any], options: Attributes) -> Tensor:
    values, slope = given
    if slope.numel() in (1, values.shape[1]):  # a third faster than the general form
        return functional.prelu(values, slope.reshape(-1))
    return torch.where(values >= 0, values, values * slope)


def _max_pool(given: Sequence[Any], options: Attributes) -> Tensor:
    images, padding = _padded(given[0], options, -torch.inf)
    strides, dilations = options.get("strides", (1, 1)), options.get("dilations", (1, 1))
    whole = bool(options.get("ceil_mode", 0))
    return functional.max_pool2d(images, options["kernel_shape"], strides, padding, dilations, whole)


def _average_pool(given: Sequence[Any], options: Attributes) -> Tensor:
    counted = bool(options.get("count_include_pad", 0))
    top, left, bottom, right = options.get("pads", (0, 0, 0, 0))
    require(counted or (top, left) == (bottom, right), "AveragePool with different padding on opposite sides")
    require(all(one == 1 for one in options.get("dilations", (1, 1))), "AveragePool with dilation")
    images, padding = _padded(given[0], options, 0.0)
    whole = bool(options.get("ceil_mode", 0))
    return functional.avg_pool2d(
        images, options["kernel_shape"], options.get("strides", (1, 1)), padding, whole, counted
    )


def _pad(given: Sequence[Any], options: Attributes) -> Tensor:
    require(options.get("mode", b"constant") == b"constant", "Pad with a mode other than constant")
    require(len(given) < 4 or given[3] is None, "Pad with axes")
    pads = options.get("pads") or [int(one) for one in given[1]]
    value = options.get("value", 0.0) if len(given) < 3 or given[2] is None else float(given[2])
    half = len(pads) // 2
    flat = [amount for axis in reversed(range(half)) for amount in (pads[axis], pads[axis + half])]
    return functional.pad(given[0], flat, value=value)


def _slice(given: Sequence[Any], options: Attributes) -> Tensor:
    require(len(given) >= 3, "Slice of an opset before 10")
    starts, ends = ([int(one) for one in part] for part in given[1:3])
    axes = [int(one) for one in given[3]] if len(given) > 3 and given[3] is not None else list(range(len(starts)))
    steps = [int(one) for one in given[4]] if len(given) > 4 and given[4] is not None else [1] * len(starts)
    require(all(step > 0 for step in steps), "Slice with a negative step")
    at = [slice(None)] * given[0].ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        at[axis] = slice(start, end, step)
    part: Tensor = given[0][tuple(at)]
    return part


def _reshape(given: Sequence[Any], options: Attributes) -> Tensor:
    values, shape = given[0], [int(one) for one in given[1]]
    sizes = [values.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    if sizes[0] == 1:  # the graph was made for a batch of 1
        sizes[0] = len(values)
    reshaped: Tensor = values.reshape(sizes)
    return reshaped


def _squeeze(given: Sequence[Any], options: Attributes) -> Tensor:
    axes = options.get("axes") or ([int(one) for one in given[1]] if len(given) > 1 else None)
    require(axes is not None, "Squeeze of all axes")
    squeezed: Tensor = given[0].squeeze(tuple(axes or ()))
    return squeezed


def _unsqueeze(given: Sequence[Any], options: Attributes) -> Tensor:
    values: Tensor = given[0]
    for axis in sorted(options.get("axes") or [int(one) for one in given[1]]):
        values = values.unsqueeze(axis)
    return values


def _resize(given: Sequence[Any], options: Attributes) -> Tensor:
    mode = options.get("mode", b"nearest").decode()
    how = options.get("coordinate_transformation_mode", b"half_pixel").decode()
    scales = given[2] if len(given) > 2 and given[2] is not None and given[2].numel() else None
    size = [int(one) for one in given[3]][2:] if scales is None else None
    factors = None if scales is None else [float(one) for one in scales][2:]
    if mode == "linear" and how in ("half_pixel", "pytorch_half_pixel"):
        return functional.interpolate(given[0], size, factors, mode="bilinear", recompute_scale_factor=False)
    nearest = options.get("nearest_mode", b"round_prefer_floor").decode()
    require((mode, how, nearest) == ("nearest", "asymmetric", "floor"), f"Resize with {mode} and {how}")
    return functional.interpolate(given[0], size, factors, mode="nearest")


def _reduce_mean(given: Sequence[Any], options: Attributes) -> Tensor:
    axes = options.get("axes") or ([int(one) for one in given[1]] if len(given) > 1 else None)
    require(axes is not None, "ReduceMean of all axes")
    mean: Tensor = given[0].mean(tuple(axes or ()), keepdim=bool(options.get("keepdims", 1)))
    return mean


def _hard_sigmoid(given: Sequence[Any], options: Attributes) -> Tensor:
    return torch.clamp(options.get("alpha", 0.2) * given[0] + options.get("beta", 0.5), 0, 1)


def require(condition: bool, what: str) -> None:
    """Raise WorkError, naming the operator and its form, unless ``condition`` holds."""
    if not condition:
        raise WorkError(f"the model cannot be distilled: {what} is not supported")


OPERATORS: dict[str, Operator] = {
    "Add": lambda given, options: given[0] + given[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": lambda given, options: torch.cat(tuple(given), options["axis"]),
    "Conv": _conv,
    "Div": lambda given, options: given[0] / given[1],
    "Flatten": lambda given, options: given[0].flatten(options.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda given, options: given[0].mean((2, 3), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "Identity": lambda given, options: given[0],
    "LeakyRelu": lambda given, options: functional.leaky_relu(given[0], options.get("alpha", 0.01)),
    "MatMul": lambda given, options: given[0] @ given[1],
    "MaxPool": _max_pool,
    "Mul": lambda given, options: given[0] * given[1],
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Relu": lambda given, options: functional.relu(given[0]),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda given, options: torch.sigmoid(given[0]),
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": lambda given, options: given[0] - given[1],
    "Transpose": lambda given, options: given[0].permute(options["perm"]),
    "Unsqueeze": _unsqueeze,
}
