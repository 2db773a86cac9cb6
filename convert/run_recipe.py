"""Run one recipe on one model: tune the model if the recipe says so, then quantize it with the toolkit. A result that
an earlier run has kept is taken from the cache."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.debug_build import LayerOutput
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.manifest import contract, role_of
from rkface.runtime.core.progress import Stage, stage
from rkface.runtime.core.subprocess_call import call_in_subprocess

from .acquire import ModelSources
from .debug_layers import write_with_outputs
from .hybrid import tensors_at_ends
from .image_lists import read_image_list
from .prepared_model import PreparedModel, PreparedModels
from .recipe import DISTILLED_FROM, Recipe
from .run_distilled import distill_start, quantize_distilled, run_distillation
from .targets import Target
from .toolkit.cache import cache_key, load_cached, store
from .toolkit.quantize import ANSWERED, QuantizedModel, QuantizeJob, quantize
from .tuning.distill.job import DistilledModel, DistillJob
from .tuning.tune import TunedModel, TunedModels, tune

# The code that decides how a model comes out, besides its inputs. If it changes, cached conversions no longer count.
CODE = ("editable_graph.py", "hybrid.py", "image_lists.py", "mosaic.py", "recipe.py", "run_recipe.py",
        "run_distilled.py", "same_outputs.py", "toolkit/quantize.py", "toolkit/simulate.py", "toolkit/worker.py",
        "tuning/clip.py", "tuning/distill/augment.py", "tuning/distill/distill.py", "tuning/distill/fake_quant.py",
        "tuning/distill/graph.py", "tuning/distill/job.py", "tuning/distill/operators.py", "tuning/distill/student.py",
        "tuning/distill/train.py", "tuning/equalize.py", "tuning/observe.py", "tuning/ranges.py",
        "tuning/room.py", "tuning/tune.py", "tuning/vary_faces.py")  # fmt: skip

CHECKPOINTS = "distilled"  # folder in the work folder

Images = NDArray[np.uint8]
NO_IMAGES = np.zeros(0, np.uint8)
# (name of the model, recipe, calibration list or None for FP16, N×H×W×3 images to simulate) → the converted model and
# its outputs
Quantizer = Callable[[str, Recipe, Path | None, Images], QuantizedModel]
StagedQuantize = Callable[[str, Path, QuantizeJob], QuantizedModel]  # (name of the stage, log, job)


class RecipeRunner:
    """Runs recipes on the models of one conversion with the real toolkit.

    Each model is tuned once, whatever the recipes and targets. A tuned model is calibrated once for each target, with
    and without equalized channels: recipes differ in what is written into the result of the calibration, and the
    changes that tuning makes to layers in FP16 are taken back there.
    """

    def __init__(
        self,
        models: PreparedModels,
        sources: ModelSources,
        work: Path,
        scratch: Path,
        *,
        analyze: bool,
        checkpoints: Path | None = None,
        shapes: Mapping[str, PreparedModel] | None = None,
    ) -> None:
        """Logs and the cache are in ``work``, models in ``scratch``. ``analyze`` also measures each layer's error.
        ``checkpoints``: the folder for the state of distillations; None for the one in ``work``. ``shapes``: the
        detector in other shapes, by name.
        """
        self._models: dict[str, PreparedModel] = dict(shapes or {})
        self._models.update((str(role), model) for role, model in models.items())
        self._sources = sources
        self._work = work
        self._scratch = scratch
        self._analyze = analyze
        self._checkpoints = checkpoints or work / CHECKPOINTS
        self._tuned: dict[str, TunedModels | WorkError] = {}
        self._distilled: dict[str, DistilledModel] = {}
        self._calibrated = Path(tempfile.mkdtemp(dir=scratch, prefix="calibrated-"))

    def for_target(self, target: Target) -> Quantizer:
        """``run`` with its first argument fixed."""
        return partial(self.run, target)

    def run(self, target: Target, name: str, recipe: Recipe, dataset: Path | None, images: Images) -> QuantizedModel:
        """Quantize the model ``name`` by ``recipe`` and run it in the simulator on ``images``.

        ``dataset`` is the list of calibration images, None for FP16; ``images`` is N×H×W×3 uint8 RGB.
        Raises WorkError if tuning or the toolkit fails.
        """
        model, job = self._models[name], self._job(target, name, recipe, dataset)
        settings = [target.name, asdict(recipe), job.custom_string, images.shape, self._analyze]
        key = _key(model.simplified.path, settings, dataset, images)
        cache = self._work / "cache"
        if known := load_cached(cache, key, job.output):
            with stage(f"{name}: {recipe.name}") as shown:
                shown.note = f"{target.name}, from an earlier run (kept in {cache})"
            return known
        done = self._quantize(job, name, recipe, images, quantize_in_stage)
        store(cache, key, done)
        return done

    def run_debug(
        self,
        target: Target,
        name: str,
        recipe: Recipe,
        dataset: Path | None,
        images: Images,
        *,
        inner: Sequence[LayerOutput],
    ) -> tuple[QuantizedModel, Path]:
        """The same with the tensors of ``inner`` as further outputs, behind the model's own; and the ONNX model with
        these outputs that was quantized. Not cached."""
        job = self._job(target, name, recipe, dataset)
        job = replace(job, output=job.output.with_name(f"{job.output.stem}-debug.rknn"), analyze=False)
        shown = job.output.with_suffix(".onnx")

        def quantize_with_outputs(title: str, log: Path, job: QuantizeJob) -> QuantizedModel:
            write_with_outputs(job.onnx, inner, shown)  # a distilled recipe quantizes several models, its choice last
            calibrated = job.calibrated and job.calibrated.with_name(f"{job.calibrated.name}-debug")
            done = quantize_in_stage(f"{title}, debug build", log, replace(job, onnx=shown, calibrated=calibrated))
            if calibrated:
                shutil.rmtree(calibrated, ignore_errors=True)  # that of one model only
            return done

        return self._quantize(job, name, recipe, images, quantize_with_outputs), shown

    def run_served(
        self, target: Target, name: str, recipe: Recipe, dataset: Path | None, images: Images, *, serve: Path
    ) -> QuantizedModel:
        """The same, and the simulator then answers any image at the Unix socket ``serve``, until this process ends. Not
        cached."""
        job = replace(self._job(target, name, recipe, dataset), serve=serve, analyze=False)
        return self._quantize(job, name, recipe, images, quantize_in_stage)

    def _job(self, target: Target, name: str, recipe: Recipe, dataset: Path | None) -> QuantizeJob:
        model, role, job_name = self._models[name], role_of(name), f"{name}-{target.name}-{recipe.name}"
        fixed, digest = model.fixed, self._sources.source(role).sha256
        return QuantizeJob(
            onnx=model.simplified.path,
            output=self._scratch / f"{job_name}.rknn",
            target=target.name,
            input=model.input,
            custom_string=contract(role, model.input, digest, fixed.crop, fixed.center),
            dataset=dataset,
            algorithm=recipe.algorithm,
            evaluate=self._scratch / f"{job_name}-images.npy",
            # A detector has several recipes with coarse grids in FP16, and several shapes; analysis would take longer
            # than conversion.
            analyze=self._analyze and dataset is not None and recipe.coarse == 1 and name == role,
            source=model.fixed.name,
        )

    def _quantize(
        self, job: QuantizeJob, name: str, recipe: Recipe, images: Images, quantize: StagedQuantize
    ) -> QuantizedModel:
        """Do ``job`` with ``quantize``, after tuning or distillation if ``recipe`` asks for them."""
        assert job.evaluate is not None
        np.save(job.evaluate, images)
        log = self._work / "logs" / f"{job.output.stem}.log"
        if recipe.distilled and job.dataset is not None:
            titled = partial(quantize, f"{name}: distilled {job.target}", log)
            return self._distill_and_quantize(job, name, job.dataset, titled)
        if recipe.tuned and job.dataset is not None:
            job = self._with_tuning(job, name, recipe, job.dataset)
        return quantize(f"{name}: {recipe.name} {job.target}", log, job)

    def _distill_and_quantize(
        self, job: QuantizeJob, name: str, dataset: Path, quantize: Callable[[QuantizeJob], QuantizedModel]
    ) -> QuantizedModel:
        """Distill the model ``name``, once for all targets, and quantize it as ``job`` says."""
        model = self._models[name]
        jobs = [self._with_tuning(job, name, one, dataset) for one in DISTILLED_FROM]
        if name not in self._distilled:
            tuned = [self._tune(name, one, dataset) for one in DISTILLED_FROM]
            self._distilled[name] = run_distillation(
                DistillJob(
                    starts=tuple(distill_start(*one) for one in zip(jobs, tuned, strict=True)),
                    input=model.input,
                    dataset=dataset,
                    target=self._scratch / f"{name}-distilled.onnx",
                    checkpoints=self._checkpoints,
                    key=_key(model.simplified.path, ["distilled", asdict(model.input)], dataset, NO_IMAGES),
                ),
                name,
                model.fixed.name,
            )
        distilled = self._distilled[name]
        calibrated = self._calibrated / f"{job.target}-{distilled.path.stem}"
        return quantize_distilled(distilled, jobs[distilled.start], calibrated, quantize)

    def _tune(self, name: str, recipe: Recipe, dataset: Path) -> TunedModel:
        """The model ``name``, tuned as ``recipe`` says."""
        if name not in self._tuned:
            try:
                self._tuned[name] = _tune(self._models[name], name, dataset, self._scratch / f"{name}-tuned.onnx")
            except WorkError as error:  # it fails for every other recipe, too
                self._tuned[name] = error
        found = self._tuned[name]
        if isinstance(found, WorkError):
            raise found
        return found.equalized if recipe.equalize else found.corrected

    def _with_tuning(self, job: QuantizeJob, name: str, recipe: Recipe, dataset: Path) -> QuantizeJob:
        """``job`` with the tuned model, the tensors that stay in FP16, and the ranges and biases that follow."""
        graph = self._models[name].graph.proto
        tuned = self._tune(name, recipe, dataset)
        fp16 = tensors_at_ends(graph, recipe.lead, recipe.trail, recipe.coarse)
        factors = tuned.factors.get(recipe.ranges, {})
        return replace(
            job,
            onnx=tuned.path,
            calibrated=self._calibrated / f"{job.target}-{tuned.path.stem}",
            fp16=fp16,
            observed=tuned.observed if recipe.ranges in {"wide", "clip"} else {},
            factors={name: factor for name, factor in factors.items() if name not in fp16},
            ranges=tuned.needed,
            biases={
                one.tensor: (one.after.tolist(), one.before.tolist())
                for name, one in tuned.corrected.items()
                if name in fp16 or not recipe.correct
            },
        )


def quantize_in_stage(name: str, log: Path, job: QuantizeJob) -> QuantizedModel:
    """``quantize`` ``job``, shown as the stage ``name``."""
    images = 0 if job.evaluate is None else len(np.load(job.evaluate, mmap_mode="r"))
    with stage(name) as shown:
        done = quantize(job, log, partial(_show_progress, shown, images))
        shown.note = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in done.seconds.items())
    return done


def _show_progress(shown: Stage, images: int, part: str, number: float) -> None:
    if part == ANSWERED:
        shown.advance(int(number), images)
    else:
        shown.say(f"{part} done")


def _key(model: Path, settings: list[Any], dataset: Path | None, images: Images) -> str:
    calibration = [sha256(path) for path in read_image_list(dataset)] if dataset else []
    versions = [version(name) for name in ("rkface", "rknn-toolkit2", "onnxruntime", "numpy", "torch")]
    code = [sha256(Path(__file__).parent / name) for name in CODE]
    text = json.dumps([sha256(model), settings, calibration, versions, code])
    return cache_key([text, np.ascontiguousarray(images).data.cast("B")])


def _tune(model: PreparedModel, name: str, dataset: Path, target: Path) -> TunedModels:
    with stage(f"{name}: tune for INT8") as shown:
        try:
            done = call_in_subprocess(
                tune,
                model.simplified.path,
                model.input,
                dataset,
                target,
                faces=name == "recognizer",
                crowds=model.fixed.family is not None and model.fixed.family.crowds,
                progress=shown.advance,
            )
        except (OSError, WorkError):
            raise
        except Exception as error:  # a graph that tuning does not know must not stop the recipes that need no tuning
            raise WorkError(f"{model.fixed.name} cannot be tuned: {type(error).__name__}: {error}") from error
        tuned = done.equalized
        shown.note = f"{tuned.equalized} channels equalized, {len(tuned.corrected)} layers corrected"
    return done
