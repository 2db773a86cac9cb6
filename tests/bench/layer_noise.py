"""How far do inner tensors move if an NPU rounds other than the simulator? The tolerance of `rkface selftest --layers`
rests on this.

The FP32 models of a bundle are run in ONNX Runtime with the result of each layer rounded to 8 bits, over the range that
the golden inputs show: once as it is, and once with noise before each rounding, uniform within ± a share of a step.
Noise of half a step makes a quarter of all values round to the other neighbor, in every layer. The table shows the
tensors of a debug build that move most.

It is an emulation: it shows how rounding adds up over layers, not what a chip does.

Usage: python tests/bench/layer_noise.py [--bundle build/rk3588]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from program import create_parser

from rkface.convert.debug_layers import choose_outputs
from rkface.convert.npu_layers import find_layers
from rkface.convert.targets import find_target
from rkface.runtime.backends import Quantized
from rkface.runtime.backends.reference import normalize
from rkface.runtime.core.bundle import Bundle, read_bundle
from rkface.runtime.core.manifest import Role
from rkface.runtime.inference.golden import read_golden
from rkface.runtime.inference.layer_checks import Difference, measure_difference

NOISE = (0.01, 0.05, 0.5)  # in steps
INPUTS = 2
STEPS = 255

Floats = NDArray[np.float32]


def main() -> None:
    parser = create_parser(__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("build/rk3588"), help="default: %(default)s")
    bundle = read_bundle(parser.parse_args().bundle)
    print("| model | noise, steps | tensors | farthest | lowest cosine | simulator to FP32 there | wrong |")
    print("|---|---|---|---|---|---|---|")
    for role in bundle.manifest.roles:
        for share, found in measure(bundle, role).items():
            far, lowest = max(one.distance for one in found), min(found, key=lambda one: one.cosine)
            figures = f"{far:.2f} | {lowest.cosine:.4f} | {lowest.expected:.4f}"
            print(f"| {role} | ±{share} | {len(found)} | {figures} | {sum(one.wrong for one in found)} |", flush=True)


def measure(bundle: Bundle, role: Role) -> dict[float, list[Difference]]:
    """The largest difference of each tensor of a debug build, by noise."""
    proto = onnx.load(str(bundle.reference(role)))
    target = find_target(bundle.manifest.target, quantized=True)
    shown = [one.tensor for one in choose_outputs(proto, role, role, target)]
    images = normalize(read_golden(bundle, role).inputs[:INPUTS], bundle.model(role).input)
    layers = [tensor.name for layer in find_layers(proto, role) for tensor in layer.writes]
    watched = run(with_outputs(proto, layers), images, layers)
    grids = {name: grid(arrays) for name, arrays in watched.items()}
    exact, fp32 = run(rounded(proto, grids, {}), images, shown), run(with_outputs(proto, shown), images, shown)
    rng = np.random.default_rng(1)
    found: dict[float, list[Difference]] = {}
    for share in NOISE:
        noise = {
            name: rng.uniform(-share, share, arrays[0].shape).astype(np.float32) * grids[name][1]
            for name, arrays in watched.items()
        }
        moved = run(rounded(proto, grids, noise), images, shown)
        found[share] = [
            max(
                (compare(one, grids[name]) for one in zip(moved[name], exact[name], fp32[name], strict=True)),
                key=lambda one: one.distance,
            )
            for name in shown
        ]
    return found


def compare(arrays: tuple[Floats, Floats, Floats], grid: tuple[int, float]) -> Difference:
    """The difference between the moved tensor and the exact one, as of an NPU and its simulator; then FP32's."""
    moved, exact, fp32 = (array[0] for array in arrays)
    steps = np.rint(moved / grid[1] + grid[0]).astype(np.int8)
    return measure_difference(Quantized(steps, *grid), exact, fp32)


def grid(arrays: list[Floats]) -> tuple[int, float]:
    """Zero point and scale of int8 values, as the toolkit chooses them: the range contains 0."""
    low, high = min(0.0, *(float(one.min()) for one in arrays)), max(0.0, *(float(one.max()) for one in arrays))
    scale = float(np.float32(max(high - low, 1e-6) / STEPS))
    return round(-128 - low / scale), scale


def rounded(proto: Any, grids: dict[str, tuple[int, float]], noise: dict[str, Floats]) -> Any:
    """The model with the tensors of ``grids`` rounded to their grids, after ``noise`` is added to them."""
    model, graph = onnx.ModelProto(), onnx.GraphProto()
    model.CopyFrom(proto)
    for node in proto.graph.node:
        names = [name for name in node.output if name in grids]
        graph.node.add().CopyFrom(node)
        for at, name in enumerate(node.output):
            if name not in names:
                continue
            graph.node[-1 if at == 0 else -len(names)].output[at] = f"{name}/raw"
            zero, scale = grids[name]
            constants = {"zero": np.int8(zero), "scale": np.float32(scale)}
            before = f"{name}/raw"
            if name in noise:
                constants["noise"] = noise[name]
                graph.node.append(onnx.helper.make_node("Add", [before, f"{name}/noise"], [f"{name}/moved"]))
                before = f"{name}/moved"
            parameters = [f"{name}/scale", f"{name}/zero"]
            graph.node.append(onnx.helper.make_node("QuantizeLinear", [before, *parameters], [f"{name}/int8"]))
            graph.node.append(onnx.helper.make_node("DequantizeLinear", [f"{name}/int8", *parameters], [name]))
            model.graph.initializer.extend(
                onnx.numpy_helper.from_array(np.asarray(value), f"{name}/{kind}") for kind, value in constants.items()
            )
    del model.graph.node[:]
    model.graph.node.extend(graph.node)
    return with_outputs(model, list(grids))


def with_outputs(proto: Any, names: list[str]) -> Any:
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in known
    )
    return model


def run(model: Any, images: Floats, names: list[str]) -> dict[str, list[Floats]]:
    """The tensors ``names`` for each image."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it would move the rounding
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    runs = [session.run(names, {source: image[None]}) for image in images]
    return {name: [one[at] for one in runs] for at, name in enumerate(names)}


if __name__ == "__main__":
    main()
