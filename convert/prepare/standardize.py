"""Rewrites harmless variants of an ONNX model to the one form that the rest of the conversion takes.

Every exporter has habits of its own: half-precision weights, height × width × channels, an embedding with four
dimensions. The function that the model computes stays the same.
"""

from __future__ import annotations

from typing import Any

from rkface.runtime.core.manifest import Role

from .embedding_output import drop_final_norm, flatten_embedding, keep_embedding_only
from .graph_edit import drop_unused_weights, store_constants
from .image_input import open_sides, take_float_input, take_nchw
from .precision import widen_to_float32
from .versions import inline_functions, lower_ir_version, lower_opset, repair_slopes


def standardize(proto: Any, role: Role) -> tuple[str, ...]:
    """Rewrite the ModelProto ``proto`` in place. Returns what was changed, one remark for people each.

    Afterwards weights are FP32, weights are no inputs, and the input is float, N×3×H×W. A recognizer has one embedding,
    1×D, as its only output, without a final scaling to unit length.
    """
    hide_weights(proto)
    open_sides(proto)
    changes = [inline_functions(proto)]
    store_constants(proto)
    changes += [
        lower_opset(proto),
        lower_ir_version(proto),
        take_float_input(proto),
        widen_to_float32(proto),
        take_nchw(proto),
        repair_slopes(proto),
    ]
    if role == "recognizer":
        changes += [keep_embedding_only(proto), flatten_embedding(proto), drop_final_norm(proto)]
    drop_unused_weights(proto)
    return tuple(filter(None, changes))


def hide_weights(proto: Any) -> None:
    """Remove weights from the inputs. Old exports (IR 3) list them there, so that a replaced weight would have to be
    fed."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    real = [entry for entry in proto.graph.input if entry.name not in weights]
    if len(real) < len(proto.graph.input):
        del proto.graph.input[:]
        proto.graph.input.extend(real)
        proto.ir_version = max(proto.ir_version, 4)
