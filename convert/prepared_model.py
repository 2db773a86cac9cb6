"""A model that is ready for the toolkit: simplified, with its graph for the cost model, and open in ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rkface.runtime.backends.reference import ReferenceBackend, open_reference
from rkface.runtime.bundle import Input, Role, sha256
from rkface.runtime.detect import Detector
from rkface.runtime.embed import Embedder
from rkface.runtime.progress import stage

from .acquire import Sources
from .catalog import Spoofing
from .datasets import Finder
from .recipe_cost import Graph, read_graph
from .simplify import Fixed, Simplified, fix, simplify


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


def prepare(
    path: Path, role: Role, scratch: Path, size: tuple[int, int] | None = None, spoofing: Spoofing | None = None
) -> Prepared:
    """Fix, simplify and load the model at ``path``; ``size`` is a detector's (width, height), None for its own,
    ``spoofing`` how a liveness model is asked."""
    with stage(f"{role}: simplify") as shown:
        fixed = fix(path, role, size if role == "detector" else None, spoofing if role == "liveness" else None)
        simplified = simplify(fixed, scratch / f"{role}.onnx")
        shown.note = f"{path.name}, {simplified.nodes[0]} → {simplified.nodes[1]} nodes"
    return Prepared(fixed, simplified, read_graph(simplified.path), open_reference(simplified.path, simplified.input))


def to_finder(models: Models, sources: Sources) -> Finder:
    detector, recognizer = models["detector"], models["recognizer"]
    return Finder(
        Detector(detector.backend, detector.input, detector.simplified.outputs),
        detector.input,
        Embedder(recognizer.backend, recognizer.input, recognizer.simplified.outputs[0].shape[-1]),
        sha256(sources.paths["detector"]),
    )
