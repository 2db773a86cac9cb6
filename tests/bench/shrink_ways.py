"""Ways to shrink a 3840×2160 frame to 640×360 with the bits of OpenCV's bilinear interpolation, after an inference.

    make bench-shrink
    make bench-shrink OPTIONS='--rounds 10'      a quick look

And ways to make floats of the 640×360 pixels, with the bits of (x − 127.5) / 128, which SCRFD takes.

The center of each new pixel is the corner at which four old ones meet: it is their rounded average. Each way gets a new
copy of the frame behind an inference of the detector, which fills the processor's caches, and then the same frame again
at once. Ways alternate. Milliseconds of CPU time of one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from comparison_rkface import touch_lines
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from program import create_parser, format_table, write_results
from scenes import choose_material

from rkface.runtime.vision.bare_onnx import open_detector

BY, ROWS, COLUMNS = 6, 360, 640
SHAPE, SMALL, PLANES = (ROWS * BY, COLUMNS * BY, 3), (ROWS, COLUMNS, 3), (3, ROWS, COLUMNS)
MEAN, STD = np.float32(127.5), np.float32(128)
TABLE = (np.arange(256, dtype=np.float32) - MEAN) / STD
BLOCK = 60  # new rows, for the ways that work in blocks: their bytes stay in a core's own cache

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Way = Callable[[Image], Image]
WritePlane = Callable[[Image, Floats], None]  # a plane of bytes, and where its floats go


@dataclass(frozen=True)
class Measured:
    """Medians in milliseconds: right after an inference, and with the frame in the caches."""

    name: str
    after_inference: float
    again: float


def resize(how: int) -> Way:
    small = np.empty(SMALL, np.uint8)

    def shrink(frame: Image) -> Image:
        cv2.resize(frame, (COLUMNS, ROWS), dst=small, interpolation=how)
        return small

    return shrink


def remap() -> Way:
    """Fixed-point maps that are computed once."""
    x, y = ((np.arange(count, dtype=np.float32) + 0.5) * BY - 0.5 for count in (COLUMNS, ROWS))
    maps = cv2.convertMaps(*(one.astype(np.float32) for one in np.meshgrid(x, y)), cv2.CV_16SC2)
    small = np.empty(SMALL, np.uint8)

    def shrink(frame: Image) -> Image:
        cv2.remap(frame, *maps, cv2.INTER_LINEAR, dst=small)
        return small

    return shrink


def warp() -> Way:
    matrix = np.array([[BY, 0, (BY - 1) / 2], [0, BY, (BY - 1) / 2]])
    small = np.empty(SMALL, np.uint8)

    def shrink(frame: Image) -> Image:
        cv2.warpAffine(frame, matrix, (COLUMNS, ROWS), dst=small, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        return small

    return shrink


def average_pairs(block: int) -> Way:
    """The two pixels of each pair of columns as one pixel of six bytes (nearest neighbor); then 2×2 pixels averaged."""
    pairs = np.empty((block, 2 * COLUMNS, 3), np.uint16)  # two rows of pairs, one behind the other
    pixels = pairs.view(np.uint8).reshape(2 * block, 2 * COLUMNS, 3)
    small = np.empty(SMALL, np.uint8)
    middle = BY // 2 - 1

    def shrink(frame: Image) -> Image:
        lines = frame.reshape(ROWS, -1)[:, middle * (frame.strides[0] + 3) :].view(np.uint16)
        found = as_strided(lines, (ROWS, SHAPE[1] - 1, 3), (lines.strides[0], 6, 2))  # the pairs of two rows
        for row in range(0, ROWS, block):
            part = found[row : row + block]
            cv2.resize(part, None, dst=pairs, fx=2 / BY, fy=1, interpolation=cv2.INTER_NEAREST)
            cv2.resize(pixels, (COLUMNS, block), dst=small[row : row + block], interpolation=cv2.INTER_AREA)
        return small

    return shrink


def copy_pixels(block: int) -> Way:
    """NumPy copies the four pixels, each with the next byte as one number; then 2×2 pixels averaged."""
    numbers = np.empty((2 * block, 2 * COLUMNS), np.uint32)
    halves = numbers.reshape(block, 2, 2 * COLUMNS)
    small = np.empty((ROWS, COLUMNS, 4), np.uint8)
    middle = BY // 2 - 1

    def shrink(frame: Image) -> Image:
        line = frame.strides[0]
        sides = [
            as_strided(frame[middle:, x:], (ROWS, 2, COLUMNS, 4), (BY * line, line, BY * 3, 1)).view(np.uint32)[..., 0]
            for x in (middle, middle + 1)
        ]
        for row in range(0, ROWS, block):
            for x, side in enumerate(sides):
                halves[:, :, x::2] = side[row : row + block]
            pixels = numbers.view(np.uint8).reshape(2 * block, 2 * COLUMNS, 4)
            cv2.resize(pixels, (COLUMNS, block), dst=small[row : row + block], interpolation=cv2.INTER_AREA)
        return small[..., :3]

    return shrink


WAYS: dict[str, Way] = {
    "cv2.resize, bilinear (what rkface calls)": resize(cv2.INTER_LINEAR),
    "cv2.resize, exact bilinear": resize(cv2.INTER_LINEAR_EXACT),
    "cv2.remap with fixed-point maps": remap(),
    "cv2.warpAffine": warp(),
    "pairs of columns as pixels of six bytes, then averages": average_pairs(ROWS),
    f"the same in blocks of {BLOCK} rows": average_pairs(BLOCK),
    f"four pixels copied by NumPy, then averages, in blocks of {BLOCK} rows": copy_pixels(BLOCK),
}


def new_planes(rows: int) -> list[Image]:
    return [np.empty((rows, COLUMNS), np.uint8) for _ in range(3)]


def write_planes(small: Image, planes: Sequence[Image], floats: Floats, write: WritePlane) -> None:
    """Split ``small`` into ``planes``, and ``write`` each of them as floats."""
    cv2.split(small, planes)
    for plane, target in zip(planes, floats, strict=True):
        write(plane, target)


def by_table(plane: Image, target: Floats) -> None:
    """A table of the 256 floats."""
    cv2.LUT(plane, TABLE, dst=target)


def by_weight(plane: Image, target: Floats) -> None:
    """OpenCV's weighted sum with the mean. Exact only if the deviation is a power of two."""
    cv2.addWeighted(plane, float(1 / STD), plane, 0, float(-MEAN / STD), dst=target, dtype=cv2.CV_32F)


def by_numpy(plane: Image, target: Floats) -> None:
    np.subtract(plane, MEAN, out=target)
    np.divide(target, STD, out=target)


def convert(write: WritePlane, block: int = ROWS) -> Callable[[Image], Floats]:
    """Planes of bytes, ``block`` rows at a time, and ``write`` for each of them."""
    planes, floats = new_planes(block), np.empty(PLANES, np.float32)

    def converted(small: Image) -> Floats:
        for row in range(0, ROWS, block):
            write_planes(small[row : row + block], planes, floats[:, row : row + block], write)
        return floats

    return converted


def convert_by_blob(small: Image) -> Floats:
    return np.asarray(cv2.dnn.blobFromImage(small, float(1 / STD), mean=(float(MEAN),) * 3)[0], np.float32)


CONVERSIONS: dict[str, Callable[[Image], Floats]] = {
    "planes, cv2.LUT (what rkface calls)": convert(by_table),
    "the same in blocks of 60 rows": convert(by_table, BLOCK),
    "planes, cv2.addWeighted": convert(by_weight),
    "planes, NumPy's subtraction and division": convert(by_numpy),
    "cv2.dnn.blobFromImage": convert_by_blob,
}


def shrink_and_convert(block: int) -> Callable[[Image], Floats]:
    """Both, ``block`` new rows at a time: the shrunk bytes stay in a core's own cache."""
    small = np.empty((block, COLUMNS, 3), np.uint8)
    planes, floats = new_planes(block), np.empty(PLANES, np.float32)

    def both(frame: Image) -> Floats:
        for row in range(0, ROWS, block):
            cv2.resize(frame[row * BY : (row + block) * BY], (COLUMNS, block), dst=small)
            write_planes(small, planes, floats[:, row : row + block], by_table)
        return floats

    return both


BOTH: dict[str, Callable[[Image], Floats]] = {
    "all rows at once (what rkface does)": shrink_and_convert(ROWS),
    **{f"in blocks of {rows} rows": shrink_and_convert(rows) for rows in (30, 60, 180)},
}


def measure(
    ways: Mapping[str, Callable[[Image], object]], shape: tuple[int, ...], infer: Callable[[], object], rounds: int
) -> list[Measured]:
    """The time of each of ``ways`` for a picture of ``shape``."""
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    times: dict[str, list[tuple[int, int]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            infer()
            fresh = picture.copy()
            times[name].append((_time(ways[name], fresh), _time(ways[name], fresh)))
    medians = {name: np.median(taken[1:], axis=0) / 1e6 for name, taken in times.items()}  # the first allocates
    return [Measured(name, *(round(float(value), 3) for value in pair)) for name, pair in medians.items()]


def _time(way: Callable[[Image], object], frame: Image) -> int:
    started = time.thread_time_ns()
    way(frame)
    return time.thread_time_ns() - started


def to_markdown(what: str, results: Sequence[Measured]) -> str:
    rows = [(one.name, f"{one.after_inference:.2f}", f"{one.again:.2f}") for one in results]
    return "\n".join(format_table([f"{what}, ms", "after an inference", "again"], rows)) + "\n"


def main() -> int:
    parser = create_parser(__doc__, "build/bench/shrink")
    parser.add_argument("--rounds", type=int, default=40, help="runs of each way (default: %(default)s)")
    parser.add_argument("--detector", type=Path, metavar="ONNX", help="face detector that runs in between")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    backend, input, _ = open_detector(options.detector or choose_material().detector, threads=1)
    picture = np.zeros((input.height, input.width, 3), np.uint8)
    touch: dict[str, Callable[[Image], object]] = {
        "touch each cache line that is needed (no way, but the least)": lambda frame: touch_lines(frame, ROWS)
    }
    tables: dict[str, tuple[Mapping[str, Callable[[Image], object]], tuple[int, ...]]] = {
        "3840×2160 to 640×360": (WAYS | touch, SHAPE),
        "640×360 to floats": (CONVERSIONS, SMALL),
        "3840×2160 to floats": (BOTH, SHAPE),
    }
    results = {
        what: measure(ways, shape, lambda: backend.infer_picture(picture), options.rounds)
        for what, (ways, shape) in tables.items()
    }
    markdown = "\n".join(to_markdown(what, measured) for what, measured in results.items())
    write_results(options.out, markdown, {what: list(map(asdict, one)) for what, one in results.items()})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
