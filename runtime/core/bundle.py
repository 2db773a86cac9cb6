"""A bundle: the folder that convert writes and a board trusts. Its manifest, and the checks before it is used."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from .errors import BundleError

SCHEMA = 1
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
OPTIONAL = "reference"  # a board may go without this folder

Role = Literal["detector", "recognizer", "liveness"]
ROLES: tuple[Role, ...] = ("detector", "recognizer")  # what every bundle has; ``Manifest.roles``: what one has
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Input:
    """What a model is given: raw uint8, NHWC, RGB. Mean and std are applied by the backend, never by the caller."""

    name: str
    height: int
    width: int
    mean: Triple
    std: Triple


@dataclass(frozen=True)
class Output:
    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """The ONNX file a model was made from."""

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
    """A classifier that tells a face from a picture of one, and how it is asked.

    scale      how many times the face's box it is shown, about its center
    live       which of its classes is a live face
    logits     it gives logits: a softmax makes probabilities of them
    threshold  probability from which a face counts as live
    """

    scale: float
    live: int
    logits: bool
    threshold: float


@dataclass(frozen=True)
class Thresholds:
    """Detection score; overlap (IoU) above which the lower score goes; cosine from which two faces are one person."""

    detection: float
    nms: float
    match: float


@dataclass(frozen=True)
class Manifest:
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
        """Of the models that there are."""
        return ROLES if self.liveness is None else (*ROLES, "liveness")

    def model(self, role: Role) -> Model:
        """BundleError where there is no such model."""
        found: Model | None = getattr(self, role)
        if found is None:
            raise BundleError(
                f"{self.name} for {self.target} has no {role} model: convert again with --{role} MODEL.onnx"
            )
        return found

    def to_json(self) -> str:
        raw = asdict(self)
        if self.liveness is None:  # as it always was
            del raw["liveness"]
        return json.dumps(raw, indent=2, ensure_ascii=False) + "\n"


def contract(role: Role, input: Input, source_sha256: str) -> str:
    """The input contract embedded in a ``.rknn`` (its custom string, at most 1023 bytes): a model that has lost its
    manifest still says how it wants to be fed."""
    return json.dumps(
        {
            "rkface": SCHEMA, "role": role, "dtype": "uint8", "layout": "NHWC", "colour": "RGB",
            "height": input.height, "width": input.width, "normalization": "inside",
            "mean": input.mean, "std": input.std, "source": source_sha256,
        },
        separators=(",", ":"),
    )  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    folder: Path
    manifest: Manifest

    def model(self, role: Role) -> Model:
        return self.manifest.model(role)

    def path(self, role: Role) -> Path:
        return self.folder / self.model(role).file

    def reference(self, role: Role) -> Path:
        """The simplified ONNX. BundleError where this copy of the bundle came without it."""
        path = self.folder / self.model(role).reference
        if not path.is_file():
            raise BundleError(
                f"{self.folder} has no {OPTIONAL}/ folder, which the reference backend runs: "
                "use the complete bundle, or --backend npu on the board"
            )
        return path


def read_bundle(folder: Path, soc: str | None = None) -> Bundle:
    """Read and verify the bundle in ``folder``.

    Raises BundleError for a folder that is no bundle, another schema, a missing, foreign or changed file, and, where
    ``soc`` names the chip this runs on ("rk3588"), a bundle made for another.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such bundle folder; `rkface convert` writes one")
    manifest = parse_manifest(folder)
    verify(folder)
    if soc is not None and soc != manifest.target:
        raise BundleError(f"{folder} was made for {manifest.target}, this is {soc}: convert again with --target {soc}")
    bundle = Bundle(folder, manifest)
    for role in manifest.roles:
        if not bundle.path(role).is_file():
            raise BundleError(
                f"{folder}: the manifest names {manifest.model(role).file}, which is not there: copy it again"
            )
    return bundle


def parse_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}; `rkface convert` writes one") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read as JSON ({error}): copy or convert the bundle again") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise BundleError(
            f"{path}: manifest schema {schema}, this rkface reads {SCHEMA}: "
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
        raise BundleError(f"{path} lacks or garbles an entry ({error}): copy or convert the bundle again") from error


def _model(raw: dict[str, Any]) -> Model:
    shape = raw["input"]
    if not raw["outputs"]:
        raise ValueError("a model without outputs")
    return Model(
        file=_inside(raw["file"]),
        reference=_inside(raw["reference"]),
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
        raise ValueError(f"a liveness model whose class {live} or scale {scale} cannot be")
    return LivenessSpec(
        **vars(model), scale=scale, live=live, logits=bool(raw["logits"]), threshold=float(raw["threshold"])
    )


def _triple(values: list[float]) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"path {name!r} leaves the bundle")
    return name


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def files(folder: Path) -> list[str]:
    """Every file under ``folder`` but SHA256SUMS itself, as relative POSIX paths, sorted."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != SUMS)


def verify(folder: Path) -> None:
    """Compare every file with SHA256SUMS (the format of ``sha256sum``). BundleError names the first that differs."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        expected = {_inside(line[66:]): line[:64] for line in lines if line}
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / SUMS} cannot be read ({error}): copy the bundle again, whole") from error
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            if name.startswith(f"{OPTIONAL}/"):
                continue
            raise BundleError(f"{folder}: {name} is missing: copy the bundle again, whole")
        try:
            actual = sha256(path)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
        if actual != digest:
            raise BundleError(f"{path} was changed or damaged after conversion (its SHA-256 differs): copy it again")
    foreign = [name for name in files(folder) if name not in expected]
    if foreign:
        raise BundleError(
            f"{folder}: {foreign[0]} does not belong to the bundle (not in {SUMS}): remove it or copy again"
        )
