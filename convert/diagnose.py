"""Finds out why a quantized recognizer is far from FP32: it runs FP32 on the same faces with each of the usual
mistakes, and compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.manifest import Input
from rkface.runtime.vision.embed import unit
from rkface.runtime.vision.image import read_image

from .evaluate.parity import compare_embeddings, mean_cosine_between
from .image_lists import read_image_list, to_rgb

COMPARED_FACES = 16  # each mistake changes all faces in the same way
MARGIN = 0.15  # how much closer to the quantized embeddings those with a mistake must be than the correct ones
ALIKE_COSINE = 0.6  # mean cosine between different calibration images: 0 to 0.2 for faces, near 1 for noise or gray

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


def diagnose(model: Path, input: Input, crops: Images, quantized: Floats, dataset: Path | None) -> str | None:
    """The likely cause, and what to do about it; None if no usual mistake explains the difference.

    model      the FP32 ONNX model
    crops      N×H×W×3 uint8 RGB
    quantized  N×D: raw embeddings of ``crops`` by the quantized model
    dataset    the list of calibration images; None for FP16
    """
    crops, quantized = crops[:COMPARED_FACES], quantized[:COMPARED_FACES]
    calibration = (
        to_rgb(read_image(path) for path in read_image_list(dataset)[:COMPARED_FACES]) if dataset else crops[:0]
    )
    right, swapped, seen = _embed(model, input, crops, np.ascontiguousarray(crops[..., ::-1]), calibration)
    if len(seen) > 1 and (alike := mean_cosine_between(unit(seen))) > ALIKE_COSINE:
        return (
            f"the calibration images are not faces of different people: for FP32 they are all similar (mean cosine "
            f"{alike:.2f}). Calibrate on photos of many people"
        )
    mean, std = np.array(input.mean), np.array(input.std)
    twice = replace(input, mean=tuple((mean + mean * std).tolist()), std=tuple((std * std).tolist()))
    never = replace(input, mean=(0.0,) * 3, std=(1.0,) * 3)
    mistakes = {
        "red and blue are swapped: the model gets BGR, but it takes RGB": swapped,
        "the image is normalized twice: pass uint8, because the model normalizes it": _embed(model, twice, crops)[0],
        "the image is not normalized: the .rknn's mean and std are not the model's": _embed(model, never, crops)[0],
    }
    agreed = compare_embeddings(right, quantized).mean
    near = {cause: compare_embeddings(said, quantized).mean for cause, said in mistakes.items()}
    cause = max(near, key=near.__getitem__)
    if not near[cause] >= agreed + MARGIN:  # true for NaN, too
        return None
    return f"{cause} (FP32 with this mistake agrees at a mean cosine of {near[cause]:.2f}, without it {agreed:.2f})"


def _embed(model: Path, input: Input, *batches: Images) -> list[Floats]:
    """Raw embeddings of each batch; an empty batch gives a 0×0 array."""
    backend = open_reference(model, input)
    try:
        return [backend.infer(images)[0] if len(images) else np.zeros((0, 0), np.float32) for images in batches]
    finally:
        backend.close()
