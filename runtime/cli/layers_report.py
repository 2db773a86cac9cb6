"""What `rkface selftest --layers` prints: for each core the first layer that is wrong, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..inference.layer_checks import LayerResult

SHOWN = 6  # layers that a line names


def format_layers(results: Sequence[LayerResult]) -> list[str]:
    """The results as lines for people."""
    from ..inference.layer_checks import FARTHEST

    lines = [
        f"layers: distance from the simulator (1: the simulator's from FP32, plus a step); above {FARTHEST:g} is wrong"
    ]
    return lines + [line for result in results for line in _format(result)]


def _format(result: LayerResult) -> Iterator[str]:
    where = f"{result.role:10}  core {result.core}"
    if result.error:
        yield f"  fail  {where}  the debug build does not run: {result.error}"
        return
    difference, first = result.difference, result.first
    assert difference is not None
    if first is None:
        yield (
            f"  ok    {where}  {result.compared} tensors of {result.layers} layers: "
            f"distance {difference.distance:.2g}, up to {difference.steps:g} INT8 steps"
        )
        return
    shape = "×".join(map(str, first.shape))
    yield f"  fail  {where}  first wrong: {first.tensor} ({first.op}, {shape}), layer {first.number} of {result.layers}"
    yield (
        f"          distance {difference.distance:.3g}, up to {difference.steps:g} INT8 steps; cosines: simulator "
        f"{difference.cosine:.4f}, FP32 {difference.reference:.4f} (simulator to FP32: {difference.expected:.4f})"
    )
    inside = first.inside if len(first.inside) <= SHOWN else (*first.inside[: SHOWN - 1], "…", first.inside[-1])
    yield f"          {', '.join(first.reads)} before it: right; so it is one of: {', '.join(inside)}"
    yield f"          wrong in all: {len(result.wrong)} of {result.compared} tensors"


def next_steps(results: Sequence[LayerResult], cores: int, problems: Sequence[str]) -> list[str]:
    """What to do about ``results`` on a chip with ``cores`` cores. ``problems`` are those that the self-test found with
    the bundle itself."""
    wrong = [one for one in results if one.first is not None]
    steps = list(dict.fromkeys(_doubt(one) for one in results if one.build < 1))
    if not wrong:
        if any(one.error for one in results) or not problems or not results:
            return steps  # nothing is wrong, or the debug build did not run
        steps.append(
            "the debug build is right on this board, but the bundle's model is not: the fault depends on how layers "
            "are compiled together. Use another librknnrt, or convert with another toolkit (docs/boards.md#librknnrt)"
        )
        return [*steps, _report()]
    if not problems:
        steps.append("the bundle itself is right on this board, only its debug build is not: the bundle can be used")
    for role in dict.fromkeys(one.role for one in wrong):
        steps.append(_workaround([one for one in wrong if one.role == role], cores))
    return [*steps, _report()]


def _doubt(result: LayerResult) -> str:
    return (
        f"in the simulator, the {result.role}'s debug build has other final outputs than the bundle's model (cosine "
        f"{result.build:.4f}): what is said about its layers may not hold for the bundle"
    )


def _workaround(wrong: Sequence[LayerResult], cores: int) -> str:
    role, broken = wrong[0].role, sorted(one.core for one in wrong)
    if len(broken) < cores:
        which = ", ".join(map(str, broken))
        healthy = "" if 0 in broken else " Until then, use core 0 only: cores = 1 in rkface.toml."
        return (
            f"{role}: only core {which} computes it wrongly, so the model is right: update driver and librknnrt "
            f"(`rkface doctor`).{healthy}"
        )
    first = min((one.first for one in wrong if one.first), key=lambda one: one.number)
    if first.recipe:
        keep = f"`rkface convert --recipe {first.recipe}`, the cheapest recipe that keeps this layer in FP16"
    else:
        keep = "`rkface convert --no-quantize`: no recipe keeps only a part with this layer in FP16"
    return (
        f"{role}: update librknnrt, or convert with its own version of the toolkit (docs/boards.md#librknnrt). If that "
        f"does not help: {keep}; then run this selftest again"
    )


def _report() -> str:
    return (
        "report it: attach the output of this command with --json, and the file of `rkface doctor --report board.md` "
        "(docs/boards.md#which-layer-is-wrong)"
    )
