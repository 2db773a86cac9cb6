"""The tables of the conversion report that compare embeddings and decisions with those of FP32."""

from __future__ import annotations

from dataclasses import dataclass

from ..evaluate.parity import EmbeddingParity, LivenessParity, PairParity, Parity
from ..recipe import AccuracyBar
from .page import Card, Table


@dataclass(frozen=True)
class FaceFigures:
    """One comparison of embeddings: its name, what its faces are, and the figures. ``required``: the accuracy bar
    applies to it."""

    name: str
    faces: str
    parity: EmbeddingParity
    required: bool = False

    @property
    def card(self) -> Card:
        of = self.parity
        return Card(self.name, f"{of.mean:.4f}", f"mean cosine; worst face {of.minimum:.4f}; {of.faces} faces")


def face_groups(parity: Parity) -> tuple[FaceFigures, ...]:
    """The comparisons of embeddings in ``parity``, the most important first."""
    return (
        FaceFigures("other people", "faces of people that calibration never saw", parity.embedding, required=True),
        FaceFigures("end to end", "each model with the landmarks of its own detector", parity.end_to_end),
    )


def embedding_table(groups: tuple[FaceFigures, ...], bar: AccuracyBar) -> Table:
    """A row for each of ``groups``, and one for what ``bar`` requires."""
    head = ("", "faces", "mean cosine", "worst face", "1st percentile", "length ratio", "distance")
    rows: list[tuple[object, ...]] = [
        (
            group.name,
            group.parity.faces,
            f"{group.parity.mean:.4f}",
            f"{group.parity.minimum:.4f}",
            f"{group.parity.p1:.4f}",
            f"{group.parity.norm_ratio:.3f}",
            f"{group.parity.euclidean:.3f}",
        )
        for group in groups
    ]
    required = " and ".join(group.name for group in groups if group.required)
    rows.append((f"required of {required}", "", f"{bar.mean:g}", f"{bar.minimum:g}", "", "", ""))
    return Table(head, rows, numbers=1)


def pair_table(parity: PairParity) -> Table | None:
    """Verification by FP32 and by the quantized recognizer; None without labels."""
    if parity.reference is None or parity.quantized is None:
        return None
    rows: list[tuple[object, ...]] = [
        ("best threshold", f"{parity.reference.best_threshold:.4f}", f"{parity.quantized.best_threshold:.4f}"),
        ("accuracy there", f"{parity.reference.best_accuracy:.2%}", f"{parity.quantized.best_accuracy:.2%}"),
    ]
    for far, tar in parity.reference.tar.items():
        rows.append((f"TAR at FAR {far}", f"{tar:.2%}", f"{parity.quantized.tar[far]:.2%}"))
    return Table(("", "FP32", "quantized"), rows, numbers=1)


def liveness_table(parity: LivenessParity) -> Table:
    head = ("faces", "live by FP32", "mean difference", "largest", f"decided differently at {parity.threshold:g}")
    row = (parity.faces, parity.live, f"{parity.mean:.4f}", f"{parity.worst:.4f}", parity.flips)
    return Table(head, [row], numbers=0)
