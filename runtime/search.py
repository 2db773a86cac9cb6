"""Exact cosine search in memory: which people are nearest to a probe, among up to some 100,000 samples.

The whole index is one matrix, and one probe is one pass over it: its speed is that of memory. Of large galleries int8
holds a quarter of that; the few samples that its rounding leaves undecided are compared again in float32, so that the
answer is the same. docs/gallery.md has the figures beside faiss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Precision = Literal["float32", "int8", "auto"]
# From here on int8 is no slower (docs/gallery.md), and saves 75 MB and more.
LARGE = 50_000
# Rows that were just read, or turned from int8 into float32, are still in the cache when the next probe needs them.
ROWS, PROBES = 128, 16
FEW = 8  # probes up to which a product each is faster than one of matrices, for which OpenBLAS rearranges its arguments
ROUNDING = 1e-5  # of float32 sums over 512 products, generously

Exact = Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.float32]]]


class Hit(NamedTuple):
    """The best sample of one person for a probe. ``owner`` is what the index was given for that person."""

    owner: int
    sample: int
    cosine: float


@dataclass(frozen=True)
class Index:
    """Samples to search; never changed, so that searches go on while its successor is made.

    vectors  N×D: float32 of unit length, or int8
    scales   N float32: int8 row · scale ≈ the unit vector; None for float32
    samples  N int64: id of each sample
    owners   N int64: whose it is
    error    the largest length of what int8 rounding took off a vector; 0 for float32
    """

    vectors: NDArray[Any]
    scales: NDArray[np.float32] | None
    samples: NDArray[np.int64]
    owners: NDArray[np.int64]
    error: float
    most: int

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def precision(self) -> str:
        return "float32" if self.scales is None else "int8"

    def without(self, gone: NDArray[np.bool_]) -> Index:
        """A copy that lacks the samples of a mask of N."""
        keep = ~gone
        scales = None if self.scales is None else self.scales[keep]
        owners = self.owners[keep]
        return Index(self.vectors[keep], scales, self.samples[keep], owners, self.error, _most(owners))

    def plus(self, vectors: NDArray[np.float32], samples: Sequence[int], owners: Sequence[int]) -> Index:
        """A copy with M more samples: ``vectors`` M×D float32, unit."""
        fresh = build(vectors, samples, owners, "float32" if self.scales is None else "int8")
        if not len(self):
            return fresh
        scales = None if self.scales is None or fresh.scales is None else np.concatenate([self.scales, fresh.scales])
        everyone = np.concatenate([self.owners, fresh.owners])
        return Index(
            np.concatenate([self.vectors, fresh.vectors]), scales, np.concatenate([self.samples, fresh.samples]),
            everyone, max(self.error, fresh.error), _most(everyone),
        )  # fmt: skip

    def search(self, probes: NDArray[np.float32], k: int = 1, exact: Exact | None = None) -> list[list[Hit]]:
        """The ``k`` nearest people, best first, for each of the B×D unit ``probes``.

        ``exact`` reads samples in float32 by their ids, for an int8 index: it returns the ids that still exist and
        their vectors. Without it an int8 index answers as nearly as int8 can. ValueError for another D.
        """
        if not len(self) or k < 1:
            return [[] for _ in probes]
        if probes.ndim != 2 or probes.shape[1] != self.vectors.shape[1]:
            raise ValueError(f"probes of shape {probes.shape} for an index of {self.vectors.shape[1]} dimensions")
        probes = np.ascontiguousarray(probes, np.float32)
        found: list[list[Hit]] = []
        for start in range(0, len(probes), PROBES):
            some = probes[start : start + PROBES]
            for probe, cosines in zip(some, self._cosines(some), strict=True):
                hits = self._nearest(cosines, self.samples, self.owners, k)
                if exact is not None and self.scales is not None:
                    hits = self._refined(probe, cosines, hits, k, exact)
                found.append(hits)
        return found

    def _cosines(self, probes: NDArray[np.float32]) -> NDArray[np.float32]:
        """B×N float32."""
        if self.scales is None and len(probes) == 1:
            return np.asarray(self.vectors @ probes[0], np.float32)[None]
        found = np.empty((len(probes), len(self)), np.float32)
        for start in range(0, len(self), ROWS):
            rows = self.vectors[start : start + ROWS].astype(np.float32, copy=False)
            part = found[:, start : start + ROWS]
            if len(probes) > FEW:
                part[:] = (rows @ probes.T).T
            else:
                for probe, cosines in zip(probes, part, strict=True):
                    np.dot(rows, probe, out=cosines)
        if self.scales is not None:
            found *= self.scales
        return found

    def _nearest(
        self, cosines: NDArray[np.float32], samples: NDArray[np.int64], owners: NDArray[np.int64], k: int
    ) -> list[Hit]:
        """For one probe's M ``cosines`` with M ``samples``."""
        # Among so many best samples there are k people, however their samples are spread.
        count = min(k * self.most, len(cosines))
        rows = cosines.argpartition(-count)[-count:]
        values = ((-cosines[rows]).tolist(), rows.tolist(), owners[rows].tolist(), samples[rows].tolist())
        best: dict[int, Hit] = {}
        for distance, _, owner, sample in sorted(zip(*values, strict=True)):  # equal cosines: the older first
            if owner not in best:
                best[owner] = Hit(owner, sample, -distance)
                if len(best) == k:
                    break
        return list(best.values())

    def _refined(
        self, probe: NDArray[np.float32], cosines: NDArray[np.float32], rough: list[Hit], k: int, exact: Exact
    ) -> list[Hit]:
        """By Cauchy and Schwarz a cosine is at most ``error`` off. A sample more than twice that below the k-th person
        cannot be among the first k; all others are looked at in float32."""
        floor = rough[-1].cosine - 2 * self.error - ROUNDING if len(rough) == k else -np.inf
        rows = np.flatnonzero(cosines >= floor)
        samples, vectors = exact(self.samples[rows])
        if not len(samples):  # all deleted meanwhile
            return []
        kept = rows[np.isin(self.samples[rows], samples)]
        order = np.argsort(samples)
        places = order[np.searchsorted(samples, self.samples[kept], sorter=order)]
        return self._nearest(vectors[places] @ probe, self.samples[kept], self.owners[kept], k)


def build(
    vectors: NDArray[np.float32], samples: Sequence[int], owners: Sequence[int], precision: Precision = "auto"
) -> Index:
    """An index of N×D float32 unit ``vectors``; ``auto`` is int8 from ``LARGE`` samples on."""
    ids, whose = np.asarray(samples, np.int64), np.asarray(owners, np.int64)
    if precision == "float32" or (precision == "auto" and len(vectors) < LARGE):
        return Index(np.ascontiguousarray(vectors, np.float32), None, ids, whose, 0.0, _most(whose))
    rows, scales, error = _quantized(vectors)
    return Index(rows, scales, ids, whose, error, _most(whose))


def _quantized(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], float]:
    rows = np.empty(vectors.shape, np.int8)
    scales = np.empty(len(vectors), np.float32)
    error = 0.0
    for start in range(0, len(vectors), 4096):  # not a second copy of the gallery in float32
        part = slice(start, start + 4096)
        some = vectors[part]
        scales[part] = np.maximum(np.abs(some).max(axis=1, initial=0) / 127, np.finfo(np.float32).tiny)
        rows[part] = np.rint(some / scales[part, None])
        off = np.linalg.norm(rows[part] * scales[part, None] - some, axis=1)
        error = max(error, float(off.max(initial=0)))
    return rows, scales, error


def _most(owners: NDArray[np.int64]) -> int:
    """How many samples the person with most of them has."""
    return int(np.unique(owners, return_counts=True)[1].max(initial=0))
