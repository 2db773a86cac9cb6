"""Why a quantized recognizer is far from FP32: FP32 is asked about the same faces, mistreated in every usual way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.bundle import Input
from rkface.runtime.vision.embed import unit
from rkface.runtime.vision.image import read_image

from .material import to_rgb
from .prove import compare_embeddings, likeness
from .quantize import listed

ASKED = 16  # faces: each mistake moves all of them alike
CLEAR = 0.15  # how much nearer a mistake's embeddings must be than the right ones
ONE_FACE = 0.6  # mean cosine between different calibration images: of faces 0 to 0.2, of noise or gray near 1

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


def diagnose(model: Path, input: Input, crops: Images, quantized: Floats, dataset: Path | None) -> str | None:
    """The likely cause, and what to do about it; None where nothing fits.

    ``model`` is the FP32 ONNX, ``crops`` N×112×112×3 uint8 RGB, ``quantized`` what the quantized model says to them
    (N×D), ``dataset`` the calibration list.
    """
    crops, quantized = crops[:ASKED], quantized[:ASKED]
    calibration = to_rgb(read_image(path) for path in listed(dataset)[:ASKED]) if dataset else crops[:0]
    right, swapped, seen = _embed(model, input, crops, np.ascontiguousarray(crops[..., ::-1]), calibration)
    if len(seen) > 1 and (alike := likeness(unit(seen))) > ONE_FACE:
        return (
            f"the calibration images are not faces of different people: to FP32 they are all alike (mean cosine "
            f"{alike:.2f}). Calibrate on photos of many people"
        )
    mean, std = np.array(input.mean), np.array(input.std)
    twice = replace(input, mean=tuple((mean + mean * std).tolist()), std=tuple((std * std).tolist()))
    never = replace(input, mean=(0.0,) * 3, std=(1.0,) * 3)
    mistakes = {
        "red and blue are swapped: the model is fed BGR where it takes RGB": swapped,
        "the image is normalized twice: pass uint8, the model normalizes inside": _embed(model, twice, crops)[0],
        "the image is not normalized: the .rknn's mean and std are not the model's": _embed(model, never, crops)[0],
    }
    agreed = compare_embeddings(right, quantized).mean
    near = {cause: compare_embeddings(said, quantized).mean for cause, said in mistakes.items()}
    cause = max(near, key=near.__getitem__)
    if not near[cause] >= agreed + CLEAR:  # NaN included
        return None
    return f"{cause} (FP32 mistreated like that agrees at a mean cosine of {near[cause]:.2f}, else {agreed:.2f})"


def _embed(model: Path, input: Input, *batches: Images) -> list[Floats]:
    """Raw embeddings of each batch; an empty one gives none."""
    backend = open_reference(model, input)
    try:
        return [backend.infer(images)[0] if len(images) else np.zeros((0, 0), np.float32) for images in batches]
    finally:
        backend.close()
