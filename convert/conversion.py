"""The way of the models from ONNX to a bundle, stage by stage: simplify → gather → quantize → prove → deliver."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rkface.runtime.errors import InputError, WorkError
from rkface.runtime.progress import stage

from .acquire import ModelSources
from .bundle_writer import check_replaceable
from .compare_models import (
    QuantizedResults,
    measure_detector_errors,
    measure_parity,
    quantize_models,
    run_reference,
)
from .datasets import Datasets, PhotoOptions, prepare_datasets, render_demo_photos
from .diagnose import diagnose
from .evaluate.parity import BROKEN_MEAN_COSINE, Parity, find_fault
from .liveness_model import add_surroundings, check_photos
from .prepared_model import PreparedModels, build_face_finder, prepare_model
from .recipe import AccuracyBar
from .report.conversion_report import ConversionReport
from .run_recipe import attempts
from .settings import ConversionSettings, OutputBundle
from .toolkit.quantize import require_toolkit
from .write_outputs import write_outputs

SPARE_BYTES = 300_000_000  # scratch space beside what grows with the models: frames, outputs, logs


def convert(
    sources: ModelSources,
    photos: PhotoOptions | None,
    settings: ConversionSettings,
    done: Callable[[ConversionReport, OutputBundle, Path], None],
) -> None:
    """Convert ``sources`` and write the ordered bundles; without ``photos`` (demo pack) on rendered ones.

    All orders share the photos, their faces, FP32's answers and the tuned models; ``done`` hears of each bundle that is
    written. InputError for models or photos that cannot be used, WorkError where the toolkit fails or a result is too
    far from FP32: bundles of earlier orders stay. Whatever happens, an earlier bundle stays whole until the new one is.
    """
    for order in settings.orders:
        check_replaceable(order.out)
        settings.plan.on(order.target)
    if sources.spoofing is not None and photos is not None and settings.quantized:
        check_photos(photos)
    require_toolkit()
    try:
        settings.work.mkdir(parents=True, exist_ok=True, mode=0o700)  # it will hold faces
    except OSError as error:
        raise WorkError(
            f"{settings.work}: cannot be made ({error.strerror}): choose another --out or --work"
        ) from error
    with _alone(settings.work), TemporaryDirectory(dir=settings.work, prefix="models-") as name:
        scratch = Path(name)
        _check_space(settings, sources)
        photos = photos or render_demo_photos(settings.work / "photos")
        models: PreparedModels = {
            role: prepare_model(path, role, scratch, settings.size, sources.spoofing)
            for role, path in sources.paths.items()
        }
        finder = build_face_finder(models, sources)
        material = prepare_datasets(photos, finder, settings.work / "calibration", quantized=settings.quantized)
        if sources.spoofing is not None:
            scale, input = sources.spoofing.scale, models["liveness"].input
            material = add_surroundings(material, input, scale, scratch / "surroundings")
        reference = run_reference(models, finder.detector, material.evaluation)
        for model in models.values():
            model.backend.close()  # ONNX Runtime has answered; the toolkit needs the memory
        attempt = attempts(models, sources, settings.work, scratch, analyze=settings.plan.analyze)
        for order in settings.orders:
            plan = settings.plan.on(order.target)
            trial = quantize_models(
                partial(attempt, order.target),
                models,
                finder.detector,
                material,
                reference,
                target=order.target,
                plan=plan,
                bar=settings.bar,
            )
            parity = measure_parity(material.evaluation, reference, trial, sources.match, sources.spoofing)
            evidence = measure_detector_errors(
                models["detector"], finder.detector, material.evaluation, reference, trial
            )
            report = write_outputs(
                sources, settings, order, models=models, material=material, reference=reference, trial=trial,
                parity=parity, evidence=evidence, fault=_fault(parity, models, material, trial, settings.bar),
            )  # fmt: skip
            done(report, order, settings.work)


def _fault(
    parity: Parity, models: PreparedModels, material: Datasets, trial: QuantizedResults, bar: AccuracyBar
) -> str | None:
    """Why the result should not be used, and what it most likely comes from; None where all is well."""
    found = find_fault(parity, bar)
    if found is None or parity.embedding.mean >= BROKEN_MEAN_COSINE:
        return found
    model, calibration = models["recognizer"], material.calibration
    with stage("look for the cause"):
        cause = diagnose(
            model.simplified.path,
            model.input,
            material.evaluation.crops,
            trial.embeddings,
            calibration.recognizer if calibration else None,
        )
    return f"{found}. Likely cause: {cause}" if cause else found


def _check_space(settings: ConversionSettings, sources: ModelSources) -> None:
    # The simplified model, the tuned one, and what tuning and the toolkit write on their way; for each target the
    # calibrated model, five recipes' .rknn at a quarter of it, once more as they are kept, the bundle's and reference.
    copies = 5 + 5 * len(settings.orders)
    needed = SPARE_BYTES + copies * sum(path.stat().st_size for path in sources.paths.values() if path.is_file())
    work, free = settings.work, shutil.disk_usage(settings.work).free
    if free < needed:
        raise WorkError(
            f"{work}: {free / 1e6:.0f} MB are free and a conversion needs about {needed / 1e6:.0f} MB: free some "
            "space, or put --work and --out elsewhere"
        )


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Two conversions in one folder would quantize each other's models."""
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"{work}: another conversion is running there: wait for it, or give another --work"
            ) from error
        yield
