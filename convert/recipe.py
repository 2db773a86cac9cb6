"""The ways to quantise a model, as data. All are w8a8: they cost the same on the NPU and differ in what they keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """``algorithm`` is rknn-toolkit2's ``quantized_algorithm``; ``tuned`` changes the ONNX before (convert/tune.py)."""

    name: str
    algorithm: str
    tuned: bool
    about: str


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("tuned", "normal", True, "channels equalised and biases corrected, then ranges from minimum to maximum"),
        Recipe("normal", "normal", False, "ranges from minimum to maximum, as the toolkit does unasked"),
        Recipe("kl_divergence", "kl_divergence", False, "ranges that keep the distribution of values"),
        Recipe("mmse", "mmse", False, "ranges of the least squared error: minutes for a small model"),
    )
}
DEFAULT = RECIPES["tuned"]
