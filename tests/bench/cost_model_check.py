"""The cost model compared with the compiler of rknn-toolkit2, and with what others measured on boards.

    make bench-cost
    make bench-cost OPTIONS='mobilefacenet_128.onnx --targets rk3588'        your own model, one chip
    make bench-cost OPTIONS=--boards                                         in seconds, without the toolkit

A verbose build prints a table of layers, with the cycles that the compiler expects for memory and for arithmetic. For
each model, chip and type, this program adds up the cycles of all convolutions and compares them with convert/cost.py.
With --boards it compares predictions with figures that others published instead.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from program import create_parser, format_table
from torch import nn

from rkface.convert.cost import estimate_cost
from rkface.convert.npu_layers import read_layers
from rkface.convert.packs.pack import DEMO
from rkface.convert.simplify import SimplifiedModel, fix_input, simplify
from rkface.convert.targets import TARGETS
from rkface.runtime.core.errors import ModelError
from rkface.runtime.core.progress import stage

BUILD = """
import sys
from rknn.api import RKNN
path, target, dataset = sys.argv[1:]
rknn = RKNN(verbose=True)
rknn.config(mean_values=[[127.5] * 3], std_values=[[127.5] * 3], target_platform=target)
sys.exit(rknn.load_onnx(path) or rknn.build(do_quantization=bool(dataset), dataset=dataset or None))
"""
ROW = re.compile(r"\d+ +Conv\w* +\w+ +NPU .* (\d+)/(\d+)/(\d+) +\d")


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument(
        "models", type=Path, nargs="*", metavar="ONNX", help="detectors and recognizers (default: the demo pack's)"
    )
    parser.add_argument("--targets", default=",".join(TARGETS), help="chips (default: %(default)s)")
    parser.add_argument("--boards", action="store_true", help="compare predictions with published figures instead")
    options = parser.parse_args()
    if options.boards:
        return compare_with_boards()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for path in options.models or [DEMO / "detector.onnx", DEMO / "recognizer.onnx"]:
            model = simplify_model(path, Path(name) / path.name)
            for target in options.targets.split(","):
                for dtype in ("w8a8", "fp16"):
                    if TARGETS[target].int8 if dtype == "w8a8" else TARGETS[target].fp16:
                        with stage(f"{path.stem}, {target}, {dtype}"):
                            rows.append([path.stem, *compare_with_compiler(model, target, dtype, Path(name))])
    headings = ["model", "chip", "type", "convolutions", "compiler Mcycles", "ours", "compiler memory Mcycles", "ours"]
    print("\n".join(format_table([*headings, "whole, ms"], rows)))
    return 0


def compare_with_boards() -> int:
    """ResNet-50 v2 at 224×224, INT8, one core. The README of rknn_model_zoo has frames per second for each chip."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "resnet50-v2.onnx"
        torch.onnx.export(ResNet50().eval(), (torch.zeros(1, 3, 224, 224),), path, dynamo=False, opset_version=12)
        layers = read_layers(path)
    print(f"ResNet-50 v2: {estimate_cost(layers, TARGETS['rk3588']).macs / 1e9:.2f} GMAC")
    rows = []
    for target, rate in {"rk3588": 110, "rk3576": 99, "rk3562": 55, "rk3566": 38}.items():
        cost = estimate_cost(layers, TARGETS[target])
        figures = f"{1e3 / rate:.1f}", f"{cost.milliseconds:.1f}", f"{cost.milliseconds * rate / 1e3:.2f}"
        rows.append([target, *figures])
    print("\n".join(format_table(["chip", "measured, ms", "predicted, ms", "predicted / measured"], rows)))
    return 0


class Bottleneck(nn.Module):
    """Pre-activation bottleneck (arXiv 1603.05027)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.before = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, outputs, 1, bias=False),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x):
        active = self.before(x)
        return self.body(active) + (x if self.shortcut is None else self.shortcut(active))


class ResNet50(nn.Sequential):
    def __init__(self) -> None:
        blocks, inputs = [], 64
        for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for index in range(count):
                blocks.append(Bottleneck(inputs, width, stride if index == 0 else 1))
                inputs = 4 * width
        stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        head = nn.BatchNorm2d(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000)
        super().__init__(*stem, *blocks, *head)


def simplify_model(path: Path, out: Path) -> SimplifiedModel:
    """Simplify the recognizer or detector at ``path``."""
    try:
        return simplify(fix_input(path, "recognizer"), out)
    except ModelError:
        return simplify(fix_input(path, "detector"), out)


def compare_with_compiler(model: SimplifiedModel, target: str, dtype: str, work: Path) -> list[str]:
    """A row of the table, without its first cell."""
    dataset = ""
    if dtype == "w8a8":  # quantization ranges do not change the cost, so one image of noise is enough
        noise = np.random.default_rng(0).integers(0, 256, (model.input.height, model.input.width, 3), np.uint8)
        cv2.imwrite(str(work / "noise.png"), noise)
        (work / "dataset.txt").write_text("noise.png\n")
        dataset = str(work / "dataset.txt")
    command = [sys.executable, "-c", BUILD, str(model.path), target, dataset]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=work, check=False)
    compiled = [tuple(map(int, row)) for row in ROW.findall(done.stdout + done.stderr)]
    cost = estimate_cost(read_layers(model.path), TARGETS[target], dtype)
    ours = [layer for layer in cost.layers if layer.macs]
    cycles = TARGETS[target].npu.clock * 1e6  # per millisecond
    millions = (
        sum(row[1] for row in compiled),
        sum(layer.compute_ms for layer in ours) * cycles,
        sum(row[0] for row in compiled),
        sum(layer.memory_ms for layer in ours) * cycles,
    )
    counts = f"{len(compiled)} / {len(ours)}"
    return [target, dtype, counts, *(f"{value / 1e6:.3f}" for value in millions), f"{cost.milliseconds:.2f}"]


if __name__ == "__main__":
    raise SystemExit(main())
