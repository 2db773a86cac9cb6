"""Reads the manifest of a bundle: every entry is checked, because boards get bundles from other machines."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Any

from .crop_template import ARCFACE_112, TEMPLATES, CropTemplate
from .errors import BundleError, InputError
from .files import parse_json, read_text
from .manifest import (
    FIRST_BUNDLES,
    MANIFEST,
    SCHEMA,
    ChannelOrder,
    Input,
    LibraryNeeds,
    LivenessSpec,
    Manifest,
    Model,
    Output,
    RecognizerSpec,
    Source,
    Thresholds,
    Triple,
)
from .text import find_hidden, in_a_line, show_value
from .versions import version_numbers

MAX_BYTES = 10_000_000  # of the manifest: the record of a calibration set names every photo
MOST_SIZE = 1 << 24  # of a dimension of an input or output
SMALLEST, LARGEST = 1e-12, 1e30  # of numbers that a model divides by, and of any number


def parse_manifest(folder: Path) -> Manifest:
    """Read the manifest of the bundle in ``folder``, without verifying files; one of an older schema becomes
    one of today's. Raises BundleError if it is invalid."""
    path = folder / MANIFEST
    if not path.exists():
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}: `rkface convert` makes a bundle")
    try:
        raw = parse_json(read_text(path, MAX_BYTES))
    except InputError as error:
        raise BundleError(f"{error}: copy or convert the bundle again") from error
    except ValueError as error:
        raise BundleError(f"{path} cannot be read as JSON ({error}): copy or convert the bundle again") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise BundleError(
            f"{path}: the manifest has schema {show_value(schema)}, this rkface reads 1 to {SCHEMA}: "
            "convert again, or install the rkface that made the bundle"
        )
    try:
        detector = _model(raw["detector"])
        return Manifest(
            name=_text(raw["name"], "name"),
            synthetic=_typed(raw["synthetic"], bool, "synthetic"),
            created=_text(raw["created"], "created"),
            target=_text(raw["target"], "target"),
            toolkit=_text(raw["toolkit"], "toolkit"),
            rkface=_text(raw["rkface"], "rkface"),
            provenance=_typed(raw["provenance"], dict, "provenance"),
            detector=detector,
            recognizer=_recognizer(raw["recognizer"], schema),
            thresholds=Thresholds(
                **{key: _number(raw["thresholds"][key], key) for key in ("detection", "nms", "match")}
            ),
            liveness=_liveness(raw["liveness"]) if "liveness" in raw else None,
            librknnrt=_library(raw["librknnrt"]) if "librknnrt" in raw else FIRST_BUNDLES,
            shapes=_shapes(raw.get("detector_shapes", []), detector),
        )
    except (InputError, KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        reason = in_a_line(str(error))[:200]
        raise BundleError(f"{path}: an entry is missing or invalid ({reason}): copy or convert it again") from error


def _library(raw: dict[str, Any]) -> LibraryNeeds:
    oldest = _text(raw["oldest"], "oldest")
    if not version_numbers(oldest):
        raise ValueError(f"oldest is {show_value(oldest)}")
    return LibraryNeeds(_count(raw["format"], "format"), oldest)


def _model(raw: dict[str, Any]) -> Model:
    shape = raw["input"]
    if not raw["outputs"]:
        raise ValueError("a model has no outputs")
    return Model(
        file=path_inside(raw["file"]),
        reference=path_inside(raw["reference"]),
        precision=_text(raw["precision"], "precision"),
        input=_input(shape),
        outputs=tuple(
            Output(_text(entry["name"], "name"), tuple(_count(size, "shape") for size in entry["shape"]))
            for entry in raw["outputs"]
        ),
        source=_source(raw["source"]),
    )


def _shapes(raw: list[dict[str, Any]], detector: Model) -> tuple[Model, ...]:
    shapes = tuple(map(_model, _typed(raw, list, "detector_shapes")))
    if len({(one.input.width, one.input.height) for one in (detector, *shapes)}) <= len(shapes):
        raise ValueError("two shapes of the detector have the same size")
    return shapes


def _recognizer(raw: dict[str, Any], schema: int) -> RecognizerSpec:
    model = _model(raw)
    crop = ARCFACE_112 if schema == 1 else read_crop(raw["crop"])
    if (crop.width, crop.height) != (model.input.width, model.input.height):
        raise ValueError(
            f"the crop is {crop.width}×{crop.height}, the recognizer's input {model.input.width}×{model.input.height}"
        )
    center = () if schema == 1 else tuple(_number(value, "center") for value in _typed(raw["center"], list, "center"))
    length = model.outputs[0].shape[-1]
    if len(center) not in (0, length):
        raise ValueError(f"the center has {len(center)} numbers, the embedding {length}")
    return RecognizerSpec(**vars(model), crop=crop, center=center)


def read_crop(raw: dict[str, Any]) -> CropTemplate:
    """The crop in ``raw``. Raises KeyError, TypeError, ValueError or InputError if it is not one."""
    first, second, third, fourth, fifth = (
        (_number(x, "a point of the crop"), _number(y, "a point of the crop")) for x, y in raw["points"]
    )
    points = (first, second, third, fourth, fifth)
    crop = CropTemplate(
        _text(raw["name"], "name"), _count(raw["width"], "width"), _count(raw["height"], "height"), points
    )
    known = TEMPLATES.get(crop.name)
    if known is not None and not crop.same_crop(known):
        raise ValueError(f"the crop {crop.name} has other points than rkface's template of this name")
    return crop


def _input(raw: dict[str, Any]) -> Input:
    mean, std = _triple(raw["mean"]), _triple(raw["std"])
    if min(map(abs, std)) < SMALLEST:
        raise ValueError("std is 0")
    height, width = _count(raw["height"], "height"), _count(raw["width"], "width")
    return Input(_text(raw["name"], "name"), height, width, mean, std, _order(raw.get("source_order", "RGB")))


def _source(raw: dict[str, Any]) -> Source:
    # "licence" is how rkface 0.1 spelled the key.
    source = Source(**{"license" if key == "licence" else key: value for key, value in raw.items()})
    for value in (source.file, source.sha256, source.license):
        _text(value, "source")
    _typed(source.bytes, int, "bytes")
    return source


def _liveness(raw: dict[str, Any]) -> LivenessSpec:
    model, live, scale = _model(raw), _typed(raw["live"], int, "live"), _number(raw["scale"], "scale")
    if not 0 <= live < model.outputs[0].shape[-1] or not scale > 0:
        raise ValueError(f"the liveness model has an invalid class {live} or scale {scale}")
    return LivenessSpec(
        **vars(model),
        scale=scale,
        live=live,
        logits=bool(raw["logits"]),
        threshold=_number(raw["threshold"], "threshold"),
    )


def _triple(values: list[float]) -> Triple:
    red, green, blue = (_number(value, "mean or std") for value in values)
    return red, green, blue


def _order(value: Any) -> ChannelOrder:
    orders: dict[str, ChannelOrder] = {"RGB": "RGB", "BGR": "BGR"}
    if not isinstance(value, str) or value not in orders:
        raise ValueError(f"source_order is {show_value(value)}")
    return orders[value]


def _typed(value: Any, kind: type, key: str) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{key} is {show_value(value)}")
    return value


def _text(value: Any, key: str) -> str:
    """``value`` if it is text that can be shown. Raises TypeError or ValueError."""
    text: str = _typed(value, str, key)
    if find_hidden(text):
        raise ValueError(f"{key} contains characters that cannot be seen: {show_value(value)}")
    return text


def _number(value: Any, key: str) -> float:
    number = float(value) if type(value) in (int, float) and abs(value) < LARGEST else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{key} is {show_value(value)}")
    return number


def _count(value: Any, key: str) -> int:
    """``value`` if it is the size of something in memory."""
    if type(value) is not int or not 1 <= value <= MOST_SIZE:
        raise ValueError(f"{key} is {show_value(value)}")
    return value


def path_inside(name: str) -> str:
    """``name`` if it is the path of a file inside the bundle. Raises TypeError or ValueError."""
    path = PurePosixPath(_text(name, "a path"))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"the path {show_value(name)} is outside the bundle")
    return name
