"""Why a quantised recogniser is far from FP32: FP32 is asked about the same faces, mistreated in every usual way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.bundle import Input
from rkface.runtime.embed import unit
from rkface.runtime.image import read_image

from .material import to_rgb
from .quantize import listed

ASKED = 16  # faces: each mistake moves all of them alike
CLEAR = 0.15  # how much nearer a mistake's embeddings must be than the right ones
ONE_FACE = 0.6  # mean cosine between different calibration images: of faces 0 to 0.2, of noise or grey near 1

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


def diagnose(model: Path, input: Input, crops: Images, quantized: Floats, dataset: Path | None) -> str | None:
    """The likely cause, and what to do about it; None where nothing fits.

    ``model`` is the FP32 ONNX, ``crops`` N×112×112×3 uint8 RGB, ``quantized`` what the quantised model says to them
    (N×D), ``dataset`` the calibration list.
    """
    crops, quantized = crops[:ASKED], unit(quantized[:ASKED])
    if dataset is not None:
        seen = _embed(model, input, to_rgb(read_image(path) for path in listed(dataset)[:ASKED]))
        alike = float(np.mean((seen @ seen.T)[~np.eye(len(seen), dtype=bool)])) if len(seen) > 1 else 0.0
        if alike > ONE_FACE:
            return (
                f"the calibration images are not faces of different people: to FP32 they are all alike (mean cosine "
                f"{alike:.2f}). Calibrate on photos of many people"
            )
    mean, std = np.array(input.mean), np.array(input.std)
    twice = replace(input, mean=tuple((mean + mean * std).tolist()), std=tuple((std * std).tolist()))
    never = replace(input, mean=(0.0,) * 3, std=(1.0,) * 3)
    swapped = np.ascontiguousarray(crops[..., ::-1])
    mistakes = {
        "red and blue are swapped: the model is fed BGR where it takes RGB": (input, swapped),
        "the image is normalised twice: pass uint8, the model normalises inside": (twice, crops),
        "the image is not normalised: the .rknn's mean and std are not the model's": (never, crops),
    }
    right = float(np.mean(np.sum(_embed(model, input, crops) * quantized, axis=1)))
    near = {
        cause: float(np.mean(np.sum(_embed(model, how, images) * quantized, axis=1)))
        for cause, (how, images) in mistakes.items()
    }
    cause = max(near, key=near.__getitem__)
    if not near[cause] >= right + CLEAR:  # NaN included
        return None
    return (
        f"{cause} (FP32 mistreated like that agrees at a mean cosine of {near[cause]:.2f}, treated rightly {right:.2f})"
    )


def _embed(model: Path, input: Input, images: Images) -> Floats:
    backend = open_reference(model, input)
    try:
        return unit(backend.infer(images)[0])
    finally:
        backend.close()
