"""Exact cosine search in memory: which people are nearest to a probe, among up to some 100,000 samples.

One probe is one pass over the whole index: its speed is that of memory. Samples are therefore columns: a product then
reads several numbers of all of them at once, each a long stream, which memory serves faster than one stream of whole
samples. Of large galleries int8 holds a quarter; the few samples that its rounding leaves undecided are compared again
in float32, so that the answer is the same. docs/gallery.md has the figures beside faiss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Precision = Literal["float32", "int8", "auto"]
# From here on int8 saves 75 MB and more, and is still faster than faiss (docs/gallery.md).
LARGE = 50_000
# Samples a block. float32: streams of 8 kB, four times that gains 5 % more. int8: 0.4 MB as float32, for small caches.
WIDE = {"float32": 2048, "int8": 192}
# Columns are multiplied 16 and fewer at a time, by up to 4 threads; what is left over would be summed in another order.
EVEN = 64
PROBES = 16  # at once
FEW = 5  # probes up to which a product each is faster than one of matrices, for which OpenBLAS rearranges its arguments
CACHED = 1 << 19  # float32 numbers, 2 MB, that are still in a cache when the next of these few needs them
SINGLY = 8  # people up to whom it is faster to look for the largest cosine again and again than for all at once
LEAST = -2.0  # below any cosine
GROUPS = 64
ROUNDING = 1e-5  # of float32 sums over 512 products, generously

Exact = Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.float32]]]


class Hit(NamedTuple):
    """The best sample of one person for a probe. ``owner`` is what the index was given for that person."""

    owner: int
    sample: int
    cosine: float


class Block(NamedTuple):
    """``filled`` samples, a column each, and columns of zeros up to a multiple of ``EVEN``.

    D×W: float32 with the columns' first numbers beside each other in memory, all their second ones, and so on; or int8
    with whole columns one after the other, which become float32 a block at a time, in a cache.
    """

    columns: NDArray[Any]
    filled: int

    @property
    def samples(self) -> NDArray[Any]:
        """Without the zeros."""
        return self.columns[:, : self.filled]


@dataclass(frozen=True)
class Index:
    """Samples to search; never changed, so that searches go on while its successor is made.

    blocks   of N samples in all
    scales   N float32: int8 column · scale ≈ the unit vector; None for float32
    samples  N int64: id of each sample
    owners   N int64: whose it is, in small numbers from 0 on
    error    the largest length of what int8 rounding took off a vector; 0 for float32
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
    def nbytes(self) -> int:
        """Of the vectors."""
        return sum(block.columns.nbytes for block in self.blocks)

    def without(self, gone: NDArray[np.bool_]) -> Index:
        """A copy that lacks the samples of a mask of N; blocks that lack none are shared with it."""
        keep, blocks, at = ~gone, [], 0
        for block in self.blocks:
            here = keep[at : at + block.filled]
            if here.all():
                blocks.append(block)
            elif here.any():
                blocks.append(_block(np.compress(here, block.samples, axis=1)))
            at += block.filled
        scales = None if self.scales is None else self.scales[keep]
        owners = self.owners[keep]
        return Index(tuple(blocks), scales, self.samples[keep], owners, self.error, _most(owners))

    def plus(self, vectors: NDArray[np.float32], samples: Sequence[int], owners: Sequence[int]) -> Index:
        """A copy with M more samples: ``vectors`` M×D float32, unit. All blocks but the last are shared with it."""
        rows, scales, error = _stored(vectors, "float32" if self.scales is None else "int8")
        if self.scales is not None and scales is not None:
            scales = np.concatenate([self.scales, scales])
        ids, whose = np.asarray(samples, np.int64), np.asarray(owners, np.int64)
        everyone = np.concatenate([self.owners, whose])
        blocks = self.blocks
        room = WIDE[rows.dtype.name] - blocks[-1].filled if blocks else 0
        if room and len(rows):
            blocks, rows = (*blocks[:-1], _block(blocks[-1].samples, _columns(rows[:room]))), rows[room:]
        return Index(
            blocks + _blocks(rows),
            scales,
            np.concatenate([self.samples, ids]),
            everyone,
            max(self.error, error),
            _most(everyone),
        )

    def search(self, probes: NDArray[np.float32], k: int = 1, exact: Exact | None = None) -> list[list[Hit]]:
        """The ``k`` nearest people, best first, for each of the B×D unit ``probes``.

        ``exact`` reads samples in float32 by their ids, for an int8 index: it returns the ids that still exist and
        their vectors. Without it an int8 index answers as nearly as int8 can. ValueError for another D.
        """
        if not len(self) or k < 1:
            return [[] for _ in probes]
        dimensions = len(self.blocks[0].columns)
        if probes.ndim != 2 or probes.shape[1] != dimensions:
            raise ValueError(f"probes of shape {probes.shape} for an index of {dimensions} dimensions")
        probes = np.ascontiguousarray(probes, np.float32)
        found: list[list[Hit]] = []
        for start in range(0, len(probes), PROBES):
            some = probes[start : start + PROBES]
            cosines = self._cosines(some)
            for number in range(len(some)):  # to iterate over arrays takes longer
                hits = self._nearest(cosines[number], k)
                if exact is not None and self.scales is not None:
                    hits = self._refined(some[number], cosines[number], hits, k, exact)
                found.append(hits)
        return found

    def _cosines(self, probes: NDArray[np.float32]) -> NDArray[np.float32]:
        """B×N float32."""
        found = np.empty((len(probes), len(self) + EVEN), np.float32)
        high, at = CACHED // self.blocks[0].columns.shape[1], 0  # the same for all blocks: all are summed in one order
        for columns, filled in self.blocks:
            _products(probes, columns, high, found[:, at : at + columns.shape[1]])
            at += filled  # the next block overwrites the products with this one's zeros
        found = found[:, : len(self)]
        if self.scales is not None:
            found *= self.scales
        return found

    def _nearest(self, cosines: NDArray[np.float32], k: int) -> list[Hit]:
        """For one probe's N ``cosines``."""
        if k <= SINGLY:
            hits = self._first(cosines, k)
            if len(hits) == k:
                return hits
        # Among so many best samples there are k people, however their samples are spread.
        rows = _largest(cosines, min(k * self.most, len(cosines)))
        best: dict[int, Hit] = {}
        for distance, row in sorted([(-cosines.item(row), row) for row in rows]):  # equal cosines: the older first
            owner = self.owners.item(row)
            if owner not in best:
                best[owner] = Hit(owner, self.samples.item(row), -distance)
                if len(best) == k:
                    break
        return list(best.values())

    def _first(self, cosines: NDArray[np.float32], k: int) -> list[Hit]:
        """As ``_nearest``, by looking for the largest again and again; fewer than ``k`` where twice as many samples
        belong to fewer people."""
        best: dict[int, Hit] = {}
        taken = []
        largest, value, owner_of, sample_of = cosines.argmax, cosines.item, self.owners.item, self.samples.item
        for _ in range(2 * k):
            row = int(largest())  # of equal ones the older
            cosine = value(row)
            if not cosine > LEAST:  # no more of them, or no number
                break
            taken.append((row, cosine))
            cosines[row] = LEAST
            owner = owner_of(row)
            if owner not in best:
                best[owner] = Hit(owner, sample_of(row), cosine)
                if len(best) == k:
                    break
        for row, cosine in taken:
            cosines[row] = cosine
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
        order = samples.argsort()
        wanted = self.samples[rows]
        places = order[np.minimum(samples.searchsorted(wanted, sorter=order), len(samples) - 1)]
        left = samples[places] == wanted
        blocks = _blocks(np.asarray(vectors[places[left]], np.float32))
        return Index(blocks, None, wanted[left], self.owners[rows[left]], 0.0, self.most).search(probe[None], k)[0]


def build(
    vectors: NDArray[np.float32], samples: Sequence[int], owners: Sequence[int], precision: Precision = "auto"
) -> Index:
    """An index of N×D float32 unit ``vectors``."""
    rows, scales, error = _stored(vectors, chosen(precision, len(vectors)))
    ids, whose = np.asarray(samples, np.int64), np.asarray(owners, np.int64)
    return Index(_blocks(rows), scales, ids, whose, error, _most(whose))


def chosen(precision: Precision, count: int) -> Precision:
    """What ``auto`` is for ``count`` samples: int8 from ``LARGE`` on."""
    return precision if precision != "auto" else "float32" if count < LARGE else "int8"


def _stored(
    vectors: NDArray[np.float32], precision: Precision
) -> tuple[NDArray[Any], NDArray[np.float32] | None, float]:
    """N×D rows, scales and error, as an index has them."""
    return (np.asarray(vectors, np.float32), None, 0.0) if precision == "float32" else _quantized(vectors)


def _blocks(rows: NDArray[Any]) -> tuple[Block, ...]:
    """Of N×D samples."""
    wide = WIDE[rows.dtype.name]
    return tuple(_block(_columns(rows[start : start + wide])) for start in range(0, len(rows), wide))


def _columns(rows: NDArray[Any]) -> NDArray[Any]:
    """N×D → D×N, in a block's order."""
    return rows.T if rows.dtype == np.int8 else np.asarray(cv2.transpose(rows))  # 6 times as fast as numpy


def _block(*parts: NDArray[Any]) -> Block:
    """Of D×n columns, in the order they have in memory."""
    (dimensions, _), kind = parts[0].shape, parts[0].dtype
    filled = sum(part.shape[1] for part in parts)
    columns = np.zeros((dimensions, -(-filled // EVEN) * EVEN), kind, order="F" if kind == np.int8 else "C")
    np.concatenate(parts, axis=1, out=columns[:, :filled])
    return Block(columns, filled)


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


def _products(probes: NDArray[np.float32], columns: NDArray[Any], high: int, out: NDArray[np.float32]) -> None:
    """B×W, of B×D probes with D×W columns; of these, a few probes take ``high`` dimensions at a time."""
    if len(probes) == 1:
        np.dot(probes[0], columns.astype(np.float32, copy=False), out=out[0])
    elif len(probes) > FEW:
        out[:] = (columns.T.astype(np.float32, copy=False) @ probes.T).T  # a third faster than probes @ columns
    else:
        for top in range(0, len(columns), high):
            part = columns[top : top + high].astype(np.float32, copy=False)
            for number in range(len(probes)):
                probe, sums = probes[number, top : top + high], out[number]
                if top:
                    sums += np.dot(probe, part)
                else:
                    np.dot(probe, part, out=sums)


def _largest(values: NDArray[np.float32], count: int) -> list[int]:
    """Places of the ``count`` largest of N, with all that equal the last of them and perhaps more."""
    each = len(values) // GROUPS
    # Of `each` groups the largest: where `count` of these reach a bound, so do `count` of all. Fewer to sort.
    grouped = each > 4 * count
    bounds = values[: GROUPS * each].reshape(GROUPS, each).max(axis=0) if grouped else values.copy()
    bounds.partition(len(bounds) - count)
    places: list[int] = (values >= bounds.item(-count)).nonzero()[0].tolist()
    return places


def _most(owners: NDArray[np.int64]) -> int:
    """How many samples the person with most of them has."""
    return int(np.bincount(owners).max(initial=0))
