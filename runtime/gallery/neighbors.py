"""The nearest samples of all samples of a gallery, each among the others: in blocks, so that memory stays bounded.

A letter is a dimension: N samples, D numbers of an embedding. Each product of two blocks is used for both, which halves
the work: N²·D/2 multiplications.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 512  # samples: a product has 1 MB, which stays in the cache
MOST_PAIRS = 1000  # pairs of people who look alike
NOTHING = np.float32(-2)  # below any cosine


@dataclass(frozen=True)
class Neighbors:
    """The leave-one-out result of N samples. Samples are numbered as they were given.

    own           N float32: the highest cosine with another sample of the same person; -2 without one
    own_sample    N int64: that sample; -1
    other         N float32: the highest cosine with a sample of somebody else; -2 without one
    other_sample  N int64: that sample; -1
    pairs         M×2 int64: the most similar samples of each two people who look alike, the most similar pair first
    cosines       M float32: their cosines
    """

    own: NDArray[np.float32]
    own_sample: NDArray[np.int64]
    other: NDArray[np.float32]
    other_sample: NDArray[np.int64]
    pairs: NDArray[np.int64]
    cosines: NDArray[np.float32]


def find_neighbors(
    vectors: NDArray[np.float32], owners: NDArray[np.int64], alike: float, block: int = BLOCK
) -> Neighbors:
    """Compare each of N×D ``vectors`` (unit length) with all others.

    Args:
        vectors: The samples, those of one person next to each other.
        owners: N: the number of the person of each sample, in ascending order.
        alike: Two people look alike if the cosine of any two of their samples is this or more. Of more than
            ``MOST_PAIRS`` such pairs, the most similar ones are returned.
        block: Samples that are compared at once.

    Raises:
        ValueError: ``owners`` are not in ascending order.
    """
    if np.any(np.diff(owners) < 0):
        raise ValueError("the samples of one person must be next to each other")
    count = len(vectors)
    own, other = _Best(count), _Best(count)
    pairs = _Pairs(owners, alike)
    for top in range(0, count, block):
        rows = slice(top, min(top + block, count))
        for left in range(top, count, block):
            columns = slice(left, min(left + block, count))
            cosines = vectors[rows] @ vectors[columns].T
            if owners[columns][0] <= owners[rows][-1]:  # samples of one person on both sides
                same = owners[rows][:, None] == owners[columns][None, :]
                within = np.where(same, cosines, NOTHING)
                if left == top:
                    np.fill_diagonal(within, NOTHING)
                own.improve(within, top, left)
                cosines[same] = NOTHING
            highest = other.improve(cosines, top, left)
            if highest >= pairs.limit:
                pairs.add(cosines, top, left)
    return Neighbors(own.cosine, own.sample, other.cosine, other.sample, *pairs.result())


class _Best:
    """The best neighbor so far of each of N samples."""

    def __init__(self, count: int) -> None:
        self.cosine = np.full(count, NOTHING, np.float32)
        self.sample = np.full(count, -1, np.int64)

    def improve(self, cosines: NDArray[np.float32], top: int, left: int) -> float:
        """Take what is better in the products of the samples from ``top`` (rows) with those from ``left`` (columns).
        Returns the highest cosine."""
        highest = cosines.max(axis=1)
        self._take(highest, top, lambda rows: left + cosines[rows].argmax(axis=1))
        if left != top:
            self._take(cosines.max(axis=0), left, lambda columns: top + cosines[:, columns].argmax(axis=0))
        return float(highest.max())

    def _take(
        self, highest: NDArray[np.float32], start: int, find: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    ) -> None:
        better = np.flatnonzero(highest > self.cosine[start : start + len(highest)])
        if len(better):  # finding a place costs more than finding a maximum, and few change after the first blocks
            self.cosine[start + better] = highest[better]
            self.sample[start + better] = find(better)


class _Pairs:
    """The most similar samples so far of each two people whose cosine is at least ``limit``."""

    def __init__(self, owners: NDArray[np.int64], limit: float) -> None:
        self.limit = limit
        self._owners = owners
        self._samples = np.zeros((0, 2), np.int64)
        self._cosines = np.zeros(0, np.float32)

    def add(self, cosines: NDArray[np.float32], top: int, left: int) -> None:
        """Add those in the products of the samples from ``top`` with those from ``left``, a row of them at a time."""
        for row in np.flatnonzero(cosines.max(axis=1) >= self.limit).tolist():
            columns = np.flatnonzero(cosines[row] >= self.limit)
            found = np.stack([np.full(len(columns), top + row), left + columns], axis=1)
            self._samples = np.concatenate([self._samples, found])
            self._cosines = np.concatenate([self._cosines, cosines[row, columns]])
            if len(self._cosines) > 8 * MOST_PAIRS:
                self._shrink()

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self._shrink()
        return self._samples, self._cosines

    def _shrink(self) -> None:
        """Keep one pair of samples for each two people, the best ``MOST_PAIRS`` of them."""
        order = np.lexsort((*self._samples.T[::-1], -self._cosines))
        people = np.sort(self._owners[self._samples[order]], axis=1)
        _, first = np.unique(people, axis=0, return_index=True)
        kept = order[np.sort(first)][:MOST_PAIRS]
        self._samples, self._cosines = self._samples[kept], self._cosines[kept]
        if len(kept) == MOST_PAIRS:
            self.limit = max(self.limit, float(self._cosines[-1]))
