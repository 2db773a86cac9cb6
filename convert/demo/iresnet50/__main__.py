"""``python -m rkface.convert.demo.iresnet50``: train, export and judge the IResNet-50."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from rkface.runtime.cli.error_report import report_error
from rkface.runtime.core.atomic import remove_leftovers, write_atomically
from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import InputError

from ...packs.pack import DEMO
from ...toolkit.cache import cache_key
from ...tuning.distill.checkpoint import Checkpoint
from ..measure import RECOGNIZER
from .batches import Batches
from .export import MODEL, default_folder, export_trained
from .judge import judge, rendered_faces
from .photos import PhotoCrops, read_photo_faces
from .teachers import Teachers, open_embedder
from .training import PHASES, Interruption, Training, train

FIGURES = "figures.json"
VERSION = 1  # of the code that chooses faces and changes weights: a checkpoint of another one is not continued
PEOPLE = 60  # rendered, to judge: 240 faces, 28,320 pairs of two people

DESCRIPTION = """Train an IResNet-50 of exactly w600k_r50's architecture, export it as ONNX and judge it.

Its purpose is a network of full size whose activations are those of a trained network, for tests and benchmarks of
INT8. It is synthetic: it learns rendered faces from the demo recognizer, and the faces of your photos, if you give any,
from a recognizer that was trained on photos. It does not replace a recognizer.

The training goes on for days if you let it. It is saved every few minutes, and the same command goes on where it
stopped: after Ctrl-C, a full disk or a power cut. The same seed gives the same weights on the same machine, however
often it was interrupted.

    make trained-iresnet                                              one hour, rendered faces only
    make trained-iresnet OPTIONS='--hours 8'                          eight hours more
    make trained-iresnet OPTIONS='--photos photos/ --pairs pairs.csv --detector det.onnx --teacher rec.onnx'
    make trained-iresnet OPTIONS='--hours 0'                          only export and judge what is there
"""


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m rkface.convert.demo.iresnet50",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--hours", type=float, default=1.0, help="how long to train now (default: %(default)s)")
    options.add_argument(
        "--save-minutes", type=float, default=3.0, help="between two checkpoints (default: %(default)s)"
    )
    options.add_argument(
        "--cache", type=Path, default=default_folder(), help="folder for model and checkpoints (default: %(default)s)"
    )
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    options.add_argument("--photos", type=Path, metavar="FOLDER", help="photos of faces to learn from, too")
    options.add_argument("--pairs", type=Path, metavar="CSV", help="labeled pairs of these photos: only to judge")
    options.add_argument("--detector", type=Path, metavar="ONNX", help="finds the faces in the photos")
    options.add_argument("--teacher", type=Path, metavar="ONNX", help="recognizer for 112×112 pixels to learn from")
    return options


def main() -> int:
    options = parser().parse_args()
    try:
        return run(options)
    except (Exception, KeyboardInterrupt) as error:
        code = report_error(error, verbose=False)
        if code is None:
            raise
        return code


def run(options: argparse.Namespace) -> int:
    given = (options.photos, options.detector, options.teacher)
    if any(given) != all(given) or (options.pairs and not options.photos):
        raise InputError("--photos, --detector and --teacher belong together, and --pairs to them")
    torch.set_num_threads(options.threads)
    options.cache.mkdir(parents=True, exist_ok=True, mode=0o700)  # checkpoints contain nothing of the photos
    remove_leftovers(options.cache)
    photos = read_photo_faces(options.photos, options.detector, options.pairs) if options.photos else None
    batches = Batches(options.seed, photos.training if photos else None)
    teachers = Teachers(open_embedder(DEMO / RECOGNIZER), open_embedder(options.teacher) if options.teacher else None)
    training = Training(options.seed, teachers, batches)
    checkpoint = open_checkpoint(options, photos)
    if state := checkpoint.load():
        training.restore(state)
    print(f"{checkpoint.path}: {training.total} steps are done", file=sys.stderr)
    with Interruption() as interruption:
        train(training, checkpoint, options.hours * 3600, options.save_minutes * 60, interruption)
    if interruption.wanted:
        print("interrupted: the same command goes on here", file=sys.stderr)
        return 130
    export_trained(training, batches, options.cache / MODEL)
    write_figures(options, training, photos)
    return 0


def open_checkpoint(options: argparse.Namespace, photos: PhotoCrops | None) -> Checkpoint:
    """The checkpoint for these inputs: others would have led to other weights."""
    parts = [str(VERSION), str(options.seed), str(PHASES[:-1]), sha256(DEMO / RECOGNIZER)]
    if photos:
        parts += [sha256(options.teacher), cache_key([photos.training.tobytes()])]
    key = cache_key(parts)
    return Checkpoint(options.cache / f"training-{key[:12]}.pt", key)


def write_figures(options: argparse.Namespace, training: Training, photos: PhotoCrops | None) -> None:
    model = options.cache / MODEL
    judged = {"rendered people": (rendered_faces(PEOPLE), DEMO / RECOGNIZER)}
    if photos and photos.labeled:
        judged["photos"] = (photos.labeled, options.teacher)
    figures = {
        "about": "Synthetic: trained on rendered faces, and on photo_faces faces of photos. Judged on people that "
        "training never saw.",
        "sha256": sha256(model),
        "seed": options.seed,
        "steps": training.total,
        "faces_seen": training.faces,
        "cpu_hours": round(training.seconds / 3600, 2),
        "photo_faces": len(photos.training) if photos else 0,
        "loss_of_the_last_100_steps": round(float(np.mean(training.losses[-100:] or [0.0])), 4),
        "pairs": {
            name: {"student": asdict(judge(model, faces)), "teacher": asdict(judge(teacher, faces))}
            for name, (faces, teacher) in judged.items()
        },
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "numpy", "onnx", "onnxruntime")},
    }
    text = json.dumps(figures, indent=2)
    write_atomically(options.cache / FIGURES, f"{text}\n".encode())
    print(f"{text}\nwritten: {model}")


if __name__ == "__main__":
    sys.exit(main())
