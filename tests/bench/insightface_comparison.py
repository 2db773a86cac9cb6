"""rkface's reference pipeline compared with insightface on this machine: the tables of docs/benchmark.md.

    make bench                          installs insightface into its own environment first
    make bench OPTIONS=--quick          minutes instead of an hour
    make bench OPTIONS='--detector det.onnx --recognizer rec.onnx --photos photos/'

Each side is a process of its own, as a user gets it: insightface with the models at their input size; rkface with the
same models as a bundle has them, the detector in five shapes, of which each picture gets the one that fits it. Both do
detection and recognition, nothing else, with the same images, thresholds and number of threads. Runs of the two sides
alternate, and so does the side that goes first. Own work is the time of a call without its time inside ONNX Runtime. If
the results of a row differ (boxes by more than a pixel of the detector's input and 0.5 % of the face, or embeddings of
the same crop with a cosine below 0.999), the row says so and the exit code is 1. Both sides also look at all photos, at
frames of a 16:9 camera that show them, and at mosaics of these: a table says which faces are lost.

Without models and photos, it uses those of $RKFACE_SHARED or ../shared, or else the demo pack on rendered people.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from comparison_faces import SameFaces, count_same_faces, draw_pictures
from comparison_report import BOUND, to_markdown
from comparison_statistics import (
    Agreement,
    Ratio,
    Times,
    compare_results,
    compare_times,
    lowest_cosine,
    summarize_times,
)
from npu_limit import Limits, predict_limits
from program import add_model_options, create_parser, has_own_models, write_results
from scenes import GRIDS, Material, choose_material, cut_portraits, draw_scene_with

from rkface.convert.detector_shapes import other_sizes
from rkface.convert.simplify import fix_input, simplify
from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import RkfaceError
from rkface.runtime.core.progress import stage
from rkface.runtime.inference.machine import read_clocks, read_machine
from rkface.runtime.vision.align import align
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector

HERE = Path(__file__).resolve().parent
OURS, THEIRS = "comparison_rkface.py", "comparison_insightface.py"
SIZES = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
ROUNDS, QUICK, WARM_UP = 100, 12, 3
INPUT_SIDE = 640  # of the detectors that insightface and rkface take
PAUSE = 0.005  # seconds; the threads of ONNX Runtime stay busy for a while after a run


@dataclass(frozen=True)
class Frame:
    """A ``.npy`` file with an image, and the number of faces put into it."""

    path: Path
    width: int
    height: int
    faces: int


@dataclass(frozen=True)
class Row:
    """Both sides on one frame with one number of threads.

    own_…    without the time inside ONNX Runtime
    align_…  for all faces of the frame
    stages   medians of rkface in milliseconds
    bound    medians of the work that no implementation can leave out, in milliseconds
    """

    width: int
    height: int
    wanted: int
    threads: int
    agreement: Agreement
    ours: Times
    theirs: Times
    faster: Ratio
    own_ours: Times
    own_theirs: Times
    own_less: Ratio
    align_ours: Times | None
    align_theirs: Times | None
    stages: dict[str, float]
    bound: dict[str, float]


class SideProcess:
    """The process of one side (see comparison_worker.py)."""

    def __init__(
        self, python: Path, script: str, models: Sequence[Path], *, threads: int = 1, timer: str = "wall"
    ) -> None:
        """``models``: the recognizer, then the detector in one or several shapes."""
        command = [str(python), str(HERE / script), str(threads), timer, *map(str, models)]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        self._script = script
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | limits,
        )

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The answer to ``command``. Ends the program if the process has ended."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        try:
            self._process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            messages = self._process.stderr.read().strip().splitlines()
            raise SystemExit(f"{self._script} ended: {messages[-1] if messages else 'without a message'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> SideProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> int:
    parser = create_parser(__doc__, "build/bench/peers")
    parser.add_argument(
        "--peer",
        type=Path,
        default=Path("build/peers/bin/python"),
        help="Python of the environment that has insightface (default: %(default)s, which `make bench` creates)",
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rounds instead of {ROUNDS}, and no IResNet-50")
    parser.add_argument("--rounds", type=int, help="runs of each side and frame")
    parser.add_argument(
        "--timer",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: CPU time of all threads, for a machine that other programs use (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=sorted({1, os.cpu_count() or 1}),
        help="numbers of threads of each side (default: 1 and all cores)",
    )
    add_model_options(parser)
    options = parser.parse_args()
    has_own_models(parser, options)
    if not options.peer.is_file():
        parser.error(f"{options.peer} does not exist: run `make bench`, which installs insightface")
    models = choose_material(options.detector, options.recognizer, options.photos)
    rounds = options.rounds or (QUICK if options.quick else ROUNDS)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        with stage("frames and models"):
            frames = prepare_frames(models, Path(name))
            shapes = prepare_shapes(models.detector, Path(name))
        scripts = (
            (Path(sys.executable), OURS, [models.recognizer, *shapes]),
            (options.peer, THEIRS, [models.recognizer, models.detector]),
        )
        rows: list[Row] = []
        found: list[SameFaces] = []
        versions: list[dict[str, str]] = []
        for threads in options.threads:
            with stage(f"{threads} thread{'s' * (threads > 1)}") as progress, ExitStack() as opened:
                sides = [
                    opened.enter_context(SideProcess(*script, threads=threads, timer=options.timer))
                    for script in scripts
                ]
                versions = [side.call("versions")["versions"] for side in sides]
                for done, frame in enumerate(frames):
                    rows.append(measure_frame(sides, frame, threads, rounds))
                    progress.advance(done + 1, len(frames))
        with stage("the same faces"), ExitStack() as opened:
            sides = [opened.enter_context(SideProcess(*script, threads=os.cpu_count() or 1)) for script in scripts]
            found = [
                count_same_faces(kind, look_at_each(sides, pictures, Path(name) / "picture.npy"))
                for kind, pictures in draw_pictures(models)
            ]
        with stage("the NPU's limit"):
            limits = predict_limits(models.detector, models.recognizer, large=not options.quick)
    conditions = {"rounds": rounds, "timer": options.timer, "load": load}
    report = conditions | to_json(models, rows, versions, limits)
    report["same_faces"] = list(map(asdict, found))
    write_results(options.out, to_markdown(report), report)
    return int(any(row.agreement.problem for row in rows))


def prepare_shapes(detector: Path, folder: Path) -> list[Path]:
    """The ONNX model at ``detector`` in each shape that a bundle has, the main one first, written to ``folder``."""
    input = fix_input(detector, "detector").input
    main, paths = (input.width, input.height), []
    for width, height in (main, *other_sizes(main)):
        paths.append(folder / f"detector-{width}x{height}.onnx")
        simplify(fix_input(detector, "detector", (width, height)), paths[-1])
    return paths


def look_at_each(
    sides: Sequence[SideProcess], pictures: Sequence[np.ndarray], path: Path
) -> Iterator[tuple[dict[str, Any], dict[str, Any], float]]:
    """What ``count_same_faces`` compares: the answers of both ``sides`` about each of ``pictures``, which pass through
    the file ``path``."""
    for picture in pictures:
        np.save(path, picture)
        for side in sides:
            side.call("load", image=str(path))
        ours, theirs = (side.call("recognize") for side in sides)
        yield ours, theirs, input_pixel(*picture.shape[:2])


def prepare_frames(models: Material, folder: Path) -> list[Frame]:
    """Write a frame of each size and each number of faces to ``folder``."""
    detector = Detector(*open_detector(models.detector))
    pictures = [portrait.image for portrait in cut_portraits(models.images(), detector)]
    frames = []
    for width, height in SIZES:
        for count in GRIDS:
            path = folder / f"{width}x{height}-{count}.npy"
            np.save(path, draw_scene_with(pictures, detector, count, (width, height)))
            frames.append(Frame(path, width, height, count))
    return frames


def measure_frame(sides: Sequence[SideProcess], frame: Frame, threads: int, rounds: int) -> Row:
    for side in sides:
        side.call("load", image=str(frame.path))
    results = [side.call("recognize") for side in sides]
    landmarks = results[0]["landmarks"]
    same_crops = compare_same_crops(sides, frame.path, landmarks)
    agreement = compare_results(*results, same_crops, input_pixel(frame.height, frame.width))
    for side in sides:
        side.call("time", runs=WARM_UP)
    times: list[list[tuple[float, float]]] = [[], []]
    bounds: list[dict[str, float]] = []
    for number in range(rounds):
        for index in (0, 1) if number % 2 else (1, 0):
            times[index] += sides[index].call("time", runs=1)["times"]
            time.sleep(PAUSE)
        if number % 3 == 0:  # between the runs, because the machine may become slower
            bounds += sides[0].call("bound", runs=1)["bound"]
    total = [[whole for whole, _ in side] for side in times]
    own = [[whole - inference for whole, inference in side] for side in times]
    aligned = [
        summarize_times(side.call("align", landmarks=landmarks, runs=rounds)["times"]) if landmarks else None
        for side in sides
    ]
    stages = sides[0].call("stages", runs=max(rounds // 3, 3))["stages"]
    bound = {name: [one[name] for one in bounds] for name in BOUND}
    return Row(
        frame.width, frame.height, frame.faces, threads, agreement,
        summarize_times(total[0]), summarize_times(total[1]), compare_times(*total),
        summarize_times(own[0]), summarize_times(own[1]), compare_times(*own), *aligned,
        *({name: summarize_times(seconds).median for name, seconds in one.items()} for one in (stages, bound)),
    )  # fmt: skip


def input_pixel(height: int, width: int) -> float:
    """How many pixels of a picture are one pixel of the detector's input, but at least 1."""
    return max(1.0, max(height, width) / INPUT_SIDE)


def compare_same_crops(sides: Sequence[SideProcess], image_path: Path, landmarks: list[Any]) -> float | None:
    """Lowest cosine between the embeddings that the two sides compute for the same crop of each face."""
    if not landmarks:
        return None
    image = np.load(image_path)
    with tempfile.TemporaryDirectory() as folder:  # only its owner can read it: the crops may show real people
        path = Path(folder) / "crops.npy"
        np.save(path, np.stack([align(image, np.asarray(points, np.float32)) for points in landmarks]))
        return lowest_cosine(*(side.call("embed", crops=str(path))["embeddings"] for side in sides))


def to_json(models: Material, rows: list[Row], versions: list[dict[str, str]], limits: Limits) -> dict[str, Any]:
    files = {
        role: {"file": path.name, "sha256": sha256(path)}
        for role, path in (("detector", models.detector), ("recognizer", models.recognizer))
    }
    return {
        "machine": asdict(read_machine()) | {"cores": os.cpu_count(), "clocks": asdict(read_clocks())},
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions,
        "models": files,
        "synthetic": models.synthetic,
        "rows": [asdict(row) | {"problem": row.agreement.problem} for row in rows],
        "limits": asdict(limits),
    }


def read_commit() -> str:
    """The measured commit, with a + if the working tree differs from it; empty outside a repository."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RkfaceError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
