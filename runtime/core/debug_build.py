"""The debug build of a bundle: its models once more, with inner tensors as further outputs, so that a board can tell
which layer it computes wrongly. Of a detector with several shapes, only the main one is in it.

It is a folder of its own beside the bundle, ``NAME.debug``. The bundle stays as it is, so boards get no larger, and a
debug build can be made when it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from .bundle import Bundle, sha256, verify
from .errors import BundleError, InputError
from .files import parse_json, read_text
from .manifest import Output, Role

LAYERS = "layers.json"
SCHEMA = 1
MAX_BYTES = 1_000_000  # of layers.json
SUFFIX = ".debug"


@dataclass(frozen=True)
class LayerOutput:
    """An output of a debug build, and the layer that computes it.

    tensor  its name, in the ONNX model and in the ``.rknn``
    op      what the NPU computes as one layer, by ONNX operators: "Conv+PRelu"
    number  of the layer in order of execution, counted from 1
    shape   for one image
    inside  the layers that lie between the outputs ``reads`` and this one, and the layer itself: "Conv+PRelu 316"
    reads   the outputs of the debug build, or the model's input, that these layers begin with
    recipe  the cheapest recipe of ``rkface convert`` that keeps these layers in FP16; "" if none does
    """

    tensor: str
    op: str
    number: int
    shape: tuple[int, ...]
    inside: tuple[str, ...]
    reads: tuple[str, ...]
    recipe: str = ""


@dataclass(frozen=True)
class DebugModel:
    """The debug build of one model.

    file     path inside the debug build
    sha256   of the bundle's ``.rknn`` that it belongs to
    layers   number of layers of the model
    cosine   in the simulator, the lowest between the final outputs of both builds; 1 if they are the same
    outputs  the model's own outputs, in its order, then the inner tensors in order of execution
    """

    file: str
    sha256: str
    layers: int
    cosine: float
    outputs: tuple[LayerOutput, ...]


@dataclass(frozen=True)
class DebugBuild:
    """A verified debug build. ``bundle`` has its files, and a manifest that lists inner tensors as further outputs."""

    bundle: Bundle
    models: dict[Role, DebugModel]

    @property
    def folder(self) -> Path:
        return self.bundle.folder


def default_folder(bundle: Path) -> Path:
    """Where `rkface convert --debug-outputs` writes the debug build of the bundle in the folder ``bundle``."""
    return bundle.with_name(f"{bundle.name}{SUFFIX}")


def to_json(models: Mapping[Role, DebugModel]) -> str:
    """The text of ``layers.json``."""
    raw = {"schema": SCHEMA, "models": {role: asdict(model) for role, model in models.items()}}
    return json.dumps(raw, indent=2, ensure_ascii=False) + "\n"


def read_debug_build(folder: Path, bundle: Bundle) -> DebugBuild:
    """Read and verify the debug build of ``bundle`` in ``folder``.

    Raises BundleError if the folder is missing, damaged, or the debug build of another bundle.
    """
    again = (
        f"on the workstation, run the same `rkface convert` again with --debug-outputs, then copy {folder.name} here"
    )
    if not (folder / LAYERS).is_file():
        raise BundleError(f"{folder}: there is no debug build of this bundle: {again}")
    verify(folder)
    try:
        raw = parse_json(read_text(folder / LAYERS, MAX_BYTES))
        if raw["schema"] != SCHEMA:
            raise BundleError(f"{folder / LAYERS} is of another version of rkface: {again}")
        models = {role: _model(raw["models"][role]) for role in bundle.manifest.roles}
    except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{folder / LAYERS} cannot be read ({error}): {again}") from error
    for role, model in models.items():
        if model.sha256 != sha256(bundle.path(role)):
            raise BundleError(
                f"{folder} is the debug build of another bundle: its {role} is not that of {bundle.folder}: {again}, "
                "and the bundle with it"
            )
        if not (folder / model.file).is_file():
            raise BundleError(f"{folder}: {model.file} is missing: {again}")
    changed: dict[str, Any] = {role: _with_outputs(bundle, role, model) for role, model in models.items()}
    return DebugBuild(Bundle(folder, replace(bundle.manifest, shapes=(), **changed)), models)


def _with_outputs(bundle: Bundle, role: Role, model: DebugModel) -> Any:
    own = bundle.model(role)
    inner = tuple(Output(one.tensor, one.shape) for one in model.outputs[len(own.outputs) :])
    if [one.tensor for one in model.outputs[: len(own.outputs)]] != [output.name for output in own.outputs]:
        raise BundleError(f"the debug build of the {role} does not begin with the model's own outputs: make it again")
    return replace(own, file=model.file, outputs=(*own.outputs, *inner))


def _model(raw: Mapping[str, Any]) -> DebugModel:
    file = PurePosixPath(raw["file"])
    if file.name != str(file):
        raise ValueError(f"{file} is not the name of a file")
    outputs = tuple(
        LayerOutput(
            tensor=str(one["tensor"]),
            op=str(one["op"]),
            number=int(one["number"]),
            shape=tuple(map(int, one["shape"])),
            inside=tuple(map(str, one["inside"])),
            reads=tuple(map(str, one["reads"])),
            recipe=str(one["recipe"]),
        )
        for one in raw["outputs"]
    )
    return DebugModel(str(file), str(raw["sha256"]), int(raw["layers"]), float(raw["cosine"]), outputs)
