"""Samples in memory, as columns in blocks of float32 or int8, and their products with probes.

A letter is a dimension: N samples, B probes, D numbers of an embedding, W columns of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .sketch import encode

Precision = Literal["float32", "int8", "auto"]
# Samples in a block. float32: streams of 8 kB; four times that gains 5 %. int8: few blocks to go through, 4 MB each.
BLOCK_SAMPLES = {"float32": 2048, "int8": 8192}
CONVERTED = 192  # int8 samples that are converted to float32 at a time: 0.4 MB, for small caches
# The width of a block is a multiple of this. OpenBLAS multiplies 16 or fewer columns at a time in up to 4 threads; the
# numbers of the remaining columns would be added in another order.
WIDTH_STEP = 64
FEW_PROBES = 5  # up to this many, one product each is faster than a matrix product, for which OpenBLAS copies its input


class Block(NamedTuple):
    """``filled`` samples, one in each column, then columns of zeros up to a multiple of ``WIDTH_STEP``.

    ``columns`` is D×W. float32: row by row in memory, first the first numbers of all samples, then the second ones.
    int8: column by column, and ``codes`` has the sign code of each sample (filled × D/8 uint8, see ``sketch``).
    """

    columns: NDArray[Any]
    filled: int
    codes: NDArray[np.uint8] | None

    @property
    def samples(self) -> NDArray[Any]:
        """The columns without the zeros."""
        return self.columns[:, : self.filled]

    @property
    def nbytes(self) -> int:
        return self.columns.nbytes + (0 if self.codes is None else self.codes.nbytes)

    def selected(self, kept: NDArray[np.bool_]) -> Block:
        """A block of the samples in the mask ``kept`` (filled bool)."""
        codes = None if self.codes is None else self.codes[kept]
        return join_block([np.compress(kept, self.samples, axis=1)], codes)


class Rows(NamedTuple):
    """N samples as they are stored: N×D ``vectors``, and for int8 N×D/8 ``codes``. ``scales`` and ``error``: see
    ``Index``."""

    vectors: NDArray[Any]
    scales: NDArray[np.float32] | None
    error: float
    codes: NDArray[np.uint8] | None


def to_rows(vectors: NDArray[np.float32], precision: Precision) -> Rows:
    """N×D ``vectors`` in float32, or rounded to int8."""
    return Rows(np.asarray(vectors, np.float32), None, 0.0, None) if precision == "float32" else _quantize(vectors)


def append_to_blocks(blocks: tuple[Block, ...], rows: Rows) -> tuple[Block, ...]:
    """``blocks`` and N more samples. The last block is filled first; all others are shared with the result."""
    vectors, codes = rows.vectors, rows.codes
    size = BLOCK_SAMPLES[vectors.dtype.name]
    start = size - blocks[-1].filled if blocks else 0
    if start and len(vectors):
        last = blocks[-1]
        both = None if codes is None or last.codes is None else np.concatenate([last.codes, codes[:start]])
        blocks = (*blocks[:-1], join_block([last.samples, _to_columns(vectors[:start])], both))
    return blocks + tuple(
        join_block([_to_columns(vectors[at : at + size])], None if codes is None else codes[at : at + size])
        for at in range(start, len(vectors), size)
    )


def join_block(parts: Sequence[NDArray[Any]], codes: NDArray[np.uint8] | None) -> Block:
    """A block of D×n columns, which are in its memory order, and of the ``codes`` of all these samples."""
    (dimensions, _), kind = parts[0].shape, parts[0].dtype
    filled = sum(part.shape[1] for part in parts)
    width = -(-filled // WIDTH_STEP) * WIDTH_STEP
    columns = np.zeros((dimensions, width), kind, order="F" if kind == np.int8 else "C")
    np.concatenate(parts, axis=1, out=columns[:, :filled])
    return Block(columns, filled, None if codes is None else np.ascontiguousarray(codes))


def multiply(probes: NDArray[np.float32], columns: NDArray[Any], height: int, out: NDArray[np.float32]) -> None:
    """Write the products of B×D ``probes`` with D×W ``columns`` to ``out``, B×W. For a few probes, ``height`` of the D
    dimensions are used at a time, so that they stay in a cache."""
    if columns.dtype == np.float32:
        _multiply_floats(probes, columns, height, out)
        return
    floats = np.empty((len(columns), CONVERTED), np.float32, order="F")
    for left in range(0, columns.shape[1], CONVERTED):
        some = columns[:, left : left + CONVERTED]
        converted = floats[:, : some.shape[1]]
        np.copyto(converted, some)  # a quarter faster than `astype`, which allocates memory each time
        _multiply_floats(probes, converted, len(columns), out[:, left : left + CONVERTED])


def multiply_some(probe: NDArray[np.float32], columns: NDArray[np.int8], places: NDArray[np.int64]) -> NDArray[Any]:
    """The products of a ``probe`` (D) with the M columns at ``places`` of D×W int8 ``columns``, M float32."""
    products = np.empty(len(places), np.float32)
    most = min(len(places), CONVERTED)
    taken, floats = np.empty((most, len(columns)), np.int8), np.empty((most, len(columns)), np.float32)
    for start in range(0, len(places), CONVERTED):
        some = places[start : start + CONVERTED]
        np.take(columns.T, some, axis=0, out=taken[: len(some)], mode="clip")  # "raise" would copy `out`
        np.copyto(floats[: len(some)], taken[: len(some)])
        np.dot(floats[: len(some)], probe, out=products[start : start + CONVERTED])
    return products


def _multiply_floats(
    probes: NDArray[np.float32], columns: NDArray[np.float32], height: int, out: NDArray[np.float32]
) -> None:
    if len(probes) == 1:
        np.dot(probes[0], columns, out=out[0])
    elif len(probes) > FEW_PROBES:
        out[:] = (columns.T @ probes.T).T  # a third faster than probes @ columns
    else:
        for top in range(0, len(columns), height):
            part = columns[top : top + height]
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
    codes = np.empty((len(vectors), -(-vectors.shape[1] // 8)), np.uint8)
    scales = np.empty(len(vectors), np.float32)
    error = 0.0
    for start in range(0, len(vectors), 4096):  # in parts: no second copy of the gallery in float32
        part = slice(start, start + 4096)
        some = vectors[part]
        scales[part] = np.maximum(np.abs(some).max(axis=1, initial=0) / 127, np.finfo(np.float32).tiny)
        rows[part] = np.rint(some / scales[part, None])
        codes[part] = encode(some)
        off = np.linalg.norm(rows[part] * scales[part, None] - some, axis=1)
        error = max(error, float(off.max(initial=0)))
    return Rows(rows, scales, error, codes)
