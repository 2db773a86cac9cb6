"""The cost model beside rknn-toolkit2's own compiler, and beside what others measured on boards.

A verbose build prints a table of layers with the cycles that the compiler expects for memory and for arithmetic.
`make bench-cost` sums both over all convolutions of the demo models (and of your own, given as arguments) and compares
them with convert/cost.py, for every chip. `--boards` sets predictions beside what others measured on boards instead.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from rkface.convert.catalog import DEMO
from rkface.convert.cost import estimate_cost
from rkface.convert.npu_layers import read_layers
from rkface.convert.simplify import fix_input, simplify
from rkface.convert.targets import TARGETS
from rkface.runtime.core.errors import ModelError

BUILD = """
import sys
from rknn.api import RKNN
path, target, listed = sys.argv[1:]
rknn = RKNN(verbose=True)
rknn.config(mean_values=[[127.5] * 3], std_values=[[127.5] * 3], target_platform=target)
sys.exit(rknn.load_onnx(path) or rknn.build(do_quantization=bool(listed), dataset=listed or None))
"""
ROW = re.compile(r"\d+ +Conv\w* +\w+ +NPU .* (\d+)/(\d+)/(\d+) +\d")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*", help="detectors and recognizers (default: the demo pack's)")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--boards", action="store_true", help="needs no toolkit")
    options = parser.parse_args()
    if options.boards:
        return boards()
    print(
        "| model | chip | type | convolutions | compiler Mcycles | ours | compiler memory Mcycles | ours | whole, ms |"
    )
    print("|---" * 9 + "|")
    with tempfile.TemporaryDirectory() as name:
        for path in options.models or [DEMO / "detector.onnx", DEMO / "recognizer.onnx"]:
            simple = prepare(path, Path(name) / path.name)
            for target in options.targets.split(","):
                for dtype in ("w8a8", "fp16"):
                    if TARGETS[target].int8 if dtype == "w8a8" else TARGETS[target].fp16:
                        compare(path, simple, target, dtype, Path(name))
    return 0


def boards() -> int:
    """ResNet-50 v2 at 224×224, INT8, one core: rknn_model_zoo's README says how many frames a second each chip did."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "resnet50-v2.onnx"
        torch.onnx.export(ResNet50().eval(), (torch.zeros(1, 3, 224, 224),), path, dynamo=False, opset_version=12)
        found = read_layers(path)
    print(f"ResNet-50 v2: {estimate_cost(found, TARGETS['rk3588']).macs / 1e9:.2f} GMAC")
    print("| chip | measured, ms | predicted, ms | predicted / measured |\n|---|---|---|---|")
    for target, rate in {"rk3588": 110, "rk3576": 99, "rk3562": 55, "rk3566": 38}.items():
        cost = estimate_cost(found, TARGETS[target])
        print(f"| {target} | {1e3 / rate:.1f} | {cost.milliseconds:.1f} | {cost.milliseconds * rate / 1e3:.2f} |")
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


def prepare(path: Path, out: Path):
    try:
        return simplify(fix_input(path, "recognizer"), out)
    except ModelError:
        return simplify(fix_input(path, "detector"), out)


def compare(path: Path, simple, target: str, dtype: str, work: Path) -> None:
    listed = ""
    if dtype == "w8a8":  # ranges do not change the cost: one image of noise will do
        noise = np.random.default_rng(0).integers(0, 256, (simple.input.height, simple.input.width, 3), np.uint8)
        cv2.imwrite(str(work / "noise.png"), noise)
        (work / "dataset.txt").write_text("noise.png\n")
        listed = str(work / "dataset.txt")
    command = [sys.executable, "-c", BUILD, str(simple.path), target, listed]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=work, check=False)
    table = [tuple(map(int, row)) for row in ROW.findall(done.stdout + done.stderr)]
    cost = estimate_cost(read_layers(simple.path), TARGETS[target], dtype)
    ours = [layer for layer in cost.layers if layer.macs]
    cycles = TARGETS[target].npu.clock * 1e6  # in a millisecond
    print(
        f"| {path.stem} | {target} | {dtype} | {len(table)} / {len(ours)} | {sum(row[1] for row in table) / 1e6:.3f} | "
        f"{sum(layer.compute_ms for layer in ours) * cycles / 1e6:.3f} | {sum(row[0] for row in table) / 1e6:.3f} | "
        f"{sum(layer.memory_ms for layer in ours) * cycles / 1e6:.3f} | {cost.milliseconds:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
