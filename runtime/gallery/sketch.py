"""Codes of one bit per dimension, from which a search knows which samples it need not compare.

A fixed random rotation is applied to every vector; the code of a sample is the sign of each rotated number. The cosine
of a probe with a sample is estimated from the code and from two bits of each number of the rotated probe. Over random
rotations, the error of that estimate does not depend on the data: it is close to a normal distribution, whose standard
deviation is ``ERROR`` / √D. The idea is RaBitQ's (Gao and Long, SIGMOD 2024, arXiv:2405.12497); here the bits are
compared by OpenCV's Hamming distance, because nothing else in numpy and OpenCV is as fast.

A letter is a dimension: N samples, D numbers of an embedding.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# A rotated unit vector has numbers like a normal distribution with the standard deviation 1 / √D. A probe's numbers are
# rounded to -3, -1, 1, 3 half deviations. For such numbers q, rounded to g(q), and samples x:
# E[sign(x) g(q)] = cosine · √(2/π) · E[q g(q)], with E[q g(q)] = 2 φ(0) + 4 φ(1), φ the normal density.
SLOPE = math.sqrt(2 / math.pi) * (2 + 4 * math.exp(-0.5)) / math.sqrt(2 * math.pi)
# The variance of an estimate, E[g(q)²] / SLOPE², without the part that the cosine itself explains.
ERROR = math.sqrt((9 - 8 * math.erf(math.sqrt(0.5))) / SLOPE**2 - 1)  # 0.884
# An estimate this many standard deviations too low loses a sample: 1 of 30,000, by the normal distribution.
DEVIATIONS = 4.0


@functools.cache
def rotation(dimensions: int) -> NDArray[np.float32]:
    """A random D×D orthogonal matrix, the same one in every process."""
    random = np.random.default_rng(dimensions)
    return np.linalg.qr(random.standard_normal((dimensions, dimensions)))[0].astype(np.float32)


def encode(vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The codes of N×D ``vectors``: N × D/8 uint8, rounded up."""
    return np.packbits(vectors @ rotation(vectors.shape[1]) > 0, axis=1)


class ProbeCode(NamedTuple):
    """The ``signs`` of the rotated numbers of a probe, and which are -1 or 3 half deviations, not -3 or 1 (``upper``):
    1 × D/8 uint8 each."""

    signs: NDArray[np.uint8]
    upper: NDArray[np.uint8]


def encode_probe(probe: NDArray[np.float32]) -> ProbeCode:
    """The code of a ``probe``, D float32 of unit length."""
    rotated = probe[None] @ rotation(len(probe))
    deviation = 1 / math.sqrt(len(probe))
    upper = (rotated > deviation) | ((rotated <= 0) & (rotated > -deviation))
    return ProbeCode(np.packbits(rotated > 0, axis=1), np.packbits(upper, axis=1))


def count_differences(
    codes: NDArray[np.uint8], probe: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> NDArray[np.int32]:
    """The weighted number of bits in which each of N ``codes`` differs from the probe, N int32: 0 to 3·D."""
    signs, upper = (cv2.batchDistance(codes, part, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1)[0] for part in probe)
    return np.asarray(2 * signs + upper, np.int32).ravel()


def most_differences(cosine: float, dimensions: int) -> float:
    """The largest ``count_differences`` of a sample that may have this cosine, or a larger one."""
    estimate = cosine - DEVIATIONS * ERROR / math.sqrt(dimensions)
    return dimensions * (3 - SLOPE * estimate) / 2
