"""The models, FP32 and quantized, answer to the same photos; the difference is the proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.align import align
from rkface.runtime.backends import stack_runs
from rkface.runtime.bundle import Role
from rkface.runtime.detect import Detector, levels
from rkface.runtime.embed import unit
from rkface.runtime.faces import Faces
from rkface.runtime.image import read_image
from rkface.runtime.liveness import probabilities
from rkface.runtime.progress import stage

from .catalog import LivenessProfile
from .datasets import Datasets, EvaluationSet
from .evaluate import parity
from .evaluate.detector_errors import LOWEST, DetectorEvidence, compare_scenes, output_errors
from .image_lists import to_rgb
from .prepared_model import PreparedModel, PreparedModels
from .recipe import AccuracyBar, Recipe, RecipePlan
from .recipe_cost import predict_cost
from .recipe_search import Grade, RecipeResult, search_recipes
from .simplify import check_same_outputs
from .targets import Target
from .toolkit.quantize import QuantizedModel

SIMPLIFICATION_IMAGES = 2  # images on which original and simplified model are compared

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


# (role, recipe, calibration list or None for FP16, images to answer to) → the converted model and its answers
Toolkit = Callable[[Role, Recipe, Path | None, Images], QuantizedModel]


@dataclass(frozen=True)
class ReferenceResults:
    """What FP32 says to the evaluation material. ``outputs``: raw, by model, N first; the detector's are of the photos,
    then of the mosaics, as the quantized detector's are; ``faces``: by photo;
    ``differences``: of the simplified from the original model."""

    outputs: dict[Role, list[Floats]]
    faces: list[Faces]
    differences: dict[Role, float]

    @property
    def embeddings(self) -> Floats:
        return self.outputs["recognizer"][0]


@dataclass(frozen=True)
class QuantizedResults:
    """What the quantized models say. ``models``: their conversions, the best of ``tries``; the recognizer's answers are
    first to FP32's crops, then to those at the landmarks that the quantized detector found, for the faces at ``own``.
    """

    models: dict[Role, QuantizedModel]
    tries: dict[Role, tuple[RecipeResult, ...]]
    faces: list[Faces]
    own: list[int]

    @property
    def embeddings(self) -> Floats:
        embeddings = self.models["recognizer"].outputs[0]
        return embeddings[: len(embeddings) - len(self.own)]

    @property
    def own_embeddings(self) -> Floats:
        embeddings = self.models["recognizer"].outputs[0]
        return embeddings[len(embeddings) - len(self.own) :]


def run_reference(models: PreparedModels, detector: Detector, evaluation: EvaluationSet) -> ReferenceResults:
    """Run FP32 on ``evaluation``. WorkError where simplification changed a model, ModelError where the recognizer
    recognizes nobody."""
    images = {role: evaluation.images(role) for role in models}
    with stage("prove simplification") as shown:
        differences = {
            role: check_same_outputs(models[role].fixed, models[role].simplified, images[role][:SIMPLIFICATION_IMAGES])
            for role in models
        }
        shown.note = f"differs by {max(differences.values()):.0e} at most"
    with stage("FP32 reference") as shown:
        outputs = {role: stack_runs([models[role].backend.infer(one[None]) for one in images[role]]) for role in models}
        mirrored = models["recognizer"].backend.infer(np.ascontiguousarray(evaluation.crops[:, :, ::-1]))[0]
        parity.check_recognizer(models["recognizer"].fixed.name, unit(outputs["recognizer"][0]), unit(mirrored))
        shown.note = f"{len(evaluation.frames)} photos, {len(mirrored)} faces"
    return ReferenceResults(outputs, decode_faces(detector, outputs["detector"], evaluation), differences)


def quantize_models(
    quantize: Toolkit,
    models: PreparedModels,
    detector: Detector,
    material: Datasets,
    reference: ReferenceResults,
    *,
    target: Target,
    plan: RecipePlan,
    bar: AccuracyBar,
) -> QuantizedResults:
    """Quantize the models with ``quantize`` for ``target``, each by the cheapest recipe of ``plan`` that is near enough
    to ``reference``.

    The detector goes first, so that the recognizer can also be asked about the faces as the quantized detector aligns
    them.
    """
    evaluation = material.evaluation

    def find(role: Role, images: Images, grade: Callable[[QuantizedModel], Grade]) -> QuantizedModel:
        done[role], tries[role] = search_recipes(
            plan.of(role),
            lambda recipe: quantize(role, recipe, material.dataset(role), images),
            grade,
            lambda recipe: predict_cost(models[role].graph, target, recipe),
        )
        return done[role]

    done: dict[Role, QuantizedModel] = {}
    tries: dict[Role, tuple[RecipeResult, ...]] = {}
    found = find(
        "detector",
        evaluation.scenes,
        lambda one: parity.grade_faces(
            parity.compare_faces(reference.faces, decode_faces(detector, one.outputs, evaluation))
        ),
    )
    faces = decode_faces(detector, found.outputs, evaluation)
    own, crops = crop_at_own_landmarks(evaluation, faces)
    find(
        "recognizer",
        np.concatenate([evaluation.crops, crops]),
        lambda one: parity.grade_embeddings(
            parity.compare_embeddings(reference.embeddings, one.outputs[0][: len(evaluation.crops)]), bar
        ),
    )
    if spoofing := _spoofing(models):
        find(
            "liveness",
            evaluation.images("liveness"),
            lambda one: parity.grade_liveness(_compare_liveness(reference, one, spoofing)),
        )
    return QuantizedResults(done, tries, faces, own)


def _spoofing(models: PreparedModels) -> LivenessProfile | None:
    return models["liveness"].fixed.spoofing if "liveness" in models else None


def _compare_liveness(
    reference: ReferenceResults, done: QuantizedModel, spoofing: LivenessProfile
) -> parity.LivenessParity:
    before, after = (
        probabilities(outputs[0], spoofing.live, logits=spoofing.logits)
        for outputs in (reference.outputs["liveness"], done.outputs)
    )
    return parity.compare_liveness(before, after, spoofing.threshold)


def measure_parity(
    evaluation: EvaluationSet,
    reference: ReferenceResults,
    trial: QuantizedResults,
    match: float,
    spoofing: LivenessProfile | None = None,
) -> parity.Parity:
    before, after = reference.embeddings, trial.embeddings
    return parity.Parity(
        detection=parity.compare_faces(reference.faces, trial.faces),
        embedding=parity.compare_embeddings(before, after),
        end_to_end=parity.compare_embeddings(before[trial.own], trial.own_embeddings),
        pairs=parity.compare_pairs(unit(before), unit(after), match, evaluation.labeled),
        liveness=_compare_liveness(reference, trial.models["liveness"], spoofing) if spoofing else None,
    )


def measure_detector_errors(
    model: PreparedModel,
    detector: Detector,
    evaluation: EvaluationSet,
    reference: ReferenceResults,
    trial: QuantizedResults,
) -> DetectorEvidence:
    """Where the quantized detector differs; ``model`` is the FP32 one."""
    before, after = reference.outputs["detector"], trial.models["detector"].outputs
    scales = (*evaluation.scales, *(1.0,) * len(evaluation.mosaics))
    ours, theirs = (
        [detector.faces([array[at] for array in outputs], scale, LOWEST) for at, scale in enumerate(scales)]
        for outputs in (before, after)
    )
    photos = len(evaluation.photos)
    return DetectorEvidence(
        output_errors(levels(model.simplified.outputs, model.input.width, model.input.height), before, after),
        compare_scenes(ours[:photos], theirs[:photos], scales[:photos]),
        compare_scenes(ours[photos:], theirs[photos:], scales[photos:]),
    )


def decode_faces(detector: Detector, outputs: Sequence[Floats], evaluation: EvaluationSet) -> list[Faces]:
    """The faces that a detector's raw ``outputs`` (N first) speak of, by photo."""
    return [detector.faces([array[at] for array in outputs], scale) for at, scale in enumerate(evaluation.scales)]


def crop_at_own_landmarks(evaluation: EvaluationSet, faces: Sequence[Faces]) -> tuple[list[int], Images]:
    """Which evaluation faces are among ``faces`` (by photo), and their crops (RGB) at the landmarks given there."""
    found: list[int] = []
    crops = [evaluation.crops[:0]]
    for photo, seen in zip(evaluation.photos, faces, strict=True):
        places = [index for index, face in enumerate(evaluation.faces) if face.photo == photo]
        if not places:
            continue
        image = read_image(photo)
        boxes = np.concatenate([evaluation.faces[index].faces.boxes for index in places])
        for row, column, _ in parity.match_boxes(boxes, seen.boxes):
            found.append(places[row])
            crops.append(to_rgb([align(image, seen.landmarks[column])]))
    return found, np.concatenate(crops)
