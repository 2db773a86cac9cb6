"""The manifest of a bundle, ``manifest.json``: its data classes, which are its schema, and how it is read."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from .errors import BundleError, InputError
from .files import parse_json, read_text
from .text import find_hidden, in_a_line, show_value

SCHEMA = 1
MANIFEST = "manifest.json"
UNMEASURED = "rkface's default, not measured on this model"  # in the provenance: where the match threshold comes from
MAX_BYTES = 10_000_000  # of the manifest: the record of a calibration set names every photo
MOST_SIZE = 1 << 24  # of a dimension of an input or output
SMALLEST, LARGEST = 1e-12, 1e30  # of numbers that a model divides by, and of any number

Role = Literal["detector", "recognizer", "liveness"]
ROLES: tuple[Role, ...] = ("detector", "recognizer")  # in every bundle; ``Manifest.roles`` are those of one bundle
Triple = tuple[float, float, float]
ChannelOrder = Literal["RGB", "BGR"]


@dataclass(frozen=True)
class Input:
    """The input of a model: raw uint8, NHWC, RGB, ``height`` × ``width`` pixels.

    The backend applies (value − mean) / std for each channel. The caller never normalizes. ``source_order`` is the
    order of channels that the source model takes: `rkface convert` changes a BGR model so that it takes RGB.
    """

    name: str
    height: int
    width: int
    mean: Triple
    std: Triple
    source_order: ChannelOrder = "RGB"


@dataclass(frozen=True)
class Output:
    """An output of a model. ``shape`` is for one image and may begin with a batch dimension of 1."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """The ONNX file that a model was made from. ``bytes`` is its size."""

    file: str
    sha256: str
    bytes: int
    license: str


@dataclass(frozen=True)
class Model:
    """``file`` and ``reference`` are paths inside the bundle; ``precision`` is "int8", "fp16" or "int8+fp16"."""

    file: str
    reference: str
    precision: str
    input: Input
    outputs: tuple[Output, ...]
    source: Source


@dataclass(frozen=True)
class LivenessSpec(Model):
    """A classifier that tells a live face from a picture of a face, and how to use it.

    scale      side of the region that the model sees, as a multiple of the face's box, about the same center
    live       index of the class "live face"
    logits     True if the outputs are logits, which a softmax turns into probabilities
    threshold  minimum probability of a live face, 0 to 1
    """

    scale: float
    live: int
    logits: bool
    threshold: float


@dataclass(frozen=True)
class Thresholds:
    """The bundle's thresholds.

    detection  minimum score of a face, 0 to 1
    nms        overlap (IoU), 0 to 1, above which non-maximum suppression drops the face with the lower score
    match      minimum cosine at which two faces are the same person
    """

    detection: float
    nms: float
    match: float


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says: which models the bundle holds, for which chip, and how they were made.

    name        name of the bundle
    synthetic   True if the models know only rendered faces, like those of the demo
    created     when it was made, ISO 8601, UTC
    target      the chip, as rknn-toolkit2 spells it: "rk3588"
    toolkit     version of rknn-toolkit2 that made it
    rkface      version of rkface that made it
    provenance  calibration, accuracy and other records of the conversion
    schema      version of this format
    liveness    None if the bundle has no liveness model
    """

    name: str
    synthetic: bool
    created: str
    target: str
    toolkit: str
    rkface: str
    detector: Model
    recognizer: Model
    thresholds: Thresholds
    provenance: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA
    liveness: LivenessSpec | None = None

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles of the models in this bundle."""
        return ROLES if self.liveness is None else (*ROLES, "liveness")

    @property
    def threshold_measured(self) -> bool:
        """Whether the match threshold was measured or stated; False if it is rkface's default."""
        return self.provenance.get("match_threshold") != UNMEASURED

    def model(self, role: Role) -> Model:
        """The model with this role. Raises BundleError if the bundle has none."""
        found: Model | None = getattr(self, role)
        if found is None:
            raise BundleError(
                f"{self.name} for {self.target} has no {role} model: convert again with --{role} MODEL.onnx"
            )
        return found

    def to_json(self) -> str:
        raw = asdict(self)
        if self.liveness is None:  # older versions of rkface do not know the key
            del raw["liveness"]
        return json.dumps(raw, indent=2, ensure_ascii=False) + "\n"


def contract(role: Role, input: Input, source_sha256: str) -> str:
    """The input contract that is embedded in a ``.rknn`` as its custom string (at most 1023 bytes), so that a model
    describes its input even without the manifest."""
    return json.dumps(
        {
            "rkface": SCHEMA, "role": role, "dtype": "uint8", "layout": "NHWC", "colour": "RGB",
            "height": input.height, "width": input.width, "normalization": "inside",
            "mean": input.mean, "std": input.std, "source": source_sha256,
        },
        separators=(",", ":"),
    )  # fmt: skip


def parse_manifest(folder: Path) -> Manifest:
    """Read the manifest of the bundle in ``folder``, without verifying files. Raises BundleError if it is invalid."""
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
    if schema != SCHEMA:
        raise BundleError(
            f"{path}: the manifest has schema {show_value(schema)}, this rkface reads {SCHEMA}: "
            "convert again, or install the rkface that made the bundle"
        )
    try:
        return Manifest(
            name=_text(raw["name"], "name"),
            synthetic=_typed(raw["synthetic"], bool, "synthetic"),
            created=_text(raw["created"], "created"),
            target=_text(raw["target"], "target"),
            toolkit=_text(raw["toolkit"], "toolkit"),
            rkface=_text(raw["rkface"], "rkface"),
            provenance=_typed(raw["provenance"], dict, "provenance"),
            detector=_model(raw["detector"]),
            recognizer=_model(raw["recognizer"]),
            thresholds=Thresholds(
                **{key: _number(raw["thresholds"][key], key) for key in ("detection", "nms", "match")}
            ),
            liveness=_liveness(raw["liveness"]) if "liveness" in raw else None,
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        reason = in_a_line(str(error))[:200]
        raise BundleError(f"{path}: an entry is missing or invalid ({reason}): copy or convert it again") from error


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
