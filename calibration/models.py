"""The models of ``rkface calibrate``: which find faces, and which tell people apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.crop_template import ARCFACE_112, CropTemplate, StatedCrop
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Input
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import Embedder


@dataclass(frozen=True)
class CalibrationModels:
    """``input`` and ``path`` belong to the detector; ``embedder`` is None if no model tells people apart. ``crop``: how
    faces are aligned for the recognizer."""

    detector: Detector
    input: Input
    path: Path
    embedder: Embedder | None
    crop: CropTemplate
    synthetic: bool = False


def open_models(
    bundle: Path,
    *,
    detector: Path | None,
    size: tuple[int, int] | None,
    recognizer: Path | None,
    stated: StatedCrop | None,
    provider: str,
) -> CalibrationModels:
    """Open the ``detector`` and the ``recognizer``, or those of the ``bundle`` instead. ``size``: width and height of
    the detector's input, if it is dynamic. ``stated``: what the user says about the recognizer's crop. Raises
    InputError if this does not fit together."""
    providers, threads = (provider,), 1  # each core works on a photo of its own
    embedder = None
    if recognizer is not None:
        embedder = open_recognizer(recognizer, providers, threads, stated).embedder()
    if detector is not None:
        width, height = size or (None, None)
        backend, input, outputs = open_detector(detector, width, height, providers, threads)
        return CalibrationModels(Detector(backend, input, outputs), input, detector, embedder, _crop(embedder, stated))
    if size is not None:
        raise InputError("--size only works with --detector: the detector of a bundle has a fixed size")
    if stated is not None and embedder is None:
        raise InputError("--recognizer-crop describes a model of your own: the recognizer of a bundle has its crop")
    if not bundle.is_dir():
        raise InputError(f"{bundle}: this bundle does not exist: give a face detector with --detector")
    read = read_bundle(bundle)
    path, model, face = read.reference("detector"), read.manifest.detector, read.manifest.recognizer
    own = Detector(open_reference(path, model.input, providers, threads), model.input, model.outputs)
    if embedder is None:
        backend = open_reference(read.reference("recognizer"), face.input, providers, threads)
        embedder = Embedder(backend, face.crop, face.outputs[0].shape[-1])
    return CalibrationModels(own, model.input, path, embedder, embedder.crop, read.manifest.synthetic)


def _crop(embedder: Embedder | None, stated: StatedCrop | None) -> CropTemplate:
    """The crop of the faces in the set: the recognizer's, or what the user says about the one that the set is for."""
    if embedder is not None:
        return embedder.crop
    if stated is not None and not isinstance(stated, CropTemplate):
        raise InputError("five points in --recognizer-crop need the size of the crop: also give --recognizer")
    return stated or ARCFACE_112
