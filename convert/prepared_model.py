"""A model that is ready for the toolkit: simplified, open in ONNX Runtime, and with its graph for the cost model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.collect import CandidateFace
from rkface.runtime.backends.reference import ReferenceBackend, open_reference
from rkface.runtime.core.crop_template import StatedCrop
from rkface.runtime.core.errors import ModelError
from rkface.runtime.core.manifest import Input, Role
from rkface.runtime.core.onnx_file import onnx_digest
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import Embedder

from .acquire import ModelSources
from .catalog import LivenessProfile
from .face_finder import FaceFinder
from .image_lists import to_rgb
from .preprocessing import Preprocessing, StatedPreprocessing
from .recipe_cost import CostGraph, read_cost_graph
from .simplify import FixedModel, SimplifiedModel, fix_input, simplify


@dataclass(frozen=True)
class CenterOrigin:
    """Where the constant that was taken off a recognizer's embeddings comes from.

    bundle  the folder of the older bundle that it was taken from; None if it was measured on the photos
    faces   on how many faces it was measured; 0 if that is not known
    people  about how many people they show
    cosine  mean cosine between different people before
    notes   remarks for people
    """

    bundle: Path | None
    faces: int
    people: float
    cosine: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        origin = "photos" if self.bundle is None else "an older bundle"
        return {"from": origin, "faces": self.faces, "people": round(self.people, 1), "cosine": round(self.cosine, 4)}


@dataclass(frozen=True)
class PreparedModel:
    """One FP32 model of a conversion.

    fixed       the model as given, with a fixed input shape
    simplified  the same after onnxsim, on disk
    graph       its graph, for predicting costs
    backend     the simplified model in ONNX Runtime
    center      where the constant comes from that the simplified model subtracts; None if it subtracts none
    """

    fixed: FixedModel
    simplified: SimplifiedModel
    graph: CostGraph
    backend: ReferenceBackend
    center: CenterOrigin | None = None

    @property
    def input(self) -> Input:
        return self.simplified.input


PreparedModels = dict[Role, PreparedModel]


def prepare_model(
    path: Path,
    role: Role,
    scratch: Path,
    size: tuple[int, int] | None = None,
    *,
    profile: LivenessProfile | None = None,
    stated: StatedPreprocessing | None = None,
    crop: StatedCrop | None = None,
    name: str = "",
) -> PreparedModel:
    """Fix the input shape of the model at ``path``, simplify it into ``scratch``, and load it.

    ``name`` is the model's name; "" for its role. ``size`` is (width, height) of a detector's input in pixels; None
    keeps the model's own. ``profile`` says how a liveness model was trained, ``stated`` and ``crop`` what is known of
    the input of a recognizer. Raises ModelError if the model cannot have this role, and InputError if ``stated`` or
    ``crop`` contradicts it.
    """
    name = name or role
    with stage(f"{name}: simplify") as shown:
        fixed = fix_input(
            path,
            role,
            size if role == "detector" else None,
            profile if role == "liveness" else None,
            stated if role == "recognizer" else None,
            crop=crop if role == "recognizer" else None,
        )
        prepared = _simplify_and_load(fixed, scratch / f"{name}.onnx")
        before, after = prepared.simplified.nodes
        shown.note = f"{path.name}, {before} → {after} nodes"
    return prepared


def with_preprocessing(model: PreparedModel, preprocessing: Preprocessing) -> PreparedModel:
    """``model``, simplified and loaded again with another order of channels or another normalization."""
    fixed = model.fixed.with_preprocessing(preprocessing)
    if fixed.input == model.fixed.input:
        return replace(model, fixed=fixed)
    model.backend.close()
    if fixed.preprocessing.bgr != model.fixed.preprocessing.bgr:  # reversed in the weights
        return _simplify_and_load(fixed, model.simplified.path)
    simplified = replace(model.simplified, input=fixed.input)
    return replace(model, fixed=fixed, simplified=simplified, backend=open_reference(simplified.path, fixed.input))


def _simplify_and_load(fixed: FixedModel, target: Path) -> PreparedModel:
    simplified = simplify(fixed, target)
    try:
        backend = open_reference(simplified.path, simplified.input)
    except ModelError as error:  # it names the simplified file, which the user does not know
        raise ModelError(str(error).replace(str(simplified.path), fixed.name)) from error
    return PreparedModel(fixed, simplified, read_cost_graph(simplified.path), backend)


def spread_crops(model: PreparedModel, faces: Sequence[CandidateFace], most: int) -> NDArray[np.uint8]:
    """The crops of at most ``most`` of ``faces``, evenly distributed: N×H×W×3 uint8 RGB, as ``model`` takes them."""
    if not faces:
        return np.zeros((0, model.input.height, model.input.width, 3), np.uint8)
    chosen = np.linspace(0, len(faces) - 1, min(most, len(faces))).astype(int)
    return to_rgb(faces[index].crop for index in chosen)


def build_embedder(recognizer: PreparedModel) -> Embedder:
    """Computes embeddings with the FP32 ``recognizer``."""
    return Embedder(recognizer.backend, recognizer.fixed.known_crop(), recognizer.simplified.outputs[0].shape[-1])


def build_face_finder(models: PreparedModels, sources: ModelSources) -> FaceFinder:
    """The FP32 detector and recognizer, as ``datasets`` uses them to find faces and to tell people apart."""
    detector, recognizer = models["detector"], models["recognizer"]
    return FaceFinder(
        Detector(detector.backend, detector.input, detector.simplified.outputs),
        detector.input,
        build_embedder(recognizer),
        onnx_digest(sources.paths["detector"]),
    )
