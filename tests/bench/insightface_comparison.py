"""rkface's reference pipeline beside insightface, on this machine, in one run: the tables of docs/benchmark.md.

    make bench        (make bench OPTIONS=--quick; python tests/bench/insightface_comparison.py --help)

Both sides are processes of their own, opened once: the same ONNX files, images, thresholds, detector size and number
of threads, detection and recognition and nothing else. Their runs alternate, and who comes first alternates too. Own
work is a call's time less its time inside ONNX Runtime, which both sides spend alike. A row whose results do not agree
(boxes within 0.5 px, embeddings of one crop at a cosine of 0.999) says so, and the exit code is 1.

Without models and photos of yours or beside the checkout (../shared) it runs the demo pack on rendered people.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from comparison_report import markdown
from comparison_statistics import Agreement, Ratio, Times, agreement, lowest_cosine, ratio, times
from npu_limit import Limits, limits
from scenes import GRIDS, Material, fitting_scene, material, portraits

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
PAUSE = 0.005  # seconds: ONNX Runtime's threads of one side go on spinning for a while after its run


@dataclass(frozen=True)
class Row:
    """One frame at one number of threads. ``own``: without the time inside ONNX Runtime; ``align``: of all its faces;
    ``stages``: medians of ours in milliseconds."""

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


class Side:
    """One side's process, and what it answers."""

    def __init__(self, python: Path, script: str, models: Material, threads: int, timer: str) -> None:
        command = [str(python), str(HERE / script), str(models.detector), str(models.recognizer), str(threads), timer]
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

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout and self._process.stderr
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = self._process.stderr.read().strip().splitlines()
            raise SystemExit(f"{self._script} ended: {said[-1] if said else 'it said nothing'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peer",
        type=Path,
        default=Path("build/peers/bin/python"),
        help="the Python that has insightface (default: %(default)s, which `make bench` creates)",
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rounds instead of {ROUNDS}, and no IResNet-50")
    parser.add_argument("--rounds", type=int, help="runs of each side and frame")
    parser.add_argument(
        "--timer",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: CPU time of all threads, for a machine with others at work (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=sorted({1, os.cpu_count() or 1}),
        help="of each side (default: 1 and all cores)",
    )
    parser.add_argument("--detector", type=Path, help="an SCRFD with a fixed input size")
    parser.add_argument("--recognizer", type=Path)
    parser.add_argument("--photos", type=Path, help="whose faces are put into the frames")
    parser.add_argument("--out", type=Path, default=Path("build/bench/peers"), help="results, .md and .json")
    options = parser.parse_args()
    own = (options.detector, options.recognizer, options.photos)
    if any(own) != all(own):
        parser.error("give --detector, --recognizer and --photos, or none of them")
    if not options.peer.is_file():
        parser.error(f"{options.peer} is not there: `make bench` installs insightface first")
    models = material(*own)
    scripts = (Path(sys.executable), OURS), (options.peer, THEIRS)
    rounds = options.rounds or (QUICK if options.quick else ROUNDS)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        with stage("frames"):
            frames = prepare(models, Path(name))
        rows: list[Row] = []
        versions: list[dict[str, str]] = []
        for threads in options.threads:
            with stage(f"{threads} thread{'s' * (threads > 1)}") as shown, ExitStack() as opened:
                sides = [opened.enter_context(Side(*script, models, threads, options.timer)) for script in scripts]
                versions = [side.ask("versions")["versions"] for side in sides]
                for done, frame in enumerate(frames):
                    rows.append(measure(sides, frame, threads, rounds))
                    shown.advance(done + 1, len(frames))
        with stage("the NPU's limit"):
            bound = limits(models.detector, models.recognizer, large=not options.quick)
    how = {"rounds": rounds, "timer": options.timer, "load": load}
    report = how | to_json(models, rows, versions, bound)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    table = markdown(report)
    options.out.with_suffix(".md").write_text(table)
    print(f"{table}\nwritten: {options.out.with_suffix('.md')}, {options.out.with_suffix('.json')}")
    return int(any(row.agreement.problem for row in rows))


def prepare(models: Material, folder: Path) -> list[tuple[Path, int, int, int]]:
    """The frames on disk: (file, width, height, faces put into it)."""
    detector = Detector(*open_detector(models.detector))
    pictures = [picture for picture, _ in portraits(models.images(), detector)]
    frames = []
    for width, height in SIZES:
        for count in GRIDS:
            path = folder / f"{width}x{height}-{count}.npy"
            np.save(path, fitting_scene(pictures, detector, count, (width, height)))
            frames.append((path, width, height, count))
    return frames


def measure(sides: Sequence[Side], frame: tuple[Path, int, int, int], threads: int, rounds: int) -> Row:
    path, width, height, wanted = frame
    for side in sides:
        side.ask("load", image=str(path))
    answers = [side.ask("answer") for side in sides]
    agreed = agreement(*answers, same_crop(sides, path, answers[0]["landmarks"]))
    for side in sides:
        side.ask("time", runs=WARM_UP)
    taken: list[list[tuple[float, float]]] = [[], []]
    for turn in range(rounds):
        for index in (0, 1) if turn % 2 else (1, 0):
            taken[index] += sides[index].ask("time", runs=1)["times"]
            time.sleep(PAUSE)
    total = [[whole for whole, _ in one] for one in taken]
    own = [[whole - inside for whole, inside in one] for one in taken]
    marks = answers[0]["landmarks"]
    aligned = [times(side.ask("align", landmarks=marks, runs=rounds)["times"]) if marks else None for side in sides]
    stages = sides[0].ask("stages", runs=max(rounds // 3, 3))["stages"]
    return Row(
        width, height, wanted, threads, agreed,
        times(total[0]), times(total[1]), ratio(*total), times(own[0]), times(own[1]), ratio(*own), *aligned,
        {name: times(seconds).median for name, seconds in stages.items()},
    )  # fmt: skip


def same_crop(sides: Sequence[Side], path: Path, landmarks: list[Any]) -> float | None:
    """The lowest cosine between what the two say to one and the same crop of each face."""
    if not landmarks:
        return None
    image = np.load(path)
    with tempfile.TemporaryDirectory() as folder:  # readable by its owner only, as faces have to be
        crops = Path(folder) / "crops.npy"
        np.save(crops, np.stack([align(image, np.asarray(points, np.float32)) for points in landmarks]))
        return lowest_cosine(*(side.ask("embed", crops=str(crops))["embeddings"] for side in sides))


def to_json(models: Material, rows: list[Row], versions: list[dict[str, str]], bound: Limits) -> dict[str, Any]:
    machine = read_machine()
    files = {
        role: {"file": path.name, "sha256": sha256(path)}
        for role, path in (("detector", models.detector), ("recognizer", models.recognizer))
    }
    return {
        "machine": asdict(machine) | {"cores": os.cpu_count(), "clocks": asdict(read_clocks())},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions,
        "models": files,
        "synthetic": models.synthetic,
        "rows": [asdict(row) | {"problem": row.agreement.problem} for row in rows],
        "limits": asdict(bound),
    }


def commit() -> str:
    """The commit that was measured, with a + where the working tree differs; empty outside a repository."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RkfaceError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
