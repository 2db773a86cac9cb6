"""The trained network as an ONNX file in the cache, and where a benchmark finds it."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import nn

from rkface.runtime.core.atomic import replace_atomically
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.paths import cache_folder

from ..models import IRESNET50, IResNet, export_iresnet50, export_recognizer, iresnet, normalized
from .batches import Batches
from .grow import grow
from .training import Training

MODEL = "iresnet50-synthetic.onnx"
_STATISTICS_FROM = 1_000_000_000  # a step that no training reaches: its faces are others
STATISTICS = (12, 16)  # batches, and faces in each


def default_folder() -> Path:
    return cache_folder() / "iresnet50"


def provide_iresnet50(path: Path, seed: int, folder: Path | None = None) -> bool:
    """Write an IResNet-50 of w600k_r50's architecture to ``path``: the trained one in ``folder`` (None is the cache)
    if there is one, else one with random weights from ``seed``. Returns whether it is trained."""
    trained = (folder or default_folder()) / MODEL
    if trained.is_file():
        shutil.copyfile(trained, path)
        return True
    export_iresnet50(path, seed)
    return False


def export_trained(training: Training, batches: Batches, path: Path) -> None:
    """Write the averaged weights of ``training`` to ``path``, at full depth. Raises WorkError if the disk is full."""
    model = full_size(training)
    estimate_statistics(model, batches)
    with replace_atomically(path) as target:
        try:
            export_recognizer(model, target)
        except (OSError, RuntimeError) as error:  # torch turns the system's error into its own
            raise WorkError(f"{path} cannot be written: is the disk full? ({error})") from error


def full_size(training: Training) -> IResNet:
    """The network with the averaged weights; before the last growth, grown to full depth."""
    model = iresnet(training.depths, training.widths)
    model.load_state_dict(training.average)
    return model if training.depths == IRESNET50[0] else grow(model, training.depths, IRESNET50[0], training.widths)


@torch.no_grad()
def estimate_statistics(model: IResNet, batches: Batches) -> None:
    """Measure the statistics of all BatchNormalizations again: those of averaged weights are not averaged ones."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain average over all batches
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    count, size = STATISTICS
    for index in range(count):
        with torch.autocast("cpu", torch.bfloat16):
            model(normalized(batches.batch(_STATISTICS_FROM + index, size)[0]))
