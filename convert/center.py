"""Which constant is taken off a recognizer's embeddings: none, that of an older bundle, or the one measured on photos.

calibration/center.py explains what it is. A gallery can be used only with the constant that it was made with
(``embedding_identity``), so an older bundle's constant is kept where that is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from rkface.calibration.center import CONSTANT_COSINE, EmbeddingCenter, measure_center
from rkface.calibration.collect import CandidateFace
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import BundleError, InputError
from rkface.runtime.core.manifest import MANIFEST, Input, Manifest, RecognizerSpec
from rkface.runtime.core.manifest_reader import parse_manifest
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.embed import unit

from .acquire import ModelSources
from .face_separation import in_another_light
from .prepare.subtract_center import append_subtraction, subtract_center
from .prepared_model import CenterOrigin, PreparedModel, spread_crops
from .recipe_cost import read_cost_graph
from .settings import CenterRequest

CENTER_FACES = 200  # on which the constant is measured
FIRST_LOOK = 32  # on which it is decided whether one is needed
# The mean over few people is mostly these people. Measured with dlib's ResNet-29, 200 draws: with 10 random faces, the
# AUC of 300 labeled pairs was 0.9958 at worst, with 30 faces 0.9999 (docs/accuracy.md).
MIN_PEOPLE, ENOUGH_PEOPLE = 10, 30
DECIMALS = 6  # embeddings have values of about 0.1

Progress = Callable[[int, int], None]


def check_center(request: CenterRequest, sources: ModelSources) -> None:
    """Raise InputError or BundleError, before any work, if --center does not fit the recognizer of ``sources``."""
    if request.choice == "new" and sources.center is False:
        raise InputError(
            f"--center new: the embeddings of {sources.paths['recognizer'].name} need no constant taken off: leave "
            "--center out"
        )
    if request.given is None:
        return
    spec = read_bundle(request.given).manifest.recognizer
    if spec.source.sha256 != sources.source("recognizer").sha256:
        raise InputError(
            f"--center {request.given}: its recognizer was made from another model ({spec.source.file}): name a bundle "
            "of the same recognizer, or leave --center out"
        )
    if not spec.center:
        raise InputError(
            f"--center {request.given}: no constant was taken off the embeddings of this bundle: name another bundle, "
            "or write --center none"
        )


def settle_center(
    model: PreparedModel,
    faces: Sequence[CandidateFace],
    request: CenterRequest,
    digest: str,
    *,
    needed: bool | None = None,
    replaced: Sequence[Path] = (),
) -> PreparedModel:
    """``model`` with the constant taken off, if it needs one.

    ``faces`` were found in the photos. ``digest`` is the SHA-256 of the recognizer's ONNX file. ``needed``: what the
    catalog says; None measures it. ``replaced`` are the folders that the new bundles are written to. Raises InputError
    if the constant cannot be taken from --center, or if the photos show too few faces or people.
    """
    if request.choice == "none" or (needed is False and request.given is None):
        return model
    if request.given is not None:
        given = parse_manifest(request.given)  # ``check_center`` has verified the bundle
        if why := _differs(given.recognizer, model):
            raise InputError(f"--center {request.given}: {why}: its constant is not valid for this conversion")
        return with_center(model, given.recognizer.center, _origin_of(request.given, given))
    older = _older_bundles(model, digest, replaced)
    centered = {folder: manifest for folder, manifest in older.items() if manifest.recognizer.center}
    if request.choice == "auto" and centered:
        if len({manifest.recognizer.center for manifest in centered.values()}) > 1:
            raise InputError(
                f"the bundles {' and '.join(map(str, centered))} have different constants, and galleries of one cannot "
                "be used with the other: say which to keep with --center BUNDLE"
            )
        folder, manifest = next(iter(centered.items()))
        return with_center(model, manifest.recognizer.center, _origin_of(folder, manifest))
    return _measure_and_subtract(model, faces, needed, older, force=request.choice == "new")


def _measure_and_subtract(
    model: PreparedModel,
    faces: Sequence[CandidateFace],
    needed: bool | None,
    older: dict[Path, Manifest],
    *,
    force: bool,
) -> PreparedModel:
    """``model`` with the constant of ``faces`` taken off, if it needs one; ``force``: also if they may show too few
    people."""
    if len(faces) < MIN_PEOPLE:
        if needed or force:
            raise InputError(_explain_few(model, f"they show only {len(faces)} usable faces"))
        return model
    with stage("recognizer: common part of embeddings") as shown:
        found = _measure(model, faces, FIRST_LOOK, shown.advance)
        constant = needed or (found.needed and _has_constant(model, faces))
        if constant and len(faces) > FIRST_LOOK:
            found = _measure(model, faces, CENTER_FACES, shown.advance)
        few, before = found.people < MIN_PEOPLE and not force, f"different people: mean cosine {found.cosine:.2f}"
        if not constant:
            shown.note = f"not taken off ({before})"
            return model
        if few:
            people = f"these seem to show at most {round(found.people)} people"
            raise InputError(f"{_explain_few(model, people)}, or measure it anyway with --center new")
        shown.note = f"taken off ({before} before), measured on {found.faces} faces"
    values = tuple(round(float(value), DECIMALS) for value in found.values)
    origin = CenterOrigin(None, found.faces, found.people, found.cosine, tuple(_remarks(model, found, older)))
    return with_center(model, values, origin)


def _explain_few(model: PreparedModel, shown: str) -> str:
    return (
        f"{model.fixed.name} needs a constant taken off its embeddings, because faces of different people have a mean "
        f"cosine near 1 without it. The constant is measured on the photos, but {shown}, and at least {MIN_PEOPLE} are "
        "needed: add photos of other people, or use the constant of an older bundle with --center BUNDLE"
    )


def _remarks(model: PreparedModel, found: EmbeddingCenter, older: dict[Path, Manifest]) -> Iterator[str]:
    """Remarks for people about a constant that was measured."""
    yield (
        f"{model.fixed.name}: a constant was taken off its embeddings, because faces of different people had a mean "
        f"cosine of {found.cosine:.2f}. It was measured on {found.faces} faces. To use one gallery with several "
        "chips, convert for the others with --center and the folder of this bundle"
    )
    if found.people < ENOUGH_PEOPLE:
        yield (
            f"the constant was measured on about {round(found.people)} people, and {ENOUGH_PEOPLE} are better: add "
            "photos of other people, and convert with --center new before you enroll anyone"
        )
    for folder, manifest in older.items():
        had, keep = ("another", "without --center new") if manifest.recognizer.center else ("no", "with --center none")
        yield (
            f"galleries made with {folder}, which had {had} constant, cannot be used with this bundle: enroll again, "
            f"or convert {keep}"
        )


def with_center(model: PreparedModel, center: tuple[float, ...], origin: CenterOrigin) -> PreparedModel:
    """``model`` whose simplified graph subtracts ``center`` from the embedding.

    The original gets a subtraction of its own, so that the check of the simplified model also checks this change.
    """
    values = np.array(center, np.float64)
    original = onnx.ModelProto()
    original.CopyFrom(model.fixed.proto)
    append_subtraction(original, values)
    path = model.simplified.path
    simplified = onnx.load(str(path))
    subtract_center(simplified, values)
    model.backend.close()
    onnx.save(simplified, str(path))
    return replace(
        model,
        fixed=replace(model.fixed, proto=original, center=center),
        graph=read_cost_graph(path),
        backend=open_reference(path, model.input),
        center=origin,
    )


def _measure(model: PreparedModel, faces: Sequence[CandidateFace], most: int, progress: Progress) -> EmbeddingCenter:
    crops = spread_crops(model, faces, most)
    relit, rows = in_another_light(crops[:, :, ::-1]), []
    for index, crop in enumerate(crops):
        rows.append([model.backend.infer(one[None])[0][0] for one in (crop, relit[index])])
        progress(index + 1, len(crops))
    raw, changed = np.array(rows).swapaxes(0, 1)
    return measure_center(raw, changed)


def _has_constant(model: PreparedModel, faces: Sequence[CandidateFace]) -> bool:
    """Whether high cosines of ``faces`` come from the model, and not from photos of only one or two people.

    A recognizer knows nobody upside down, so only a constant is left between a face and another one upside down.
    Measured on photos of many people and on eight photos of one: cosine -0.01 to 0.02 with MobileFaceNet, 0.86 with
    dlib's ResNet-29.
    """
    crops = spread_crops(model, faces, FIRST_LOOK)
    upright, turned = (
        unit(np.concatenate([model.backend.infer(np.ascontiguousarray(crop)[None])[0] for crop in batch]))
        for batch in (crops, crops[:, ::-1])
    )
    cosines = upright @ turned.T
    return bool(cosines[~np.eye(len(cosines), dtype=bool)].mean() > CONSTANT_COSINE)


def _older_bundles(model: PreparedModel, digest: str, replaced: Sequence[Path]) -> dict[Path, Manifest]:
    """The manifests of the bundles that are being replaced, if their recognizers are the same as ``model``."""
    found = {}
    for folder in replaced:
        if not (folder / MANIFEST).is_file():
            continue
        try:
            manifest = parse_manifest(folder)
        except BundleError:  # a damaged bundle may be replaced, and nothing runs with it
            continue
        if manifest.recognizer.source.sha256 == digest and not _differs(manifest.recognizer, model):
            found[folder] = manifest
    return found


def _differs(spec: RecognizerSpec, model: PreparedModel) -> str:
    """Why the constant of ``spec`` is not that of ``model``, which has the same source; "" if it is."""
    if not spec.crop.same_crop(model.fixed.known_crop()):
        return f"its faces are aligned as {spec.crop.name}, those of this conversion as {model.fixed.known_crop().name}"
    if _prepared(spec.input) != _prepared(model.input):
        return "its recognizer gets its image in another order of channels or with another normalization"
    return ""


def _prepared(input: Input) -> tuple[object, ...]:
    return input.mean, input.std, input.source_order


def _origin_of(folder: Path, manifest: Manifest) -> CenterOrigin:
    recorded = manifest.provenance.get("center")
    facts = recorded if isinstance(recorded, dict) else {}
    faces, people, cosine = (_number(facts.get(name)) for name in ("faces", "people", "cosine"))
    note = (
        f"the constant that is taken off the embeddings is that of {folder}, so galleries made with it stay valid "
        "(--center new measures it again)"
    )
    return CenterOrigin(folder, int(faces), people, cosine, (note,))


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) else 0.0
