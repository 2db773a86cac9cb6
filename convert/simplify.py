"""Simplifies an ONNX model: fixed shapes and fewer nodes. same_outputs.py checks that it still computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from rkface.runtime.core.crop_template import CropTemplate, StatedCrop, choose_crop
from rkface.runtime.core.errors import ModelError
from rkface.runtime.core.manifest import ChannelOrder, Input, Output, Role
from rkface.runtime.core.onnx_file import CHANNELS, read_onnx_file
from rkface.runtime.vision.detectors import NAMES, SIZE_STEP, Family, find_layout

from .catalog import DETECTOR_SIZE, LivenessProfile
from .channel_order import swap_channels
from .check_graph import check_graph
from .native_steps import measure_outputs, simplify_proto
from .prepare.embedding_output import EMBEDDING
from .prepare.image_input import BYTES, real_inputs
from .prepare.score_output import add_probabilities, computes_logits
from .prepare.standardize import hide_weights, standardize
from .preprocessing import Preprocessing, StatedPreprocessing, read_preprocessing


@dataclass(frozen=True)
class FixedModel:
    """The original model with a fixed input shape; the simplified model must compute the same.

    role           what the model is used for
    name           of its file
    proto          the ModelProto
    input          the input of the simplified model: always RGB
    preprocessing  how the model expects its image
    changes        what was rewritten, for people
    crop           how a face is aligned for a recognizer; None for another model
    center         the constant that the simplified recognizer subtracts from its embedding; empty if none
    family         of a detector; None for another model, and for a detector that ``simplify`` will refuse
    """

    role: Role
    name: str
    proto: Any
    input: Input
    preprocessing: Preprocessing
    changes: tuple[str, ...] = ()
    crop: CropTemplate | None = None
    center: tuple[float, ...] = ()
    family: Family | None = None

    def known_crop(self) -> CropTemplate:
        """The crop of a recognizer."""
        assert self.crop is not None, self.role
        return self.crop

    def with_preprocessing(self, preprocessing: Preprocessing) -> FixedModel:
        """This model with another order of channels, or another normalization."""
        return replace(self, preprocessing=preprocessing, input=_input(self.input, preprocessing))


@dataclass(frozen=True)
class SimplifiedModel:
    """The simplified model, at ``path``; ``nodes`` is the number of nodes before and after, and ``changes`` says for
    people what was rewritten."""

    path: Path
    input: Input
    outputs: tuple[Output, ...]
    nodes: tuple[int, int]
    changes: tuple[str, ...] = ()


def fix_input(
    path: Path,
    role: Role,
    size: tuple[int, int] | None = None,
    profile: LivenessProfile | None = None,
    stated: StatedPreprocessing | None = None,
    *,
    crop: StatedCrop | None = None,
) -> FixedModel:
    """Read the model at ``path``, rewrite it to the one form of convert/prepare, and fix its input to 1×3×H×W.

    ``size`` is (width, height) of a detector's input; None keeps the model's own, or takes 640×640 if it is open.
    ``profile`` says how a liveness model was trained, ``stated`` what the user says about a recognizer's input, and
    ``crop`` how a face is aligned for it; None decides by the size of its input. Raises ModelError if the model cannot
    have this role, and InputError if ``stated`` or ``crop`` contradicts the model.
    """
    proto = load_onnx(path)
    takes_bytes = any(entry.type.tensor_type.elem_type in BYTES for entry in real_inputs(proto))
    try:
        changes = standardize(proto, role)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    entry = _only_input(path, proto)
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in entry.type.tensor_type.shape.dim]
    if len(dims) != 4 or dims[1] not in (0, 3):
        shown = "×".join(str(dim or "?") for dim in dims) or "no shape"
        raise ModelError(f"{path}: its input is {shown}; a {role} takes one RGB image, N×3×H×W")
    chosen = choose_crop(path, dims[3] or None, dims[2] or None, crop) if role == "recognizer" else None
    if chosen is not None:
        size = chosen.width, chosen.height
    elif profile is not None:
        size = profile.size
    elif size is None:
        size = (dims[3], dims[2]) if dims[2] > 0 and dims[3] > 0 else DETECTOR_SIZE
    if role == "detector" and any(side < SIZE_STEP or side % SIZE_STEP for side in size):
        raise ModelError(
            f"{path}: as a detector its input cannot be {size[0]}×{size[1]}: both sides must be multiples of "
            f"{SIZE_STEP}"
        )
    _set_shape(entry, (1, 3, size[1], size[0]))
    for output in proto.graph.output:  # they are inferred again for this size
        _set_shape(output, (0,) * len(output.type.tensor_type.shape.dim))
    del proto.graph.value_info[:]
    family = _find_family(proto, size) if role == "detector" else None
    if profile is not None:
        preprocessing = Preprocessing(profile.bgr, *profile.normalization, "stated", "stated")
    else:
        stated = stated or StatedPreprocessing()
        preprocessing = read_preprocessing(
            path, proto, entry.name, role, stated, family=family, takes_bytes=takes_bytes
        )
    input = _input(Input(entry.name, size[1], size[0], preprocessing.mean, preprocessing.std), preprocessing)
    return FixedModel(role, path.name, proto, input, preprocessing, changes, chosen, family=family)


def read_family(path: Path) -> Family:
    """The family of the detector at ``path``. Raises ModelError if it is no detector of a known family."""
    model = fix_input(path, "detector")
    if model.family is None:
        raise ModelError(f"{path}: not a face detector with landmarks that rkface knows ({NAMES})")
    return model.family


def _find_family(proto: Any, size: tuple[int, int]) -> Family | None:
    """The family of a detector whose input has this ``size``; None if it has none, which ``simplify`` reports."""
    shapes = measure_outputs(proto)
    try:
        return find_layout(_outputs(proto, shapes), *size).family if shapes else None
    except ModelError:
        return None


def _input(input: Input, preprocessing: Preprocessing) -> Input:
    order: ChannelOrder = "BGR" if preprocessing.bgr else "RGB"
    return replace(input, mean=preprocessing.mean, std=preprocessing.std, source_order=order)


def simplify(model: FixedModel, target: Path) -> SimplifiedModel:
    """Simplify ``model`` with onnxsim and write it to ``target``.

    Raises ModelError if a step of the native code fails or crashes (convert/native_steps.py), or if the outputs do not
    fit the model's role.
    """
    try:
        done = simplify_proto(model.proto, model.name)
    except ModelError as error:
        raise ModelError(f"{error} (with an input of {model.input.width}×{model.input.height})") from error
    proto = onnx.ModelProto.FromString(done.data)
    hide_weights(proto)
    if model.preprocessing.bgr:
        swap_channels(proto, model.input.name)
        onnx.helper.set_model_props(proto, {CHANNELS: "RGB"})
    outputs = _outputs(proto, done.shapes)
    changes = model.changes
    if model.role == "detector":
        changes += _score_probabilities(model, proto, outputs)
    onnx.save(proto, str(target))
    nodes = len(model.proto.graph.node), len(proto.graph.node)
    simplified = SimplifiedModel(target, model.input, outputs, nodes, changes)
    if model.role == "recognizer":
        _check_embedding(model, proto, simplified.outputs)
    return simplified


def _score_probabilities(model: FixedModel, proto: Any, outputs: Sequence[Output]) -> tuple[str, ...]:
    """Make probabilities of a detector's scores that are logits, in the simplified ``proto`` and in the original, and
    say so. Raises ModelError if it is not a detector of a known family."""
    try:
        layout = find_layout(outputs, model.input.width, model.input.height)
    except ModelError as error:
        raise ModelError(f"{model.name}: {error}") from None
    scores = dict.fromkeys(outputs[score.index].name for level in layout.levels for score in level.scores)
    logits = [name for name in scores if computes_logits(proto, name)]
    operator = layout.family.probability
    for graph in (proto, model.proto) if logits else ():
        for name in logits:
            add_probabilities(graph, name, operator)
    if not logits:
        return ()
    return (f"its scores ({', '.join(logits)}) are logits, so a {operator} was added to each",)


def load_onnx(path: Path) -> Any:
    """The ModelProto at ``path``, with external data inside.

    Raises ModelError if a file is missing, or if it is not an ONNX model, or not a sound one.
    """
    data = read_onnx_file(path).data
    try:
        proto = onnx.ModelProto.FromString(data)
    except MemoryError as error:
        raise ModelError(f"{path}: there is not enough memory to read this model") from error
    except Exception as error:  # protobuf's DecodeError has no base but Exception, and also means that memory is short
        raise ModelError(
            f"{path} is not an ONNX model, or it is damaged, or memory is short: copy it again, or export it again"
        ) from error
    check_graph(proto, path)
    return proto


def _only_input(path: Path, proto: Any) -> Any:
    inputs = real_inputs(proto)
    if len(inputs) != 1:
        raise ModelError(
            f"{path} has {len(inputs)} inputs ({', '.join(entry.name for entry in inputs)}); rkface needs a model "
            "whose only input is one image"
        )
    if inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type).lower()
        raise ModelError(
            f"{path}: its input is {kind}, not float, and what reads it is not only a Cast to float: export it with a "
            "float input. If the model is quantized, give the FP32 model, as it was before"
        )
    return inputs[0]


def _set_shape(entry: Any, shape: tuple[int, ...]) -> None:
    """Set the shape of a graph's input or output; 0 leaves a side open."""
    dims = entry.type.tensor_type.shape.dim
    del dims[:]
    for index, side in enumerate(shape):
        dim = dims.add()
        if side:
            dim.dim_value = side
        else:
            dim.dim_param = f"{entry.name}_{index}"


def _outputs(proto: Any, shapes: Sequence[tuple[int, ...]]) -> tuple[Output, ...]:
    """The outputs of ``proto``, with the ``shapes`` that they had in one run."""
    return tuple(Output(entry.name, shape) for entry, shape in zip(proto.graph.output, shapes, strict=True))


def _check_embedding(model: FixedModel, proto: Any, outputs: Sequence[Output]) -> None:
    shapes = ", ".join("×".join(map(str, output.shape)) for output in outputs)
    if len(outputs) != 1 or np.prod(outputs[0].shape[:-1]) != 1:
        raise ModelError(f"{model.name}: its outputs are {shapes}; a recognizer has one embedding as its only output")
    makers = {name: node.op_type for node in proto.graph.node for name in node.output}
    low, high = EMBEDDING
    if makers.get(outputs[0].name) in ("Softmax", "LogSoftmax", "Sigmoid") or not low <= outputs[0].shape[-1] <= high:
        raise ModelError(
            f"{model.name} looks like a classifier (its output is {shapes}"
            f" from {makers.get(outputs[0].name)}); a recognizer outputs an embedding of {low} to {high} numbers"
        )
