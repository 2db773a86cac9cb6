"""The recognizer's time for the faces of one picture: one after another, on one thread and on all threads, and as
rkface does it, with as many faces at once as there are threads.

The three ways alternate. ONNX Runtime runs the model with the settings of rkface's reference backend.

Usage: python tests/bench/faces_at_once.py [--recognizer model.onnx]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from program import create_parser, format_table

from rkface.runtime.vision.bare_onnx import open_recognizer

Way = Callable[[Sequence[NDArray[np.uint8]]], object]


def main() -> None:
    parser = create_parser(__doc__)
    parser.add_argument("--recognizer", type=Path, metavar="ONNX", help="default: an IResNet-50, which is made first")
    parser.add_argument("--faces", type=int, nargs="+", default=(1, 2, 3, 5, 20), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=20, help="default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.recognizer or make_model(Path(folder) / "iresnet50.onnx")
        print(f"{model.name}; milliseconds, medians of {options.rounds} alternating runs\n")
        ways = open_ways(model)
        rows = [measure(ways, faces, options.rounds) for faces in options.faces]
    print("\n".join(format_table(["faces", *ways, "times as fast as on all threads"], rows)))


def make_model(path: Path) -> Path:
    from rkface.convert.demo.models import export_iresnet50

    export_iresnet50(path, 1)
    return path


def open_ways(model: Path) -> dict[str, Way]:
    one, all_threads, ours = (open_recognizer(model, threads=threads).embedder() for threads in (1, None, None))
    return {
        "one thread": one.embed,
        "one after another, all threads": lambda crops: [all_threads.embed([crop]) for crop in crops],
        "at once": ours.embed,
    }


def measure(ways: dict[str, Way], faces: int, rounds: int) -> list[str]:
    """The row of the table for a picture with ``faces`` faces."""
    crops = list(np.random.default_rng(0).integers(0, 255, (faces, 112, 112, 3), np.uint8))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, embed in ways.items():
            started = time.perf_counter()
            embed(crops)
            times[name].append(time.perf_counter() - started)
    medians = {name: 1000 * median(seconds[1:]) for name, seconds in times.items()}  # the first run allocates
    *_, sequential, at_once = medians.values()
    return [str(faces), *(f"{one:.2f}" for one in medians.values()), f"{sequential / at_once:.2f}"]


if __name__ == "__main__":
    main()
