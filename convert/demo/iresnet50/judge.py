"""How well the trained network tells people apart that it was not trained on, compared with its teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..identity import EVALUATE
from ..measure import FAR
from ..render import render_crop
from .teachers import open_embedder

_SEED = 7_000  # far from the seeds of training
Crops = NDArray[np.uint8]


@dataclass(frozen=True)
class LabeledFaces:
    """``crops`` N×112×112×3 uint8 BGR, and ``pairs`` of their indices with whether both show one person."""

    crops: Crops
    pairs: Sequence[tuple[int, int, bool]]


@dataclass(frozen=True)
class Separation:
    """Cosines of pairs: their means, the share of pairs of one person that is accepted (``tar``) at the threshold that
    accepts the share ``far`` of the others, and the probability that one of the former is above one of the latter."""

    same_pairs: int
    different_pairs: int
    same: float
    different: float
    far: float
    tar: float
    area: float


def rendered_faces(people: int, shots: int = 4) -> LabeledFaces:
    """Rendered faces of people whom training never saw, and all their pairs."""
    owner = np.repeat(np.arange(people), shots)
    crops = np.stack([render_crop(_SEED + at % shots, EVALUATE[int(who)]) for at, who in enumerate(owner)])
    first, second = np.triu_indices(len(owner), k=1)
    return LabeledFaces(
        crops, [(int(i), int(j), bool(owner[i] == owner[j])) for i, j in zip(first, second, strict=True)]
    )


def separate(path: Path, faces: LabeledFaces) -> Separation:
    """How well the recognizer at ``path`` separates the pairs of ``faces``."""
    embeddings = open_embedder(path).embed(list(faces.crops))
    cosines = np.array([float(embeddings[i] @ embeddings[j]) for i, j, _ in faces.pairs])
    labels = np.array([same for *_, same in faces.pairs])
    same, different = cosines[labels], np.sort(cosines[~labels])[::-1]
    threshold = different[min(int(FAR * len(different)), len(different) - 1)]
    above = np.searchsorted(different[::-1], same) / len(different)
    return Separation(
        len(same), len(different), float(same.mean()), float(different.mean()), FAR, float((same > threshold).mean()),
        float(above.mean()),
    )  # fmt: skip
