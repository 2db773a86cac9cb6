"""Says what a model is, a detector or a recognizer, so that two swapped files are recognized as swapped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rkface.runtime.core.crop_template import TEMPLATES
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import ROLES, Role

from .prepare.embedding_output import EMBEDDING, declared_length
from .prepare.image_input import real_inputs
from .simplify import load_onnx

DETECTOR_OUTPUTS = 6  # SCRFD has 9, and 6 without landmarks; YuNet has 12


def check_not_swapped(paths: Mapping[Role, Path]) -> None:
    """Raise InputError if the detector is a recognizer, or the recognizer a detector; ModelError if a file is no
    model."""
    found = {role: describe_role(load_onnx(paths[role])) for role in ROLES}
    wrong = [role for role in ROLES if found[role] is not None and found[role][0] != role]  # type: ignore[index]
    said = " and ".join(f"--{role} {paths[role]} is a {found[role][0]} ({found[role][1]})" for role in wrong)  # type: ignore[index]
    if len(wrong) > 1:
        raise InputError(f"these two are swapped: {said}. Exchange --detector and --recognizer")
    if wrong:
        wanted = "a face detector with landmarks" if wrong == ["detector"] else "a face recognizer"
        raise InputError(f"{said}: give {wanted} with --{wrong[0]}")


def describe_role(proto: Any) -> tuple[Role, str] | None:
    """What the ModelProto surely is, and why; None if it may be anything."""
    outputs = list(proto.graph.output)
    inputs = real_inputs(proto)
    if len(outputs) >= DETECTOR_OUTPUTS:
        return "detector", f"it has {len(outputs)} outputs"
    sides = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim][1:] if len(inputs) == 1 else []
    length = declared_length(outputs[0]) if len(outputs) == 1 else 0
    # Channels first or last: without the one that counts them, height and width are left.
    image = [side for index, side in enumerate(sides) if index != (sides.index(3) if 3 in sides else 0)]
    crop = next((one for one in TEMPLATES.values() if [one.height, one.width] == image), None)
    if EMBEDDING[0] <= length <= EMBEDDING[1] and crop is not None:
        size = f"{crop.width}×{crop.height}"
        return "recognizer", f"its input is {size}, and its output one embedding of {length} numbers"
    return None
