"""Trains the demo models from scratch on rendered synthetic faces: ``python -m rkface.convert.demo.train``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rkface.runtime.core.progress import Stage, stage

from . import losses, models, samples
from .muon import Muon
from .training_plan import TrainingPlan

HERE = Path(__file__).parent
_MARGIN = 0.35  # CosFace's own choice (arXiv 1801.09414)
# Parts of scenes, in batches of about the same cost: (side, images in a batch). Small parts teach most, but large faces
# do not fit into them.
_WINDOWS = ((192, 6), (96, 22))
_WINDOWED = 0.95  # share of the detector's training on parts of scenes, which is faster; whole scenes follow
_LEARN_SLOPES = 0.85  # share of the training after which the PReLU slopes are also learned


def train_recognizer(plan: TrainingPlan) -> models.IResNet:
    with stage("render faces") as line:
        data = samples.crops(plan.people, plan.shots, plan.seed, plan.workers, line.advance)
        line.note = f"{len(data.images)} of {plan.people} synthetic people"
    torch.manual_seed(plan.seed)
    model = models.iresnet(*models.DEMO_RECOGNIZER)
    loss = losses.MarginLoss(models.EMBEDDING, plan.people)
    batch = 64
    steps = int(len(data.images) * plan.crop_passes / batch)
    optimizer = _optimizer([*model.parameters(), *loss.parameters()])
    with stage("train recognizer") as line:
        for step, chosen in enumerate(_batches(len(data.images), batch, steps, plan.seed)):
            if step == int(steps * _LEARN_SLOPES):
                models.Slope.fixed = False
            images, labels = models.normalized(data.images[chosen]), torch.from_numpy(data.labels[chosen])
            with torch.autocast("cpu", torch.bfloat16):
                embeddings = model.train()(images)
            value = loss(embeddings.float(), labels, _MARGIN * min(1.0, 2.5 * step / steps))
            _learn([optimizer], value, step / steps)
            _tell(line, step, steps, value)
    models.Slope.fixed = True
    return model


def train_detector(plan: TrainingPlan) -> models.DemoDetector:
    with stage("render scenes") as line:
        data = samples.frames(plan.scenes, plan.seed, plan.workers, line.advance)
        line.note = f"{sum(len(frame.boxes) for frame in data)} faces in {plan.scenes} pictures"
    torch.manual_seed(plan.seed)
    model = models.DemoDetector()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = int(len(data) * plan.scene_passes / np.mean([batch for _, batch in _WINDOWS]))
    optimizers = _detector_optimizers(model)
    random = np.random.default_rng(plan.seed)
    orders = [_batches(len(data), batch, steps, plan.seed + index) for index, (_, batch) in enumerate(_WINDOWS)]
    with stage("train detector") as line:
        for step in range(steps):
            kind = step % len(_WINDOWS) if step < _WINDOWED * steps else 0
            frames = [data[index] for index in next(orders[kind])]
            if step < _WINDOWED * steps:
                frames = [samples.window(frame, _WINDOWS[kind][0], random) for frame in frames]
            images, targets = zip(*(samples.augment(frame, random) for frame in frames), strict=True)
            with torch.autocast("cpu", torch.bfloat16):
                outputs = model.train()(models.normalized(np.stack(images), 128.0))
            value = losses.detection_loss(
                outputs,
                *(
                    torch.from_numpy(np.stack([getattr(one, part) for one in targets]))
                    for part in ("positive", "boxes", "points")
                ),
            )
            _learn(optimizers, value, step / steps)
            _tell(line, step, steps, value)
    return model


def _detector_optimizers(model: models.DemoDetector) -> list[torch.optim.Optimizer]:
    """Muon for the inner kernels; AdamW for the first and the last layers, gains and biases."""
    ends = [model.stem[0], model.score, model.box, model.point]
    outside = {id(parameter) for end in ends for parameter in end.parameters()}
    inside = [one for one in model.parameters() if one.ndim == 4 and id(one) not in outside]
    kernels = {id(kernel) for kernel in inside}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in kernels]
    muon = Muon(inside, momentum=0.95, weight_decay=0.05)
    muon.param_groups[0]["peak"] = 0.02
    return [muon, _optimizer(rest)]


def _optimizer(parameters: Iterator[nn.Parameter] | list[nn.Parameter]) -> torch.optim.AdamW:
    chosen = [parameter for parameter in parameters if parameter.requires_grad]
    # Weight decay only on kernels: it keeps their ranges small, and therefore INT8's steps. Not on gains, biases and
    # slopes.
    return torch.optim.AdamW(
        [
            {"params": [one for one in chosen if one.ndim > 1], "weight_decay": 0.03, "peak": 3e-3},
            {"params": [one for one in chosen if one.ndim <= 1], "weight_decay": 0.0, "peak": 3e-3},
        ]
    )


def _learn(optimizers: Sequence[torch.optim.Optimizer], value: torch.Tensor, done: float) -> None:
    """One step with the learning rate at ``done`` (0..1) of the training: linear warm-up over the first 4 %, then half
    a cosine down to almost 0."""
    rate = done / 0.04 if done < 0.04 else 0.5 * (1 + np.cos(np.pi * (done - 0.04) / 0.96)) + 1e-3
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    for group in groups:
        group["lr"] = float(rate * group["peak"])
        for parameter in group["params"]:
            parameter.grad = None
    value.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([parameter for group in groups for parameter in group["params"]], 5.0)
    for optimizer in optimizers:
        optimizer.step()


def _batches(count: int, batch: int, steps: int, seed: int) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """``steps`` batches of indices; every index is used once before any is used again."""
    random = np.random.default_rng([0xBA7C, seed])
    order = random.permutation(count)
    at = 0
    for _ in range(steps):
        if at + batch > count:
            order, at = random.permutation(count), 0
        yield order[at : at + batch]
        at += batch


def _tell(line: Stage, step: int, steps: int, value: torch.Tensor) -> None:
    line.advance(step + 1, steps)
    line.note = f"loss {value.item():.3f} after {step + 1} steps"
    if not sys.stderr.isatty() and step % max(1, steps // 40) == 0:
        print(f"    {step}/{steps}  loss {value.item():.3f}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m rkface.convert.demo.train",
        description="Train the demo detector and recognizer on rendered synthetic faces, export them as ONNX and "
        "measure them on scenes and identities that training never saw. Needs torch; the models that are shipped took "
        "2.3 hours, see figures.json.",
    )
    cores = os.cpu_count() or 1
    options.add_argument("--out", type=Path, default=HERE, help="folder for the two models and figures.json")
    options.add_argument(
        "--only", choices=("detector", "recognizer"), help="train only this model and keep the file of the other"
    )
    options.add_argument("--measure-only", action="store_true", help="do not train, only measure the models in --out")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--people", type=int, default=1600, help="number of people to train the recognizer on")
    options.add_argument("--shots", type=int, default=18, help="crops of each person")
    options.add_argument("--crop-passes", type=float, default=2.6, help="passes over the crops")
    options.add_argument("--scenes", type=int, default=2400, help="number of scenes to train the detector on")
    options.add_argument("--scene-passes", type=float, default=187.0, help="passes over the scenes")
    options.add_argument("--threads", type=int, default=min(2, cores), help="torch threads and rendering processes")
    return options


def main() -> int:
    options = parser().parse_args()
    torch.set_num_threads(options.threads)
    plan = TrainingPlan(
        options.seed,
        options.people,
        options.shots,
        options.crop_passes,
        options.scenes,
        options.scene_passes,
        options.threads,
    )
    start = time.monotonic()
    if not options.measure_only:
        if options.only != "recognizer":
            models.export_detector(train_detector(plan), options.out / "detector.onnx")
        if options.only != "detector":
            models.export_recognizer(train_recognizer(plan), options.out / "recognizer.onnx")
    from .measure import write_figures

    write_figures(options.out, plan, time.monotonic() - start, trained=not options.measure_only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
