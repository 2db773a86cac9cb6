"""Rounding to INT8 as the NPU does it, in floating point and with gradients: fake quantization.

Rounding has the gradient 1 (the straight-through estimator, arXiv 1308.3432). The ends of an activation's range have
the gradients of "Learned Step Size Quantization" (arXiv 1902.08153), with an end for each side instead of one step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

STEPS = 255  # between the lowest and the highest of 8 bits
HALF = 0.5001  # of a step: the largest error of rounding, in floating point
TINY = torch.finfo(torch.float32).tiny


class _FakeQuantize(torch.autograd.Function):
    """``round_activations`` with its gradients, in half the time of the same in single operations."""

    @staticmethod
    def forward(context: Any, values: Tensor, low: Tensor, high: Tensor) -> Tensor:
        scale = ((high - low) / STEPS).clamp(min=TINY)
        zero = torch.round(-low / scale)
        # Not torch.fake_quantize_per_tensor_affine, which takes three times as long on one core (torch 2.13).
        rounded = torch.round(values / scale).clamp_(-zero, STEPS - zero).mul_(scale)
        context.save_for_backward(values, rounded, scale)
        return rounded

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, rounded, scale = context.saved_tensors
        # Inside the range, the gradient of the scale is the rounding error, at most half a step; outside, the value
        # follows the end of the range.
        gradient, error, half = gradients[0], rounded - values, scale * HALF
        passed = gradient * (error.abs() <= half)
        stretched = torch.dot(passed.flatten(), error.flatten()) / scale / STEPS
        cut_below = torch.dot(gradient.flatten(), (error > half).to(gradient.dtype).flatten())
        cut_above = gradient.sum() - passed.sum() - cut_below
        return passed, cut_below - stretched, cut_above + stretched


def round_activations(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``values`` of any shape, rounded to the 256 steps of the range from ``low`` to ``high`` (0-dimensional, at most 0
    and at least 0), one of which is exactly 0.

    Gradients reach all three. Agrees with ONNX's QuantizeLinear and DequantizeLinear.
    """
    rounded: Tensor = _FakeQuantize.apply(values, low, high)  # type: ignore[no-untyped-call]
    return rounded


def weight_scales(weights: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The size of a step and the zero point of each output channel (``axis``) of ``weights``, with all other sizes 1.

    As in tune.round_weights: the range of a channel is that of its weights, and contains 0.
    """
    others = [one for one in range(weights.ndim) if one != axis]
    low = weights.amin(others, keepdim=True).clamp(max=0)
    high = weights.amax(others, keepdim=True).clamp(min=0)
    scale = ((high - low) / STEPS).clamp(min=TINY)
    return scale, torch.round(-low / scale)


def round_weights(weights: Tensor, axis: int) -> Tensor:
    """``weights``, rounded as the toolkit does it: 8 bits, asymmetric, by output channel. The gradient is 1."""
    with torch.no_grad():
        scale, zero = weight_scales(weights, axis)
        rounded = (torch.clamp(torch.round(weights / scale) + zero, 0, STEPS) - zero) * scale
    return weights + (rounded - weights).detach()
