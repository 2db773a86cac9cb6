"""One recipe on one model: tuned where it asks for that, and through the toolkit; or from the cache."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.bundle import Role, contract, sha256
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.progress import Stage, stage

from .acquire import Sources
from .apart import apart
from .cache import keep, key_of, recall
from .hybrid import ends
from .quantize import ANSWERED, Job, Quantized, listed, quantize
from .ranges import score_ranges
from .recipe import Recipe
from .targets import Target
from .trial import Models, Prepared
from .tune import Tuned, tune

# What decides how a model comes out besides its inputs; a change of it makes every kept conversion one of the past.
CODE = ("attempt.py", "clip.py", "equalize.py", "graph.py", "hybrid.py", "observe.py", "quantize.py", "ranges.py",
        "tune.py", "worker.py")  # fmt: skip

Attempt = Callable[[Target, Role, Recipe, Path | None, NDArray[np.uint8]], Quantized]


def attempts(models: Models, sources: Sources, work: Path, scratch: Path, *, analyze: bool) -> Attempt:
    """What ``run_trial`` quantizes with, once it has a target: the real toolkit, its logs and what it made before in
    ``work``, models in ``scratch``. A model is tuned once, whatever the recipes and targets, and calibrated once for a
    target: what a hybrid leaves in FP16 is taken back afterwards. ``analyze`` measures the error of every layer too."""
    tuned: dict[Role, Tuned] = {}
    calibrated = Path(tempfile.mkdtemp(dir=scratch, prefix="calibrated-"))

    def run(target: Target, role: Role, recipe: Recipe, dataset: Path | None, images: NDArray[np.uint8]) -> Quantized:
        model = models[role]
        name = f"{role}-{target.name}-{recipe.name}"
        # What the toolkit is told besides: tensors in FP16, and known ranges.
        graph, tuning = model.graph.proto, recipe.tuned and dataset is not None
        fp16, ranges = (ends(graph, recipe.lead, recipe.trail), score_ranges(graph)) if tuning else ((), {})
        custom_string = contract(role, model.input, sources.source(role).sha256)
        output = scratch / f"{name}.rknn"
        settings = [target.name, asdict(recipe), custom_string, images.shape, analyze]
        key = _key(model.simplified.path, settings, dataset, images)
        if known := recall(work / "cache", key, output):
            with stage(f"{role}: {recipe.name}") as shown:
                shown.note = f"{target.name}, as in an earlier run (kept in {work / 'cache'})"
            return known
        onnx_path = model.simplified.path
        shrinks: dict[str, float] = {}
        biases: dict[str, tuple[list[float], list[float]]] = {}
        if recipe.tuned and dataset:
            if role not in tuned:
                tuned[role] = _tune(model, role, dataset, scratch / f"{role}-tuned.onnx")
            onnx_path = tuned[role].path
            shrinks = {name: factor for name, factor in tuned[role].shrinks.items() if name not in fp16}
            biases = {
                one.tensor: (one.after.tolist(), one.before.tolist())
                for name, one in tuned[role].corrected.items()
                if name in fp16
            }
        np.save(asked := scratch / f"{name}-images.npy", images)
        job = Job(
            onnx=onnx_path, output=output, target=target.name, input=model.input, custom_string=custom_string,
            dataset=dataset, algorithm=recipe.algorithm, evaluate=asked, fp16=fp16,
            ranges=ranges, shrinks=shrinks, biases=biases, analyze=analyze and dataset is not None,
            calibrated=calibrated / f"{role}-{target.name}-{recipe.algorithm}",
        )  # fmt: skip
        with stage(f"{role}: {recipe.name} {target.name}") as shown:
            done = quantize(job, work / "logs" / f"{name}.log", partial(_tell, shown, len(images)))
            shown.note = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in done.seconds.items())
        keep(work / "cache", key, done)
        return done

    return run


def _tell(shown: Stage, images: int, part: str, number: float) -> None:
    if part == ANSWERED:
        shown.advance(int(number), images)
    else:
        shown.say(f"{part} done")


def _key(model: Path, settings: list[Any], dataset: Path | None, images: NDArray[np.uint8]) -> str:
    calibration = [sha256(path) for path in listed(dataset)] if dataset else []
    versions = [version(name) for name in ("rkface", "rknn-toolkit2", "onnxruntime", "numpy")]
    code = [sha256(Path(__file__).with_name(name)) for name in CODE]
    text = json.dumps([sha256(model), settings, calibration, versions, code])
    return key_of([text, np.ascontiguousarray(images).data.cast("B")])


def _tune(model: Prepared, role: Role, dataset: Path, target: Path) -> Tuned:
    with stage(f"{role}: tune for INT8") as shown:
        try:
            done = apart(
                tune,
                model.simplified.path,
                model.input,
                dataset,
                target,
                clip=role == "recognizer",
                progress=shown.advance,
            )
        except (OSError, WorkError):
            raise
        except Exception as error:  # the other recipes do not need it: a graph that it cannot follow stops no one
            raise WorkError(f"{model.fixed.name} cannot be tuned: {type(error).__name__}: {error}") from error
        shown.note = f"{done.equalized} channels equalized, {len(done.corrected)} layers corrected"
    return done
