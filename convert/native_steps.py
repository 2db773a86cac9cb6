"""Runs the native code that reads a user's model in a process of its own: shape inference, onnxsim, ONNX Runtime.

All of it is C++ code that can crash, hang, or take all memory on a damaged model. In a process with limits, that is an
error message which names the step, and the node if it can be found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx

from rkface.runtime.core.errors import ModelError
from rkface.runtime.core.subprocess_call import ProcessDiedError, ProcessLimits, call_in_subprocess
from rkface.runtime.core.text import in_a_line

from .check_tensor import MAX_ELEMENTS, describe_node, short_name

SHAPES, SIMPLIFY, RUN = STEPS = ("shape inference", "onnxsim", "ONNX Runtime")
SECONDS = 900.0  # for all steps; an IResNet-100 takes about 10 s on two cores
TRY_SECONDS = 60.0  # for one try of the search for the node that fails
MEBIBYTES = 4096  # and COPIES times the model
COPIES = 12
# onnxsim 0.4.36: this optimizer fails if a Gather of a Shape has two readers ("eraseOutput", YuNet with open sizes).
# Constants take the place of both anyway, because the input's shape is fixed.
BROKEN = ["eliminate_shape_gather"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class SimplifiedProto:
    """A model after onnxsim, and the shapes of its outputs for one input; none if it was not run."""

    data: bytes
    shapes: tuple[Shape, ...]


class StepFailedError(Exception):
    """One step refuses the model. The message is the reason that it gives."""


def simplify_proto(
    proto: Any, name: str, *, shapes: dict[str, list[int]] | None = None, run: bool = True
) -> SimplifiedProto:
    """Simplify the ModelProto ``proto``, and run it once on zeros, all in another process.

    ``name`` is the user's file, for messages. ``shapes`` replace those of the inputs. ``run`` also runs the model
    before and after onnxsim. Raises ModelError, which names the step, if one of them fails, crashes or takes too much.
    """
    try:
        data = proto.SerializeToString()
    except ValueError as error:  # 2 GB
        raise ModelError(f"{name}: {first_line(error)}") from error
    limits = _limits(data, SECONDS)
    reached = [SHAPES]
    try:
        return call_in_subprocess(
            run_steps, data, shapes, STEPS if run else STEPS[:-1], progress=_remember(reached), limits=limits
        )
    except StepFailedError as error:
        raise ModelError(f"{name}: {reached[0]} refuses it: {error}") from error
    except MemoryError as error:
        raise ModelError(f"{name}: {reached[0]} needs more than {limits.mebibytes:,} MiB of memory for it") from error
    except ProcessDiedError as error:
        node = _failing_node(proto, shapes, reached[0]) if error.crashed else None
        at = f" at the node {describe_node(node)}" if node is not None else ""
        raise ModelError(
            f"{name}: {reached[0]} {error.how}{at}: the model is damaged, or has something that this program does not "
            "expect: export it again, or with another opset"
        ) from error


def measure_outputs(proto: Any) -> tuple[Shape, ...]:
    """The shapes of the outputs of the ModelProto ``proto`` for an input of zeros, from a run in another process; none
    if that fails, because then ``simplify_proto`` says why."""
    try:
        data = proto.SerializeToString()
        return call_in_subprocess(run_steps, data, None, STEPS[-1:], limits=_limits(data, SECONDS)).shapes
    except (ValueError, StepFailedError, MemoryError, ProcessDiedError):
        return ()


def rewrite_proto(function: Callable[..., bytes], proto: Any, step: str, *arguments: Any) -> Any:
    """The ModelProto that ``function`` makes of ``proto``, serialized, in another process; ``step`` is its name.

    Raises ModelError if it crashes or takes too much, and what ``function`` raises.
    """
    data = proto.SerializeToString()
    limits = _limits(data, SECONDS)
    try:
        done = call_in_subprocess(function, data, *arguments, limits=limits)
    except MemoryError as error:
        raise ModelError(f"{step} needs more than {limits.mebibytes:,} MiB of memory for it") from error
    except ProcessDiedError as error:
        raise ModelError(f"{step} {error.how}: the model is damaged: export it again, or with opset 17") from error
    return onnx.ModelProto.FromString(done)


def _limits(data: bytes, seconds: float) -> ProcessLimits:
    """The limits of a process that gets the model ``data``."""
    return ProcessLimits(seconds, MEBIBYTES + COPIES * len(data) // (1 << 20), quiet=True)


def run_steps(
    data: bytes, shapes: dict[str, list[int]] | None, steps: Sequence[str], progress: Callable[[int, int], None]
) -> SimplifiedProto:
    """What the other process does. ``progress`` gets the index in ``STEPS`` of each step before it begins.

    Raises StepFailedError if a step refuses the model, and MemoryError.
    """
    done: bytes = data
    outputs: tuple[Shape, ...] = ()
    for step in steps:
        progress(STEPS.index(step), len(STEPS))
        try:
            if step == SHAPES:
                inferred = onnx.shape_inference.infer_shapes(_reshaped(data, shapes), data_prop=True)
                _require_possible_sizes(inferred)
                done = _with_output_shapes(data, inferred)
            elif step == SIMPLIFY:
                done = _simplify(done, shapes)
                _require_possible_sizes(onnx.shape_inference.infer_shapes(onnx.ModelProto.FromString(done)))
            else:
                _run_on_zeros(_reshaped(data, shapes).SerializeToString())
                outputs = _run_on_zeros(done)
        except (MemoryError, StepFailedError):
            raise
        except Exception as error:  # these libraries raise whatever their C++ code throws
            if any(text in str(error) for text in ("bad_alloc", "Failed to allocate memory", "bad allocation")):
                raise MemoryError from error
            raise StepFailedError(first_line(error)) from error
    return SimplifiedProto(done, outputs)


def _simplify(data: bytes, shapes: dict[str, list[int]] | None) -> bytes:
    import onnxsim

    # check_same_outputs checks the result on real images instead of noise.
    proto, _ = onnxsim.simplify(
        onnx.ModelProto.FromString(data), check_n=0, overwrite_input_shapes=shapes, skipped_optimizers=BROKEN
    )
    done: bytes = proto.SerializeToString()
    return done


def _reshaped(data: bytes, shapes: dict[str, list[int]] | None) -> Any:
    """The ModelProto with ``shapes`` for its inputs."""
    proto = onnx.ModelProto.FromString(data)
    for entry in proto.graph.input:
        for dim, side in zip(entry.type.tensor_type.shape.dim, (shapes or {}).get(entry.name, ()), strict=False):
            dim.dim_value = side
    return proto


def _with_output_shapes(data: bytes, inferred: Any) -> bytes:
    """The model ``data``; outputs without a shape, which onnxsim refuses, get the ``inferred`` one."""
    proto = onnx.ModelProto.FromString(data)
    found = {entry.name: entry for entry in inferred.graph.output}
    for entry in proto.graph.output:
        if not entry.type.tensor_type.HasField("shape") and found[entry.name].type.tensor_type.HasField("shape"):
            entry.CopyFrom(found[entry.name])
    done: bytes = proto.SerializeToString()
    return done


def _require_possible_sizes(proto: Any) -> None:
    """Raise StepFailedError if a tensor would be larger than any memory."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    for entry in (*proto.graph.value_info, *proto.graph.output):
        sides = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        if prod(side for side in sides if side > 0) > MAX_ELEMENTS or min(sides, default=0) < -1:
            node = makers.get(entry.name)
            where = short_name(entry.name) if node is None else f"what {describe_node(node)} makes"
            raise StepFailedError(f"{where} has {'×'.join(map(str, sides[:16]))} elements, too many for any memory")


def _run_on_zeros(data: bytes) -> tuple[Shape, ...]:
    """The shapes of the outputs for inputs of zeros."""
    session = open_session(data)
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    feed = {}
    for entry in session.get_inputs():
        sides = [side if isinstance(side, int) and side > 0 else 1 for side in entry.shape]
        feed[entry.name] = np.zeros(sides, kinds.get(entry.type, np.float32))
    return tuple(tuple(np.shape(array)) for array in session.run(None, feed))


def open_session(data: bytes) -> Any:
    """An ``onnxruntime.InferenceSession`` for the serialized model ``data``, for a few inferences."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the reference backend
    # Heavier optimizations would take longer than they save on a few images.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(data, sess_options=options, providers=["CPUExecutionProvider"])


def _failing_node(proto: Any, shapes: dict[str, list[int]] | None, step: str) -> Any:
    """The first node with which ``step`` crashes; None if it cannot be found.

    The model is cut behind one node after another, by bisection: a crash stays when more nodes follow.
    """
    low, high = 0, len(proto.graph.node)
    if not _crashes(proto, high, shapes, step):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _crashes(proto, middle, shapes, step) else (middle, high)
    return proto.graph.node[high - 1]


def _crashes(proto: Any, count: int, shapes: dict[str, list[int]] | None, step: str) -> bool:
    """Whether ``step`` crashes on the first ``count`` nodes of ``proto``."""
    data = _first_nodes(proto, count).SerializeToString()
    limits = _limits(data, TRY_SECONDS)
    try:
        call_in_subprocess(run_steps, data, shapes, (step,), limits=limits)
    except ProcessDiedError as error:
        return error.crashed
    except (StepFailedError, MemoryError):
        pass
    return False


def _first_nodes(proto: Any, count: int) -> Any:
    """``proto`` with its first ``count`` nodes; what none of them reads is an output."""
    cut = onnx.ModelProto()
    cut.CopyFrom(proto)
    del cut.graph.node[count:], cut.graph.output[:]
    read = {name for node in cut.graph.node for name in node.input}
    known = {entry.name: entry for entry in (*proto.graph.output, *proto.graph.value_info)}
    for node in cut.graph.node:
        for name in node.output:
            if name and name not in read:
                kind = known[name].type.tensor_type.elem_type if name in known else onnx.TensorProto.FLOAT
                cut.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return cut


def _remember(reached: list[str]) -> Callable[[int, int], None]:
    def remember(step: int, total: int) -> None:
        reached[0] = STEPS[step]

    return remember


def first_line(error: Exception) -> str:
    """The first line of the message of ``error``, without control characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return in_a_line(lines[0])[:300] if lines else type(error).__name__
