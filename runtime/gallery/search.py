"""Cosine search in memory: the people most similar to a probe, among up to about a million samples.

One probe needs one pass over the whole index, so its speed is the speed of the memory. Samples are stored as columns: a
product then reads several numbers of all samples at once, each as one long stream, which memory delivers faster than
one stream of whole samples. Large galleries use int8, a quarter of the memory; the few samples that its rounding leaves
undecided are compared again in float32. With a few probes, most of their samples are not even read: one bit for each
number tells which cannot be among the first people (``sketch``). docs/gallery.md compares speed and recall with faiss.

A letter is a dimension: N samples, B probes, D numbers of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .blocks import WIDTH_STEP, Block, Precision, append_to_blocks, multiply, multiply_some, to_rows
from .sketch import count_differences, encode_probe, most_differences

# Samples from which "auto" is int8. It then saves 75 MB or more, and is still faster than faiss (docs/gallery.md).
LARGE = 50_000
PROBES_AT_ONCE = 16
CACHED_NUMBERS = 1 << 19  # float32 numbers (2 MB) that are still in a cache when the next of a few probes needs them
FEW_PEOPLE = 8  # up to this many, finding the largest cosine repeatedly is faster than finding all of them at once
BELOW_ANY_COSINE = -2.0
# An int8 index with as many samples compares sign codes first, if there are few probes: more share a matrix product.
SKETCHED, FEW_SKETCHED = 16_384, 4
FIRST_SHARE = 0.01  # the share of the samples, those with the most similar codes, that are compared first
WORTHWHILE = 0.5  # comparing a larger share of the samples one by one takes longer than comparing all
GROUPS = 64
ROUNDING = 1e-5  # generous bound for the error of a float32 sum of 512 products

# Reads samples in float32 by their ids: returns the ids that still exist, and their vectors, M×D float32.
ReadExactly = Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.float32]]]


class Hit(NamedTuple):
    """The most similar sample of one person. ``owner``: the number of the person in the index; ``sample``: the id of
    the sample; ``cosine``: -1 to 1."""

    owner: int
    sample: int
    cosine: float


@dataclass(frozen=True)
class Index:
    """Samples to search. An index never changes: searches can use it while a new one is made.

    blocks   the N samples
    scales   N float32: int8 column · scale ≈ the unit vector; None for float32
    samples  N int64: id of each sample
    owners   N int64: number of the person, 0 or a small positive number
    error    length of the largest difference between a vector and its int8 form; 0 for float32
    most     the number of samples of the person who has most of them
    """

    blocks: tuple[Block, ...]
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

    @property
    def dimensions(self) -> int:
        """D, or 0 if there are no samples."""
        return len(self.blocks[0].columns) if len(self) else 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory for the vectors."""
        return sum(block.nbytes for block in self.blocks)

    def without_samples(self, removed: NDArray[np.bool_]) -> Index:
        """A copy without the samples in the mask ``removed`` (N bool). Complete blocks are shared with the copy."""
        keep, blocks, at = ~removed, [], 0
        for block in self.blocks:
            here = keep[at : at + block.filled]
            if here.all():
                blocks.append(block)
            elif here.any():
                blocks.append(block.selected(here))
            at += block.filled
        scales = None if self.scales is None else self.scales[keep]
        owners = self.owners[keep]
        return Index(tuple(blocks), scales, self.samples[keep], owners, self.error, _largest_count(owners))

    def with_samples(self, vectors: NDArray[np.float32], samples: Sequence[int], owners: Sequence[int]) -> Index:
        """A copy with M more samples; ``vectors``: M×D float32, unit length. All blocks except the last are shared."""
        rows = to_rows(vectors, "float32" if self.scales is None else "int8")
        scales = rows.scales
        if self.scales is not None and scales is not None:
            scales = np.concatenate([self.scales, scales])
        all_ids = np.concatenate([self.samples, np.asarray(samples, np.int64)])
        all_owners = np.concatenate([self.owners, np.asarray(owners, np.int64)])
        blocks = append_to_blocks(self.blocks, rows)
        return Index(blocks, scales, all_ids, all_owners, max(self.error, rows.error), _largest_count(all_owners))

    def search(
        self, probes: NDArray[np.float32], k: int = 1, read_exactly: ReadExactly | None = None
    ) -> list[list[Hit]]:
        """The ``k`` most similar people for each of the B×D ``probes`` of unit length, most similar first.

        An int8 index uses ``read_exactly`` to decide what its rounding leaves open. Without it the cosines are as
        exact as int8 allows. Raises ValueError if D is wrong.
        """
        if not len(self) or k < 1:
            return [[] for _ in probes]
        if probes.ndim != 2 or probes.shape[1] != self.dimensions:
            raise ValueError(f"probes of shape {probes.shape} for an index of {self.dimensions} dimensions")
        probes = np.ascontiguousarray(probes, np.float32)
        found: list[list[Hit]] = []
        for start in range(0, len(probes), PROBES_AT_ONCE):
            some = probes[start : start + PROBES_AT_ONCE]
            cosines = self._cosines(some) if len(some) > FEW_SKETCHED else self._largest_cosines(some, k)
            for number in range(len(some)):  # faster than iterating over the arrays
                hits = self._nearest(cosines[number], k)
                if read_exactly is not None and self.scales is not None:
                    hits = self._refine(some[number], cosines[number], hits, k, read_exactly)
                found.append(hits)
        return found

    def _cosines(self, probes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cosines of B×D ``probes`` with all samples, B×N float32."""
        found = np.empty((len(probes), len(self) + WIDTH_STEP), np.float32)
        # The same height for all blocks, so that the products of all samples are added in the same order.
        height, at = CACHED_NUMBERS // self.blocks[0].columns.shape[1], 0
        for block in self.blocks:
            multiply(probes, block.columns, height, found[:, at : at + block.columns.shape[1]])
            at += block.filled  # the next block overwrites the products with the zeros of this one
        found = found[:, : len(self)]
        if self.scales is not None:
            found *= self.scales
        return found

    def _largest_cosines(self, probes: NDArray[np.float32], k: int) -> NDArray[np.float32]:
        """As ``_cosines``, with BELOW_ANY_COSINE for samples whose sign codes say that they cannot be among the best
        sample of the first ``k`` people. The codes err for one sample in 30,000 of those close to the limit (see
        ``sketch``)."""
        if self.scales is None or len(self) < SKETCHED:
            return self._cosines(probes)
        found = np.full((len(probes), len(self)), BELOW_ANY_COSINE, np.float32)
        for number in range(len(probes)):
            probe, cosines = probes[number], found[number]
            differences = self._count_differences(probe)
            # The codes of one sample in 16 tell how many differences the most similar ones have.
            first = np.quantile(differences[::16], FIRST_SHARE, method="higher")
            self._compare(probe, (differences <= first).nonzero()[0], cosines)
            hits = self._nearest(cosines, k)
            floor = hits[-1].cosine - self.error - ROUNDING if len(hits) == k else -np.inf
            rows = (differences <= most_differences(floor, self.dimensions)).nonzero()[0]
            if len(rows) < WORTHWHILE * len(self):
                self._compare(probe, rows, cosines)
            else:
                cosines[:] = self._cosines(probe[None])[0]
        return found

    def _count_differences(self, probe: NDArray[np.float32]) -> NDArray[np.int32]:
        code = encode_probe(probe)
        return np.concatenate(
            [count_differences(block.codes, code) for block in self.blocks if block.codes is not None]
        )

    def _compare(self, probe: NDArray[np.float32], rows: NDArray[np.int64], cosines: NDArray[np.float32]) -> None:
        """Write the cosines of a ``probe`` (D) with the samples of an int8 index at ``rows``, ascending, to
        ``cosines`` (N)."""
        assert self.scales is not None
        start = at = 0
        for block in self.blocks:
            end = int(rows.searchsorted(at + block.filled))
            if end > start:
                some = rows[start:end]
                cosines[some] = multiply_some(probe, block.columns, some - at) * self.scales[some]
            start, at = end, at + block.filled

    def _nearest(self, cosines: NDArray[np.float32], k: int) -> list[Hit]:
        """The ``k`` people with the largest of N ``cosines``."""
        if k <= FEW_PEOPLE:
            hits = self._nearest_few(cosines, k)
            if len(hits) == k:
                return hits
        # Nobody has more than `most` samples, so this many of the best samples belong to at least k people.
        rows = _largest(cosines, min(k * self.most, len(cosines))).tolist()
        best: dict[int, Hit] = {}
        for distance, row in sorted([(-cosines.item(row), row) for row in rows]):  # of equal cosines the older
            owner = self.owners.item(row)
            if owner not in best:
                best[owner] = Hit(owner, self.samples.item(row), -distance)
                if len(best) == k:
                    break
        return list(best.values())

    def _nearest_few(self, cosines: NDArray[np.float32], k: int) -> list[Hit]:
        """As ``_nearest``, by finding the largest cosine repeatedly. Returns fewer than ``k`` people if the best 2·k
        samples belong to fewer."""
        best: dict[int, Hit] = {}
        taken = []
        largest, value, owner_of, sample_of = cosines.argmax, cosines.item, self.owners.item, self.samples.item
        for _ in range(2 * k):
            row = int(largest())  # of equal cosines the older sample
            cosine = value(row)
            if not cosine > BELOW_ANY_COSINE:  # no samples remain, or NaN
                break
            taken.append((row, cosine))
            cosines[row] = BELOW_ANY_COSINE
            owner = owner_of(row)
            if owner not in best:
                best[owner] = Hit(owner, sample_of(row), cosine)
                if len(best) == k:
                    break
        for row, cosine in taken:
            cosines[row] = cosine
        return list(best.values())

    def _refine(
        self,
        probe: NDArray[np.float32],
        cosines: NDArray[np.float32],
        rough: list[Hit],
        k: int,
        read_exactly: ReadExactly,
    ) -> list[Hit]:
        """Compare again in float32. The error of an int8 cosine is at most ``error`` (Cauchy-Schwarz inequality), so a
        sample whose cosine is more than twice that below the k-th person's cannot be among the first k."""
        floor = rough[-1].cosine - 2 * self.error - ROUNDING if len(rough) == k else -np.inf
        rows = np.flatnonzero(cosines >= floor)
        samples, vectors = read_exactly(self.samples[rows])
        if not len(samples):  # all were deleted in the meantime
            return []
        order = samples.argsort()
        wanted = self.samples[rows]
        places = order[np.minimum(samples.searchsorted(wanted, sorter=order), len(samples) - 1)]
        exists = samples[places] == wanted
        blocks = append_to_blocks((), to_rows(vectors[places[exists]], "float32"))
        exact = Index(blocks, None, wanted[exists], self.owners[rows[exists]], 0.0, self.most)
        return exact.search(probe[None], k)[0]


def build_index(
    vectors: NDArray[np.float32], samples: Sequence[int], owners: Sequence[int], precision: Precision = "auto"
) -> Index:
    """An index of ``vectors``, N×D float32 of unit length; ``samples`` and ``owners``: N numbers, see ``Index``."""
    rows = to_rows(vectors, choose_precision(precision, len(vectors)))
    ids, numbers = np.asarray(samples, np.int64), np.asarray(owners, np.int64)
    return Index(append_to_blocks((), rows), rows.scales, ids, numbers, rows.error, _largest_count(numbers))


def choose_precision(precision: Precision, count: int) -> Precision:
    """The precision that "auto" means for ``count`` samples: int8 if there are ``LARGE`` or more."""
    return precision if precision != "auto" else "float32" if count < LARGE else "int8"


def _largest(values: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` largest of N ``values``, of all equal to the smallest of these, and perhaps of more."""
    each = len(values) // GROUPS
    # The largest value of each group: if `count` of these reach a bound, so do `count` of all. This sorts fewer values.
    grouped = each > 4 * count
    bounds = values[: GROUPS * each].reshape(GROUPS, each).max(axis=0) if grouped else values.copy()
    bounds.partition(len(bounds) - count)
    places: NDArray[np.int64] = (values >= bounds.item(-count)).nonzero()[0]
    return places


def _largest_count(owners: NDArray[np.int64]) -> int:
    """The number of samples of the person who has most of them."""
    return int(np.bincount(owners).max(initial=0))
