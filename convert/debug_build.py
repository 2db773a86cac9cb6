"""Writes the debug build of a bundle: its models with inner tensors as further outputs, and their golden values."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.atomic_folder import atomic_folder, check_writable
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.debug_build import LAYERS, DebugModel, LayerOutput, default_folder, to_json
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Manifest, Role
from rkface.runtime.core.progress import stage
from rkface.runtime.inference.golden import GOLDEN, by_kind, cosines

from .bundle_writer import write_sums
from .compare_models import ConversionContext, QuantizedResults
from .debug_layers import choose_outputs
from .recipe import Recipe
from .recipe_search import chosen_result
from .run_recipe import RecipeRunner
from .settings import OutputBundle
from .targets import Target
from .toolkit.quantize import QuantizedModel

# Golden inputs by role. Few, because their inner tensors are large; a layer that is computed wrongly is wrong for most.
INPUTS = {"detector": 1, "recognizer": 2, "liveness": 2}
LARGEST_HALF = float(np.finfo(np.float16).max)
ALMOST_SAME = 1 - 1e-6  # the highest cosine of outputs that are not the same


def check_debug_folder(folder: Path) -> None:
    """Raise InputError if ``folder`` exists and is no debug build, and WorkError if it cannot be written."""
    check_writable(folder)
    if folder.exists() and not (folder / LAYERS).is_file():
        raise InputError(f"{folder} exists and is not a debug build: move it away, or choose another --out")


def write_debug_build(
    context: ConversionContext,
    runner: RecipeRunner,
    output: OutputBundle,
    quantized: QuantizedResults,
    manifest: Manifest,
) -> None:
    """Write the debug build of the bundle ``output``, whose models are ``quantized``, beside it.

    Raises ModelError if the layers of a model are not known, and WorkError if the toolkit fails.
    """
    golden: dict[str, NDArray[Any]] = {}
    models: dict[Role, DebugModel] = {}
    files: dict[str, Path] = {}
    for role in context.models:
        recipe = chosen_result(quantized.tries[role]).recipe
        built = _build(context, runner, output.target, role, recipe)
        models[role] = _describe(built, role, quantized.models[role], manifest)
        files[models[role].file] = built.model.rknn
        golden |= {f"{role}/{name}": array for name, array in built.golden().items()}
    folder = default_folder(output.folder)
    with stage("debug build") as shown, atomic_folder(folder) as new:
        for name, source in files.items():
            shutil.copyfile(source, new / name)
        np.savez_compressed(new / GOLDEN, **golden)
        (new / LAYERS).write_text(to_json(models), encoding="utf-8")
        write_sums(new)
        size = sum(path.stat().st_size for path in new.iterdir())
        counts = ", ".join(f"{role} {len(one.outputs)} of {one.layers} layers" for role, one in models.items())
        agree = min(one.cosine for one in models.values())
        same = (
            "final outputs as in the bundle" if agree == 1 else f"final outputs DIFFER from the bundle's: {agree:.4f}"
        )
        shown.note = f"{folder}, {size / 1e6:.1f} MB: {counts}; {same}"


@dataclass(frozen=True)
class _Built:
    """The debug build of one model. ``reference`` are the outputs of the same ONNX model in FP32, N first."""

    model: QuantizedModel
    reference: list[NDArray[np.float32]]
    outputs: tuple[LayerOutput, ...]
    images: NDArray[np.uint8]
    layers: int

    def golden(self) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {"inputs": self.images}
        for one, before, after in zip(self.outputs, self.reference, self.model.outputs, strict=True):
            # Only a cosine is computed with FP32's values, so that half precision will do, at half the size.
            found[f"reference/{one.tensor}"] = np.clip(before, -LARGEST_HALF, LARGEST_HALF).astype(np.float16)
            found[f"simulator/{one.tensor}"] = after
        return found


def _build(context: ConversionContext, runner: RecipeRunner, target: Target, role: Role, recipe: Recipe) -> _Built:
    prepared = context.models[role]
    images = context.datasets.evaluation.images(role)[: INPUTS[role]]
    outputs = choose_outputs(prepared.graph.proto, prepared.fixed.name, role, target)
    inner = outputs[len(prepared.simplified.outputs) :]
    dataset = context.datasets.image_list(role) if recipe.quantized else None
    done, shown = runner.run_debug(target, role, recipe, dataset, images, inner=inner)
    backend = open_reference(shown, prepared.input)
    try:
        reference = backend.infer(images)
    finally:
        backend.close()
    return _Built(done, reference, outputs, images, len(prepared.graph.layers or ()))


def _describe(built: _Built, role: Role, shipped: QuantizedModel, manifest: Manifest) -> DebugModel:
    """The entry of ``layers.json``; it says whether the final outputs are those of the ``shipped`` model."""
    before = [array[: len(built.images)] for array in shipped.outputs]
    after = built.model.outputs[: len(before)]
    cosine = 1.0
    if not all(map(np.array_equal, before, after)):
        kinds = [by_kind(manifest.model(role), role, arrays).values() for arrays in (after, before)]
        cosine = min(float(cosines(*kinds).min()), ALMOST_SAME)
    return DebugModel(f"{role}.rknn", sha256(shipped.rknn), built.layers, cosine, built.outputs)
