"""How near the scheduler comes to what the NPU's cores allow, with cores that sleep instead of computing.

No NPU is involved. A simulated core sleeps for as long as an inference takes: 11.2 ms is published for w600k_r50 on an
RK3588, 12 ms for a detector is an assumption (docs/cores.md); give it what `rkface bench` says of your board. All else
is real: letterbox of 1920×1080, decoding of INT8 outputs of an SCRFD at 640×640 with as many faces as the row says,
suppression, alignment, threads and locks.

The bound is cores / (detector + faces · recognizer): no schedule can do more inferences than the cores have time for.
Beside the scheduler: a sequential pipeline on one core; the same with one context on all cores (--all-cores times as
fast, as was published); a pipeline for each core in a thread of its own. Then a live camera, whose newest frame wins.
Exit code 1 where a row of the first table is below 0.95.
"""

import argparse
import ctypes
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, islice
from operator import itemgetter

import numpy as np

from rkface.runtime.backends import Quantized, Raw
from rkface.runtime.core.bundle import Input, Manifest, Model, Output, Source, Thresholds
from rkface.runtime.core.progress import stage
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.inference.scheduler import Scheduler
from rkface.runtime.vision import detect, embed

SIDE = 640
FACE = 64  # pixels of the detector's input, so 192 of the frame
LANDMARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
GOAL = 0.95
CAMERA = 30  # frames a second
MIXED = (0, 1, 0, 3, 1, 0, 8, 1)  # faces of one frame after another, in the row that is called "mixed"


@dataclass(frozen=True)
class Timing:
    """Seconds that an inference takes."""

    detector: float
    recognizer: float

    def bound(self, cores: int, faces: float) -> float:
        return cores / (self.detector + faces * self.recognizer)


class Core:
    """What contexts on the same core share: one inference at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def run(self, seconds: float) -> None:
        with self.lock:
            time.sleep(seconds)


class SimulatedDetector:
    name = "simulated"

    def __init__(self, core: Core, seconds: float) -> None:
        self._core, self._seconds = core, seconds

    def infer_quantized(self, image: np.ndarray) -> list[Raw]:
        self._core.run(self._seconds)
        # The NPU backend copies what librknnrt shows it, once.
        return [replace(output, values=output.values.copy()) for output in OUTPUTS[int(image[0, 0, 0])]]

    def infer(self, images: np.ndarray) -> list[np.ndarray]:
        raise NotImplementedError

    def close(self) -> None:
        pass


class SimulatedRecognizer:
    name = "simulated"

    def __init__(self, core: Core, seconds: float) -> None:
        self._core, self._seconds = core, seconds

    def infer(self, images: np.ndarray) -> list[np.ndarray]:
        for _ in images:
            self._core.run(self._seconds)
        return [np.ones((len(images), 512), np.float32)]

    def close(self) -> None:
        pass


def outputs(faces: int) -> list[Quantized]:
    """An SCRFD's nine INT8 outputs that speak of ``faces`` faces, each by the 18 anchors next to its center."""
    corners = np.array([[40 + 150 * (face % 4), 40 + 160 * (face // 4)] for face in range(faces)]).reshape(-1, 2)
    found: dict[str, list[np.ndarray]] = {"score": [], "box": [], "landmarks": []}
    for stride in detect.STRIDES:
        cells = SIDE // stride
        grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), axis=-1).reshape(-1, 2)
        centers = np.repeat(grid * stride, detect.ANCHORS, axis=0)
        score = np.random.default_rng(0).uniform(0, 0.3, len(centers))
        box, landmarks = np.zeros((len(centers), 4)), np.zeros((len(centers), 10))
        for corner in corners if stride == 16 else ():
            near = np.abs(centers - corner - FACE / 2).max(axis=1) <= 1.5 * stride
            score[near] = 0.9 - np.abs(centers[near] - corner - FACE / 2).sum(axis=1) / 500
            box[near] = np.hstack([centers[near] - corner, corner + FACE - centers[near]]) / stride
            landmarks[near] = ((corner + LANDMARKS * FACE)[None] - centers[near][:, None]).reshape(-1, 10) / stride
        for kind, values in (("score", score[:, None]), ("box", box), ("landmarks", landmarks)):
            found[kind].append(values)
    grids = {"score": (-128, 1 / 255), "box": (-128, 0.03), "landmarks": (0, 0.03)}
    return [
        Quantized(np.clip(np.round(values / scale) + zero, -128, 127).astype(np.int8), zero, scale)
        for kind, (zero, scale) in grids.items()
        for values in found[kind]
    ]


OUTPUTS = {faces: outputs(faces) for faces in range(9)}


def manifest() -> Manifest:
    source = Source("simulated.onnx", "0" * 64, 0, "none")
    shapes = [output.values.shape for output in OUTPUTS[0]]
    models = {
        "detector": (Input("x", SIDE, SIDE, detect.MEAN, detect.STD), shapes),
        "recognizer": (Input("x", 112, 112, embed.MEAN, embed.STD), [(1, 512)]),
    }
    made = {
        role: Model(f"{role}.rknn", f"{role}.onnx", "int8", input, tuple(Output(str(s), s) for s in shapes), source)
        for role, (input, shapes) in models.items()
    }
    return Manifest(
        name="simulated",
        synthetic=True,
        created="",
        target="rk3588",
        toolkit="",
        rkface="",
        thresholds=Thresholds(0.5, 0.4, 0.4),
        **made,
    )


MANIFEST = manifest()


def context(timing: Timing, role: str, core: Core) -> SimulatedDetector | SimulatedRecognizer:
    if role == "detector":
        return SimulatedDetector(core, timing.detector)
    return SimulatedRecognizer(core, timing.recognizer)


def one_pipeline(timing: Timing) -> Pipeline:
    core = Core()
    return Pipeline(MANIFEST, context(timing, "detector", core), context(timing, "recognizer", core))


def frames(faces: tuple[int, ...]) -> Iterator[Frame]:
    """Noise of 1920×1080, again and again; its first pixels tell the simulated detector how many faces are in it."""
    noise = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    images = {number: noise.copy() for number in set(faces)}
    for number, image in images.items():
        image[:8, :8] = number
    for number in count():
        yield Frame(images[faces[number % len(faces)]], number)


def rate(done: list[float], period: int) -> float:
    """Frames a second, from the times at which each was done, without filling up and running empty.

    Over a multiple of ``period`` frames, after which the numbers of faces come again.
    """
    edge = len(done) // 10 + 1
    frames = (len(done) - 2 * edge - 1) // period * period
    times = sorted(done)[edge : edge + frames + 1]
    return frames / (times[-1] - times[0])


def sequential(timing: Timing, faces: tuple[int, ...], number: int) -> float:
    done = []
    with one_pipeline(timing) as pipeline:
        for frame in islice(frames(faces), number):
            pipeline.recognize(frame.image)
            done.append(time.perf_counter())
    return rate(done, len(faces))


def pool(timing: Timing, cores: int, faces: tuple[int, ...], number: int) -> float:
    """A pipeline a core, each in its thread, which waits for its core and lets it wait for the processor."""
    pipelines = [one_pipeline(timing) for _ in range(cores)]
    source, lock, done = islice(frames(faces), number), threading.Lock(), []

    def serve(pipeline: Pipeline) -> None:
        while True:
            with lock:
                frame = next(source, None)
            if frame is None:
                return
            pipeline.recognize(frame.image)
            done.append(time.perf_counter())

    with ThreadPoolExecutor(cores) as threads:
        list(threads.map(serve, pipelines))
    return rate(done, len(faces))


def open_simulated(timing: Timing, cores: int) -> Scheduler:
    npu = [Core() for _ in range(cores)]
    return Scheduler(MANIFEST, lambda role, core: context(timing, role, npu[core]), cores)


def scheduled(timing: Timing, cores: int, faces: tuple[int, ...], number: int) -> tuple[float, np.ndarray]:
    """Frames a second, and the milliseconds from the start of a frame to its faces."""
    took, done = [], []
    with open_simulated(timing, cores) as scheduler:
        for index, result in enumerate(scheduler.run(islice(frames(faces), number))):
            done.append(time.perf_counter())
            took.append(result.took * 1e3)
            assert result.error is None and result.frame.number == index
            assert len(result.faces) == faces[index % len(faces)]
    return rate(done, len(faces)), np.array(took)


def watched(timing: Timing, cores: int, faces: tuple[int, ...], seconds: float) -> tuple[float, float, np.ndarray]:
    """Of a camera: results a second, the share of frames dropped, milliseconds from capture to the reader."""
    late, done, dropped, number = [], [], 0, int(seconds * CAMERA)
    with open_simulated(timing, cores) as scheduler:

        def film() -> None:
            started = time.monotonic()
            for frame in islice(frames(faces), number):
                due = started + frame.number / CAMERA
                time.sleep(max(0.0, due - time.monotonic()))
                scheduler.submit(replace(frame, time=time.monotonic()))
            scheduler.submit(Frame(np.zeros_like(frame.image), -1, source="end"))

        camera = threading.Thread(target=film)
        camera.start()
        for result in scheduler.results():
            if result.frame.number < 0:
                break
            done.append(time.monotonic())
            late.append((done[-1] - result.frame.time) * 1e3)
            dropped += result.dropped
        camera.join()
    steady = done[5:]  # the first ones come late, while everything is called for the first time
    return (len(steady) - 1) / (steady[-1] - steady[0]), dropped / number, np.percentile(late, (50, 99))


def processor(faces: tuple[int, ...], number: int = 64) -> float:
    """Milliseconds of processor time that a frame costs beside its inferences."""
    with one_pipeline(Timing(0, 0)) as pipeline:
        pictures = list(islice(frames(faces), number + 1))
        pipeline.recognize(pictures[0].image)
        started = time.process_time()
        for frame in pictures[1:]:
            pipeline.recognize(frame.image)
        return (time.process_time() - started) / number * 1e3


def throughput(timing: Timing, options: argparse.Namespace) -> float:
    """Print the table of files; the worst share of the bound. The best of all runs: others can only slow one."""
    print(
        "| cores | faces | bound | sequential | all cores as one | one pipeline a core | scheduler | of the bound "
        "| frame p50 / p99 ms |\n" + "|---" * 9 + "|"
    )
    fast = Timing(timing.detector / options.all_cores, timing.recognizer / options.all_cores)
    runs = range(options.repeat)

    @cache
    def alone(timing: Timing, faces: tuple[int, ...]) -> float:
        number = max(20, int(options.seconds * timing.bound(1, sum(faces) / len(faces))))
        return max(sequential(timing, faces, number) for _ in runs)

    worst = 1.0
    for cores, name, faces in rows(options):
        bound = timing.bound(cores, sum(faces) / len(faces))
        number = max(40, int(options.seconds * bound))
        with stage(f"{cores} cores, {name} faces"):
            slow, joined = alone(timing, faces), alone(fast if cores > 1 else timing, faces)
            apart = max(pool(timing, cores, faces, number) for _ in runs)
            ours, took = max((scheduled(timing, cores, faces, number) for _ in runs), key=itemgetter(0))
        p50, p99 = np.percentile(took, (50, 99))
        worst = min(worst, ours / bound)
        print(
            f"| {cores} | {name} | {bound:.1f} | {slow:.1f} | {joined:.1f} | {apart:.1f} | **{ours:.1f}** | "
            f"{ours / bound:.3f} | {p50:.0f} / {p99:.0f} |",
            flush=True,
        )
    return worst


def latency(timing: Timing, options: argparse.Namespace) -> None:
    """Print the table of a live camera."""
    print(
        f"\n| cores | faces | bound | results a second, of {CAMERA} | dropped | capture to result p50 / p99 ms |\n"
        + "|---" * 6
        + "|"
    )
    for cores, name, faces in rows(options):
        with stage(f"{cores} cores, {name} faces, live"):
            each, dropped, (p50, p99) = watched(timing, cores, faces, options.seconds)
        bound = timing.bound(cores, sum(faces) / len(faces))
        print(f"| {cores} | {name} | {bound:.1f} | {each:.1f} | {dropped:.0%} | {p50:.0f} / {p99:.0f} |", flush=True)


def rows(options: argparse.Namespace) -> Iterator[tuple[int, str, tuple[int, ...]]]:
    for cores in map(int, options.cores.split(",")):
        for name in options.faces.split(","):
            yield cores, name, MIXED if name == "mixed" else (int(name),)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", type=float, default=12.0, metavar="MS", help="(default: %(default)s)")
    parser.add_argument("--recognizer", type=float, default=11.2, metavar="MS", help="(default: %(default)s)")
    parser.add_argument("--cores", default="3,2,1", help="(default: %(default)s)")
    parser.add_argument("--faces", default="0,1,3,8,mixed", help="in a frame (default: %(default)s)")
    parser.add_argument("--all-cores", type=float, default=1.26, metavar="X", help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="measurements, of which the best (default: %(default)s)")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("only Linux lets sleeps end on time")
    ctypes.CDLL(None).prctl(29, 1)  # PR_SET_TIMERSLACK: sleeps end when they should, not 0.05 ms later
    timing = Timing(options.detector / 1e3, options.recognizer / 1e3)
    print(f"Simulated: {options.detector} ms a detection, {options.recognizer} ms an embedding; no NPU.\n")
    for name, faces in {name: faces for _, name, faces in rows(options)}.items():
        print(f"On the processor, {name} faces: {processor(faces):.1f} ms a frame")
    print()
    worst = throughput(timing, options)
    latency(timing, options)
    if worst < GOAL:
        print(f"below {GOAL} of the bound: {worst:.3f}", file=sys.stderr)
    return int(worst < GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
