"""Photos a second of a folder: rkface, beside insightface in a loop, and whether the results are the same.

    make bench-bulk                                         also installs insightface into its own environment
    make bench-bulk OPTIONS='--detector … --recognizer … --photos … --count 5000'
    make bench-bulk OPTIONS='--megapixels 12'               with the photos enlarged to the size of a phone's

Each side is used as a user gets it: insightface reads with ``cv2.imread`` and works on one photo after the other, with
its own defaults of ONNX Runtime ("default"), and also without threads that spin ("no spinning"), as rkface has it.
rkface reads in processes of its own, which survive damaged photos, works on a photo for each core, with one thread of
ONNX Runtime for each, and has the detector in the shapes of a bundle. Both look once at each photo, at the same
threshold. Without models and photos, it uses those of $RKFACE_SHARED or ../shared; fewer photos than ``--count`` are
used again and again.

The sides alternate. Wall time needs a machine that does nothing else; CPU time of all processes is beside it. Both are
without loading models. The results are the same if rkface finds all faces that insightface finds, with boxes that
differ by at most a pixel of the detector's input or 0.5 % of the face, and if insightface's embeddings of rkface's
crops have a cosine of 0.999 or more. Otherwise the exit code is 1. Faces that only rkface finds are counted. Own crops:
see docs/benchmark.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
OURS, DEFAULT, NO_SPINNING = SIDES = ("rkface", "insightface, default", "insightface, no spinning")


@dataclass(frozen=True)
class Job:
    """What one side does. ``crops``: a file for rkface's crops, which insightface embeds, too; "" for none."""

    side: str
    detectors: list[str]
    recognizer: str
    threads: int
    photos: list[str]
    crops: str = ""


def run_ours(job: Job) -> dict[str, Any]:
    from comparison_rkface import open_pipeline

    from rkface.runtime.vision.read_ahead import ReadAhead

    detector, *others = map(Path, job.detectors)
    paths = [Path(path) for path in job.photos]
    with open_pipeline(detector, Path(job.recognizer), 1, others) as pipeline:
        with ReadAhead(paths[:1] * job.threads, lambda photo: pipeline.recognize(photo.image)) as reader:
            for path in paths[:1] * job.threads:  # starts the processes
                reader.take(path)
        clock = Clock()
        with ReadAhead(paths, lambda photo: pipeline.recognize(photo.image)) as reader:
            faces = [reader.take(path) for path in paths]
        times = clock.read()
        if job.crops:
            from rkface.runtime.vision.image import read_image

            crops: list[np.ndarray] = []
            for path, found in zip(paths, faces, strict=True):
                image = read_image(path)
                crops += [pipeline.align(image, one) for one in found.landmarks]
            np.save(job.crops, np.stack(crops) if crops else np.zeros((0, 112, 112, 3), np.uint8))
    return times | {"faces": [{"boxes": one.boxes.tolist(), "embeddings": one.embeddings.tolist()} for one in faces]}


def run_theirs(job: Job) -> dict[str, Any]:
    import comparison_insightface
    import onnxruntime

    if job.side == DEFAULT:
        comparison_insightface.session_options = lambda threads: onnxruntime.SessionOptions()
    side = comparison_insightface.open_side([Path(job.detectors[0])], Path(job.recognizer), job.threads)
    side.recognize(cv2.imread(job.photos[0]))
    clock = Clock()
    found = [side.recognize(cv2.imread(path)) for path in job.photos]
    times = clock.read()
    results = [side.read(one) for one in found]
    faces = [{"boxes": one.boxes.tolist(), "embeddings": one.embeddings.tolist()} for one in results]
    same = side.embed(list(np.load(job.crops))).tolist() if job.crops and len(np.load(job.crops)) else []
    return times | {"faces": faces, "same_crops": same}


class Clock:
    """Wall time and the CPU time of this process and its children, also of those that still run."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), self._cpu()

    def read(self) -> dict[str, Any]:
        return {"seconds": time.perf_counter() - self._start[0], "cpu": self._cpu() - self._start[1]}

    @staticmethod
    def _cpu() -> float:
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[1]) == os.getpid():
                ticks += int(fields[11]) + int(fields[12])
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def main() -> int:
    if len(sys.argv) == 1 + 1 and sys.argv[1] == "--side":
        job = Job(**json.load(sys.stdin))
        cv2.setNumThreads(job.threads)
        with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
            os.dup2(2, 1)  # insightface prints to stdout
            json.dump((run_ours if job.side == OURS else run_theirs)(job), out)
        return 0
    from insightface_comparison import input_pixel, prepare_shapes
    from program import add_model_options, create_parser, has_own_models
    from scenes import choose_material

    from rkface.runtime.vision.photo_files import find_images

    parser = create_parser(__doc__, "build/bench/bulk")
    add_model_options(parser)
    parser.add_argument("--peer", required=True, help="the Python that has insightface")
    parser.add_argument("--count", type=int, default=200, help="photos in each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side (%(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each side (%(default)s)")
    parser.add_argument("--megapixels", type=float, metavar="N", help="enlarge the photos to this size first")
    parser.add_argument("--as-it-comes", action="store_true", help="only insightface with its own defaults: faster")
    options = parser.parse_args()
    has_own_models(parser, options)
    material = choose_material(options.detector, options.recognizer, options.photos)
    if material.photos is None:
        parser.error("there are no photos: give --detector, --recognizer and --photos")
    with tempfile.TemporaryDirectory() as name:  # only its owner can read it: crops and photos may show real people
        folder, photos = Path(name), find_images(material.photos)
        if options.megapixels:
            photos = [enlarge(photo, options.megapixels, folder) for photo in photos]
        chosen = list(map(str, islice(cycle(photos), options.count)))
        shapes = [str(path) for path in prepare_shapes(material.detector, folder)]
        results = run_sides(options, Job(OURS, shapes, str(material.recognizer), options.threads, chosen), folder)
        pixels = [input_pixel(*cv2.imread(path).shape[:2]) for path in chosen]
    return report(options.out, results, pixels)


def enlarge(photo: Path, megapixels: float, folder: Path) -> Path:
    """A JPEG in ``folder`` with the picture ``photo`` in a larger size."""
    image = cv2.imread(str(photo))
    scale = (megapixels * 1e6 / (image.shape[0] * image.shape[1])) ** 0.5
    target = folder / f"large-{photo.stem}.jpg"
    cv2.imwrite(str(target), cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))
    return target


def run_sides(options: Any, job: Job, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The answers of each side in each round. The first round also embeds rkface's crops on both sides."""
    sides = SIDES[:2] if options.as_it_comes else SIDES
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(options.rounds):
        first = number % len(sides)
        order = sides[first:] + sides[:first]
        for side in order:
            crops = str(folder / "crops.npy") if number == 0 else ""
            detectors = job.detectors if side == OURS else job.detectors[:1]
            asked = asdict(job) | {"side": side, "crops": crops, "detectors": detectors}
            python = sys.executable if side == OURS else options.peer
            command = [python, __file__, "--side"]
            done = subprocess.run(command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
            results[side].append(json.loads(done.stdout) | {"load": os.getloadavg()[0]})
    return results


def report(out: Path, results: dict[str, list[dict[str, Any]]], pixels: list[float]) -> int:
    from comparison_statistics import compare_results
    from program import format_table, write_results

    ours, theirs = (results[side][0]["faces"] for side in (OURS, DEFAULT))
    same = iter(results[DEFAULT][0]["same_crops"])
    cosines = [float(np.dot(one, next(same))) for photo in ours for one in photo["embeddings"]]
    agreements = [compare_results(a, b, None, pixel) for a, b, pixel in zip(ours, theirs, pixels, strict=True)]
    more = [len(a["boxes"]) - len(b["boxes"]) for a, b in zip(ours, theirs, strict=True)]
    lost = -sum(number for number in more if number < 0)
    apart = sum(
        len(a["boxes"]) == len(b["boxes"]) and not one.within
        for a, b, one in zip(ours, theirs, agreements, strict=True)
    )
    count, rows = len(ours), []
    for side, rounds in results.items():
        rates = [count / one["seconds"] for one in rounds]
        cpu = [1000 * one["cpu"] / count for one in rounds]
        rows.append([side, f"{np.median(rates):.2f}", f"{min(rates):.2f} to {max(rates):.2f}", f"{np.median(cpu):.1f}"])
    best = max(np.median([count / one["seconds"] for one in results[side]]) for side in results if side != OURS)
    ratio = np.median([count / one["seconds"] for one in results[OURS]]) / best
    loads = [one["load"] for rounds in results.values() for one in rounds]
    own = [one.own_crop for one in agreements if one.own_crop is not None]
    table = format_table(["", "photos a second, median", "lowest to highest", "CPU ms of a photo"], rows)
    lines = [
        *table,
        "",
        f"rkface / the faster insightface: {ratio:.2f}. {count} photos, {len(cosines)} faces.",
        f"Faces that only rkface finds: {lost + sum(more)}, that only insightface finds: {lost}. "
        f"Boxes further apart than a pixel of the input: {apart} photos.",
        f"Cosine of the same crop: {min(cosines, default=1):.5f} or more. "
        f"Of each side's own crops: median {np.median(own) if own else 1:.4f}, lowest {min(own, default=1):.4f}.",
        "",
        f"Load: {min(loads):.1f} to {max(loads):.1f}",
    ]
    write_results(out, "\n".join(lines) + "\n", results_without_faces(results))
    return int(lost > 0 or apart > 0 or min(cosines, default=1) < 0.999)


def results_without_faces(results: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Embeddings are biometric data: the file of the results has none."""
    keys = ("seconds", "cpu", "load")
    return {side: [{key: one[key] for key in keys} for one in rounds] for side, rounds in results.items()}


if __name__ == "__main__":
    raise SystemExit(main())
