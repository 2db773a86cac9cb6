"""Who is in a gallery, and which embeddings may be compared at all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.bundle import Manifest
from ..core.errors import InputError
from ..core.text import in_a_line, readable
from ..vision.align import ALIGNMENT


@dataclass(frozen=True)
class Person:
    """``id`` stays for life, ``name`` may change; times are seconds since 1970, UTC."""

    id: str
    name: str
    metadata: dict[str, Any]
    created: float
    changed: float
    samples: int


@dataclass(frozen=True)
class Sample:
    """One face of a person.

    embedding  D float32, unit length
    crop       the aligned face as PNG, to compute the embedding again when the model changes; None if not kept
    quality    0 to 1
    source     where it came from: a photo's name, a camera's
    identity   of the embedding contract; "" means that of the gallery
    id         0 for one that is not in a gallery yet
    """

    embedding: NDArray[np.float32]
    crop: bytes | None
    quality: float
    source: str
    created: float = 0.0
    identity: str = ""
    id: int = 0


@dataclass(frozen=True)
class GalleryState:
    """For the health page. ``ignored`` samples were made by another model and are never searched; ``precision`` is that
    of the index, empty before the first search."""

    people: int
    samples: int
    ignored: int
    precision: str
    searches: int


def check_name(name: str) -> None:
    """InputError for what nobody can be called, wherever it comes from."""
    if not name.strip():
        raise InputError("a person needs a name")
    if readable(name) != name:
        raise InputError(f"{in_a_line(name)!r} is no name: it holds what is no character")
    if in_a_line(name) != name:
        raise InputError(f"{in_a_line(name)!r} is no name: it holds a control character")


def embedding_identity(manifest: Manifest) -> str:
    """Which embeddings may be compared: those with the same identity, 32 hexadecimal digits.

    It stands for the recognizer's source model, how it is fed and how faces are aligned, and is SHA-256 over their
    canonical JSON. It does not stand for the quantized file: `rkface convert` writes a bundle only where INT8 and FP32
    embeddings of the same face agree (mean cosine 0.995 and more), so that a gallery serves a workstation and every
    chip alike, with the threshold that `rkface evaluate` finds for INT8 probes.
    """
    model = manifest.recognizer
    contract = {
        "model": model.source.sha256,
        "alignment": ALIGNMENT,
        "colour": "RGB",
        "dtype": "uint8",
        "height": model.input.height,
        "width": model.input.width,
        "mean": model.input.mean,
        "std": model.input.std,
        "dimensions": model.outputs[0].shape[-1],
    }
    text = json.dumps(contract, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
