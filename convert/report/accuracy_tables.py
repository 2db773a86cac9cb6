"""The tables of the conversion report that compare embeddings and decisions with those of FP32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..evaluate.max_drop import MetricDrop, show_points
from ..evaluate.parity import REAL, EmbeddingParity, FaceGroup, LivenessParity, PairParity, Parity
from ..recipe import AccuracyBar
from .page import Card, Table

# What is in each group of evaluation faces, in the order of the report: those that are most like strangers first.
GROUPS: dict[FaceGroup, str] = {
    "unlike": "faces of people, and of a pose, light or sharpness, that the calibration photos do not have",
    "in-domain": "the other held-out faces: other photos, but of the kind that calibrates",
    "augmented": "held-out faces, turned, blurred, narrow, close, dark, washed out, compressed, small or masked",
}
CARD_TITLES: dict[FaceGroup, str] = {
    "unlike": "unlike (out of domain)",
    "in-domain": "in-domain",
    "augmented": "augmented",
}


def group_cards(parity: Parity) -> Iterator[Card]:
    """Out-of-domain and in-domain figures, to stand side by side."""
    for group, title in CARD_TITLES.items():
        found = parity.groups.get(group)
        if found is not None:
            yield _cosine_card(title, found.same_crop)
        elif group == "unlike":
            yield Card(title, "no faces", "no held-out face is unlike those that calibrate")
    yield _cosine_card("end to end", parity.end_to_end)


def _cosine_card(title: str, of: EmbeddingParity) -> Card:
    return Card(title, f"{of.mean:.4f}", f"mean cosine; worst of {of.faces} faces: {of.minimum:.4f}")


def group_table(parity: Parity, bar: AccuracyBar) -> Table:
    """A row for each group of evaluation faces, and one for what ``bar`` requires of the real ones."""
    head = ("faces", "number", "mean cosine", "worst face", "end to end: mean", "worst face")
    rows: list[tuple[object, ...]] = [
        (
            group,
            found.same_crop.faces,
            f"{found.same_crop.mean:.4f}",
            f"{found.same_crop.minimum:.4f}",
            *_mean_and_worst(found.end_to_end),
        )
        for group in GROUPS
        if (found := parity.groups.get(group))
    ]
    if not bar.by_cosine:
        return Table(head, rows, numbers=1)
    required = " and ".join(group for group in GROUPS if group in REAL and group in parity.groups)
    limits = (f"{limit:g}" for limit in (bar.mean, bar.minimum, bar.lowest_end_to_end))
    rows.append((f"required of {required}", "", *limits, ""))
    return Table(head, rows, numbers=1)


def drop_table(drops: Sequence[MetricDrop]) -> Table | None:
    """The user's own figures of --max-drop; None without them."""
    if not drops:
        return None
    head = ("your figure", "FP32", "quantized", "worse by, in points", "95 % interval", "allowed")
    rows = [
        (
            drop.title,
            f"{drop.reference:.2%}",
            f"{drop.quantized:.2%}",
            show_points(drop.drop.value),
            f"{show_points(drop.drop.low)} to {show_points(drop.drop.high)}",
            f"{drop.allowed:g}",
        )
        for drop in drops
    ]
    return Table(head, rows, numbers=1)


def _mean_and_worst(of: EmbeddingParity) -> tuple[str, str]:
    return (f"{of.mean:.4f}", f"{of.minimum:.4f}") if of.faces else ("", "")


def embedding_table(parity: Parity) -> Table:
    """More figures about the same embeddings: a row for each group, and one for end to end."""
    rows: dict[str, EmbeddingParity] = {
        **{group: parity.groups[group].same_crop for group in GROUPS if group in parity.groups},
        "end to end": parity.end_to_end,
    }
    head = ("faces", "1st percentile", "length ratio", "Euclidean distance")
    shown = [(name, f"{of.p1:.4f}", f"{of.norm_ratio:.3f}", f"{of.euclidean:.3f}") for name, of in rows.items()]
    return Table(head, shown, numbers=1)


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
    row = (parity.faces, parity.live, f"{parity.mean:.4f}", f"{parity.worst:.4f}", parity.changed)
    return Table(head, [row], numbers=0)
