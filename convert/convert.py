"""The way of two models from ONNX to a bundle, stage by stage: simplify → gather → quantise → prove → deliver."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.bundle import ROLES, Role, contract, sha256
from rkface.runtime.detect import Detector
from rkface.runtime.embed import Embedder
from rkface.runtime.errors import InputError, WorkError
from rkface.runtime.progress import stage

from .acquire import Sources
from .bundle import check_replaceable
from .deliver import deliver
from .material import Finder, Photos, gather, render_photos
from .quantize import Job, Quantized, quantize, require_toolkit
from .recipe import PLANS, UNQUANTIZED, Plan, Recipe
from .report import Report
from .simplify import fix, simplify
from .targets import Target
from .trial import Models, Prepared, Toolkit, judge, run_reference, run_trial
from .tune import tune

SPARE_BYTES = 300_000_000  # scratch space beside what grows with the models: frames, outputs, logs


@dataclass(frozen=True)
class Settings:
    """``size`` is the detector's (width, height), None for its own. ``work`` keeps logs, the calibration set and, after
    a failure, the report. ``accept`` writes the bundle even where it is too far from FP32."""

    target: Target
    out: Path
    work: Path
    plan: Plan = PLANS["auto"]
    size: tuple[int, int] | None = None
    accept: bool = False

    @property
    def quantized(self) -> bool:
        return self.plan != UNQUANTIZED


def convert(sources: Sources, photos: Photos | None, settings: Settings) -> Report:
    """Convert ``sources`` and write the bundle at ``settings.out``; without ``photos`` (demo pack) on rendered ones.

    InputError for models or photos that cannot be used, WorkError where the toolkit fails or the result is too far
    from FP32. Whatever happens, an earlier bundle at ``settings.out`` stays whole until the new one is.
    """
    check_replaceable(settings.out)
    require_toolkit()
    try:
        settings.work.mkdir(parents=True, exist_ok=True, mode=0o700)  # it will hold faces
    except OSError as error:
        raise WorkError(
            f"{settings.work}: cannot be made ({error.strerror}): choose another --out or --work"
        ) from error
    with _alone(settings.work):
        _check_space(settings.work, sources)
        photos = photos or render_photos(settings.work / "photos")
        models: Models = {role: prepare(sources.paths[role], role, settings) for role in ROLES}
        finder = to_finder(models, sources)
        material = gather(photos, finder, settings.work / "calibration", quantized=settings.quantized)
        reference = run_reference(models, finder.detector, material.evaluation)
        for model in models.values():
            model.backend.close()  # ONNX Runtime has answered; the toolkit needs the memory
        trial = run_trial(run_toolkit(models, sources, settings), finder.detector, material, reference, settings.plan)
        parity = judge(material.evaluation, reference, trial, sources.match)
        return deliver(
            sources, settings, models=models, material=material, reference=reference, trial=trial, parity=parity
        )


def prepare(path: Path, role: Role, settings: Settings) -> Prepared:
    with stage(f"{role}: simplify") as shown:
        fixed = fix(path, role, settings.size if role == "detector" else None)
        simplified = simplify(fixed, settings.work / f"{role}.onnx")
        shown.note = f"{path.name}, {simplified.nodes[0]} → {simplified.nodes[1]} nodes"
    return Prepared(fixed, simplified, open_reference(simplified.path, simplified.input))


def to_finder(models: Models, sources: Sources) -> Finder:
    detector, recognizer = models["detector"], models["recognizer"]
    return Finder(
        Detector(detector.backend, detector.input, detector.simplified.outputs),
        detector.input,
        Embedder(recognizer.backend, recognizer.input, recognizer.simplified.outputs[0].shape[-1]),
        sha256(sources.paths["detector"]),
    )


def run_toolkit(models: Models, sources: Sources, settings: Settings) -> Toolkit:
    """What ``run_trial`` quantises with: the real toolkit, its files in the work folder."""

    def run(role: Role, recipe: Recipe, dataset: Path | None, images: NDArray[np.uint8]) -> Quantized:
        np.save(asked := settings.work / f"{role}-images.npy", images)
        model = models[role]
        tuned = _tuned(model, role, dataset, settings) if dataset and recipe.tuned else None
        job = Job(
            onnx=tuned or model.simplified.path, output=settings.work / f"{role}-{recipe.name}.rknn",
            target=settings.target.name, input=model.input,
            custom_string=contract(role, model.input, sources.source(role).sha256),
            dataset=dataset, algorithm=recipe.algorithm, evaluate=asked,
        )  # fmt: skip
        with stage(f"{role}: {f'INT8 {recipe.name}' if dataset else 'FP16'}") as shown:
            done = quantize(
                job, settings.work / "logs" / f"{role}-{recipe.name}.log", lambda name, _: shown.say(f"{name} done")
            )
            shown.note = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in done.seconds.items())
        for passing in filter(None, (asked, tuned)):
            passing.unlink()
        return done

    return run


def _tuned(model: Prepared, role: Role, dataset: Path, settings: Settings) -> Path:
    with stage(f"{role}: tune for INT8") as shown:
        tuned = tune(model.simplified.path, model.input, dataset, settings.work / f"{role}-tuned.onnx", shown.advance)
        shown.note = f"{tuned.equalized} channels equalised, {tuned.corrected} layers corrected"
    return tuned.path


def _check_space(work: Path, sources: Sources) -> None:
    # The simplified model, the tuned one, the toolkit's own copies, the .rknn, and the bundle's copies of all.
    needed = SPARE_BYTES + 5 * sum(path.stat().st_size for path in sources.paths.values() if path.is_file())
    free = shutil.disk_usage(work).free
    if free < needed:
        raise WorkError(
            f"{work}: {free / 1e6:.0f} MB are free and a conversion needs about {needed / 1e6:.0f} MB: free some "
            "space, or put --work and --out elsewhere"
        )


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Two conversions in one folder would quantise each other's models."""
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"{work}: another conversion is running there: wait for it, or give another --work"
            ) from error
        yield
