"""The models to convert, with what is known about them: those of a pack, or the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.crop_template import TEMPLATES, StatedCrop
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import ROLES, UNMEASURED, Role, Source
from rkface.runtime.core.onnx_file import onnx_digest, read_onnx_file
from rkface.runtime.core.paths import cache_folder
from rkface.runtime.core.progress import stage

from .catalog import LivenessProfile
from .packs.known_packs import find_known_model
from .packs.pack import ARCFACE_NORMALIZATION, DEFAULT_MATCH, KnownModel, KnownRecognizer, Pack
from .packs.pack_files import get_models
from .preprocessing import StatedPreprocessing


@dataclass(frozen=True)
class ModelSources:
    """ONNX models that belong together.

    paths      by role
    licenses   by role
    match      minimum cosine for a match
    evidence   where ``match`` comes from
    synthetic  trained on rendered faces
    liveness   how the liveness model was trained; None without one
    known      rkface knows the recognizer and its input
    stated     what the user or rkface's catalog says about the recognizer's input; None if nothing, or InsightFace's
    crop       how a face is aligned for the recognizer; None: the size of its input decides
    center     whether a constant must be taken off the recognizer's embeddings; None: it is measured
    """

    name: str
    paths: dict[Role, Path]
    licenses: dict[Role, str]
    match: float = DEFAULT_MATCH
    evidence: str = UNMEASURED
    synthetic: bool = False
    liveness: LivenessProfile | None = None
    known: bool = False
    stated: StatedPreprocessing | None = None
    crop: StatedCrop | None = None
    center: bool | None = None

    def source(self, role: Role) -> Source:
        """The provenance of the model of ``role``. Digest and size include external data."""
        path = self.paths[role]
        model = read_onnx_file(path)
        return Source(path.name, model.sha256, len(model.data), self.licenses[role])


def pack_sources(pack: Pack, cache: Path, *, accepted: bool, given: Mapping[Role, Path] | None = None) -> ModelSources:
    """The models of ``pack``; those in ``given`` are not downloaded. Raises the same errors as ``get_models``."""
    models = get_models(pack, cache, accepted=accepted, given=given)
    licenses: dict[Role, str] = {role: str(one.model.license) for role, one in models.items()}
    sources = ModelSources(pack.name, {role: one.path for role, one in models.items()}, licenses)
    return replace(_with_facts(sources, models["recognizer"].model), synthetic=pack.synthetic)


def own_sources(detector: Path, recognizer: Path, license: str, cache: Path | None = None) -> ModelSources:
    """The user's own files. License, match threshold and input of a known model are those in the catalog.

    ``recognizer`` may be dlib's network as dlib stores it (.dat): its ONNX model is written into ``cache``. Raises
    ModelError if a file is missing, or if it is not an ONNX model, and InputError if a .dat file is not that network.
    """
    name, stated = f"{detector.stem} + {recognizer.stem}", None
    if recognizer.suffix == ".dat":
        recognizer, stated = _read_dlib(recognizer, cache or cache_folder())
    paths: dict[Role, Path] = {"detector": detector, "recognizer": recognizer}
    known = {role: find_known_model(onnx_digest(path)) for role, path in paths.items()}
    licenses: dict[Role, str] = {role: str(one.license) if (one := known[role]) else license for role in ROLES}
    return _with_facts(ModelSources(name, paths, licenses, stated=stated), known["recognizer"])


def _with_facts(sources: ModelSources, model: KnownModel | None) -> ModelSources:
    """``sources`` with what the catalog says about the recognizer ``model``."""
    if not isinstance(model, KnownRecognizer):
        return sources
    usual = model.normalization == ARCFACE_NORMALIZATION
    return replace(
        sources,
        match=model.match,
        evidence=model.evidence,
        known=True,
        crop=TEMPLATES[model.crop],
        center=model.center,
        stated=None if usual else StatedPreprocessing(bgr=False, normalization=model.normalization),
    )


def _read_dlib(path: Path, cache: Path) -> tuple[Path, StatedPreprocessing]:
    """The ONNX model of the network at ``path``, written into ``cache``, and the input that its file states."""
    from .packs.dlib_resnet import CHIP_SCALE, write_dlib_onnx

    try:
        target = cache / "dlib" / f"{path.stem}-{sha256(path)[:16]}.onnx"
    except OSError as error:
        raise InputError(f"--recognizer {path}: cannot be read: {error.strerror or error}") from error
    with stage(f"read {path.name}"):
        network = write_dlib_onnx(path, target)
    return target, StatedPreprocessing(bgr=False, normalization=(network.mean, (CHIP_SCALE,) * 3))


def with_liveness(sources: ModelSources, path: Path, profile: LivenessProfile, license: str) -> ModelSources:
    """``sources`` with the liveness model at ``path``, which was trained as ``profile`` says."""
    paths, licenses = {**sources.paths, "liveness": path}, {**sources.licenses, "liveness": license}
    return replace(sources, paths=paths, licenses=licenses, liveness=profile)
