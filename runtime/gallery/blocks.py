"""Samples in memory, as columns in blocks of float32 or int8, and their products with probes.

A letter is a dimension: N samples, B probes, D numbers of an embedding, W columns of a block.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Precision = Literal["float32", "int8", "auto"]
# Samples in a block. float32: streams of 8 kB; four times that gains 5 %. int8: 0.4 MB as float32, for small caches.
BLOCK_SAMPLES = {"float32": 2048, "int8": 192}
# The width of a block is a multiple of this. OpenBLAS multiplies 16 or fewer columns at a time in up to 4 threads; the
# numbers of the remaining columns would be added in another order.
WIDTH_STEP = 64
FEW_PROBES = 5  # up to this many, one product each is faster than a matrix product, for which OpenBLAS copies its input


class Block(NamedTuple):
    """``filled`` samples, one in each column, then columns of zeros up to a multiple of ``WIDTH_STEP``.

    ``columns`` is D×W. float32: row by row in memory, first the first numbers of all samples, then the second ones.
    int8: column by column; a block is converted to float32 when it is used, so that it fits into a cache.
    """

    columns: NDArray[Any]
    filled: int

    @property
    def samples(self) -> NDArray[Any]:
        """The columns without the zeros."""
        return self.columns[:, : self.filled]


class Rows(NamedTuple):
    """N samples as they are stored. The fields are those of ``Index``, but ``vectors`` is N×D."""

    vectors: NDArray[Any]
    scales: NDArray[np.float32] | None
    error: float


def to_rows(vectors: NDArray[np.float32], precision: Precision) -> Rows:
    """N×D ``vectors`` in float32, or rounded to int8."""
    return Rows(np.asarray(vectors, np.float32), None, 0.0) if precision == "float32" else _quantize(vectors)


def append_to_blocks(blocks: tuple[Block, ...], rows: NDArray[Any]) -> tuple[Block, ...]:
    """``blocks`` and N×D more samples. The last block is filled first; all others are shared with the result."""
    size = BLOCK_SAMPLES[rows.dtype.name]
    room = size - blocks[-1].filled if blocks else 0
    if room and len(rows):
        blocks, rows = (*blocks[:-1], join_block(blocks[-1].samples, _to_columns(rows[:room]))), rows[room:]
    return blocks + tuple(join_block(_to_columns(rows[start : start + size])) for start in range(0, len(rows), size))


def join_block(*parts: NDArray[Any]) -> Block:
    """A block of D×n columns, which are in its memory order."""
    (dimensions, _), kind = parts[0].shape, parts[0].dtype
    filled = sum(part.shape[1] for part in parts)
    width = -(-filled // WIDTH_STEP) * WIDTH_STEP
    columns = np.zeros((dimensions, width), kind, order="F" if kind == np.int8 else "C")
    np.concatenate(parts, axis=1, out=columns[:, :filled])
    return Block(columns, filled)


def multiply(probes: NDArray[np.float32], columns: NDArray[Any], height: int, out: NDArray[np.float32]) -> None:
    """Write the products of B×D ``probes`` with D×W ``columns`` to ``out``, B×W. For a few probes, ``height`` of the D
    dimensions are used at a time, so that they stay in a cache."""
    if len(probes) == 1:
        np.dot(probes[0], columns.astype(np.float32, copy=False), out=out[0])
    elif len(probes) > FEW_PROBES:
        out[:] = (columns.T.astype(np.float32, copy=False) @ probes.T).T  # a third faster than probes @ columns
    else:
        for top in range(0, len(columns), height):
            part = columns[top : top + height].astype(np.float32, copy=False)
            for number in range(len(probes)):
                probe, sums = probes[number, top : top + height], out[number]
                if top:
                    sums += np.dot(probe, part)
                else:
                    np.dot(probe, part, out=sums)


def _to_columns(rows: NDArray[Any]) -> NDArray[Any]:
    """N×D → D×N, in the memory order of a block."""
    return rows.T if rows.dtype == np.int8 else np.asarray(cv2.transpose(rows))  # 6 times as fast as numpy


def _quantize(vectors: NDArray[np.float32]) -> Rows:
    rows = np.empty(vectors.shape, np.int8)
    scales = np.empty(len(vectors), np.float32)
    error = 0.0
    for start in range(0, len(vectors), 4096):  # in parts: no second copy of the gallery in float32
        part = slice(start, start + 4096)
        some = vectors[part]
        scales[part] = np.maximum(np.abs(some).max(axis=1, initial=0) / 127, np.finfo(np.float32).tiny)
        rows[part] = np.rint(some / scales[part, None])
        off = np.linalg.norm(rows[part] * scales[part, None] - some, axis=1)
        error = max(error, float(off.max(initial=0)))
    return Rows(rows, scales, error)
