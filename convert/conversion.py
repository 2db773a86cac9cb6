"""The conversion from ONNX to bundles, stage by stage: simplify, prepare the data sets, quantize, compare, write."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rkface.calibration.collect import CandidateFace
from rkface.runtime.core.debug_build import default_folder
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.embed import Embedder

from .acquire import ModelSources
from .bundle_writer import check_replaceable
from .center import check_center, settle_center
from .compare_models import (
    ConversionContext,
    ConversionResult,
    QuantizedResults,
    measure_detector_errors,
    measure_parity,
    run_reference,
)
from .datasets import check_labels, prepare_datasets, render_demo_photos
from .debug_build import check_debug_folder, write_debug_build
from .detector_shapes import OtherShapes, prepare_shapes, quantize_shapes
from .diagnose import diagnose
from .evaluate.grades import BROKEN_MEAN_COSINE, find_fault
from .evaluate.parity import Parity
from .face_finder import PhotoOptions
from .liveness_model import add_surroundings, require_photos
from .measure_preprocessing import settle_recognizer
from .prepared_model import build_embedder, build_face_finder, prepare_model
from .recipe import AccuracyBar
from .recipe_search import chosen_result
from .report.conversion_report import ConversionReport
from .run_recipe import RecipeRunner
from .search_models import quantize_models
from .settings import ConversionSettings, OutputBundle
from .toolkit.cache import NEW
from .toolkit.quantize import TOOLKIT_SCRATCH, require_toolkit
from .write_outputs import write_outputs

SCRATCH = "models-"  # start of the names of temporary folders in the work folder
SPARE_BYTES = 600_000_000  # disk space for what does not grow with the models: frames, outputs, logs

Done = Callable[[ConversionReport, OutputBundle, Path], None]


def convert(sources: ModelSources, photos: PhotoOptions | None, settings: ConversionSettings, done: Done) -> None:
    """Convert ``sources`` and write the bundles of ``settings``. Without ``photos``, rendered photos are used.

    All bundles share the photos, their faces, FP32's results and the tuned models. ``done`` is called with the report,
    the output and the work folder after each bundle is written.

    Raises InputError if models or photos cannot be used, and WorkError if the toolkit fails or a result is too far from
    FP32. Bundles that are already written stay. An existing bundle is replaced only once the new one is complete.
    """
    for output in settings.outputs:
        check_replaceable(output.folder)
        if settings.debug_outputs:
            check_debug_folder(default_folder(output.folder))
        settings.plan.for_target(output.target)
    if sources.liveness is not None and photos is not None and settings.quantized:
        require_photos(photos)
    check_center(settings.center, sources)
    require_toolkit()
    try:
        settings.work.mkdir(parents=True, exist_ok=True, mode=0o700)  # it will contain faces
    except OSError as error:
        raise WorkError(
            f"{settings.work}: the folder cannot be created ({error.strerror}): choose another --out or --work"
        ) from error
    with _locked(settings.work), _scratch_folder(settings.work) as name:
        scratch = Path(name)
        _check_space(settings, sources)
        context = prepare_conversion(sources, photos or render_demo_photos(settings.work / "photos"), settings, scratch)
        shapes = prepare_shapes(context, scratch) if settings.detector_size is None else OtherShapes({})
        runner = RecipeRunner(
            context.models,
            sources,
            settings.work,
            scratch,
            analyze=settings.plan.analyze,
            shapes={name: shape.models["detector"] for name, shape in shapes.contexts.items()},
        )
        for output in settings.outputs:
            quantize = runner.for_target(output.target)
            plan = settings.plan.for_target(output.target)
            quantized = quantize_models(context, quantize, target=output.target, plan=plan, bar=settings.bar)
            parity = measure_parity(context, quantized, settings.bar.max_drop)
            evidence = measure_detector_errors(context, quantized.models["detector"])
            recipe = chosen_result(quantized.tries["detector"]).recipe
            others, notes = quantize_shapes(shapes, quantize, recipe, output.target, parity.detection)
            fault = _find_fault(context, quantized, parity, settings.bar)
            result = ConversionResult(quantized, parity, evidence, fault, others, notes)
            report = write_outputs(context, settings, output, result)
            if settings.debug_outputs:
                write_debug_build(context, runner, output, quantized, report.manifest)
            done(report, output, settings.work)


def prepare_conversion(
    sources: ModelSources, photos: PhotoOptions, settings: ConversionSettings, scratch: Path
) -> ConversionContext:
    """Do everything that all bundles share: prepare the models and the data sets, and run FP32. Models are written to
    ``scratch``, the calibration set to the work folder. Raises the errors of ``convert``."""
    models = {
        role: prepare_model(
            path,
            role,
            scratch,
            settings.detector_size,
            profile=sources.liveness,
            stated=sources.stated,
            crop=sources.crop,
        )
        for role, path in sources.paths.items()
    }
    finder = build_face_finder(models, sources)

    def settle(faces: Sequence[CandidateFace]) -> Embedder:
        recognizer = settle_recognizer(models["recognizer"], faces, known=sources.known)
        models["recognizer"] = settle_center(
            recognizer,
            faces,
            settings.center,
            sources.source("recognizer").sha256,
            needed=sources.center,
            replaced=[output.folder for output in settings.outputs],
        )
        return build_embedder(models["recognizer"])

    folder = settings.work / "calibration"
    datasets = prepare_datasets(photos, finder, folder, quantized=settings.quantized, settle=settle)
    datasets = check_labels(datasets, photos, settings.bar.max_drop)
    if sources.liveness is not None:
        scale, input = sources.liveness.scale, models["liveness"].input
        datasets = add_surroundings(datasets, input, scale, scratch / "surroundings")
    reference = run_reference(models, finder.detector, datasets.evaluation)
    for model in models.values():
        model.backend.close()  # ONNX Runtime is no longer used, and the toolkit needs the memory
    return ConversionContext(sources, models, finder.detector, datasets, reference)


def _find_fault(
    context: ConversionContext, quantized: QuantizedResults, parity: Parity, bar: AccuracyBar
) -> str | None:
    """Why the result should not be used, and the likely cause; None if it is close enough to FP32."""
    fault = find_fault(parity, bar, quantized=context.datasets.calibration is not None)
    if fault is None or parity.embedding.mean >= BROKEN_MEAN_COSINE:
        return fault
    model, calibration = context.models["recognizer"], context.datasets.calibration
    with stage("look for the cause"):
        cause = diagnose(
            model.simplified.path,
            model.input,
            context.datasets.evaluation.images("recognizer"),
            quantized.embeddings,
            calibration.recognizer if calibration else None,
        )
    return f"{fault}. Likely cause: {cause}" if cause else fault


def _check_space(settings: ConversionSettings, sources: ModelSources) -> None:
    # Once: the simplified model, two tuned models, and temporary files of tuning and of the toolkit. For each target:
    # two calibrated models, the .rknn of every recipe at a quarter of the size, the same in the cache, the bundle's
    # .rknn and its reference model. Distillation keeps the state of two runs: weights, the best ones, and two moments;
    # and for each target, one more calibrated model.
    plan, targets = settings.plan, len(settings.outputs)
    recipes = max(len(plan.recipes) + len(plan.others), len(plan.detector))
    copies = 6 + targets * (4 + recipes / 2)
    if any(recipe.distilled for recipe in plan.others):
        copies += 2 * 4 + targets
    needed = SPARE_BYTES + copies * sum(path.stat().st_size for path in sources.paths.values() if path.is_file())
    work, free = settings.work, shutil.disk_usage(settings.work).free
    if free < needed:
        raise WorkError(
            f"{work}: {free / 1e6:.0f} MB are free, but a conversion needs about {needed / 1e6:.0f} MB: free some "
            "space, or choose other folders with --work and --out"
        )


def _scratch_folder(work: Path) -> TemporaryDirectory[str]:
    """A temporary folder in ``work``; those of conversions that were killed are deleted. Call it with the lock held."""
    for left in (*work.glob(f"{SCRATCH}*"), *work.glob(f"logs/{TOOLKIT_SCRATCH}*"), *work.glob(f"cache/{NEW}*")):
        shutil.rmtree(left, ignore_errors=True)
    return TemporaryDirectory(dir=work, prefix=SCRATCH)


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Hold the lock of ``work``: two conversions in one folder would quantize each other's models."""
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"{work}: another conversion is running in this folder: wait for it, or choose another --work"
            ) from error
        yield
