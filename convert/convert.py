"""The way of the models from ONNX to a bundle, stage by stage: simplify → gather → quantize → prove → deliver."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.bundle import Role, sha256
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import Embedder

from .acquire import Sources
from .attempt import attempts
from .bundle import check_replaceable
from .catalog import Spoofing
from .deliver import deliver
from .diagnose import diagnose
from .material import Finder, Material, Photos, gather, render_photos
from .price import read_graph
from .prove import SICK_MEAN_COSINE, Parity, fault
from .quantize import require_toolkit
from .recipe import PLANS, UNQUANTIZED, Bar, Plan
from .report import Report
from .simplify import fix, simplify
from .spoofing import check_photos, with_surroundings
from .targets import Target
from .trial import Models, Prepared, Trial, inspect, judge, run_reference, run_trial

SPARE_BYTES = 300_000_000  # scratch space beside what grows with the models: frames, outputs, logs


@dataclass(frozen=True)
class Order:
    """One bundle to make: for which chip, and where to."""

    target: Target
    out: Path


@dataclass(frozen=True)
class Settings:
    """``size`` is the detector's (width, height), None for its own. ``work`` keeps logs, the calibration set and, after
    a failure, the report. ``accept`` writes the bundle even where it is too far from FP32."""

    orders: tuple[Order, ...]
    work: Path
    plan: Plan = PLANS["auto"]
    bar: Bar = field(default_factory=Bar)
    size: tuple[int, int] | None = None
    accept: bool = False

    @property
    def quantized(self) -> bool:
        return self.plan != UNQUANTIZED


def convert(
    sources: Sources,
    photos: Photos | None,
    settings: Settings,
    done: Callable[[Report, Order, Path], None],
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
        photos = photos or render_photos(settings.work / "photos")
        models: Models = {
            role: prepare(path, role, scratch, settings.size, sources.spoofing) for role, path in sources.paths.items()
        }
        finder = to_finder(models, sources)
        material = gather(photos, finder, settings.work / "calibration", quantized=settings.quantized)
        if sources.spoofing is not None:
            scale, input = sources.spoofing.scale, models["liveness"].input
            material = with_surroundings(material, input, scale, scratch / "surroundings")
        reference = run_reference(models, finder.detector, material.evaluation)
        for model in models.values():
            model.backend.close()  # ONNX Runtime has answered; the toolkit needs the memory
        attempt = attempts(models, sources, settings.work, scratch, analyze=settings.plan.analyze)
        for order in settings.orders:
            plan = settings.plan.on(order.target)
            trial = run_trial(
                partial(attempt, order.target),
                models,
                finder.detector,
                material,
                reference,
                target=order.target,
                plan=plan,
                bar=settings.bar,
            )
            parity = judge(material.evaluation, reference, trial, sources.match, sources.spoofing)
            evidence = inspect(models["detector"], finder.detector, material.evaluation, reference, trial)
            report = deliver(
                sources, settings, order, models=models, material=material, reference=reference, trial=trial,
                parity=parity, evidence=evidence, fault=_fault(parity, models, material, trial, settings.bar),
            )  # fmt: skip
            done(report, order, settings.work)


def _fault(parity: Parity, models: Models, material: Material, trial: Trial, bar: Bar) -> str | None:
    """Why the result should not be used, and what it most likely comes from; None where all is well."""
    found = fault(parity, bar)
    if found is None or parity.embedding.mean >= SICK_MEAN_COSINE:
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


def prepare(
    path: Path, role: Role, scratch: Path, size: tuple[int, int] | None = None, spoofing: Spoofing | None = None
) -> Prepared:
    """Fix, simplify and load the model at ``path``; ``size`` is a detector's (width, height), None for its own,
    ``spoofing`` how a liveness model is asked."""
    with stage(f"{role}: simplify") as shown:
        fixed = fix(path, role, size if role == "detector" else None, spoofing if role == "liveness" else None)
        simplified = simplify(fixed, scratch / f"{role}.onnx")
        shown.note = f"{path.name}, {simplified.nodes[0]} → {simplified.nodes[1]} nodes"
    return Prepared(fixed, simplified, read_graph(simplified.path), open_reference(simplified.path, simplified.input))


def to_finder(models: Models, sources: Sources) -> Finder:
    detector, recognizer = models["detector"], models["recognizer"]
    return Finder(
        Detector(detector.backend, detector.input, detector.simplified.outputs),
        detector.input,
        Embedder(recognizer.backend, recognizer.input, recognizer.simplified.outputs[0].shape[-1]),
        sha256(sources.paths["detector"]),
    )


def _check_space(settings: Settings, sources: Sources) -> None:
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
