"""``rkface cost``. Imports nothing heavy before it runs."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rkface.runtime.core.arguments import image_size
from rkface.runtime.core.errors import InputError, ModelError


def cost(parser: ArgumentParser) -> None:
    """Predict what a model would take on an NPU core, from its graph. Nothing is measured.

    For every kind of layer: multiplications, bytes to and from memory, and the longer of the two in milliseconds, at
    the chip's figures. It ranks models and precisions; a board is usually slower (docs/cost-model.md).

    examples:
      rkface cost build/rk3588/reference/recognizer.onnx
      rkface cost det_2.5g.onnx --size 640x384 --target rk3566 --type fp16
      rkface cost arc.onnx --layers
    """
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="FP32, as for `rkface convert`")
    parser.add_argument("--target", default="rk3588", metavar="SOC", help="the board's chip (default: %(default)s)")
    parser.add_argument("--type", default="w8a8", metavar="T", help="w8a8, fp16 or w16a16i_dfp (default: %(default)s)")
    parser.add_argument("--size", type=image_size, metavar="WxH", help="input, where the model leaves it open")
    parser.add_argument("--layers", action="store_true", help="every layer instead of every kind")
    parser.add_argument("--json", action="store_true", help="every layer, as JSON")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    from .cost import ASSUMPTIONS, BYTES, by_kind, estimate, layers_of
    from .targets import find_target

    if options.type not in BYTES:
        raise InputError(f"--type {options.type}: {', '.join(BYTES)} are known")
    target = find_target(options.target, quantized=options.type != "fp16")
    found = layers_of(_read(options.model, options.size), options.model.name)
    try:
        cost = estimate(found, target, options.type)
    except ValueError as error:
        raise InputError(f"{target.name}: {error}") from error
    if options.json:
        print(json.dumps(asdict(cost), indent=2))
        return 0
    rows: list[tuple[str, str, int, int, float]]
    if options.layers:
        rows = [(one.name, one.op, one.macs, one.bytes, one.milliseconds) for one in cost.layers]
    else:
        rows = [(op, str(count), macs, moved, spent) for op, count, macs, moved, spent in by_kind(cost)]
    rows.append(("all", "", cost.macs, cost.bytes, cost.milliseconds))
    widths = [max(len(str(row[column])) for row in rows) for column in (0, 1)]
    for name, what, macs, moved, spent in rows:
        print(
            f"{name:{widths[0]}}  {what:{widths[1]}}  {macs / 1e6:9.1f} MMAC  {moved / 1e6:8.2f} MB  {spent:8.3f} ms  "
            f"{spent / cost.milliseconds:4.0%}"
        )
    print(f"\npredicted for one {target.name} core in {options.type}, not measured: {'; '.join(ASSUMPTIONS)}")
    return 0


def _read(path: Path, size: tuple[int, int] | None) -> Any:
    """The model simplified, batch 1, with an input of ``size`` where it has none of its own."""
    import onnxsim

    from .simplify import load

    proto = load(path)
    weights = {tensor.name for tensor in proto.graph.initializer}
    shapes = {}
    for entry in proto.graph.input:
        if entry.name in weights:
            continue
        dims = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        open_sides = (size[1], size[0]) if size else (0, 0)
        if len(dims) == 4:
            dims = [1, dims[1], *(side or given for side, given in zip(dims[2:], open_sides, strict=True))]
        if not all(side > 0 for side in dims):
            raise InputError(f"{path}: its input {entry.name} has no fixed size: give --size, such as 640x640")
        shapes[entry.name] = dims
    try:
        return onnxsim.simplify(proto, check_n=0, overwrite_input_shapes=shapes)[0]
    except Exception as error:  # onnxsim raises whatever its C++ side throws
        raise ModelError(f"{path}: onnxsim cannot simplify it: {error}") from error
