"""What a conversion writes: manifest, golden vectors, report and models, in one bundle that is complete or absent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.atomic import write_atomically
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.manifest import (
    LibraryNeeds,
    LivenessSpec,
    Manifest,
    Model,
    RecognizerSpec,
    Role,
    Thresholds,
)
from rkface.runtime.core.progress import stage
from rkface.runtime.core.rknn_file import read_model_format
from rkface.runtime.core.versions import MODEL_FORMATS
from rkface.runtime.vision.image import read_image

from .bundle_writer import write_bundle
from .compare_models import ConversionContext, ConversionResult, QuantizedResults, ShapeResult
from .conversion_notes import list_notes
from .evaluate.parity import match_boxes, without_cosines
from .prepared_model import PreparedModel
from .recipe_search import RecipeResult, chosen_result
from .report.conversion_report import ConversionReport
from .report.model_facts import FacePicture, Image, ModelFacts, ReportImages, ShapeFacts
from .settings import ConversionSettings, OutputBundle
from .toolkit.quantize import QuantizedModel

# Golden vectors by role: enough to notice a wrong layout or color order, and few, because the board runs them often.
GOLDEN: dict[Role, int] = {"detector": 2, "recognizer": 8, "liveness": 8}
SHOWN_FACES, SHOWN_FRAMES = 48, 3
FRAME_SIDE = 440  # longer side of a photo in the report, in pixels
SHOWN_MOSAIC = 4  # index: the third of the four densities
PACKAGES = ("rknn-toolkit2", "onnx", "onnxsim", "onnxruntime", "numpy", "opencv-python", "torch")
REFERENCE_COLOR, QUANTIZED_COLOR = (90, 200, 60), (200, 60, 220)  # BGR


def write_outputs(
    context: ConversionContext, settings: ConversionSettings, output: OutputBundle, result: ConversionResult
) -> ConversionReport:
    """Write the report, and the bundle ``output``.

    Raises WorkError, and leaves only the report in the work folder, if ``result`` has a fault and the settings do not
    accept it.
    """
    manifest = _manifest(context, settings, output, result)
    facts = tuple(_model_facts(context, result.quantized, role) for role in context.models)
    notes = list_notes(context, settings.bar, output, result)
    written = result.fault is None or settings.accept
    report = ConversionReport(
        manifest,
        settings.bar,
        result.parity,
        result.evidence,
        facts,
        notes,
        result.fault,
        written,
        result.quantized.pairs,
        tuple(map(_shape_facts, result.shapes)),
    )
    with stage("report and bundle") as shown:
        html, data = settings.work / "report.html", settings.work / "report.json"
        write_atomically(data, report.to_json().encode(), mode=0o666)
        write_atomically(html, report.to_html(_images(context, result)).encode(), mode=0o666)
        if not written:
            raise WorkError(f"{output.target.name}: {result.fault}. No bundle was written; see the report {html}")
        models = result.quantized.models
        golden = models["detector"].rknn.with_name("golden.npz")
        _write_golden(golden, context, result)
        content = {"report.html": html, "report.json": data, "golden.npz": golden}
        content |= {f"{role}.rknn": models[role].rknn for role in context.models}
        content |= {f"reference/{role}.onnx": model.simplified.path for role, model in context.models.items()}
        for one in result.shapes:
            content[f"{one.name}.rknn"] = one.quantized.rknn
            content[f"reference/{one.name}.onnx"] = one.context.models["detector"].simplified.path
        write_bundle(output.folder, manifest, content)
        shown.note = str(output.folder)
    html.unlink()
    data.unlink()
    return report


def _model_facts(context: ConversionContext, quantized: QuantizedResults, role: Role) -> ModelFacts:
    model = quantized.models[role]
    return ModelFacts(
        role,
        model.rknn.stat().st_size,
        *context.models[role].simplified.nodes,
        context.reference.differences[role],
        model.seconds,
        model.peak_rss_mb,
        model.warnings,
        tuple(map(_without_layer_costs, quantized.tries[role])),
        model.layers,
    )


def _shape_facts(one: ShapeResult) -> ShapeFacts:
    input, milliseconds = one.context.models["detector"].input, one.cost.milliseconds if one.cost else None
    return ShapeFacts(input.width, input.height, one.quantized.rknn.stat().st_size, one.detection, milliseconds)


def _manifest(
    context: ConversionContext, settings: ConversionSettings, output: OutputBundle, result: ConversionResult
) -> Manifest:
    sources, quantized = context.sources, result.quantized

    def describe(name: str, role: Role, model: PreparedModel) -> Model:
        return Model(
            file=f"{name}.rknn",
            reference=f"reference/{name}.onnx",
            precision=_precision(quantized, role),
            input=model.input,
            outputs=model.simplified.outputs,
            source=sources.source(role),
        )

    described = {role: describe(role, role, model) for role, model in context.models.items()}
    fixed = context.models["recognizer"].fixed
    recognizer = RecognizerSpec(**vars(described["recognizer"]), crop=fixed.known_crop(), center=fixed.center)
    liveness, profile = None, context.liveness
    if profile is not None:
        fields = {name: getattr(profile, name) for name in ("scale", "live", "logits", "threshold")}
        liveness = LivenessSpec(**vars(described["liveness"]), **fields)
    calibration = context.datasets.calibration
    provenance: dict[str, Any] = {
        "calibration": calibration
        and {"digest": calibration.digest, "faces": calibration.faces, "frames": calibration.frames},
        "recipes": {role: _chosen(quantized, role) for role in context.models},
        "accuracy_bar": settings.bar.to_dict(),
        "match_threshold": sources.evidence,
        "inputs": {role: model.fixed.preprocessing.to_dict() for role, model in context.models.items()},
        "versions": _versions(),
        "parity": without_cosines(result.parity),
    }
    if origin := context.models["recognizer"].center:
        provenance["center"] = origin.to_dict()
    if profile is not None:
        provenance["liveness"] = asdict(profile)
    if result.fault:
        provenance["accepted"] = result.fault
    return Manifest(
        name=sources.name,
        synthetic=sources.synthetic,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        target=output.target.name,
        toolkit=quantized.models["recognizer"].toolkit,
        rkface=version("rkface"),
        detector=described["detector"],
        recognizer=recognizer,
        thresholds=Thresholds(context.detector.threshold, context.detector.nms_iou, sources.match),
        provenance=provenance,
        liveness=liveness,
        librknnrt=_library_needs(quantized),
        shapes=tuple(describe(one.name, "detector", one.context.models["detector"]) for one in result.shapes),
    )


def _library_needs(quantized: QuantizedResults) -> LibraryNeeds:
    """What the models need from librknnrt: its own version of the toolkit, if their file format is not known yet."""
    newest = max(read_model_format(model.rknn) for model in quantized.models.values())
    return LibraryNeeds(newest, MODEL_FORMATS.get(newest, quantized.models["recognizer"].toolkit))


def _chosen(quantized: QuantizedResults, role: Role) -> dict[str, Any]:
    recipe = chosen_result(quantized.tries[role]).recipe
    facts = ("name", "dtype", "algorithm", "correct", "equalize", "ranges", "distilled", "lead", "trail", "coarse")
    return {name: getattr(recipe, name) for name in facts}


def _precision(quantized: QuantizedResults, role: Role) -> str:
    recipe = chosen_result(quantized.tries[role]).recipe
    return "int8+fp16" if recipe.hybrid else "int8" if recipe.quantized else "fp16"


def _without_layer_costs(one: RecipeResult) -> RecipeResult:
    """``one`` without the cost of each layer, unless it is the chosen recipe."""
    return one if one.chosen or one.cost is None else replace(one, cost=replace(one.cost, layers=()))


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # opencv-python-headless may be installed instead
            continue
    return found


def _write_golden(path: Path, context: ConversionContext, result: ConversionResult) -> None:
    entries: dict[str, Any] = {}
    made: list[tuple[str, Role, ConversionContext, QuantizedModel]] = [
        *((role, role, context, model) for role, model in result.quantized.models.items()),
        *((one.name, "detector", one.context, one.quantized) for one in result.shapes),
    ]
    for name, role, source, model in made:
        count = GOLDEN[role]
        entries[f"{name}/inputs"] = source.datasets.evaluation.images(role)[:count]
        for at, output in enumerate(source.models[role].simplified.outputs):
            entries[f"{name}/reference/{output.name}"] = source.reference.outputs[role][at][:count]
            entries[f"{name}/simulator/{output.name}"] = model.outputs[at][:count]
    np.savez_compressed(path, **entries)


def _images(context: ConversionContext, result: ConversionResult) -> ReportImages:
    evaluation, calibration = context.datasets.evaluation, context.datasets.calibration
    parity, augmented = result.parity, evaluation.augmented
    crops = [face.crop for face in evaluation.faces]
    faces = _worst_faces(crops, parity.embedding.cosines, evaluation.groups)
    changed = parity.groups["augmented"].same_crop.cosines if "augmented" in parity.groups else ()
    worst_augmented = _worst_faces(
        [np.ascontiguousarray(crop[..., ::-1]) for crop in augmented.crops], changed, augmented.changes
    )
    contact = calibration and (calibration.folder / "contact.png")
    frames, mosaic = _worst_frames(context, result.quantized), evaluation.mosaics[SHOWN_MOSAIC, ..., ::-1]
    return ReportImages(faces, worst_augmented, frames, mosaic, contact.read_bytes() if contact else None)


def _worst_faces(crops: Sequence[Image], cosines: Sequence[float], kinds: Sequence[str]) -> list[FacePicture]:
    """The faces with the lowest ``cosines``, the worst first; ``crops`` are uint8 BGR."""
    worst = sorted(range(len(cosines)), key=cosines.__getitem__)[:SHOWN_FACES]
    return [FacePicture(crops[index], cosines[index], kinds[index]) for index in worst]


def _worst_frames(context: ConversionContext, quantized: QuantizedResults) -> list[NDArray[np.uint8]]:
    """The photos on which the detectors differ most, with both detectors' faces: photos with the most unmatched faces
    first, then those with the smallest overlap."""
    photos, reference = context.datasets.evaluation.photos, context.reference

    def difference(index: int) -> tuple[int, float]:
        before, after = reference.faces[index], quantized.faces[index]
        pairs = match_boxes(before.boxes, after.boxes)
        return len(before) + len(after) - 2 * len(pairs), -min((iou for *_, iou in pairs), default=1.0)

    drawn = []
    for index in sorted(range(len(photos)), key=difference, reverse=True)[:SHOWN_FRAMES]:
        both = ((reference.faces[index], REFERENCE_COLOR), (quantized.faces[index], QUANTIZED_COLOR))
        drawn.append(_draw(read_image(photos[index]), both))
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
