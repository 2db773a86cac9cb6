"""Vectors like embeddings for tests/bench/gallery_search.py, and probes whose nearest sample is known.

Two kinds. "random": one sample for each person, all directions equally likely, the worst case for any index that wants
to skip samples. "people": four samples of each person, with a cosine of about 0.55 between them, and dimensions whose
standard deviation falls by e² from the first to the last, so that strangers are spread as in 246 equal dimensions.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from stand_ins import DIMENSIONS

from rkface.runtime.vision.embed import unit

Kind = Literal["random", "people"]
KINDS = get_args(Kind)
SAMPLES_OF_EACH = {"random": 1, "people": 4}
SAME_PERSON = 0.55  # cosine of two samples of one person
PART = 4096  # vectors at a time


def make_samples(kind: Kind, count: int) -> np.ndarray:
    """``count`` vectors of unit length, count×D float32. The samples of one person follow each other."""
    random, each = np.random.default_rng(count), SAMPLES_OF_EACH[kind]
    vectors = np.empty((count, DIMENSIONS), np.float32)
    for start in range(0, count, PART):
        some = vectors[start : start + PART]
        people = np.repeat(_directions(kind, -(-len(some) // each), random), each, axis=0)[: len(some)]
        some[:] = people if each == 1 else _near(people, math.sqrt(SAME_PERSON), _directions(kind, len(some), random))
    return vectors


def make_probes(kind: Kind, vectors: np.ndarray, count: int, cosine: float, seed: int = 0) -> np.ndarray:
    """``count`` probes, each with about this ``cosine`` to one of ``vectors``; 0: probes of strangers."""
    random = np.random.default_rng(seed)
    chosen = vectors[random.choice(len(vectors), count, replace=False)]
    return _near(chosen, cosine, _directions(kind, count, random))


def _directions(kind: Kind, count: int, random: np.random.Generator) -> np.ndarray:
    spread = np.exp(np.linspace(0, -2, DIMENSIONS, dtype=np.float32)) if kind == "people" else np.float32(1)
    return unit(random.standard_normal((count, DIMENSIONS), dtype=np.float32) * spread)


def _near(vectors: np.ndarray, cosine: float, noise: np.ndarray) -> np.ndarray:
    """Unit vectors with this ``cosine`` to ``vectors``, in the direction of ``noise``."""
    across = unit(noise - vectors * np.einsum("nd,nd->n", noise, vectors)[:, None])
    return unit(cosine * vectors + math.sqrt(1 - cosine**2) * across)
