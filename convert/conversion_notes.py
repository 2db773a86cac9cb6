"""Remarks about a conversion for people, although the bundle is usable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.manifest import UNMEASURED, Role
from rkface.runtime.core.text import shell_quoted

from .compare_models import ConversionContext, ConversionResult
from .evaluate.detector_errors import detector_notes
from .evaluate.grades import not_close_together
from .evaluate.parity import LivenessParity
from .recipe import AccuracyBar
from .recipe_search import RecipeResult, chosen_result
from .settings import OutputBundle


def list_notes(
    context: ConversionContext, bar: AccuracyBar, output: OutputBundle, result: ConversionResult
) -> tuple[str, ...]:
    """Remarks for people, although the bundle is usable."""
    quantized = context.datasets.calibration is not None
    doubts = [
        output.target.warning,
        *(note for role in context.models for note in _input_notes(context, role)),
        *(origin.notes if (origin := context.models["recognizer"].center) else ()),
        _unmeasured_threshold(context, output),
        *(_not_close(role, result.quantized.tries[role]) for role in context.models),
        not_close_together(result.parity, bar),
        _one_sided(result.parity.liveness),
        *result.shape_notes,
    ]
    remarks = (*context.datasets.notes, *context.datasets.evaluation.notes, *filter(None, doubts))
    return (*remarks, *detector_notes(result.evidence, quantized=quantized))


def _unmeasured_threshold(context: ConversionContext, output: OutputBundle) -> str | None:
    """A remark if nobody has measured the match threshold, with the command that measures it."""
    if context.sources.evidence != UNMEASURED:
        return None
    return (
        f"the match threshold {context.sources.match:g} is {UNMEASURED}: it decides who is recognized. Measure it on "
        f"photos of people with `rkface evaluate --bundle {shell_quoted(output.folder)} --people DIR "
        "--write-threshold`"
    )


def _input_notes(context: ConversionContext, role: Role) -> Iterator[str]:
    """What was rewritten in the model, and how it expects its image if that is not the usual way."""
    model, file = context.models[role], context.sources.paths[role].name
    found = model.fixed.preprocessing
    if model.simplified.changes:
        yield f"{file}: {'; '.join(model.simplified.changes)}"
    if role == "liveness":
        return
    crop = model.fixed.crop
    if crop is not None and not crop.same_crop(ARCFACE_112):
        yield f"{file} takes faces in the crop {crop.name} ({crop.width}×{crop.height}), not in ArcFace's 112×112"
    if found.bgr or found.normalization != "default":
        origin = "as is known of this file" if context.sources.known and role == "recognizer" else "as stated"
        stated = origin if "stated" in (found.order, found.normalization) else ""
        why = "; ".join((*([stated] if stated else []), *found.reasons))
        yield f"{file} takes {found}: {why}. This was applied"
    if found.doubt:
        yield f"{file}: {found.doubt}"


def _not_close(role: Role, tries: Sequence[RecipeResult]) -> str | None:
    """A remark if no recipe was accurate enough."""
    chosen = chosen_result(tries)
    if chosen.grade is None or chosen.grade.clears or not chosen.recipe.quantized:
        return None
    return f"{role}: no recipe is as close to FP32 as it should be (best: {chosen.recipe.name}, {chosen.grade.summary})"


def _one_sided(parity: LivenessParity | None) -> str | None:
    """A remark if FP32 gives nearly all photos the same answer."""
    if parity is not None and parity.live == parity.faces:
        return (
            f"liveness: all {parity.faces} faces are live according to FP32, so INT8 was checked on live faces only: "
            "add photos of prints and of screens that are held in front of the camera"
        )
    if parity is None or 2 * parity.live >= parity.faces:
        return None
    return (
        f"liveness: only {parity.live} of {parity.faces} faces are live according to FP32. If the photos show "
        "people, and not pictures of people, then the class, the color order, the crop or the normalization may "
        "be wrong (--live-…)"
    )
