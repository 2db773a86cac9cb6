"""The report to read before trusting a bundle: one self-contained HTML file, and the same figures as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from rkface.runtime.core.manifest import Manifest

from ..cost import ASSUMPTIONS
from ..evaluate.detector_errors import FACE_SCORE, MARGIN, NOTABLE_LOSS, SIZES, DetectorEvidence
from ..evaluate.grades import grade_liveness
from ..evaluate.parity import Parity
from ..preprocessing import describe_normalization
from ..recipe import AccuracyBar
from .model_facts import Image, ModelFacts, ReportImages
from .page import jpeg, png, render
from .plot import histogram
from .report_sections import (
    DetectionTables,
    cost_section,
    embedding_table,
    liveness_table,
    model_table,
    pair_table,
    recipe_table,
)

CELL = 84  # side of a face in the report, in pixels


@dataclass(frozen=True)
class ConversionReport:
    """The report of one bundle. ``fault`` says why the models should not be used; None if they are close to FP32."""

    manifest: Manifest
    bar: AccuracyBar
    parity: Parity
    evidence: DetectorEvidence
    models: tuple[ModelFacts, ...]
    notes: tuple[str, ...]
    fault: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def to_html(self, images: ReportImages) -> str:
        manifest, parity = self.manifest, self.parity
        return render(
            "conversion.html",
            title=f"rkface: {manifest.name} for {manifest.target}",
            report=self,
            manifest=manifest,
            verdict=self._verdict(),
            models=model_table(manifest, self.models),
            recipes=recipe_table(self.models),
            assumptions=ASSUMPTIONS,
            costs=[cost_section(facts, self.bar) for facts in self.models],
            embeddings=embedding_table({"same crop": parity.embedding, "end to end": parity.end_to_end}),
            embedding_plot=histogram({"same crop": parity.embedding.cosines, "end to end": parity.end_to_end.cosines}),
            detection=DetectionTables.of(parity.detection, self.evidence),
            margin=f"{MARGIN:g}",
            notable_loss=f"{NOTABLE_LOSS:.0%}",
            small_face=f"{SIZES[1]:g}",
            face_score=f"{FACE_SCORE:g}",
            frames=[jpeg(frame) for frame in images.frames],
            mosaic=jpeg(images.mosaic),
            liveness=liveness_table(parity.liveness) if parity.liveness else None,
            pairs=parity.pairs,
            pair_figures=pair_table(parity.pairs),
            faces=[{"source": jpeg(_shrink(crop)), "cosine": cosine} for crop, cosine in images.faces],
            calibration=manifest.provenance["calibration"],
            contact_sheet=png(images.calibration) if images.calibration else None,
            provenance=self._provenance(),
        )

    def _verdict(self) -> str:
        if self.fault:
            return self.fault
        embedding, detection = self.parity.embedding, self.parity.detection
        kind, unseen = (
            ("quantized", " that calibration never saw") if self.manifest.provenance["calibration"] else ("FP16", "")
        )
        text = (
            f"The {kind} recognizer agrees with FP32 at a mean cosine of {embedding.mean:.4f} (worst face "
            f"{embedding.minimum:.4f}) over {embedding.faces} faces{unseen}. The {kind} detector "
            f"finds {detection.matched} of the {detection.faces} faces that FP32 finds, and {detection.extra} others."
        )
        if self.parity.liveness:
            text += f" Liveness: {grade_liveness(self.parity.liveness).said}."
        return text

    def _provenance(self) -> list[tuple[str, str]]:
        manifest = self.manifest
        rows: list[tuple[str, str]] = []
        for role in manifest.roles:
            model = manifest.model(role)
            mean, std = model.input.mean, model.input.std
            rows.append((f"{role} license", model.source.license))
            rows.append((f"{role} ONNX", f"{model.source.file}, SHA-256 {model.source.sha256}"))
            order = "" if model.input.source_order == "RGB" else " (the source takes BGR, and its weights were turned)"
            rows.append((f"{role} input", f"uint8 NHWC RGB{order}; then {describe_normalization(mean, std)}"))
        limits = manifest.thresholds
        rows.append(("thresholds", f"detection {limits.detection:g}, NMS IoU {limits.nms:g}, match {limits.match:.4f}"))
        rows += [
            (key, json.dumps(value, ensure_ascii=False))
            for key, value in manifest.provenance.items()
            if key != "parity"
        ]
        return rows


def _shrink(crop: Image) -> Image:
    return np.asarray(cv2.resize(crop, (CELL, CELL), interpolation=cv2.INTER_AREA), np.uint8)
