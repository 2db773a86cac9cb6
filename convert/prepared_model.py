"""A model that is ready for the toolkit: simplified, with its graph for the cost model, and open in ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rkface.runtime.backends.reference import ReferenceBackend, open_reference
from rkface.runtime.bundle import Input, Role, sha256
from rkface.runtime.detect import Detector
from rkface.runtime.embed import Embedder
from rkface.runtime.progress import stage

from .acquire import ModelSources
from .catalog import LivenessProfile
from .datasets import FaceFinder
from .recipe_cost import CostGraph, read_cost_graph
from .simplify import FixedModel, SimplifiedModel, fix_input, simplify


@dataclass(frozen=True)
class PreparedModel:
    """A model that is ready for the toolkit, and running in ONNX Runtime."""

    fixed: FixedModel
    simplified: SimplifiedModel
    graph: CostGraph
    backend: ReferenceBackend

    @property
    def input(self) -> Input:
        return self.simplified.input


PreparedModels = dict[Role, PreparedModel]


def prepare_model(
    path: Path, role: Role, scratch: Path, size: tuple[int, int] | None = None, spoofing: LivenessProfile | None = None
) -> PreparedModel:
    """Fix, simplify and load the model at ``path``; ``size`` is a detector's (width, height), None for its own,
    ``spoofing`` how a liveness model is asked."""
    with stage(f"{role}: simplify") as shown:
        fixed = fix_input(path, role, size if role == "detector" else None, spoofing if role == "liveness" else None)
        simplified = simplify(fixed, scratch / f"{role}.onnx")
        shown.note = f"{path.name}, {simplified.nodes[0]} → {simplified.nodes[1]} nodes"
    return PreparedModel(
        fixed, simplified, read_cost_graph(simplified.path), open_reference(simplified.path, simplified.input)
    )


def build_face_finder(models: PreparedModels, sources: ModelSources) -> FaceFinder:
    detector, recognizer = models["detector"], models["recognizer"]
    return FaceFinder(
        Detector(detector.backend, detector.input, detector.simplified.outputs),
        detector.input,
        Embedder(recognizer.backend, recognizer.input, recognizer.simplified.outputs[0].shape[-1]),
        sha256(sources.paths["detector"]),
    )
