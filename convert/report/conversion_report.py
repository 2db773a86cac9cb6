"""The report to read before trusting a bundle: one self-contained HTML file, and the same figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from rkface.runtime.core.manifest import Manifest
from rkface.runtime.core.text import readable

from ..cost import ASSUMPTIONS
from ..evaluate.detector_errors import MARGIN, NOTABLE_LOSS, SIZES, DetectorEvidence
from ..evaluate.evaluation import without_nan
from ..evaluate.grades import grade_liveness
from ..evaluate.output_errors import FACE_SCORE
from ..evaluate.parity import MIN_UNLIKE, REAL, Parity
from ..pair_search import PairResult
from ..preprocessing import describe_normalization
from ..recipe import AccuracyBar
from .accuracy_tables import GROUPS, drop_table, embedding_table, group_cards, group_table, liveness_table, pair_table
from .detection_tables import DetectionTables, shape_table
from .model_facts import FacePicture, ModelFacts, ReportImages, ShapeFacts
from .page import Card, ReportVerdict, Section, jpeg, named_values, png, render, sections
from .plot import histogram
from .recipe_sections import cost_section, model_pair_table, model_table, recipe_table

CELL = 84  # side of a face in the report, in pixels
WORST_FACES = 10  # shown at the top, one row on a wide screen; the others are folded away
SHOWN = {"calibration", "match_threshold", "parity", "recipes", "versions"}  # parts of the provenance in other places
SYNTHETIC = (
    "models and faces were made by rkface's own renderer and training script. Nothing here is a claim about people."
)


@dataclass(frozen=True)
class ConversionReport:
    """The report of one bundle. As JSON, its fields are the keys of report.json (docs/report.md).

    required        the accuracy bar
    fault           why the models should not be used; None if they are close enough to FP32
    bundle_written  False if ``fault`` prevents it. With --accept, the bundle is written all the same
    model_pairs     of a detector and a recognizer that were compared with FP32 together
    shapes          the detector in other shapes
    """

    manifest: Manifest
    required: AccuracyBar
    parity: Parity
    detector_errors: DetectorEvidence
    models: tuple[ModelFacts, ...]
    notes: tuple[str, ...]
    fault: str | None = None
    bundle_written: bool = True
    model_pairs: tuple[PairResult, ...] = ()
    shapes: tuple[ShapeFacts, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with None instead of NaN, and instead of limits that do not decide."""
        found = dict(without_nan(asdict(self)))
        if not self.required.by_cosine:
            found["required"] = {name: one if name == "max_drop" else None for name, one in found["required"].items()}
        return found

    def to_json(self) -> str:
        return readable(json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)) + "\n"

    def to_html(self, images: ReportImages) -> str:
        manifest, parity = self.manifest, self.parity
        faces = [_face_image(face) for face in images.faces]
        return render(
            self.verdict(),
            [section for section in _SECTIONS if self._has(section)],
            title=f"rkface: {manifest.name} for {manifest.target}",
            heading=f"{manifest.name} for {manifest.target}",
            origin=f"{manifest.created} · rkface {manifest.rkface} · rknn-toolkit2 {manifest.toolkit}",
            synthetic=SYNTHETIC if manifest.synthetic else "",
            cards=list(self._cards()),
            report=self,
            manifest=manifest,
            groups=[(group, about) for group, about in GROUPS.items() if group in parity.groups],
            accuracy=group_table(parity, self.required),
            drops=drop_table(parity.drops),
            drop_pairs=parity.drops[0] if parity.drops else None,
            embeddings=embedding_table(parity),
            embedding_plot=histogram({name: found.same_crop.cosines for name, found in parity.groups.items()}),
            worst_faces=faces[:WORST_FACES],
            other_faces=faces[WORST_FACES:],
            augmented_faces=[_face_image(face) for face in images.augmented],
            pairs=parity.pairs,
            pair_figures=pair_table(parity.pairs),
            threshold_evidence=named_values({"evidence": manifest.provenance["match_threshold"]}),
            detection=DetectionTables.of(parity.detection, self.detector_errors),
            shapes=shape_table(self.shapes),
            margin=f"{MARGIN:g}",
            notable_loss=f"{NOTABLE_LOSS:.0%}",
            small_face=f"{SIZES[1]:g}",
            face_score=f"{FACE_SCORE:g}",
            frames=[jpeg(frame) for frame in images.frames],
            mosaic=jpeg(images.mosaic),
            liveness=liveness_table(parity.liveness) if parity.liveness else None,
            recipes=recipe_table(self.models),
            model_pairs=model_pair_table(self.model_pairs),
            costs=[cost_section(facts, self.required) for facts in self.models],
            assumptions=ASSUMPTIONS,
            calibration=manifest.provenance["calibration"],
            contact_sheet=png(images.calibration) if images.calibration else None,
            models=model_table(manifest, self.models),
            settings=list(self._settings()),
        )

    def verdict(self) -> ReportVerdict:
        """Whether the models may be used. ``bad``: no bundle is written, and the command fails."""
        if self.fault:
            why = self.fault[0].upper() + self.fault[1:]
            if self.bundle_written:
                return ReportVerdict("warn", "Written with --accept, although it is too far from FP32.", why)
            return ReportVerdict("bad", "Refused: too far from FP32. No bundle was written.", why)
        detection = self.parity.detection
        quantized = self.manifest.provenance["calibration"] is not None
        kind, unseen = ("INT8", " that calibration never saw") if quantized else ("FP16", "")
        figures = " and ".join(
            f"{found.same_crop.mean:.4f} on {found.same_crop.faces} {group} faces (worst {found.same_crop.minimum:.4f})"
            for group in GROUPS
            if group in REAL and (found := self.parity.groups.get(group))
        )
        text = (
            f"{self._requirement()} The recognizer's mean cosine with FP32 is {figures}{unseen}. "
            f"The detector finds {detection.matched} of the "
            f"{detection.faces} faces that FP32 finds, and {detection.extra} others."
        )
        if self.parity.liveness:
            text += f" Liveness: {grade_liveness(self.parity.liveness).summary}."
        if quantized and "unlike" not in self.parity.groups:
            text += (
                f" Fewer than {MIN_UNLIKE} held-out faces are unlike the calibration photos: changed faces stand in "
                "for such photos."
            )
        if not self.manifest.threshold_measured:
            text += " The match threshold is not measured on this model: measure it before you rely on it."
        return ReportVerdict("good", f"Accepted: {kind} is as close to FP32 as required, in the simulator.", text)

    def _requirement(self) -> str:
        """What was required of the recognizer."""
        if self.required.by_cosine:
            return (
                f"A mean cosine of {self.required.mean:g} is required, and {self.required.minimum:g} of the worst face."
            )
        return f"Your own figures decide: {'; '.join(map(str, self.parity.drops))}."

    def _has(self, section: Section) -> bool:
        """Whether there is something to say in ``section``."""
        return {"notes": bool(self.notes), "liveness": self.parity.liveness is not None}.get(section.anchor, True)

    def _cards(self) -> Iterator[Card]:
        manifest, detection, liveness = self.manifest, self.parity.detection, self.parity.liveness
        yield from group_cards(self.parity)
        yield Card(
            "detector",
            f"{detection.matched} of {detection.faces}",
            f"of FP32's faces; {detection.extra} others; landmark error {detection.landmark_error:.1%}",
        )
        if liveness:
            yield Card("liveness", f"{liveness.changed} of {liveness.faces}", "faces are decided differently from FP32")
        measured = "evidence: see below" if manifest.threshold_measured else "not measured on this model"
        yield Card("match threshold", f"{manifest.thresholds.match:.4f}", measured)
        costs = [(facts.role, one.cost) for facts in self.models for one in facts.recipes if one.chosen]
        if all(cost for _, cost in costs):
            yield Card(
                "predicted time",
                " + ".join(f"{cost.milliseconds:.1f}" for _, cost in costs if cost) + " ms",
                f"{' + '.join(role for role, _ in costs)}, on one NPU core; never measured",
            )

    def _settings(self) -> Iterator[tuple[str, str]]:
        manifest = self.manifest
        for role in manifest.roles:
            model = manifest.model(role)
            mean, std = model.input.mean, model.input.std
            yield f"{role} license", model.source.license
            yield f"{role} ONNX", f"{model.source.file}, SHA-256 {model.source.sha256}"
            order = "" if model.input.source_order == "RGB" else " (the source takes BGR, and its weights were turned)"
            yield f"{role} input", f"uint8 NHWC RGB{order}; then {describe_normalization(mean, std)}"
        limits = manifest.thresholds
        yield "thresholds", f"detection {limits.detection:g}, NMS IoU {limits.nms:g}, match {limits.match:.4f}"
        yield "versions", ", ".join(f"{name} {version}" for name, version in manifest.provenance["versions"].items())
        yield from named_values({key: value for key, value in manifest.provenance.items() if key not in SHOWN})


_SECTIONS = sections(
    "conversion",
    {
        "accuracy": "Accuracy",
        "worst-faces": "Worst faces",
        "thresholds": "Thresholds",
        "notes": "Notes",
        "detection": "Detection",
        "liveness": "Liveness",
        "recipes": "Recipes and predicted cost",
        "calibration": "Calibration",
        "models": "Models",
        "limits": "Limits",
        "settings": "Settings",
    },
)


def _face_image(face: FacePicture) -> tuple[str, str, str]:
    """A face for a template: the image as a data URI, the cosine, and what kind of face it is."""
    shown = cv2.resize(face.crop, (CELL, CELL), interpolation=cv2.INTER_AREA)
    return jpeg(np.asarray(shown, np.uint8)), f"{face.cosine:.4f}", face.kind
