"""Both models, FP32 and quantised, answer to the same photos; the difference is the proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rkface.runtime.align import align
from rkface.runtime.backends import stack_runs
from rkface.runtime.backends.reference import ReferenceBackend
from rkface.runtime.bundle import ROLES, Input, Role
from rkface.runtime.detect import Detector, levels
from rkface.runtime.embed import unit
from rkface.runtime.faces import Faces
from rkface.runtime.image import read_image
from rkface.runtime.progress import stage

from . import prove
from .detection import LOWEST, DetectorEvidence, compare_scenes, output_errors
from .material import Evaluation, Material, to_rgb
from .price import Graph, predict
from .quantize import Quantized
from .recipe import Bar, Plan, Recipe, Try, search
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
    then of the mosaics, as the quantised detector's are; ``faces``: by photo;
    ``differences``: of the simplified from the original model."""

    outputs: dict[Role, list[Floats]]
    faces: list[Faces]
    differences: dict[Role, float]

    @property
    def embeddings(self) -> Floats:
        return self.outputs["recognizer"][0]


@dataclass(frozen=True)
class Trial:
    """What the quantised models say. ``models``: their conversions, the best of ``tries``; the recogniser's answers are
    first to FP32's crops, then to those at the landmarks that the quantised detector found, for the faces at ``own``.
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
    """Run FP32 on ``evaluation``. WorkError where simplification changed a model, ModelError where the recogniser
    recognises nobody."""
    images: dict[Role, Images] = {"detector": evaluation.scenes, "recognizer": evaluation.crops}
    with stage("prove simplification") as shown:
        differences = {
            role: prove_same(models[role].fixed, models[role].simplified, images[role][:PROOF]) for role in ROLES
        }
        shown.note = f"differs by {max(differences.values()):.0e} at most"
    with stage("FP32 reference") as shown:
        outputs = {role: stack_runs([models[role].backend.infer(one[None]) for one in images[role]]) for role in ROLES}
        mirrored = models["recognizer"].backend.infer(np.ascontiguousarray(evaluation.crops[:, :, ::-1]))[0]
        prove.check_recognizer(models["recognizer"].fixed.name, unit(outputs["recognizer"][0]), unit(mirrored))
        shown.note = f"{len(evaluation.frames)} photos, {len(mirrored)} faces"
    return Reference(outputs, faces_of(detector, outputs["detector"], evaluation), differences)


def run_trial(
    quantize: Toolkit, models: Models, detector: Detector, material: Material, reference: Reference, *,
    target: Target, plan: Plan, bar: Bar,
) -> Trial:  # fmt: skip
    """Quantise both models with ``quantize`` for ``target``, by the cheapest recipe of ``plan`` that is near enough to
    ``reference``.

    The detector goes first, so that the recogniser can also be asked about the faces as the quantised detector aligns
    them.
    """
    evaluation, calibration = material.evaluation, material.calibration
    frames, aligned = (calibration.detector, calibration.recognizer) if calibration else (None, None)
    scenes = evaluation.scenes
    first, detector_tries = search(
        plan.of("detector"),
        lambda recipe: quantize("detector", recipe, frames, scenes),
        lambda done: prove.grade_faces(
            prove.compare_faces(reference.faces, faces_of(detector, done.outputs, evaluation))
        ),
        lambda recipe: predict(models["detector"].graph, target, recipe),
    )
    faces = faces_of(detector, first.outputs, evaluation)
    own, crops = own_crops(evaluation, faces)
    asked = np.concatenate([evaluation.crops, crops])
    second, recognizer_tries = search(
        plan.of("recognizer"),
        lambda recipe: quantize("recognizer", recipe, aligned, asked),
        lambda done: prove.grade_embeddings(
            prove.compare_embeddings(reference.embeddings, done.outputs[0][: len(evaluation.crops)]), bar
        ),
        lambda recipe: predict(models["recognizer"].graph, target, recipe),
    )
    tries: dict[Role, tuple[Try, ...]] = {"detector": detector_tries, "recognizer": recognizer_tries}
    return Trial({"detector": first, "recognizer": second}, tries, faces, own)


def judge(evaluation: Evaluation, reference: Reference, trial: Trial, match: float) -> prove.Parity:
    before, after = reference.embeddings, trial.embeddings
    return prove.Parity(
        detection=prove.compare_faces(reference.faces, trial.faces),
        embedding=prove.compare_embeddings(before, after),
        end_to_end=prove.compare_embeddings(before[trial.own], trial.own_embeddings),
        pairs=prove.compare_pairs(unit(before), unit(after), match, evaluation.labelled),
    )


def inspect(
    model: Prepared, detector: Detector, evaluation: Evaluation, reference: Reference, trial: Trial
) -> DetectorEvidence:
    """Where the quantised detector differs; ``model`` is the FP32 one."""
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
