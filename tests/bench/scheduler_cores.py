"""How close the scheduler comes to the limit of the NPU's cores, with cores that sleep instead of computing.

    make bench-cores
    make bench-cores OPTIONS='--detector 16.5 --recognizer 12.1'        with the figures of your board
    python tests/bench/scheduler_cores.py --cores 3 --faces 1 --seconds 1 --repeat 1        one row, in seconds

No NPU is used. A simulated core sleeps for the time of an inference. 11.2 ms is published for w600k_r50 on an RK3588;
12 ms for a detector is an assumption (docs/cores.md). Use what `rkface bench` measures on your board. Everything else
is real: letterbox of 1920×1080, decoding of INT8 outputs of an SCRFD at 640×640, suppression, alignment, threads and
locks.

The bound is cores / (detector + faces · recognizer) frames per second: the cores have no time for more inferences. The
first table compares the scheduler with the bound and with three simpler designs: one pipeline on one core; one pipeline
with one context on all cores, which was reported to be --all-cores times as fast; one pipeline per core, each in its
own thread. The second table shows a live camera, where the newest frame replaces older ones that still wait. The exit
code is 1 if the scheduler is below 0.95 of the bound in a row of the first table.
"""

import argparse
import ctypes
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import islice
from operator import itemgetter

import numpy as np
from program import create_parser, format_table
from simulated_cores import Timing, make_frames, open_pipeline, open_scheduler

from rkface.runtime.core.progress import stage
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.pipeline import Pipeline

GOAL = 0.95  # of the bound
CAMERA = 30  # frames per second of the live camera
MIXED = (0, 1, 0, 3, 1, 0, 8, 1)  # faces in successive frames of the rows named "mixed"


def frame_rate(finished: list[float], period: int) -> float:
    """Frames per second, from the time at which each was finished, in seconds.

    The first and last tenth do not count, because the cores are not all busy there. The rest is cut to a multiple of
    ``period`` frames, after which the numbers of faces repeat.
    """
    edge = len(finished) // 10 + 1
    frames = (len(finished) - 2 * edge - 1) // period * period
    times = sorted(finished)[edge : edge + frames + 1]
    return frames / (times[-1] - times[0])


def run_sequential(timing: Timing, faces: tuple[int, ...], frames: int) -> float:
    """Frames per second of one pipeline on one core."""
    finished = []
    with open_pipeline(timing) as pipeline:
        for frame in islice(make_frames(faces), frames):
            pipeline.recognize(frame.image)
            finished.append(time.perf_counter())
    return frame_rate(finished, len(faces))


def run_pipeline_per_core(timing: Timing, cores: int, faces: tuple[int, ...], frames: int) -> float:
    """Frames per second of one pipeline per core, each in its thread. A core waits while its pipeline uses the CPU."""
    pipelines = [open_pipeline(timing) for _ in range(cores)]
    source, lock, finished = islice(make_frames(faces), frames), threading.Lock(), []

    def work(pipeline: Pipeline) -> None:
        while True:
            with lock:
                frame = next(source, None)
            if frame is None:
                return
            pipeline.recognize(frame.image)
            finished.append(time.perf_counter())

    with ThreadPoolExecutor(cores) as threads:
        list(threads.map(work, pipelines))
    return frame_rate(finished, len(faces))


def run_scheduler(timing: Timing, cores: int, faces: tuple[int, ...], frames: int) -> tuple[float, np.ndarray]:
    """Frames per second, and milliseconds from the start of each frame to its faces."""
    latencies, finished = [], []
    with open_scheduler(timing, cores) as scheduler:
        for index, result in enumerate(scheduler.run(islice(make_frames(faces), frames))):
            finished.append(time.perf_counter())
            latencies.append(result.took * 1e3)
            assert result.error is None and result.frame.number == index
            assert len(result.faces) == faces[index % len(faces)]
    return frame_rate(finished, len(faces)), np.array(latencies)


def run_live_camera(
    timing: Timing, cores: int, faces: tuple[int, ...], seconds: float
) -> tuple[float, float, np.ndarray]:
    """Results per second, the share of dropped frames, and p50 and p99 milliseconds from capture to result."""
    latencies, finished, dropped, frames = [], [], 0, int(seconds * CAMERA)
    with open_scheduler(timing, cores) as scheduler:

        def capture() -> None:
            started = time.monotonic()
            for frame in islice(make_frames(faces), frames):
                due = started + frame.number / CAMERA
                time.sleep(max(0.0, due - time.monotonic()))
                scheduler.submit(replace(frame, time=time.monotonic()))
            scheduler.submit(Frame(np.zeros_like(frame.image), -1, source="end"))

        camera = threading.Thread(target=capture)
        camera.start()
        for result in scheduler.results():
            if result.frame.number < 0:
                break
            finished.append(time.monotonic())
            latencies.append((finished[-1] - result.frame.time) * 1e3)
            dropped += result.dropped
        camera.join()
    steady = finished[5:]  # the first frames are slower: everything runs for the first time
    return (len(steady) - 1) / (steady[-1] - steady[0]), dropped / frames, np.percentile(latencies, (50, 99))


def measure_cpu_time(faces: tuple[int, ...], frames: int = 64) -> float:
    """Milliseconds of CPU time per frame, without inference."""
    with open_pipeline(Timing(0, 0)) as pipeline:
        pictures = list(islice(make_frames(faces), frames + 1))
        pipeline.recognize(pictures[0].image)
        started = time.process_time()
        for frame in pictures[1:]:
            pipeline.recognize(frame.image)
        return (time.process_time() - started) / frames * 1e3


def measure_throughput(timing: Timing, options: argparse.Namespace) -> tuple[list[list[str]], float]:
    """The rows of the first table, and the lowest share of the bound.

    Each figure is the best of ``options.repeat`` measurements: other programs on the machine can only make one slower.
    """
    all_cores = Timing(timing.detector / options.all_cores, timing.recognizer / options.all_cores)
    repeat = range(options.repeat)

    @cache
    def measure_sequential(timing: Timing, faces: tuple[int, ...]) -> float:
        frames = max(20, int(options.seconds * timing.bound(1, sum(faces) / len(faces))))
        return max(run_sequential(timing, faces, frames) for _ in repeat)

    rows, lowest = [], 1.0
    for cores, name, faces in list_cases(options):
        bound = timing.bound(cores, sum(faces) / len(faces))
        frames = max(40, int(options.seconds * bound))
        with stage(f"{cores} cores, {name} faces"):
            one = measure_sequential(timing, faces)
            joined = measure_sequential(all_cores if cores > 1 else timing, faces)
            separate = max(run_pipeline_per_core(timing, cores, faces, frames) for _ in repeat)
            runs = (run_scheduler(timing, cores, faces, frames) for _ in repeat)
            ours, latencies = max(runs, key=itemgetter(0))
        p50, p99 = np.percentile(latencies, (50, 99))
        lowest = min(lowest, ours / bound)
        rates = [f"{bound:.1f}", f"{one:.1f}", f"{joined:.1f}", f"{separate:.1f}", f"**{ours:.1f}**"]
        rows.append([str(cores), name, *rates, f"{ours / bound:.3f}", f"{p50:.0f} / {p99:.0f}"])
    return rows, lowest


def measure_live_camera(timing: Timing, options: argparse.Namespace) -> list[list[str]]:
    """The rows of the second table."""
    rows = []
    for cores, name, faces in list_cases(options):
        with stage(f"{cores} cores, {name} faces, live"):
            results, dropped, (p50, p99) = run_live_camera(timing, cores, faces, options.seconds)
        bound = timing.bound(cores, sum(faces) / len(faces))
        rows.append([str(cores), name, f"{bound:.1f}", f"{results:.1f}", f"{dropped:.0%}", f"{p50:.0f} / {p99:.0f}"])
    return rows


def list_cases(options: argparse.Namespace) -> Iterator[tuple[int, str, tuple[int, ...]]]:
    """Number of cores, name of the row, and faces in successive frames."""
    for cores in map(int, options.cores.split(",")):
        for name in options.faces.split(","):
            yield cores, name, MIXED if name == "mixed" else (int(name),)


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument(
        "--detector", type=float, default=12.0, metavar="MS", help="time of a detection (default: %(default)s)"
    )
    parser.add_argument(
        "--recognizer", type=float, default=11.2, metavar="MS", help="time of an embedding (default: %(default)s)"
    )
    parser.add_argument("--cores", default="3,2,1", help="numbers of cores (default: %(default)s)")
    parser.add_argument("--faces", default="0,1,3,8,mixed", help="faces per frame, 0 to 8 (default: %(default)s)")
    parser.add_argument(
        "--all-cores",
        type=float,
        default=1.26,
        metavar="X",
        help="how many times as fast one context on all cores is as one on a single core (default: %(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=3, help="length of each measurement (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="measurements; the best counts (default: %(default)s)")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("this benchmark needs Linux: other systems end short sleeps too late")
    ctypes.CDLL(None).prctl(29, 1)  # PR_SET_TIMERSLACK: sleeps end on time, not up to 0.05 ms later
    timing = Timing(options.detector / 1e3, options.recognizer / 1e3)
    print(f"Simulated, no NPU: {options.detector} ms per detection, {options.recognizer} ms per embedding.\n")
    for name, faces in {name: faces for _, name, faces in list_cases(options)}.items():
        print(f"CPU time without inference, {name} faces: {measure_cpu_time(faces):.1f} ms per frame")
    rows, lowest = measure_throughput(timing, options)
    headings = ["cores", "faces", "bound", "sequential", "all cores as one", "one pipeline a core", "scheduler"]
    print("\n" + "\n".join(format_table([*headings, "of the bound", "frame p50 / p99 ms"], rows)))
    rows = measure_live_camera(timing, options)
    headings = ["cores", "faces", "bound", f"results per second, of {CAMERA}", "dropped"]
    print("\n" + "\n".join(format_table([*headings, "capture to result p50 / p99 ms"], rows)))
    if lowest < GOAL:
        print(f"the scheduler reached only {lowest:.3f} of the bound; the goal is {GOAL}", file=sys.stderr)
    return int(lowest < GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
