"""The manifest of a bundle, ``manifest.json``: its data classes, which are its schema, and how it is read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from .errors import BundleError, InputError
from .files import parse_json, read_text

SCHEMA = 1
MANIFEST = "manifest.json"
MAX_BYTES = 10_000_000  # of the manifest: the record of a calibration set names every photo

Role = Literal["detector", "recognizer", "liveness"]
ROLES: tuple[Role, ...] = ("detector", "recognizer")  # in every bundle; ``Manifest.roles`` are those of one bundle
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Input:
    """The input of a model: raw uint8, NHWC, RGB, ``height`` × ``width`` pixels.

    The backend applies (value − mean) / std for each channel. The caller never normalizes.
    """

    name: str
    height: int
    width: int
    mean: Triple
    std: Triple


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
            f"{path}: the manifest has schema {schema}, this rkface reads {SCHEMA}: "
            "convert again, or install the rkface that made the bundle"
        )
    try:
        return Manifest(
            **{key: raw[key] for key in ("name", "synthetic", "created", "target", "toolkit", "rkface", "provenance")},
            detector=_model(raw["detector"]),
            recognizer=_model(raw["recognizer"]),
            thresholds=Thresholds(**{key: float(raw["thresholds"][key]) for key in ("detection", "nms", "match")}),
            liveness=_liveness(raw["liveness"]) if "liveness" in raw else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: an entry is missing or invalid ({error}): copy or convert it again") from error


def _model(raw: dict[str, Any]) -> Model:
    shape = raw["input"]
    if not raw["outputs"]:
        raise ValueError("a model has no outputs")
    return Model(
        file=path_inside(raw["file"]),
        reference=path_inside(raw["reference"]),
        precision=raw["precision"],
        input=Input(
            shape["name"], int(shape["height"]), int(shape["width"]), _triple(shape["mean"]), _triple(shape["std"])
        ),
        outputs=tuple(Output(entry["name"], tuple(map(int, entry["shape"]))) for entry in raw["outputs"]),
        source=_source(raw["source"]),
    )


def _source(raw: dict[str, Any]) -> Source:
    # "licence" is how rkface 0.1 spelled the key.
    return Source(**{"license" if key == "licence" else key: value for key, value in raw.items()})


def _liveness(raw: dict[str, Any]) -> LivenessSpec:
    model, live, scale = _model(raw), int(raw["live"]), float(raw["scale"])
    if not 0 <= live < model.outputs[0].shape[-1] or not scale > 0:
        raise ValueError(f"the liveness model has an invalid class {live} or scale {scale}")
    return LivenessSpec(
        **vars(model), scale=scale, live=live, logits=bool(raw["logits"]), threshold=float(raw["threshold"])
    )


def _triple(values: list[float]) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue


def path_inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"the path {name!r} is outside the bundle")
    return name
