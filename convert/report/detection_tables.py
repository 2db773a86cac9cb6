"""The tables of the conversion report about the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluate.detector_errors import DetectorEvidence
from ..evaluate.output_errors import have_separate_scales
from ..evaluate.parity import DetectionParity
from .model_facts import ShapeFacts
from .page import Table


@dataclass(frozen=True)
class DetectionTables:
    """How the quantized detector differs from FP32. ``separate_scales``: no two outputs share an INT8 scale."""

    summary: Table
    thresholds: Table
    sizes: Table
    outputs: Table
    separate_scales: bool

    @classmethod
    def of(cls, parity: DetectionParity, evidence: DetectorEvidence) -> DetectionTables:
        return cls(
            _summary_table(parity),
            _threshold_table(evidence),
            _size_table(evidence),
            _output_table(evidence),
            have_separate_scales(evidence.outputs),
        )


def _summary_table(parity: DetectionParity) -> Table:
    head = ("images", "FP32 faces", "matched (IoU 0.5)", "IoU ≥ 0.9", "missed", "extra", "mean IoU", "minimum IoU",
            "landmark error", "worst")  # fmt: skip
    row = (
        parity.images,
        parity.faces,
        parity.matched,
        parity.tight,
        parity.missed,
        parity.extra,
        f"{parity.mean_iou:.3f}",
        f"{parity.minimum_iou:.3f}",
        f"{parity.landmark_error:.2%}",
        f"{parity.landmark_error_max:.2%}",
    )
    return Table(head, [row], numbers=0)


def shape_table(shapes: Sequence[ShapeFacts]) -> Table:
    """The detector in other shapes; no rows without them."""
    head = ("input", "FP32 faces", "matched (IoU 0.5)", "missed", "extra", "mean IoU", "landmark error",
            "predicted ms", "MB")  # fmt: skip
    rows = [
        (
            f"{one.width}×{one.height}",
            one.detection.faces,
            one.detection.matched,
            one.detection.missed,
            one.detection.extra,
            f"{one.detection.mean_iou:.3f}",
            f"{one.detection.landmark_error:.2%}",
            "" if one.milliseconds is None else f"{one.milliseconds:.2f}",
            f"{one.rknn_bytes / 1e6:.1f}",
        )
        for one in shapes
    ]
    return Table(head, rows, numbers=1)


def _threshold_table(evidence: DetectorEvidence) -> Table:
    rows = [
        (name, f"{one.threshold:g}", one.faces, one.missed, one.lost, one.extra, one.invented)
        for name, scenes in (("photos", evidence.photos), ("mosaics", evidence.mosaics))
        for one in scenes.thresholds
    ]
    head = ("", "threshold", "FP32 faces", "missed", "of them lost", "extra", "of them invented")
    return Table(head, rows, numbers=1)


def _size_table(evidence: DetectorEvidence) -> Table:
    rows = [
        (
            name,
            f"{one.low:g} to {one.high:g}" if one.high else f"{one.low:g} and more",
            one.faces,
            one.missed,
            one.lost,
            one.extra,
            *((f"{one.mean_iou:.3f}", f"{one.landmark_error:.2%}") if one.faces > one.missed else ("", "")),
        )
        for name, scenes in (("photos", evidence.photos), ("mosaics", evidence.mosaics))
        for one in scenes.sizes
        if one.faces or one.extra
    ]
    head = ("", "input pixels", "FP32 faces", "missed", "of them lost", "extra", "mean IoU", "landmark error")
    return Table(head, rows, numbers=2)


def _output_table(evidence: DetectorEvidence) -> Table:
    units = {"score": "", "box": " px", "landmark": " px"}
    rows = [
        (
            f"{one.kind}, stride {one.stride}",
            one.anchors,
            f"{one.bias:+.4f}{units[one.kind]}",
            f"{one.mean:.4f}{units[one.kind]}",
            f"{one.worst:.3f}{units[one.kind]}",
            f"{one.largest_fp32:.3g} → {one.largest_quantized:.3g}",
            f"{one.step:.4f}{units[one.kind]}" if one.step else "not INT8",
        )
        for one in evidence.outputs
    ]
    return Table(("output", "anchors", "bias", "mean error", "worst", "highest", "step"), rows, numbers=1)
