"""The recipe ``distilled``: distill a tuned model, and use the result only if it is better in the toolkit's
simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.progress import stage
from rkface.runtime.core.subprocess_call import call_in_subprocess
from rkface.runtime.vision.embed import unit

from .toolkit.quantize import QuantizedModel, QuantizeJob
from .tuning.distill.job import DistilledModel, DistillJob, DistillStart
from .tuning.tune import TunedModel


def distill_start(job: QuantizeJob, tuned: TunedModel) -> DistillStart:
    """Where distillation can begin: the model ``tuned``, with the ranges of ``job``."""
    biases = {one.tensor: one.before for one in tuned.corrected.values()}
    return DistillStart(job.onnx, biases, job.factors, job.observed)


def run_distillation(job: DistillJob, name: str, source: str) -> DistilledModel:
    """Run ``job`` in a process of its own, and show its progress. ``source`` is the name of the user's file."""
    with stage(f"{name}: distill") as shown:
        try:
            done = call_in_subprocess(_distill, job, progress=shown.advance)
        except (OSError, WorkError):
            raise
        except Exception as error:  # a graph that this does not know must not stop the other recipes
            raise WorkError(f"{source} cannot be distilled: {type(error).__name__}: {error}") from error
        shown.note = (
            f"on {len(done.held_out)} other faces {1 - done.before:.4f} → {1 - done.after:.4f}, "
            f"after {done.best_step} of {done.steps} updates"
        )
    return done


def _distill(job: DistillJob, progress: Callable[[int, int], None]) -> DistilledModel:
    from .tuning.distill.distill import distill  # imports torch, which this process does not need

    return distill(job, progress)


def quantize_distilled(
    distilled: DistilledModel,
    begun: QuantizeJob,
    calibrated: Path,
    quantize: Callable[[QuantizeJob], QuantizedModel],
) -> QuantizedModel:
    """Quantize ``distilled`` with ``quantize``, or else the tuned model that it began with, which is the job ``begun``.

    Both run in the simulator on the faces that were held out from learning, and the one with the higher mean cosine is
    used. ``calibrated`` is the folder for the calibration of the distilled model.
    """
    assert begun.evaluate is not None
    images, held_out = np.load(begun.evaluate), distilled.held_out
    folder = begun.evaluate.parent
    np.save(others := folder / "held-out.npy", held_out)
    np.save(both := folder / "distilled.npy", np.concatenate([images, held_out]))
    before = quantize(replace(begun, evaluate=others, analyze=False))
    after = quantize(
        replace(begun, onnx=distilled.path, calibrated=calibrated, factors={}, exact=distilled.ranges, evaluate=both)
    )
    judged = after.outputs[0][len(images) :]
    if _mean_cosine(distilled.expected, judged) > _mean_cosine(distilled.expected, before.outputs[0]):
        return replace(after, outputs=tuple(one[: len(images)] for one in after.outputs))
    note = "distillation did not help: this is the tuned model that it began with"
    done = quantize(begun)
    return replace(done, warnings=(*done.warnings, note))


def _mean_cosine(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    return float((unit(expected) * unit(found.reshape(len(found), -1))).sum(axis=1).mean())
