"""How well the trained network tells people apart that it was not trained on, compared with its teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...evaluate.verification import verify_pairs
from ..identity import EVALUATE
from ..render import render_crop
from .teachers import open_embedder

_SEED = 7_000  # far from the seeds of training
Crops = NDArray[np.uint8]


@dataclass(frozen=True)
class JudgedFaces:
    """``crops`` N×112×112×3 uint8 BGR, and ``pairs`` of their indices with whether both show one person."""

    crops: Crops
    pairs: Sequence[tuple[int, int, bool]]


@dataclass(frozen=True)
class JudgedPairs:
    """Pairs of one person and of two people: how many, their mean cosines, and the TAR for each FAR for which there are
    enough pairs. Not the accuracy: with so few pairs of one person, to reject every pair is right 99 times in 100."""

    same_pairs: int
    different_pairs: int
    same: float
    different: float
    tar: dict[str, float]


def rendered_faces(people: int, shots: int = 4) -> JudgedFaces:
    """Rendered faces of people whom training never saw, and all their pairs."""
    owner = np.repeat(np.arange(people), shots)
    crops = np.stack([render_crop(_SEED + at % shots, EVALUATE[int(who)]) for at, who in enumerate(owner)])
    first, second = np.triu_indices(len(owner), k=1)
    return JudgedFaces(
        crops, [(int(i), int(j), bool(owner[i] == owner[j])) for i, j in zip(first, second, strict=True)]
    )


def judge(path: Path, faces: JudgedFaces) -> JudgedPairs:
    """How well the recognizer at ``path`` tells the pairs of ``faces`` apart."""
    embeddings = open_embedder(path).embed(list(faces.crops))
    cosines = np.array([float(embeddings[i] @ embeddings[j]) for i, j, _ in faces.pairs])
    labels = np.array([same for *_, same in faces.pairs])
    found = verify_pairs(cosines, labels)
    same, different = cosines[labels], cosines[~labels]
    means = float(same.mean()), float(different.mean())
    return JudgedPairs(len(same), len(different), *means, found.tar)
