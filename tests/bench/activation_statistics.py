"""What makes the activations of a recognizer hard for INT8: one range for channels of different size, and rare values.

    make bench-activations
    make bench-activations OPTIONS='model.onnx resnet29_dlib.onnx --photos photos/ --detector det.onnx'

Without models, these are an IResNet-50 with generated weights, the one of `make trained-iresnet` if the cache has it,
and the demo recognizer. Without --photos, the faces are rendered. Models run in FP32 in ONNX Runtime.

Columns, over the outputs of all layers of one kind: "spread" is the range of the widest channel divided by that of the
median channel. "kurtosis" is the excess kurtosis of all values: 0 for normally distributed ones, large if few values
are far from the others. "SQNR" is the power of the values divided by that of INT8's rounding in dB, for one range from
the smallest to the largest value: 48 for values that are evenly spread around 0, 6 less each time the range doubles
without them. For each, the median and the worst layer. "slopes" are those of PReLU: the 5th, 50th and 95th percentile
of all channels.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from program import create_parser, format_table, write_results

from rkface.calibration.collect import collect_faces
from rkface.convert.demo.identity import EVALUATE
from rkface.convert.demo.render import render_crop
from rkface.convert.packs.pack import DEMO
from rkface.convert.simplify import fix_input, simplify
from rkface.convert.tuning.observe import watch_tensors
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.manifest import Input
from rkface.runtime.vision import embed
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector

KINDS = ("Conv", "BatchNormalization", "PRelu", "Relu", "Add")
STEPS = 255


@dataclass
class TensorStatistics:
    """Sums over the values of one tensor in all images: their powers 1 to 4, and the range of each channel."""

    count: int = 0
    powers: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    low: Any = np.inf
    high: Any = -np.inf

    def add(self, values: NDArray[np.float32]) -> None:
        """``values``: C×H×W of one image."""
        flat = values.reshape(len(values), -1).astype(np.float64)
        self.count += flat.size
        self.powers += [(flat**power).sum() for power in (1, 2, 3, 4)]
        self.low, self.high = np.minimum(self.low, flat.min(1)), np.maximum(self.high, flat.max(1))

    @property
    def spread(self) -> float:
        ranges = self.high - self.low
        return float(ranges.max() / max(np.median(ranges), 1e-12))

    @property
    def kurtosis(self) -> float:
        mean, square, cube, fourth = self.powers / self.count
        variance = square - mean**2
        return float((fourth - 4 * mean * cube + 6 * mean**2 * square - 3 * mean**4) / variance**2 - 3)

    @property
    def sqnr(self) -> float:
        step = (max(self.high.max(), 0) - min(self.low.min(), 0)) / STEPS
        return float(10 * np.log10(self.powers[1] / self.count / (step**2 / 12)))


def main() -> int:
    parser = create_parser(__doc__, "build/bench/activations")
    parser.add_argument("models", nargs="*", type=Path, metavar="ONNX", help="recognizers for faces of 112×112 pixels")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos of faces (default: rendered faces)")
    parser.add_argument("--detector", type=Path, metavar="ONNX", help="finds the faces in the photos")
    parser.add_argument("--faces", type=int, default=24, help="number of faces (default: %(default)s)")
    options = parser.parse_args()
    if bool(options.photos) != bool(options.detector):
        parser.error("--photos and --detector belong together")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        faces = read_faces(options)
        for path in options.models or default_models(Path(scratch)):
            print(f"  {path.stem} on {len(faces)} faces …", file=sys.stderr, flush=True)
            rows += describe_model(path, faces, Path(scratch))
    kind = "photos" if options.photos else "rendered"
    write_results(options.out, to_markdown(rows, f"{len(faces)} faces ({kind})."), rows)
    return 0


def read_faces(options: argparse.Namespace) -> NDArray[np.uint8]:
    """N×112×112×3 uint8 RGB."""
    if options.photos:
        backend, input, outputs = open_detector(options.detector)
        found = collect_faces(options.photos, Detector(backend, input, outputs), ARCFACE_112)
        crops = [face.crop for face in found.candidates]
    else:
        crops = [render_crop(1, number) for number in EVALUATE[: options.faces]]
    return np.stack(crops[: options.faces])[..., ::-1]


def default_models(scratch: Path) -> list[Path]:
    from rkface.convert.demo.iresnet50.export import MODEL, default_folder
    from rkface.convert.demo.models import export_iresnet50

    generated = scratch / "iresnet50-generated.onnx"
    export_iresnet50(generated, seed=0)
    trained = default_folder() / MODEL
    return [generated, *([trained] if trained.is_file() else []), DEMO / "recognizer.onnx"]


def describe_model(path: Path, faces: NDArray[np.uint8], scratch: Path) -> list[dict[str, object]]:
    simple = simplify(fix_input(path, "recognizer"), scratch / f"simple-{path.name}")
    model = onnx.load(str(simple.path))
    kinds = {node.output[0]: node.op_type for node in model.graph.node if node.op_type in KINDS}
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    name = next(one.name for one in model.graph.input if one.name not in weights)
    input = Input(name, ARCFACE_112.height, ARCFACE_112.width, embed.MEAN, embed.STD)
    tensors: dict[str, TensorStatistics] = defaultdict(TensorStatistics)
    for values in watch_tensors(model, input, sorted(kinds), faces, scratch / "watched.onnx"):
        for tensor, value in values.items():
            if tensor in kinds and value.ndim == 3:  # not the embedding
                tensors[tensor].add(value)
    slopes = [weights[node.input[1]].ravel() for node in model.graph.node if node.op_type == "PRelu"]
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        found = [tensor for one, tensor in tensors.items() if kinds[one] == kind]
        if found:
            row: dict[str, object] = {"model": path.stem, "layers": kind, "count": len(found)}
            for measure, worst in (("spread", max), ("kurtosis", max), ("sqnr", min)):
                values = [getattr(tensor, measure) for tensor in found]
                row |= {measure: float(np.median(values)), f"{measure} worst": float(worst(values))}
            if kind == "PRelu":
                row["slopes"] = [float(one) for one in np.percentile(np.concatenate(slopes), (5, 50, 95))]
            rows.append(row)
    return rows


def to_markdown(rows: list[dict[str, Any]], faces: str) -> str:
    measures = ("spread", "kurtosis", "sqnr")
    table = [
        [row["model"], row["layers"], row["count"], *(f"{row[one]:.1f}, {row[f'{one} worst']:.1f}" for one in measures),
         ", ".join(f"{one:.2f}" for one in row.get("slopes", ()))]
        for row in rows
    ]  # fmt: skip
    headings = ["recognizer", "layers", "count", "spread", "kurtosis", "SQNR", "slopes"]
    return "\n".join([faces, "", *format_table(headings, table)])


if __name__ == "__main__":
    raise SystemExit(main())
