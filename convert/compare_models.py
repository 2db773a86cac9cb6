"""Run the models, FP32 and quantized, on the same photos, and measure how far they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.backends import stack_runs
from rkface.runtime.core.crop_template import CropTemplate
from rkface.runtime.core.errors import ModelError
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.manifest import Role
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.align import align
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.detectors import Layout
from rkface.runtime.vision.embed import unit
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.liveness import probabilities

from .acquire import ModelSources
from .catalog import LivenessProfile
from .cost import ModelCost
from .datasets import Datasets
from .evaluate import parity
from .evaluate.detector_errors import LOWEST, DetectorEvidence, compare_scenes
from .evaluate.max_drop import LabeledPairs, MetricDrop, measure_drops
from .evaluate.output_errors import output_errors
from .evaluation_set import EvaluationSet
from .image_lists import to_rgb
from .metric_bar import MetricBar
from .pair_search import PairResult
from .prepared_model import PreparedModels
from .recipe_search import RecipeResult
from .same_outputs import check_same_outputs
from .toolkit.quantize import QuantizedModel

SCORE_SLACK = 1e-3  # by how much a probability may be outside 0..1
SAME_LANDMARKS = 0.01  # of a face's width: landmarks of another look differ by more
SIMPLIFICATION_IMAGES = 2  # images on which the original and the simplified model are compared

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class ReferenceResults:
    """What the FP32 models say about the evaluation set.

    outputs      raw outputs by model, N first; the detector's inputs are the photos, then the mosaics
    faces        the detector's faces, by photo
    differences  by model: the largest difference between the simplified and the original model
    """

    outputs: dict[Role, list[Floats]]
    faces: list[Faces]
    differences: dict[Role, float]

    @property
    def embeddings(self) -> Floats:
        """N×D: raw embeddings of the evaluation faces, then of the augmented ones."""
        return self.outputs["recognizer"][0]


@dataclass(frozen=True)
class ConversionContext:
    """What all bundles of one conversion share. ``detector`` is the FP32 detector."""

    sources: ModelSources
    models: PreparedModels
    detector: Detector
    datasets: Datasets
    reference: ReferenceResults

    @property
    def liveness(self) -> LivenessProfile | None:
        return self.sources.liveness


@dataclass(frozen=True)
class QuantizedResults:
    """What the quantized models say about the evaluation set.

    models  by role, the best conversion. The recognizer's inputs are FP32's crops, the augmented crops, then the crops
            at the landmarks that the quantized detector found
    tries   by role, the result of each recipe
    pairs   of a detector and a recognizer that were compared with FP32
    faces   the quantized detector's faces, by photo
    own     indices of the evaluation faces that the quantized detector also found
    """

    models: dict[Role, QuantizedModel]
    tries: dict[Role, tuple[RecipeResult, ...]]
    faces: list[Faces]
    own: list[int]
    pairs: tuple[PairResult, ...] = ()

    @property
    def embeddings(self) -> Floats:
        """N×D: raw embeddings of FP32's crops of the evaluation faces, then of the augmented ones."""
        embeddings = self.models["recognizer"].outputs[0]
        return embeddings[: len(embeddings) - len(self.own)]

    @property
    def own_embeddings(self) -> Floats:
        """len(own)×D: raw embeddings of the crops at the quantized detector's own landmarks."""
        embeddings = self.models["recognizer"].outputs[0]
        return embeddings[len(embeddings) - len(self.own) :]


@dataclass(frozen=True)
class ShapeResult:
    """The detector in another shape, quantized for one chip.

    context    the FP32 detector in this shape, and what it finds in the same photos
    detection  how far the quantized one is from it
    cost       predicted; None if the cost model does not know the graph
    """

    name: str
    context: ConversionContext
    quantized: QuantizedModel
    detection: parity.DetectionParity
    cost: ModelCost | None


@dataclass(frozen=True)
class ConversionResult:
    """Quantized models for one chip, and how far they are from FP32.

    fault        why they should not be used; None if they are close enough
    shapes       the detector in other shapes
    shape_notes  why some shape is missing
    """

    quantized: QuantizedResults
    parity: parity.Parity
    evidence: DetectorEvidence
    fault: str | None
    shapes: tuple[ShapeResult, ...] = ()
    shape_notes: tuple[str, ...] = ()


def run_reference(models: PreparedModels, detector: Detector, evaluation: EvaluationSet) -> ReferenceResults:
    """Run the FP32 models on ``evaluation``.

    Raises WorkError if simplification changed what a model computes, and ModelError if the detector's scores are no
    probabilities.
    """
    images = {role: evaluation.images(role) for role in models}
    with stage("check simplification") as shown:
        differences = {
            role: check_same_outputs(models[role].fixed, models[role].simplified, images[role][:SIMPLIFICATION_IMAGES])
            for role in models
        }
        worst = max(differences.values())
        shown.note = f"largest difference {worst:.0e}" if worst else "no difference"
    with stage("FP32 reference") as shown:
        outputs = {role: stack_runs([models[role].backend.infer(one[None]) for one in images[role]]) for role in models}
        check_scores(models["detector"].fixed.name, detector.layout, outputs["detector"])
        shown.note = f"{len(evaluation.frames)} photos, {len(evaluation.crops)} faces"
    return ReferenceResults(outputs, decode_faces(detector, outputs["detector"], evaluation), differences)


def check_scores(name: str, layout: Layout, outputs: Sequence[Floats]) -> None:
    """Raise ModelError if the scores among the raw ``outputs`` of the detector ``name`` are outside 0..1."""
    scores = [score.read(outputs) for level in layout.levels for score in level.scores]
    low, high = (float(limit([limit(one) for one in scores])) for limit in (np.min, np.max))
    if not (low >= -SCORE_SLACK and high <= 1 + SCORE_SLACK):
        raise ModelError(
            f"{name}: its scores are {low:.2f} to {high:.2f} on these photos, but a detector's scores are "
            f"probabilities, 0 to 1: export it with the {layout.family.probability} after its scores"
        )


def compare_liveness(
    reference: ReferenceResults, quantized: QuantizedModel, profile: LivenessProfile
) -> parity.LivenessParity:
    """How far the probabilities of the ``quantized`` liveness model are from FP32's."""
    before, after = (
        probabilities(outputs[0], profile.live, logits=profile.logits)
        for outputs in (reference.outputs["liveness"], quantized.outputs)
    )
    return parity.compare_liveness(before, after, profile.threshold)


def measure_parity(
    context: ConversionContext, quantized: QuantizedResults, max_drop: Sequence[MetricBar] = ()
) -> parity.Parity:
    """How far the quantized models are from FP32 on the evaluation set, also by the figures of ``max_drop``."""
    evaluation, own = context.datasets.evaluation, quantized.own
    before, after = context.reference.embeddings, quantized.embeddings
    same_crop = parity.compare_groups(evaluation.crop_groups, before, after)
    end_to_end = parity.compare_groups([evaluation.groups[face] for face in own], before[own], quantized.own_embeddings)
    real, profile = slice(len(evaluation.faces)), context.liveness
    return parity.Parity(
        detection=parity.compare_faces(context.reference.faces, quantized.faces),
        embedding=parity.compare_embeddings(before[real], after[real]),
        end_to_end=parity.compare_embeddings(before[own], quantized.own_embeddings),
        pairs=parity.compare_pairs(unit(before[real]), unit(after[real]), context.sources.match, evaluation.labeled),
        groups={
            group: parity.GroupParity(found, end_to_end[group]) for group, found in same_crop.items() if found.faces
        },
        out_of_domain=parity.pool_embeddings(same_crop[group] for group in parity.OUT_OF_DOMAIN),
        liveness=compare_liveness(context.reference, quantized.models["liveness"], profile) if profile else None,
        drops=compare_drops(context, after, max_drop),
    )


def compare_drops(
    context: ConversionContext, embeddings: Floats, max_drop: Sequence[MetricBar]
) -> tuple[MetricDrop, ...]:
    """How much worse the figures of ``max_drop`` are with a quantized recognizer's raw ``embeddings`` of FP32's crops,
    N×D, than with FP32's."""
    evaluation = context.datasets.evaluation
    if not max_drop:
        return ()
    real, pairs = slice(len(evaluation.faces)), LabeledPairs.of(evaluation.labeled, len(evaluation.faces))
    return measure_drops(unit(context.reference.embeddings[real]), unit(embeddings[real]), pairs, max_drop)


def measure_detector_errors(context: ConversionContext, quantized: QuantizedModel) -> DetectorEvidence:
    """Where the ``quantized`` detector differs from FP32: by output, by threshold, and by size of the face."""
    evaluation, detector = context.datasets.evaluation, context.detector
    before, after = context.reference.outputs["detector"], quantized.outputs
    scales = (*evaluation.scales, *(1.0,) * len(evaluation.mosaics))
    reference_faces, quantized_faces = (
        [detector.faces([array[at] for array in outputs], scale, LOWEST) for at, scale in enumerate(scales)]
        for outputs in (before, after)
    )
    photos = len(evaluation.photos)
    return DetectorEvidence(
        output_errors(detector.layout, before, after),
        compare_scenes(reference_faces[:photos], quantized_faces[:photos], scales[:photos], detector.threshold),
        compare_scenes(reference_faces[photos:], quantized_faces[photos:], scales[photos:], detector.threshold),
    )


def decode_faces(detector: Detector, outputs: Sequence[Floats], evaluation: EvaluationSet) -> list[Faces]:
    """The faces in a detector's raw ``outputs`` (N first), by photo of ``evaluation``; mosaics are left out."""
    return [detector.faces([array[at] for array in outputs], scale) for at, scale in enumerate(evaluation.scales)]


def crop_at_own_landmarks(
    evaluation: EvaluationSet, reference: Sequence[Faces], faces: Sequence[Faces], template: CropTemplate
) -> tuple[list[int], Images]:
    """Which evaluation faces are also among ``faces`` (by photo), and their crops at the landmarks in ``faces``,
    aligned as ``template`` says.

    ``faces`` are what the quantized detector finds in one look at each photo, ``reference`` what the FP32 detector
    finds so. Evaluation faces whose landmarks come from an additional look, at a photo that was turned or got a margin,
    are left out: their difference would be that of the looks. Returns K indices and K×h×w×3 uint8 RGB.
    """
    found: list[int] = []
    crops = [evaluation.crops[:0]]
    for photo, before, seen in zip(evaluation.photos, reference, faces, strict=True):
        places = [
            index
            for index, face in enumerate(evaluation.faces)
            if face.photo == photo and _has_landmarks(before, face.faces)
        ]
        if not places:
            continue
        image = read_image(photo)
        boxes = np.concatenate([evaluation.faces[index].faces.boxes for index in places])
        for row, column, _ in parity.match_boxes(boxes, seen.boxes):
            found.append(places[row])
            crops.append(to_rgb([align(image, seen.landmarks[column], template)]))
    return found, np.concatenate(crops)


def _has_landmarks(faces: Faces, face: Faces) -> bool:
    """Whether one of ``faces`` has the landmarks of the one ``face``."""
    distances = np.abs(faces.landmarks - face.landmarks).max(axis=(1, 2))
    width = float(face.boxes[0, 2] - face.boxes[0, 0])
    return bool((distances <= SAME_LANDMARKS * width).any())
