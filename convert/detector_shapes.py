"""The detector in other shapes than the main one, for pictures of another aspect. They are quantized by the recipe that
was chosen for the main shape, each with its own calibration, and each is compared with FP32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from rkface.runtime.backends import stack_runs
from rkface.runtime.core.errors import ModelError, WorkError
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.manifest import shape_name
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.detector_shapes import find_fitting_size
from rkface.runtime.vision.detectors import SIZE_STEP
from rkface.runtime.vision.image import open_photo, read_image
from rkface.runtime.vision.letterbox import letterbox

from .at_once import call_at_once
from .compare_models import (
    SIMPLIFICATION_IMAGES,
    ConversionContext,
    ReferenceResults,
    ShapeResult,
    check_scores,
    decode_faces,
)
from .datasets import Datasets
from .evaluate.grades import find_shape_fault
from .evaluate.parity import DetectionParity, compare_faces
from .evaluation_set import EvaluationSet
from .image_lists import to_rgb
from .mosaic import make_mosaics
from .prepared_model import prepare_model
from .recipe import Recipe
from .recipe_cost import predict_cost
from .refit import refit_images
from .run_recipe import Quantizer
from .same_outputs import check_same_outputs
from .targets import Target

# The most photos on which another shape is compared with FP32. The recipe was chosen on all photos, in the main shape.
MOST_PHOTOS = 32
ASPECTS = ((16, 9), (4, 3))  # of pictures that get a shape of their own: cameras, phones, and both turned by 90°
# The least share of the main shape's faces. Photos of another aspect are smaller in the shape, so small faces are lost.
LEAST_FOUND = 0.5

Size = tuple[int, int]


@dataclass(frozen=True)
class OtherShapes:
    """The other shapes of a detector, by name. Each is a context of its own, with the detector at this shape only.

    notes  why some shape is missing, for people
    """

    contexts: dict[str, ConversionContext]
    notes: tuple[str, ...] = ()


def other_sizes(main: Size) -> tuple[Size, ...]:
    """The other inputs, (width, height), of a detector whose own is ``main``: one for each of ``ASPECTS``, lying and
    upright, if ``main`` is a square. A picture of these aspects is as large there as in the square, and so are its
    faces.
    """
    side = main[0]
    if main != (side, side):
        return ()
    shorts = dict.fromkeys(ceil(side * short / long / SIZE_STEP) * SIZE_STEP for long, short in ASPECTS)
    return tuple(size for short in shorts if short < side for size in ((side, short), (short, side)))


def prepare_shapes(context: ConversionContext, scratch: Path) -> OtherShapes:
    """Prepare the detector of ``context``, and the data sets, in the other shapes; run FP32. Files are written to
    ``scratch``. A shape that the model cannot have is left out, with a note."""
    input = context.models["detector"].input
    main = (input.width, input.height)
    sizes = (main, *other_sizes(main))

    def prepare(size: Size) -> ConversionContext | str:
        try:
            return _at_size(context, size, sizes, scratch)
        except (ModelError, WorkError) as error:  # WorkError: simplification changes what it computes at this size
            return (
                f"the bundle has no detector of {size[0]}×{size[1]}, so pictures of this aspect are searched at "
                f"{main[0]}×{main[1]}: {error}"
            )

    prepared = {shape_name(*size): one for size, one in zip(sizes[1:], call_at_once(prepare, sizes[1:]), strict=True)}
    return OtherShapes(
        {name: one for name, one in prepared.items() if isinstance(one, ConversionContext)},
        tuple(one for one in prepared.values() if isinstance(one, str)),
    )


def quantize_shapes(
    shapes: OtherShapes, quantize: Quantizer, recipe: Recipe, target: Target, main: DetectionParity
) -> tuple[tuple[ShapeResult, ...], tuple[str, ...]]:
    """Quantize ``shapes`` by ``recipe``. Returns those to put into the bundle, and notes about the others.

    ``main``: how far the main shape is from FP32 with this recipe. A shape that the toolkit cannot convert, or that is
    clearly further from FP32, is left out: the main shape finds the faces in its pictures.
    """

    def convert(name: str) -> ShapeResult | str:
        context = shapes.contexts[name]
        evaluation = context.datasets.evaluation
        dataset = context.datasets.image_list("detector") if recipe.quantized else None
        try:
            quantized = quantize(name, recipe, dataset, evaluation.scenes)
        except WorkError as error:
            return f"{name} is not in the bundle: {error}"
        faces = decode_faces(context.detector, quantized.outputs, evaluation)
        detection = compare_faces(context.reference.faces, faces)
        if fault := find_shape_fault(detection, main):
            return f"{name} is not in the bundle: {fault}"
        cost = predict_cost(context.models["detector"].graph, target, recipe)
        return ShapeResult(name, context, quantized, detection, cost)

    results = call_at_once(convert, [*shapes.contexts])
    notes = (*shapes.notes, *(one for one in results if isinstance(one, str)))
    return tuple(one for one in results if isinstance(one, ShapeResult)), notes


def _at_size(context: ConversionContext, size: Size, sizes: Sequence[Size], scratch: Path) -> ConversionContext:
    """``context`` with the detector only, at the input ``size``, one of ``sizes``. Raises ModelError."""
    name, sources = shape_name(*size), context.sources
    model = prepare_model(sources.paths["detector"], "detector", scratch, size, name=name)
    detector = Detector(model.backend, model.input, model.simplified.outputs)
    with stage(f"{name}: FP32") as shown:
        evaluation = _fit_evaluation(context.datasets.evaluation, size, sizes)
        scenes = evaluation.scenes
        difference = check_same_outputs(model.fixed, model.simplified, scenes[:SIMPLIFICATION_IMAGES])
        outputs = stack_runs([model.backend.infer(one[None]) for one in scenes])
        model.backend.close()
        check_scores(model.fixed.name, detector.layout, outputs)
        faces = decode_faces(detector, outputs, evaluation)
        main = dict(zip(context.datasets.evaluation.photos, context.reference.faces, strict=True))
        check_same_faces([main[photo] for photo in evaluation.photos], faces)
        shown.note = f"{len(evaluation.frames)} photos, {sum(map(len, faces))} faces"
    calibration = context.datasets.calibration
    if calibration is not None:
        frames = refit_images(calibration.detector, size, scratch / f"{name}-frames")
        calibration = replace(calibration, detector=frames)
    reference = ReferenceResults({"detector": outputs}, faces, {"detector": difference})
    return ConversionContext(sources, {"detector": model}, detector, Datasets(calibration, evaluation), reference)


def check_same_faces(main: Sequence[Faces], shape: Sequence[Faces]) -> None:
    """Raise ModelError unless FP32 finds most of the faces of the ``main`` shape in another ``shape``, too; both by
    photo. A model that runs at a size that it was not exported for may compute nonsense there."""
    found = compare_faces(main, shape)
    if found.matched < LEAST_FOUND * found.faces:
        raise ModelError(
            f"at this size, the FP32 model finds only {found.matched} of the {found.faces} faces that it finds at its "
            "own: export it for inputs of any size"
        )


def _fit_evaluation(evaluation: EvaluationSet, size: Size, sizes: Sequence[Size]) -> EvaluationSet:
    """``evaluation`` with at most ``MOST_PHOTOS`` of its photos at the detector input ``size``: first those that it
    fits best of ``sizes``."""

    def fits(photo: Path) -> bool:  # by its header: only the photos that are compared are decoded
        return sizes[find_fitting_size(sizes, *open_photo(photo).header.upright_size)] == size

    photos = tuple(sorted(evaluation.photos, key=fits, reverse=True)[:MOST_PHOTOS])
    fitted = [letterbox(read_image(photo), *size) for photo in photos]
    frames, scales = to_rgb(one.image for one in fitted), tuple(one.scale for one in fitted)
    return replace(evaluation, photos=photos, frames=frames, scales=scales, mosaics=make_mosaics(frames))
