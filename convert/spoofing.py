"""A liveness model as it is given → how it has to be asked, and what it is shown of the faces of photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.collect import CandidateFace
from rkface.calibration.dataset import is_set
from rkface.runtime.core.bundle import Input
from rkface.runtime.core.errors import InputError, ModelError
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.liveness import crop_around

from .catalog import SPOOFING, Spoofing
from .material import Material, Photos, to_rgb, write_list
from .ranges import MOVES
from .simplify import load

NEEDED = {"scale": "--live-scale", "live": "--live-class", "bgr": "--live-color"}  # known of no model but those listed


def describe(path: Path, said: Mapping[str, Any]) -> Spoofing:
    """How the model at ``path`` is to be asked: as those like it in the catalog, but for what is ``said`` (fields of
    Spoofing). InputError where that leaves something open, ModelError for what cannot be a liveness model."""
    proto = load(path)
    size, classes = _image_size(path, proto), _classes(path, proto)
    alike = [one for one in SPOOFING if (one.size, one.classes) == (size, classes)]
    named = [one for one in alike if one.name.removeprefix("MiniFASNet").lower() in path.stem.lower()]
    missing = [option for name, option in NEEDED.items() if name not in said]
    if not alike and missing:
        raise InputError(
            f"{path}: no liveness model that rkface knows takes {size[0]}×{size[1]} and has {classes} classes: say how "
            f"it was trained, with {', '.join(missing)} (and --live-mean, --live-std, unless it takes 0..255)"
        )
    found = replace((named or alike)[0], **said) if alike else Spoofing(path.stem, size, classes, **said)
    if not 0 <= found.live < classes:
        raise InputError(f"{path} has {classes} classes, counted from 0: --live-class {found.live} is none of them")
    return replace(found, logits=_last(proto) != "Softmax")


def explain(found: Spoofing) -> str:
    """For people: what is taken for granted."""
    order, gives = "BGR" if found.bgr else "RGB", "logits" if found.logits else "probabilities"
    mean, std = (",".join(f"{value:g}" for value in values) for values in (found.mean, found.std))
    return (
        f"liveness: asked as {found.name}: {found.scale:g} × the face's box, {order}, (x − {mean}) / {std}, class "
        f"{found.live} of {found.classes} ({gives}) is live from {found.threshold:g} on"
    )


def check_photos(photos: Photos) -> None:
    """InputError where a finished calibration set stands in place of photos."""
    if is_set(photos.calibration):
        raise InputError(
            f"{photos.calibration} is a finished calibration set, whose faces lack the surroundings that a liveness "
            "model looks at: give the photos to --calibration"
        )


def with_surroundings(material: Material, input: Input, scale: float, folder: Path) -> Material:
    """``material`` with what a liveness model is shown of its faces; those that calibrate are written to ``folder``."""
    with stage("surroundings of the faces") as shown:
        evaluation = material.evaluation
        around = _cut(evaluation.faces, input, scale)
        dataset = None
        if material.calibration is not None:
            dataset = write_list(_cut(material.faces, input, scale)[..., ::-1], folder)
        shown.note = f"{len(around)} to judge by, {len(material.faces)} to calibrate on"
    return replace(material, evaluation=replace(evaluation, around=around), around=dataset)


def _cut(faces: Sequence[CandidateFace], input: Input, scale: float) -> NDArray[np.uint8]:
    """N×H×W×3 uint8 RGB: the surroundings of ``faces``, each photo read once for all of its own."""
    photos = {face.photo: None for face in faces}
    found: dict[int, NDArray[np.uint8]] = {}
    for photo in photos:
        image = read_image(photo)
        for index, face in enumerate(faces):
            if face.photo == photo:
                found[index] = crop_around(image, face.faces.boxes[0], scale, input.width, input.height)
    return to_rgb(found[index] for index in range(len(faces)))


def _image_size(path: Path, proto: Any) -> tuple[int, int]:
    weights = {tensor.name for tensor in proto.graph.initializer}
    shapes = [entry.type.tensor_type.shape.dim for entry in proto.graph.input if entry.name not in weights]
    dims = [dim.dim_value for dim in shapes[0]] if len(shapes) == 1 else []
    if len(dims) != 4 or dims[1] != 3 or min(dims[2:]) <= 0:
        said = "×".join(str(dim or "?") for dim in dims) or f"{len(shapes)} inputs"
        raise ModelError(f"{path}: a liveness model takes one image of a fixed size, N×3×H×W; this one takes {said}")
    return dims[3], dims[2]


def _classes(path: Path, proto: Any) -> int:
    dims = [dim.dim_value for dim in proto.graph.output[0].type.tensor_type.shape.dim]
    if len(proto.graph.output) != 1 or not dims or dims[-1] < 2:
        raise ModelError(
            f"{path}: a liveness model has one output, a number for each of its classes, two or more; this one has "
            f"{len(proto.graph.output)}, of {'×'.join(str(dim or '?') for dim in dims) or 'no shape'}"
        )
    return int(dims[-1])


def _last(proto: Any) -> str:
    """The operator that makes the output."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    node = makers.get(proto.graph.output[0].name)
    while node is not None and node.op_type in (*MOVES, "Identity"):
        node = makers.get(node.input[0])
    return "" if node is None else str(node.op_type)
