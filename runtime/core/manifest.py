"""The manifest of a bundle, ``manifest.json``: its data classes, which are its schema."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from .crop_template import CropTemplate
from .errors import BundleError
from .versions import MODEL_FORMATS

SCHEMA = 2  # 2: the recognizer states its crop and its center; 1 is still read
MANIFEST = "manifest.json"
UNMEASURED = "rkface's default, not measured on this model"  # in the provenance: where the match threshold comes from

Role = Literal["detector", "recognizer", "liveness"]  # a model's name: its role, and `shape_name` for another shape
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
class RecognizerSpec(Model):
    """A model that computes the embedding of an aligned face.

    crop    how a face is aligned for it; its size is that of the input
    center  the constant that was subtracted from the embedding of the source model, D numbers; empty if none was. The
            model of the bundle subtracts it by itself
    """

    crop: CropTemplate
    center: tuple[float, ...] = ()


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
class LibraryNeeds:
    """Which versions of librknnrt load the models of a bundle.

    format  version of the file format of the ``.rknn`` files; the library must know it
    oldest  the oldest librknnrt that is known to load this format
    """

    format: int
    oldest: str


# What the bundles of the first versions of rkface need, which do not say it: all were made with toolkit 2.5.0.
FIRST_BUNDLES = LibraryNeeds(6, MODEL_FORMATS[6])


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
    librknnrt   which versions of the library load the models
    shapes      the detector with inputs of other shapes, for pictures of another aspect; older versions of rkface do
                not know them, and use ``detector`` for every picture
    """

    name: str
    synthetic: bool
    created: str
    target: str
    toolkit: str
    rkface: str
    detector: Model
    recognizer: RecognizerSpec
    thresholds: Thresholds
    provenance: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA
    liveness: LivenessSpec | None = None
    librknnrt: LibraryNeeds = FIRST_BUNDLES
    shapes: tuple[Model, ...] = ()

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles of the models in this bundle."""
        return ROLES if self.liveness is None else (*ROLES, "liveness")

    @property
    def threshold_measured(self) -> bool:
        """Whether the match threshold was measured or stated; False if it is rkface's default."""
        return self.provenance.get("match_threshold") != UNMEASURED

    @property
    def detectors(self) -> dict[str, Model]:
        """The detector in every shape, by name: the main one, "detector", then ``shapes``."""
        return {"detector": self.detector} | {shape_name(one.input.width, one.input.height): one for one in self.shapes}

    @property
    def longest_side(self) -> int:
        """The longest side of the detector's inputs, in pixels: it sees no more of a picture."""
        return max(side for model in self.detectors.values() for side in (model.input.width, model.input.height))

    @property
    def models(self) -> dict[str, Model]:
        """All models by name: ``detectors``, then those of the other roles."""
        return self.detectors | {role: self.model(role) for role in self.roles}

    def model(self, name: str) -> Model:
        """The model with this name. Raises BundleError if the bundle has none."""
        found: Model | None = self.detectors[name] if name in self.detectors else getattr(self, name, None)
        if found is None:
            raise BundleError(
                f"{self.name} for {self.target} has no {name} model: convert again with --{name} MODEL.onnx"
            )
        return found

    def to_json(self) -> str:
        raw = asdict(self)
        raw["detector_shapes"] = raw.pop("shapes")
        for key, value in (("liveness", self.liveness), ("detector_shapes", self.shapes)):
            if not value:  # older versions of rkface do not know the key
                del raw[key]
        return json.dumps(raw, indent=2, ensure_ascii=False) + "\n"


def shape_name(width: int, height: int) -> str:
    """The name of the detector with an input of another shape than the main one, which is "detector"."""
    return f"detector-{width}x{height}"


def role_of(name: str) -> Role:
    """The role of the model ``name``."""
    return "detector" if name.startswith("detector-") else cast("Role", name)


def contract(
    role: Role, input: Input, source_sha256: str, crop: CropTemplate | None = None, center: tuple[float, ...] = ()
) -> str:
    """The input contract that is embedded in a ``.rknn`` as its custom string (at most 1023 bytes), so that a model
    describes its input even without the manifest. ``crop`` and ``center`` are those of a recognizer."""
    entries = {"rkface": SCHEMA, "role": role, **input_entries(input)}
    if crop is not None:
        entries |= crop_entries(crop, center)
    entries["source"] = source_sha256
    return json.dumps(entries, separators=(",", ":"))


def input_entries(input: Input) -> dict[str, Any]:
    """What the contract says about ``input``. A ``.rknn`` that says anything else is another model's."""
    return {
        "dtype": "uint8",
        "layout": "NHWC",
        "colour": "RGB",
        "height": input.height,
        "width": input.width,
        "normalization": "inside",
        "mean": list(input.mean),
        "std": list(input.std),
    }


def crop_entries(crop: CropTemplate, center: tuple[float, ...]) -> dict[str, Any]:
    """What the contract says about the crop and the center of a recognizer, likewise."""
    digest = hashlib.sha256(json.dumps(center).encode()).hexdigest()[:16]
    return {"crop": f"{crop.name}/{crop.digest}", "center": digest if center else "none"}
