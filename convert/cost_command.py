"""``rkface cost``. Imports nothing heavy before it runs."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rkface.runtime.core.arguments import image_size
from rkface.runtime.core.errors import InputError, ModelError

if TYPE_CHECKING:
    from .cost import ModelCost


def cost(parser: ArgumentParser) -> None:
    """Predict how long a model takes on one NPU core, from its graph. Nothing is measured.

    The table has, for each kind of layer: multiplications, bytes read from and written to memory, and the longer of the
    two in milliseconds, by the figures of the chip. Use it to compare models and number types; a board is usually
    slower (docs/cost-model.md).

    examples:
      rkface cost build/rk3588/reference/recognizer.onnx
      rkface cost det_2.5g.onnx --size 640x384 --target rk3566 --type fp16
      rkface cost arc.onnx --layers
      rkface cost arc.onnx --json > cost.json
    """
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="an FP32 model, as for `rkface convert`")
    parser.add_argument("--target", default="rk3588", metavar="CHIP", help="the board's chip (default: %(default)s)")
    parser.add_argument(
        "--type", default="w8a8", metavar="T", help="number type: w8a8, fp16 or w16a16i_dfp (default: %(default)s)"
    )
    parser.add_argument("--size", type=image_size, metavar="WxH", help="input size (default: the model's own)")
    parser.add_argument("--layers", action="store_true", help="a line for every layer instead of every kind of layer")
    parser.add_argument("--json", action="store_true", help="print every layer as JSON")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    from .cost import ASSUMPTIONS, estimate_cost
    from .npu_layers import BYTES, find_layers
    from .targets import find_target

    if options.type not in BYTES:
        raise InputError(f"--type {options.type}: choose from {', '.join(BYTES)}")
    target = find_target(options.target, quantized=options.type != "fp16")
    layers = find_layers(_read(options.model, options.size), options.model.name)
    try:
        cost = estimate_cost(layers, target, options.type)
    except ValueError as error:
        raise InputError(f"{target.name}: {error}") from error
    if options.json:
        print(json.dumps(asdict(cost), indent=2))
        return 0
    _print_table(cost, by_layer=options.layers)
    print(f"\npredicted for one {target.name} core in {options.type}, not measured. Assumptions:")
    for assumption in ASSUMPTIONS:
        print(f"- {assumption}")
    return 0


def _print_table(cost: ModelCost, *, by_layer: bool) -> None:
    from .cost import cost_by_operation

    rows: list[tuple[str, str, int, int, float]]
    if by_layer:
        rows = [(one.name, one.op, one.macs, one.bytes, one.milliseconds) for one in cost.layers]
    else:
        rows = [(one.op, str(one.count), one.macs, one.bytes, one.milliseconds) for one in cost_by_operation(cost)]
    rows.append(("all", "", cost.macs, cost.bytes, cost.milliseconds))
    widths = [max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)]
    for name, what, macs, moved, spent in rows:
        print(
            f"{name:{widths[0]}}  {what:{widths[1]}}  {macs / 1e6:9.1f} MMAC  {moved / 1e6:8.2f} MB  {spent:8.3f} ms  "
            f"{spent / (cost.milliseconds or 1):4.0%}"
        )


def _read(path: Path, size: tuple[int, int] | None) -> Any:
    """The model at ``path`` in the form in which `rkface convert` takes it, simplified, with batch 1, and with an input
    of ``size``, if it is given."""
    import onnx

    from .native_steps import simplify_proto
    from .prepare.image_input import real_inputs
    from .prepare.standardize import standardize
    from .simplify import load_onnx

    proto = load_onnx(path)
    try:
        standardize(proto, "detector")  # its outputs stay as they are
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    del proto.graph.value_info[:]
    for output in proto.graph.output:  # they are inferred again for this size
        for index, dim in enumerate(output.type.tensor_type.shape.dim):
            dim.dim_param = f"{output.name}_{index}"
    shapes = {}
    for entry in real_inputs(proto):
        dims = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        if len(dims) == 4:
            dims = [1, dims[1] or 3, *((size[1], size[0]) if size else dims[2:])]
        if not all(side > 0 for side in dims):
            advice = "give --size, such as 640x640" if len(dims) == 4 else "export it with a fixed size"
            raise InputError(f"{path}: the size of its input {entry.name} is not fixed: {advice}")
        shapes[entry.name] = dims
    return onnx.ModelProto.FromString(simplify_proto(proto, str(path), shapes=shapes, run=False).data)
