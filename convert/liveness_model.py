"""A liveness model: how it was trained, and what it is shown of the faces in photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.collect import CandidateFace
from rkface.calibration.dataset import is_set
from rkface.runtime.core.errors import InputError, ModelError
from rkface.runtime.core.manifest import Input
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.liveness import crop_around
from rkface.runtime.vision.photo import turn_image

from .catalog import LIVENESS_PROFILES, LivenessProfile
from .datasets import Datasets
from .face_finder import PhotoOptions
from .image_lists import to_rgb, write_image_list
from .simplify import load_onnx
from .tuning.ranges import MOVES

# Fields that cannot be read from the model, and the option that gives each.
REQUIRED = {"scale": "--live-scale", "live": "--live-class", "bgr": "--live-color"}


def choose_profile(path: Path, given: Mapping[str, Any]) -> LivenessProfile:
    """How the liveness model at ``path`` was trained.

    The profile is that of the similar model in the catalog, changed by the fields in ``given``. Raises InputError if a
    field is still unknown, and ModelError if this cannot be a liveness model.
    """
    proto = load_onnx(path)
    size, classes = _image_size(path, proto), _class_count(path, proto)
    similar = [one for one in LIVENESS_PROFILES if (one.size, one.classes) == (size, classes)]
    named = [one for one in similar if one.name.removeprefix("MiniFASNet").lower() in path.stem.lower()]
    missing = [option for name, option in REQUIRED.items() if name not in given]
    if not similar and missing:
        raise InputError(
            f"{path}: rkface knows no liveness model with an input of {size[0]}×{size[1]} and {classes} classes: say "
            f"how it was trained, with {', '.join(missing)} (and with --live-mean and --live-std, unless it takes "
            "values of 0..255)"
        )
    found = replace((named or similar)[0], **given) if similar else LivenessProfile(path.stem, size, classes, **given)
    if not 0 <= found.live < classes:
        raise InputError(f"{path} has classes 0 to {classes - 1}, so --live-class cannot be {found.live}")
    return replace(found, logits=_last_operator(proto) != "Softmax")


def explain_profile(profile: LivenessProfile) -> str:
    """One line for people: what rkface assumes about the model."""
    order, gives = "BGR" if profile.bgr else "RGB", "logits" if profile.logits else "probabilities"
    mean, std = (",".join(f"{value:g}" for value in values) for values in (profile.mean, profile.std))
    return (
        f"liveness: treated as {profile.name}: input {profile.scale:g} × the face's box, {order}, "
        f"(x − {mean}) / {std}; outputs {gives}, class {profile.live} of {profile.classes} is live, "
        f"threshold {profile.threshold:g}"
    )


def require_photos(photos: PhotoOptions) -> None:
    """Raise InputError if ``photos`` is a finished calibration set."""
    if is_set(photos.calibration):
        raise InputError(
            f"{photos.calibration} is a finished calibration set. It has no surroundings of the faces, which a "
            "liveness model needs: give the photos with --calibration"
        )


def add_surroundings(datasets: Datasets, input: Input, scale: float, folder: Path) -> Datasets:
    """``datasets`` with the inputs of a liveness model: each face with its surroundings, ``scale`` times its box.

    The calibration images are written to the new ``folder``.
    """
    with stage("surroundings of the faces") as shown:
        evaluation = datasets.evaluation
        around = _cut(evaluation.faces, input, scale)
        image_list = None
        if datasets.calibration is not None:
            image_list = write_image_list(_cut(datasets.calibration_faces, input, scale)[..., ::-1], folder)
        shown.note = f"{len(around)} to evaluate on, {len(datasets.calibration_faces)} to calibrate on"
    return replace(datasets, evaluation=replace(evaluation, surroundings=around), liveness_list=image_list)


def _cut(faces: Sequence[CandidateFace], input: Input, scale: float) -> NDArray[np.uint8]:
    """N×H×W×3 uint8 RGB: ``faces`` with their surroundings. Each photo is read once."""
    photos = {face.photo: face.turned for face in faces}  # all faces of a photo are of the same turn
    found: dict[int, NDArray[np.uint8]] = {}
    for photo, turned in photos.items():
        image = turn_image(read_image(photo), turned)
        for index, face in enumerate(faces):
            if face.photo == photo:
                found[index] = crop_around(image, face.faces.boxes[0], scale, input.width, input.height)
    return to_rgb(found[index] for index in range(len(faces)))


def _image_size(path: Path, proto: Any) -> tuple[int, int]:
    """(width, height) of the only input."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    shapes = [entry.type.tensor_type.shape.dim for entry in proto.graph.input if entry.name not in weights]
    dims = [dim.dim_value for dim in shapes[0]] if len(shapes) == 1 else []
    if len(dims) != 4 or dims[1] != 3 or min(dims[2:]) <= 0:
        shown = "×".join(str(dim or "?") for dim in dims) or f"{len(shapes)} inputs"
        raise ModelError(f"{path}: a liveness model takes one image of a fixed size, N×3×H×W, but this takes {shown}")
    return dims[3], dims[2]


def _class_count(path: Path, proto: Any) -> int:
    dims = [dim.dim_value for dim in proto.graph.output[0].type.tensor_type.shape.dim]
    if len(proto.graph.output) != 1 or not dims or dims[-1] < 2:
        shape = "×".join(str(dim or "?") for dim in dims) or "unknown"
        raise ModelError(
            f"{path}: a liveness model has one output with a number for each of its classes (two or more), but this "
            f"has {len(proto.graph.output)} output(s) of shape {shape}"
        )
    return int(dims[-1])


def _last_operator(proto: Any) -> str:
    """The operator that computes the output; operators that only move data are skipped."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    node = makers.get(proto.graph.output[0].name)
    while node is not None and node.op_type in (*MOVES, "Identity"):
        node = makers.get(node.input[0])
    return "" if node is None else str(node.op_type)
