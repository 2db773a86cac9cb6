"""What a conversion hands over: manifest, golden vectors, report and models, together or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.bundle import LivenessSpec, Manifest, Model, Role, Thresholds
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.detect import NMS_IOU, THRESHOLD
from rkface.runtime.vision.image import read_image

from .bundle import write_bundle
from .detection import DetectorEvidence, remarks
from .prove import LivenessParity, Parity, match
from .recipe import Try, chosen_of
from .report import ModelFacts, Pictures, Report

if TYPE_CHECKING:
    from .acquire import Sources
    from .convert import Order, Settings
    from .material import Evaluation, Material
    from .trial import Models, Reference, Trial

# Enough to tell a wrong layout or color order; the board runs them often.
GOLDEN = {"detector": 2, "recognizer": 8, "liveness": 8}
SHOWN_FACES, SHOWN_FRAMES, FRAME_SIDE = 48, 3, 440
SHOWN_MOSAIC = 4  # of the four densities the third
PACKAGES = ("rknn-toolkit2", "onnx", "onnxsim", "onnxruntime", "numpy", "opencv-python", "torch")
REFERENCE_COLOR, QUANTIZED_COLOR = (90, 200, 60), (200, 60, 220)  # BGR


def deliver(
    sources: Sources, settings: Settings, order: Order, *, models: Models, material: Material, reference: Reference,
    trial: Trial, parity: Parity, evidence: DetectorEvidence, fault: str | None,
) -> Report:  # fmt: skip
    """Write the report, and the bundle of ``order`` unless there is a ``fault`` that nobody accepted (WorkError; the
    report then stays in the work folder)."""
    facts = tuple(
        ModelFacts(
            role,
            trial.models[role].rknn.stat().st_size,
            models[role].simplified.nodes,
            reference.differences[role],
            trial.models[role].seconds,
            trial.models[role].peak_rss_mb,
            trial.models[role].warnings,
            tuple(map(_brief, trial.tries[role])),
            trial.models[role].layers,
        )
        for role in models
    )
    doubts = [order.target.warning, *(_below(role, trial.tries[role]) for role in models), _one_sided(parity.liveness)]
    notes = (*material.notes, *filter(None, doubts), *remarks(evidence))
    manifest = _manifest(
        sources, settings, order, models=models, material=material, trial=trial, parity=parity, fault=fault
    )
    report = Report(manifest, settings.bar, parity, evidence, facts, notes, fault)
    with stage("report and bundle") as shown:
        (settings.work / "report.json").write_text(report.to_json(), encoding="utf-8")
        html = report.to_html(_pictures(material, reference, trial, parity))
        (settings.work / "report.html").write_text(html, encoding="utf-8")
        if fault and not settings.accept:
            raise WorkError(
                f"{order.target.name}: {fault}. No bundle was written for it; the report is "
                f"{settings.work / 'report.html'}"
            )
        golden = trial.models["detector"].rknn.with_name("golden.npz")
        _write_golden(golden, models, material.evaluation, reference, trial)
        content = {name: settings.work / name for name in ("report.html", "report.json")} | {"golden.npz": golden}
        content |= {f"{role}.rknn": trial.models[role].rknn for role in models}
        content |= {f"reference/{role}.onnx": models[role].simplified.path for role in models}
        write_bundle(order.out, manifest, content)
        shown.note = str(order.out)
    for name in ("report.html", "report.json"):
        content[name].unlink()
    return report


def _manifest(
    sources: Sources,
    settings: Settings,
    order: Order,
    *,
    models: Models,
    material: Material,
    trial: Trial,
    parity: Parity,
    fault: str | None,
) -> Manifest:
    described = {
        role: Model(
            file=f"{role}.rknn",
            reference=f"reference/{role}.onnx",
            precision=_precision(trial, role),
            input=models[role].input,
            outputs=models[role].simplified.outputs,
            source=sources.source(role),
        )
        for role in models
    }
    liveness, spoofing = None, sources.spoofing
    if spoofing is not None:
        asked = {name: getattr(spoofing, name) for name in ("scale", "live", "logits", "threshold")}
        liveness = LivenessSpec(**vars(described["liveness"]), **asked)
    calibration = material.calibration
    provenance: dict[str, Any] = {
        "calibration": calibration
        and {"digest": calibration.digest, "faces": calibration.faces, "frames": calibration.frames},
        "recipes": {role: _chosen(trial, role) for role in models},
        "match_threshold": sources.evidence,
        "versions": _versions(),
        "parity": _without_series(asdict(parity)),
    }
    if spoofing is not None:
        provenance["liveness"] = asdict(spoofing)
    if fault:
        provenance["accepted"] = fault
    return Manifest(
        name=sources.name,
        synthetic=sources.synthetic,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        target=order.target.name,
        toolkit=trial.models["recognizer"].toolkit,
        rkface=version("rkface"),
        detector=described["detector"],
        recognizer=described["recognizer"],
        thresholds=Thresholds(THRESHOLD, NMS_IOU, sources.match),
        provenance=provenance,
        liveness=liveness,
    )


def _chosen(trial: Trial, role: Role) -> dict[str, Any]:
    recipe = chosen_of(trial.tries[role]).recipe
    return {name: getattr(recipe, name) for name in ("name", "dtype", "algorithm", "tuned", "lead", "trail")}


def _precision(trial: Trial, role: Role) -> str:
    recipe = chosen_of(trial.tries[role]).recipe
    return "int8+fp16" if recipe.hybrid else "int8" if recipe.quantized else "fp16"


def _brief(one: Try) -> Try:
    """Its cost layer by layer is for the recipe taken."""
    return one if one.chosen or one.cost is None else replace(one, cost=replace(one.cost, layers=()))


def _below(role: Role, tries: Sequence[Try]) -> str | None:
    """What to tell where no recipe cleared the bar."""
    chosen = chosen_of(tries)
    if chosen.grade is None or chosen.grade.clears or not chosen.recipe.quantized:
        return None
    return f"{role}: no recipe is as near to FP32 as a good one (best: {chosen.recipe.name}, {chosen.grade.said})"


def _one_sided(parity: LivenessParity | None) -> str | None:
    """What to tell where FP32 takes nearly all of the photos for the same."""
    if parity is not None and parity.live == parity.faces:
        return (
            f"liveness: all {parity.faces} faces are live to FP32, so that INT8 was proven on live faces alone: add "
            "photos of prints and screens held before the camera"
        )
    if parity is None or 2 * parity.live >= parity.faces:
        return None
    return (
        f"liveness: FP32 takes only {parity.live} of {parity.faces} faces for live. If the photos show people and not "
        "pictures of them, its class, colors, crop or normalization may be another (--live-…)"
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # opencv-python-headless serves as well
            continue
    return found


def _without_series(parity: dict[str, Any]) -> dict[str, Any]:
    """The figures without the list of every face's cosine, which is in report.json, and without what is not there."""
    for part in ("embedding", "end_to_end"):
        parity[part].pop("cosines")
    return {name: part for name, part in parity.items() if part is not None}


def _write_golden(path: Path, models: Models, evaluation: Evaluation, reference: Reference, trial: Trial) -> None:
    entries: dict[str, Any] = {}
    for role in models:
        count = GOLDEN[role]
        entries[f"{role}/inputs"] = evaluation.images(role)[:count]
        for at, output in enumerate(models[role].simplified.outputs):
            entries[f"{role}/reference/{output.name}"] = reference.outputs[role][at][:count]
            entries[f"{role}/simulator/{output.name}"] = trial.models[role].outputs[at][:count]
    np.savez_compressed(path, **entries)


def _pictures(material: Material, reference: Reference, trial: Trial, parity: Parity) -> Pictures:
    evaluation, calibration = material.evaluation, material.calibration
    cosines = parity.embedding.cosines
    worst = sorted(range(len(cosines)), key=cosines.__getitem__)[:SHOWN_FACES]
    faces = [(evaluation.faces[index].crop, cosines[index]) for index in worst]
    contact = calibration and (calibration.folder / "contact.png")
    frames, mosaic = _worst_frames(evaluation, reference, trial), evaluation.mosaics[SHOWN_MOSAIC, ..., ::-1]
    return Pictures(faces, frames, mosaic, contact.read_bytes() if contact else None)


def _worst_frames(evaluation: Evaluation, reference: Reference, trial: Trial) -> list[NDArray[np.uint8]]:
    """Photos on which the detectors differ most: by faces without a partner, then by the smallest overlap."""

    def difference(index: int) -> tuple[int, float]:
        before, after = reference.faces[index], trial.faces[index]
        pairs = match(before.boxes, after.boxes)
        return len(before) + len(after) - 2 * len(pairs), -min((iou for *_, iou in pairs), default=1.0)

    worst = sorted(range(len(evaluation.photos)), key=difference, reverse=True)[:SHOWN_FRAMES]
    drawn = []
    for index in worst:
        image = read_image(evaluation.photos[index])
        both = ((reference.faces[index], REFERENCE_COLOR), (trial.faces[index], QUANTIZED_COLOR))
        drawn.append(_draw(image, both))
    return drawn


def _draw(image: NDArray[np.uint8], layers: Sequence[tuple[Faces, tuple[int, int, int]]]) -> NDArray[np.uint8]:
    zoom = FRAME_SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom)))
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    for faces, color in layers:
        for x1, y1, x2, y2 in np.rint(faces.boxes * zoom).astype(int).tolist():
            cv2.rectangle(canvas, (x1, y1), (x2, y2), color, 1, cv2.LINE_AA)
        for x, y in np.rint(faces.landmarks.reshape(-1, 2) * zoom).astype(int).tolist():
            cv2.circle(canvas, (x, y), 2, color, cv2.FILLED, cv2.LINE_AA)
    return canvas.astype(np.uint8, copy=False)
