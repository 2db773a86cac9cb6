"""Reads from a graph how the model normalizes its own input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Channels = NDArray[np.float64]  # three values, in the model's own channel order

# Photos have values of 0..255 with a mean of about 120 and a deviation of about 60. Published models normalize with
# means of 91 to 131 (or 0) and deviations of 1 to 255.
RAW_MEAN, RAW_STD = (60.0, 180.0), (0.9, 260.0)
UNIT_MEAN, UNIT_STD = (0.2, 0.8), (0.1, 1.1)
# How far a detector's normalization may be from its family's: some exports divide by 127.5 and not by 128.
NEAR_MEAN, NEAR_STD = 8.0, 0.1
KEEPS_COLORS = ("Identity", "Cast", "Resize", "Upsample")


@dataclass(frozen=True)
class InnerNormalization:
    """The model computes (x − mean) / std of its input, for each channel, before anything else. ``reverses``: it also
    reverses the order of the channels."""

    mean: Channels
    std: Channels
    reverses: bool = False

    @property
    def scales(self) -> bool:
        """Whether it does more than to reverse the channels."""
        return not (np.allclose(self.mean, 0) and np.allclose(self.std, 1))

    @property
    def of_bytes(self) -> bool:
        """Whether the input must be 0..255: only then the result is what a network is trained on."""
        centered = _between(self.mean, RAW_MEAN) and _between(self.std, RAW_STD)
        scaled = bool(np.all(np.abs(self.mean) < 1)) and _between(self.std, (100.0, 260.0))
        return centered or scaled

    @property
    def of_fractions(self) -> bool:
        """Whether the input must be 0..1."""
        centered = _between(self.mean, UNIT_MEAN) and _between(self.std, UNIT_STD)
        return centered or bool(np.all(np.abs(self.mean) < 0.01) and np.allclose(1 / self.std, 255, rtol=0.01))

    def completes(self, outer: tuple[Any, Any], whole: tuple[Any, Any]) -> bool:
        """Whether the normalization ``outer`` of 0..255, and then this one, are about the normalization ``whole``; each
        is a mean and a std of three numbers in the order of this one's."""
        mean = np.asarray(outer[0]) + np.asarray(outer[1]) * self.mean
        std = np.asarray(outer[1]) * self.std
        near = np.all(np.abs(mean - np.asarray(whole[0])) < NEAR_MEAN)
        return bool(near and np.allclose(std, np.asarray(whole[1]), rtol=NEAR_STD))

    def __str__(self) -> str:
        return f"(x − {_show(self.mean)}) / {_show(self.std)}"


def read_normalization(proto: Any, name: str) -> InnerNormalization | None:
    """What the ModelProto ``proto`` does first with its input ``name``; None if it does not scale, shift or reverse its
    channels."""
    weights = _constants(proto)
    readers: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for one in node.input if node.op_type != "Shape" else ():
            readers.setdefault(one, []).append(node)
    gain, offset, axis, reverses = np.ones(3), np.zeros(3), 1, False
    while len(found := readers.get(name, [])) == 1:
        node = found[0]
        if node.op_type == "Transpose":
            order = next((list(one.ints) for one in node.attribute if one.name == "perm"), [])
            if axis not in order or len(order) != 4:
                break
            axis = order.index(axis)
        elif node.op_type in ("Gather", "Slice"):
            turned = _reverses(node, weights, axis) if node.input[0] == name else None
            if turned is None:
                break
            reverses ^= turned
        elif node.op_type not in KEEPS_COLORS:
            step = _affine(node, name, weights, axis)
            if step is None:
                break
            own_gain, own_offset = (one[::-1] for one in step) if reverses else step
            gain, offset = gain * own_gain, offset * own_gain + own_offset
        name = node.output[0]
    same = np.allclose(gain, 1) and np.allclose(offset, 0) and not reverses
    return None if same or not np.all(gain > 0) else InnerNormalization(-offset / gain, 1 / gain, reverses)


def _reverses(node: Any, weights: dict[str, Any], axis: int) -> bool | None:
    """Whether a Gather or Slice reverses the channels along ``axis`` of four; False if it only cuts rows and columns,
    None if it does something else."""
    given = [np.asarray(weights.get(one, ())).reshape(-1).tolist() for one in node.input[1:]]
    if node.op_type == "Gather":
        along = next((one.i for one in node.attribute if one.name == "axis"), 0)
        return True if along % 4 == axis and given[0] in ([2, 1, 0], [-1, -2, -3]) else None
    if len(given) < 3 or not given[2]:  # without axes, it begins with the first
        return None
    along, steps = [one % 4 for one in given[2]], given[3] if len(given) > 3 else []
    if axis not in along:
        return False if 0 not in along else None
    whole = given[0] in ([-1], [2]) and given[1] and given[1][0] < -3
    return True if along == [axis] and steps == [-1] and whole else None


def _affine(node: Any, name: str, weights: dict[str, Any], axis: int) -> tuple[Channels, Channels] | None:
    """``node`` as gain · x + offset for each channel of its input ``name``; None if it is anything else."""
    others = [weights.get(one) for one in node.input if one != name]
    if any(one is None for one in others) or not others:
        return None
    if node.op_type == "BatchNormalization" and axis == 1 and len(others) == 4:
        scale, bias, mean, variance = (np.asarray(one, np.float64) for one in others)
        if scale.shape != (3,):
            return None
        epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
        gain = scale / np.sqrt(variance + epsilon)
        return gain, bias - mean * gain
    if node.op_type == "Conv":
        return _one_by_one(node, others)
    value = _per_channel(others[0], axis) if len(others) == 1 else None
    if value is None or np.any(value == 0):
        return None
    first = node.input[0] == name
    steps = {
        "Add": (np.ones(3), value),
        "Sub": (np.ones(3), -value) if first else (-np.ones(3), value),
        "Mul": (value, np.zeros(3)),
        "Div": (1 / value, np.zeros(3)) if first else None,
    }
    return steps.get(node.op_type)


def _one_by_one(node: Any, others: list[Any]) -> tuple[Channels, Channels] | None:
    """A 1×1 convolution that does not mix channels: what is left when a normalization is folded into one."""
    kernel = np.asarray(others[0], np.float64)
    depthwise = kernel.shape == (3, 1, 1, 1)
    if depthwise:
        gain = kernel.reshape(3)
    elif kernel.shape == (3, 3, 1, 1) and np.count_nonzero(kernel) == 3 and np.all(np.diagonal(kernel[..., 0, 0])):
        gain = np.diagonal(kernel[..., 0, 0])
    else:
        return None
    return gain, np.asarray(others[1], np.float64) if len(others) > 1 else np.zeros(3)


def _per_channel(value: Any, axis: int) -> Channels | None:
    """``value`` as three numbers, if it is one number, or one for each channel along ``axis`` of four."""
    array = np.asarray(value, np.float64)
    if array.size == 1:
        return np.full(3, array.reshape(-1)[0])
    shape = (1,) * (4 - array.ndim) + array.shape
    return array.reshape(3) if array.size == 3 and len(shape) == 4 and shape[axis] == 3 else None


def _constants(proto: Any) -> dict[str, Any]:
    """The small weights, by name; large ones cannot be a normalization."""
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer if _is_small(tensor)}


def _is_small(tensor: Any) -> bool:
    return int(np.prod(tensor.dims)) <= 9


def _between(values: Channels, limits: tuple[float, float]) -> bool:
    return bool(np.all((values >= limits[0]) & (values <= limits[1])))


def _show(values: Channels) -> str:
    shown = [f"{value:.6g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"({', '.join(shown)})"
