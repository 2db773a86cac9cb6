"""Runs a bundle's models, in FP32 and as the NPU will compute them.

rknn-toolkit2 can simulate a model only in the process that built it, never from a ``.rknn``. So a quantized model is
built again from what the bundle records. It is used only if its outputs for the golden inputs are those in the bundle.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.dataset import CalibrationSet, is_set, read_set
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.bundle import Bundle
from rkface.runtime.core.errors import BundleError, InputError, WorkError
from rkface.runtime.core.manifest import Input, RecognizerSpec, Role, role_of
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.embed import unit

from ..acquire import ModelSources
from ..prepared_model import PreparedModel
from ..recipe import Recipe
from ..recipe_cost import read_cost_graph
from ..refit import refit_images
from ..run_recipe import CHECKPOINTS, RecipeRunner
from ..simplify import SimplifiedModel, fix_input
from ..targets import find_target
from ..toolkit.quantize import QuantizedModel, require_toolkit

# The same toolkit gives identical outputs for the same files. With another release of ONNX Runtime, a weight may differ
# by one rounding step. Another recipe or calibration set changes all weights.
SAME_COSINE = 0.9999

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class RecognizerGolden:
    """Golden vectors of a bundle's recognizer.

    inputs     G×H×W×3 uint8 RGB
    simulator  G×D: raw embeddings by the quantized recognizer when the bundle was made
    """

    inputs: Images
    simulator: Floats


def read_recognizer_golden(bundle: Bundle) -> RecognizerGolden:
    """Read the golden vectors of the recognizer. Raises BundleError if they are missing."""
    path, output = bundle.folder / "golden.npz", bundle.manifest.recognizer.outputs[0].name
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return RecognizerGolden(arrays["recognizer/inputs"], arrays[f"recognizer/simulator/{output}"])
    except (OSError, KeyError, ValueError) as error:
        raise BundleError(f"{path}: has no golden vectors of the recognizer ({error}): convert again") from error


def find_calibration_set(bundle: Bundle, given: Path | None) -> CalibrationSet | None:
    """The calibration set of ``bundle``: ``given``, or the one in a .work folder next to the bundle; None without
    one.

    Raises InputError if ``given`` is the set of another bundle.
    """
    recorded = bundle.manifest.provenance.get("calibration") or {}
    if given is not None:
        found = read_set(given)
        if found.digest != recorded.get("digest"):
            raise InputError(
                f"{given} is not the calibration set of {bundle.folder}: its digest is {found.digest[:12]}…, but the "
                f"bundle records {str(recorded.get('digest'))[:12]}…"
            )
        return found
    for folder in sorted(bundle.folder.resolve().parent.glob("*.work/calibration")):
        try:
            if is_set(folder) and (found := read_set(folder)).digest == recorded.get("digest"):
                return found
        except InputError:  # a damaged set of another bundle
            continue
    return None


def open_fp32(bundle: Bundle, name: str, provider: str = "cpu") -> PreparedModel:
    """Open the FP32 model ``name``, not liveness, with ONNX Runtime's ``provider``. Raises BundleError if the bundle
    does not contain it."""
    model, path = bundle.model(name), bundle.reference(name)
    if isinstance(model, RecognizerSpec):
        fixed = replace(fix_input(path, "recognizer", crop=model.crop), center=model.center)
    else:
        fixed = fix_input(path, role_of(name))
    nodes = len(fixed.proto.graph.node)
    simplified = SimplifiedModel(path, model.input, model.outputs, (nodes, nodes))
    return PreparedModel(fixed, simplified, read_cost_graph(path), open_reference(path, model.input, (provider,)))


def embed_fp32(model: PreparedModel, images: Images, progress: Callable[[int, int], None]) -> Floats:
    """FP32's raw embeddings, N×D, of ``images`` (N×H×W×3 uint8 RGB)."""
    rows = []
    for index in range(len(images)):
        rows.append(model.backend.infer(images[index : index + 1])[0])
        progress(index + 1, len(images))
    return np.concatenate(rows)


def embed_rebuilt(
    bundle: Bundle, model: PreparedModel, calibration: CalibrationSet | None, images: Images, work: Path
) -> Floats:
    """Build the quantized recognizer again in the folder ``work``, and return its raw embeddings, N×D.

    ``images`` are G + N crops, RGB; the first G are the bundle's golden inputs. Raises WorkError if the toolkit fails,
    or if the outputs for the golden inputs differ from those in the bundle.
    """
    golden, manifest, recipe = read_recognizer_golden(bundle), bundle.manifest, _recipe(bundle, "recognizer")
    raw = rebuild(bundle, "recognizer", model, calibration, images, work=work).outputs[0]
    answers = raw[: len(golden.inputs)]
    cosines = np.sum(unit(answers) * unit(golden.simulator), axis=1)
    if not cosines.min() >= SAME_COSINE:
        learned = (
            "A distilled recognizer comes out differently on another processor: copy the folder "
            f"{CHECKPOINTS}/ of the conversion's work folder beside the calibration set, too. "
        )
        raise WorkError(
            f"{bundle.folder}: the recognizer that was built again differs from the bundle's: its outputs for the "
            f"golden inputs have a cosine of only {cosines.min():.4f} with those in the bundle (rknn-toolkit2 "
            f"{version('rknn-toolkit2')} now, {manifest.toolkit} in the bundle). {learned if recipe.distilled else ''}"
            "Convert again, or evaluate only FP32 with --fp32"
        )
    with stage("golden inputs") as shown:
        identical = np.array_equal(answers, golden.simulator)
        shown.note = "same outputs as in the bundle" + ("" if identical else f", cosine {cosines.min():.6f}")
    return raw[len(golden.inputs) :]


def rebuild(
    bundle: Bundle,
    name: str,
    model: PreparedModel,
    calibration: CalibrationSet | None,
    images: Images,
    *,
    work: Path,
    serve: Path | None = None,
) -> QuantizedModel:
    """Build the quantized ``model`` of this ``name`` again, and run it in the simulator on ``images``.

    Logs are in the folder ``work``; ``calibration`` is None for FP16. With ``serve``, the simulator then answers any
    image at this Unix socket, until this process ends. Raises WorkError if the toolkit fails.
    """
    require_toolkit()
    try:
        work.mkdir(parents=True, exist_ok=True, mode=0o700)  # it will contain embeddings of faces
    except OSError as error:
        raise WorkError(
            f"{work}: the folder cannot be created ({error.strerror}): copy the bundle to a writable folder, or "
            "evaluate with --fp32"
        ) from error
    manifest, spec, role = bundle.manifest, bundle.model(name), role_of(name)
    sources = ModelSources(manifest.name, {role: model.simplified.path}, {role: spec.source.license})
    target = find_target(manifest.target, quantized=spec.precision != "fp16")
    with TemporaryDirectory(dir=work, prefix="rebuilt-") as scratch:
        checkpoints = find_checkpoints(calibration, work)
        runner = RecipeRunner(
            {}, sources, work, Path(scratch), analyze=False, checkpoints=checkpoints, shapes={name: model}
        )
        dataset = _image_list(calibration, name, spec.input, Path(scratch)) if calibration else None
        recipe = _recipe(bundle, role)
        if serve:
            return runner.run_served(target, name, recipe, dataset, images, serve=serve)
        return runner.run(target, name, recipe, dataset, images)


def _image_list(calibration: CalibrationSet, name: str, input: Input, scratch: Path) -> Path:
    """The calibration images of the model ``name``, which has this ``input``."""
    if role_of(name) == "recognizer":
        return calibration.recognizer
    if (input.width, input.height) == (calibration.width, calibration.height):
        return calibration.detector
    return refit_images(calibration.detector, (input.width, input.height), scratch / f"{name}-frames")


def find_checkpoints(calibration: CalibrationSet | None, work: Path) -> Path:
    """The folder with the state of distillations beside the ``calibration`` set, where the conversion has left it, so
    that nothing is distilled again; without one, a folder in ``work``."""
    kept = calibration.folder.parent / CHECKPOINTS if calibration else None
    return kept if kept and os.access(kept, os.W_OK) else work / CHECKPOINTS


def _recipe(bundle: Bundle, role: Role) -> Recipe:
    """The recipe of the model of ``role``, as recorded in the manifest. Raises BundleError if it is not recorded."""
    try:
        recorded: dict[str, Any] = bundle.manifest.provenance["recipes"][role]
        tuned = recorded.get("tuned", False)  # in older bundles: all three of the following
        return Recipe(
            recorded["name"],
            recorded["algorithm"],
            "",
            correct=recorded.get("correct", tuned),
            equalize=recorded.get("equalize", tuned),
            ranges=recorded.get("ranges", "clip" if tuned else "toolkit"),
            lead=recorded.get("lead", 0),
            trail=recorded.get("trail", 0),
            coarse=recorded.get("coarse", 1),
            distilled=recorded.get("distilled", False),
            quantized=bundle.model(role).precision != "fp16",
        )
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"{bundle.folder}: its manifest does not record how the {role} was quantized: convert again"
        ) from error
