"""The models, FP32 and quantized, answer to the same photos; the difference is the proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.backends import stack_runs
from rkface.runtime.backends.reference import ReferenceBackend
from rkface.runtime.core.bundle import Input, Role
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.align import align
from rkface.runtime.vision.detect import Detector, levels
from rkface.runtime.vision.embed import unit
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.liveness import probabilities

from . import prove
from .catalog import Spoofing
from .detection import LOWEST, DetectorEvidence, compare_scenes, output_errors
from .material import Evaluation, Material, to_rgb
from .price import Graph, predict
from .quantize import Quantized
from .recipe import Bar, Grade, Plan, Recipe, Try, search
from .simplify import Fixed, Simplified, prove_same
from .targets import Target

PROOF = 2  # images on which original and simplified model are compared

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Prepared:
    """A model that is ready for the toolkit, and running in ONNX Runtime."""

    fixed: Fixed
    simplified: Simplified
    graph: Graph
    backend: ReferenceBackend

    @property
    def input(self) -> Input:
        return self.simplified.input


Models = dict[Role, Prepared]
# (role, recipe, calibration list or None for FP16, images to answer to) → the converted model and its answers
Toolkit = Callable[[Role, Recipe, Path | None, Images], Quantized]


@dataclass(frozen=True)
class Reference:
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
class Trial:
    """What the quantized models say. ``models``: their conversions, the best of ``tries``; the recognizer's answers are
    first to FP32's crops, then to those at the landmarks that the quantized detector found, for the faces at ``own``.
    """

    models: dict[Role, Quantized]
    tries: dict[Role, tuple[Try, ...]]
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


def run_reference(models: Models, detector: Detector, evaluation: Evaluation) -> Reference:
    """Run FP32 on ``evaluation``. WorkError where simplification changed a model, ModelError where the recognizer
    recognizes nobody."""
    images = {role: evaluation.images(role) for role in models}
    with stage("prove simplification") as shown:
        differences = {
            role: prove_same(models[role].fixed, models[role].simplified, images[role][:PROOF]) for role in models
        }
        shown.note = f"differs by {max(differences.values()):.0e} at most"
    with stage("FP32 reference") as shown:
        outputs = {role: stack_runs([models[role].backend.infer(one[None]) for one in images[role]]) for role in models}
        mirrored = models["recognizer"].backend.infer(np.ascontiguousarray(evaluation.crops[:, :, ::-1]))[0]
        prove.check_recognizer(models["recognizer"].fixed.name, unit(outputs["recognizer"][0]), unit(mirrored))
        shown.note = f"{len(evaluation.frames)} photos, {len(mirrored)} faces"
    return Reference(outputs, faces_of(detector, outputs["detector"], evaluation), differences)


def run_trial(
    quantize: Toolkit,
    models: Models,
    detector: Detector,
    material: Material,
    reference: Reference,
    *,
    target: Target,
    plan: Plan,
    bar: Bar,
) -> Trial:
    """Quantize the models with ``quantize`` for ``target``, each by the cheapest recipe of ``plan`` that is near enough
    to ``reference``.

    The detector goes first, so that the recognizer can also be asked about the faces as the quantized detector aligns
    them.
    """
    evaluation = material.evaluation

    def find(role: Role, images: Images, grade: Callable[[Quantized], Grade]) -> Quantized:
        done[role], tries[role] = search(
            plan.of(role),
            lambda recipe: quantize(role, recipe, material.dataset(role), images),
            grade,
            lambda recipe: predict(models[role].graph, target, recipe),
        )
        return done[role]

    done: dict[Role, Quantized] = {}
    tries: dict[Role, tuple[Try, ...]] = {}
    found = find(
        "detector",
        evaluation.scenes,
        lambda one: prove.grade_faces(
            prove.compare_faces(reference.faces, faces_of(detector, one.outputs, evaluation))
        ),
    )
    faces = faces_of(detector, found.outputs, evaluation)
    own, crops = own_crops(evaluation, faces)
    find(
        "recognizer",
        np.concatenate([evaluation.crops, crops]),
        lambda one: prove.grade_embeddings(
            prove.compare_embeddings(reference.embeddings, one.outputs[0][: len(evaluation.crops)]), bar
        ),
    )
    if spoofing := _spoofing(models):
        find(
            "liveness",
            evaluation.images("liveness"),
            lambda one: prove.grade_liveness(_compare_liveness(reference, one, spoofing)),
        )
    return Trial(done, tries, faces, own)


def _spoofing(models: Models) -> Spoofing | None:
    return models["liveness"].fixed.spoofing if "liveness" in models else None


def _compare_liveness(reference: Reference, done: Quantized, spoofing: Spoofing) -> prove.LivenessParity:
    before, after = (
        probabilities(outputs[0], spoofing.live, logits=spoofing.logits)
        for outputs in (reference.outputs["liveness"], done.outputs)
    )
    return prove.compare_liveness(before, after, spoofing.threshold)


def judge(
    evaluation: Evaluation, reference: Reference, trial: Trial, match: float, spoofing: Spoofing | None = None
) -> prove.Parity:
    before, after = reference.embeddings, trial.embeddings
    return prove.Parity(
        detection=prove.compare_faces(reference.faces, trial.faces),
        embedding=prove.compare_embeddings(before, after),
        end_to_end=prove.compare_embeddings(before[trial.own], trial.own_embeddings),
        pairs=prove.compare_pairs(unit(before), unit(after), match, evaluation.labeled),
        liveness=_compare_liveness(reference, trial.models["liveness"], spoofing) if spoofing else None,
    )


def inspect(
    model: Prepared, detector: Detector, evaluation: Evaluation, reference: Reference, trial: Trial
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


def faces_of(detector: Detector, outputs: Sequence[Floats], evaluation: Evaluation) -> list[Faces]:
    """The faces that a detector's raw ``outputs`` (N first) speak of, by photo."""
    return [detector.faces([array[at] for array in outputs], scale) for at, scale in enumerate(evaluation.scales)]


def own_crops(evaluation: Evaluation, faces: Sequence[Faces]) -> tuple[list[int], Images]:
    """Which evaluation faces are among ``faces`` (by photo), and their crops (RGB) at the landmarks given there."""
    found: list[int] = []
    crops = [evaluation.crops[:0]]
    for photo, seen in zip(evaluation.photos, faces, strict=True):
        places = [index for index, face in enumerate(evaluation.faces) if face.photo == photo]
        if not places:
            continue
        image = read_image(photo)
        boxes = np.concatenate([evaluation.faces[index].faces.boxes for index in places])
        for row, column, _ in prove.match(boxes, seen.boxes):
            found.append(places[row])
            crops.append(to_rgb([align(image, seen.landmarks[column])]))
    return found, np.concatenate(crops)
