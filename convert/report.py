"""The report a person reads before trusting a bundle: one self-contained HTML file, and the same numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.bundle import Manifest, Role

from .detection import DetectorEvidence
from .page import b64, jpeg, page, table
from .plot import histogram
from .prove import EmbeddingParity, PairParity, Parity, grade_liveness
from .quantize import LayerError
from .recipe import Bar, Try
from .sections import detection, liveness, recipes

Image = NDArray[np.uint8]
CELL = 84  # pixels of a face in the report

LIMITS = (
    "All figures come from rknn-toolkit2's simulator on a workstation. It emulates the quantized arithmetic; it does "
    "not emulate the compiler's placement on the chip, the driver, or the runtime library, and says nothing about "
    "speed. golden.npz holds inputs and outputs with which a board can check itself."
)


@dataclass(frozen=True)
class ModelFacts:
    """What happened to one model. ``difference``: the largest between original and simplified; ``seconds`` by stage of
    the toolkit; ``nodes`` before and after simplification; ``layers``: the error of each, where it was measured."""

    role: Role
    rknn_bytes: int
    nodes: tuple[int, int]
    difference: float
    seconds: dict[str, float]
    peak_rss_mb: float
    warnings: tuple[str, ...]
    tries: tuple[Try, ...]
    layers: tuple[LayerError, ...] = ()


@dataclass(frozen=True)
class Pictures:
    """``faces``: (crop BGR 112×112, cosine), the worst first; ``frames``: photos with both detectors' boxes drawn;
    ``mosaic``: one of those that judged the detector; ``calibration``: the contact sheet, as an encoded PNG."""

    faces: Sequence[tuple[Image, float]]
    frames: Sequence[Image]
    mosaic: Image
    calibration: bytes | None


@dataclass(frozen=True)
class Report:
    manifest: Manifest
    bar: Bar
    parity: Parity
    evidence: DetectorEvidence
    models: tuple[ModelFacts, ...]
    notes: tuple[str, ...]
    fault: str | None = None  # why these models should not be used

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def to_html(self, pictures: Pictures) -> str:
        manifest = self.manifest
        title = f"{manifest.name} for {manifest.target}"
        found = detection(self.parity.detection, self.evidence, pictures.frames, pictures.mosaic)
        body = [
            f"<h1>rkface: {escape(title)}</h1>",
            f"<p class=soft>{escape(manifest.created)} · rkface {escape(manifest.rkface)} · "
            f"rknn-toolkit2 {escape(manifest.toolkit)}</p>",
            self._verdict(),
            "<h2>Models</h2>" + self._models(),
            "<h2>Recipes</h2>" + recipes(self.models, self.bar),
            "<h2>Embeddings: quantized against FP32</h2>" + self._embeddings(),
            "<h2>Detection: quantized against FP32</h2>" + found,
            liveness(self.parity.liveness) if self.parity.liveness else "",
            "<h2>Decisions on pairs</h2>" + _pairs(self.parity.pairs),
            "<h2>The faces it was judged on, worst first</h2>" + _faces(pictures.faces),
            "<h2>Calibration</h2>" + self._calibration(pictures.calibration),
            "<h2>What this proves, and what not</h2>" + f"<p>{LIMITS}</p>",
            "<h2>Settings, versions, hashes</h2>" + self._provenance(),
        ]
        return page(f"rkface: {title}", body)

    def _verdict(self) -> str:
        embedding, detection = self.parity.embedding, self.parity.detection
        said = self.fault or (
            f"The quantized recognizer agrees with FP32 at a mean cosine of {embedding.mean:.4f} (worst "
            f"{embedding.minimum:.4f}) over {embedding.faces} faces that calibration never saw; the quantized detector "
            f"finds {detection.matched} of the {detection.faces} faces that FP32 finds, and {detection.extra} others."
        )
        synthetic = (
            "<p><b>Synthetic:</b> models and faces were made by rkface's own renderer and training script. "
            "Nothing here is a claim about people.</p>"
        )
        if self.parity.liveness and not self.fault:
            said += f" Liveness: {grade_liveness(self.parity.liveness).said}."
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return (
            f"<p class='verdict{' bad' if self.fault else ''}'>{escape(said)}</p>"
            + (synthetic if self.manifest.synthetic else "")
            + (f"<ul>{notes}</ul>" if notes else "")
        )

    def _models(self) -> str:
        rows = []
        for facts in self.models:
            model = self.manifest.model(facts.role)
            rows.append(
                (
                    facts.role,
                    model.source.file,
                    f"{model.input.width}×{model.input.height}",
                    model.precision,
                    f"{model.source.bytes / 1e6:.1f} MB → {facts.rknn_bytes / 1e6:.1f} MB",
                    f"{facts.nodes[0]} → {facts.nodes[1]}",
                    f"{facts.difference:.0e}",
                    " ".join(f"{name} {seconds:.1f} s" for name, seconds in facts.seconds.items()),
                )
            )
        head = ("model", "source", "input", "precision", "size", "ONNX nodes", "simplified differs by", "toolkit")
        warnings = [f"{facts.role}: {text}" for facts in self.models for text in facts.warnings]
        return table(head, rows) + "".join(f"<p class=soft>{escape(text)}</p>" for text in warnings)

    def _embeddings(self) -> str:
        head = ("", "faces", "mean cosine", "1st percentile", "minimum", "length ratio", "euclidean")
        rows = [
            _embedding_row("same crop", self.parity.embedding),
            _embedding_row("end to end", self.parity.end_to_end),
        ]
        return (
            table(head, rows, numbers=1)
            + histogram({"same crop": self.parity.embedding.cosines, "end to end": self.parity.end_to_end.cosines})
            + "<p class=soft>Same crop: both models embed the face aligned at FP32's landmarks. End to end: each is "
            "aligned at the landmarks its own detector found. Length ratio and euclidean (share of FP32's length) are "
            "of the raw embeddings: a cosine alone can hide a ruined length.</p>"
        )

    def _calibration(self, contact: bytes | None) -> str:
        facts = self.manifest.provenance["calibration"]
        if facts is None:
            return "<p>None: the models are FP16.</p>"
        sheet = f"<figure><img src='data:image/png;base64,{b64(contact)}' alt=''></figure>" if contact else ""
        return (
            f"<p>{facts['faces']} faces and {facts['frames']} frames, digest <code>{escape(facts['digest'])}</code>. "
            "None of these photos is among the faces above.</p>" + sheet
        )

    def _provenance(self) -> str:
        manifest = self.manifest
        rows: list[tuple[str, str]] = [("license", manifest.recognizer.source.license)]
        for role in manifest.roles:
            model = manifest.model(role)
            rows.append((f"{role} ONNX", f"{model.source.file}, SHA-256 {model.source.sha256}"))
            rows.append(
                (
                    f"{role} input",
                    f"uint8 NHWC RGB; inside the model (x − {model.input.mean[0]:g}) / {model.input.std[0]:g}",
                )
            )
        thresholds = manifest.thresholds
        rows.append(
            (
                "thresholds",
                f"detection {thresholds.detection:g}, NMS IoU {thresholds.nms:g}, match {thresholds.match:.4f}",
            )
        )
        rows += [
            (key, json.dumps(value, ensure_ascii=False))
            for key, value in manifest.provenance.items()
            if key != "parity"
        ]
        return table(("", ""), [(key, f"<code>{escape(value)}</code>") for key, value in rows], raw=True)


def _embedding_row(name: str, parity: EmbeddingParity) -> tuple[object, ...]:
    return (
        name,
        parity.faces,
        f"{parity.mean:.4f}",
        f"{parity.p1:.4f}",
        f"{parity.minimum:.4f}",
        f"{parity.norm_ratio:.3f}",
        f"{parity.euclidean:.3f}",
    )


def _pairs(parity: PairParity) -> str:
    said = (
        f"<p>{parity.changed} of {parity.pairs} pairs are decided otherwise than by FP32 at the threshold "
        f"{parity.threshold:.4f}.</p>"
    )
    if parity.reference is None or parity.quantized is None or parity.shift is None:
        return said + (
            "<p class=soft>The photos came without labels (--pairs), so this counts all pairs of the faces below and "
            "cannot say which decision was right.</p>"
        )
    rows: list[tuple[object, ...]] = [
        ("best threshold", f"{parity.reference.best_threshold:.4f}", f"{parity.quantized.best_threshold:.4f}"),
        ("accuracy there", f"{parity.reference.best_accuracy:.2%}", f"{parity.quantized.best_accuracy:.2%}"),
    ]
    for far, tar in parity.reference.tar.items():
        rows.append((f"TAR at FAR {far}", f"{tar:.2%}", f"{parity.quantized.tar[far]:.2%}"))
    said += f"<p>{parity.same} pairs are of one person, {parity.pairs - (parity.same or 0)} of two. "
    said += f"Quantization shifts the best threshold by {parity.shift:+.4f}.</p>"
    return said + table(("", "FP32", "quantized"), rows, numbers=1)


def _faces(faces: Sequence[tuple[Image, float]]) -> str:
    cells = [
        f"<figure><img src='{jpeg(cv2.resize(crop, (CELL, CELL), interpolation=cv2.INTER_AREA))}' alt=''>"
        f"{cosine:.4f}</figure>"
        for crop, cosine in faces
    ]
    return (
        f"<div class=faces>{''.join(cells)}</div>"
        "<p class=soft>Cosine of the quantized to the FP32 embedding of each crop.</p>"
    )
