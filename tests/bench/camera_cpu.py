"""CPU time of a 1080p camera by stage, and how many cameras two cores carry: docs/camera.md.

    make bench-cameras
    python tests/bench/camera_cpu.py --seconds 4                a quick look
    python tests/bench/camera_cpu.py --live 10                  also count the cameras of a running scheduler

A rendered room with noise and something that moves is encoded as H.264 (by the program ffmpeg, which must be there for
these rows) and as JPEG. The decoding is real. Stand-ins replace the models and answer at once, as an SCRFD that sees so
many faces (tests/bench/stand_ins.py). Each figure is CPU time of the process, in which OpenCV and FFmpeg use one
thread, so other programs change it little. It is per frame that arrives, 15 a second, whether it is searched or not.

  read     finding the JPEG in the stream; decoding H.264, which needs every frame
  decode   decoding the JPEG; converting H.264 to BGR
  check    whether the frame is due, and whether pictures show anything
  detect   letterbox, and reading the detector's outputs
  track    tracking, and choosing and aligning the faces to embed
  console  encoding the picture for a browser
  own      check + detect + track

--every decodes and converts every frame in full size, as rkface did before.

--live plays N cameras in real time, with three simulated NPU cores of 10 ms for each detection, and more and more of
them until frames are lost. It needs a machine with nothing else to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from program import create_parser, format_table
from simulated_cores import Timing, open_scheduler
from stand_ins import DIMENSIONS, SIDE, ConstantBackend, make_detector_outputs, make_manifest
from tracking_cpu import StandInRecognizer

from rkface.runtime.cameras.camera import Camera, is_black
from rkface.runtime.cameras.frame_gate import FrameGate
from rkface.runtime.cameras.picture_check import PictureCheck
from rkface.runtime.cameras.sources import JpegPipe, VideoFile
from rkface.runtime.cameras.stream import ReducingStream, Stream
from rkface.runtime.core.progress import stage
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.service.camera_worker import CameraWorker
from rkface.runtime.service.states import WatchedFrame
from rkface.runtime.tracking.rules import RecognitionRules
from rkface.runtime.tracking.watcher import Watcher
from rkface.runtime.vision.embed import unit
from rkface.runtime.web.live import JpegCache

WIDTH, HEIGHT, RATE = 1920, 1080, 15
CORES = 2  # of the processor, for which cameras are counted
STAGES = ("read", "decode", "check", "detect", "track", "console")
QUALITY = 85  # of JPEG, as webcams use it


def make_pictures(count: int) -> Iterator[NDArray[np.uint8]]:
    """A room of 1920×1080 in which something moves, with the noise of a webcam, and a band of texture."""
    random = np.random.default_rng(0)
    room = cv2.resize(
        random.integers(0, 256, (18, 32, 3)).astype(np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    texture = random.integers(0, 256, (50, WIDTH // 4, 3)).astype(np.uint8)  # the faces of the stand-in are sharp
    room[440:640] = cv2.resize(texture, (WIDTH, 200), interpolation=cv2.INTER_CUBIC)
    noise = [random.normal(0, 4, room.shape).astype(np.int16) for _ in range(4)]
    for number in range(count):
        picture = np.clip(room + noise[number % 4], 0, 255).astype(np.uint8)
        picture[:32, :32] = 0  # the simulated detector of --live reads here how many faces it must find
        cv2.circle(picture, (100 + 8 * number % (WIDTH - 200), HEIGHT // 4), 80, (90, 120, 190), -1)
        yield picture


def write_h264(path: Path, count: int) -> None:
    command = [
        "ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE),
        "-i", "-", "-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-b:v", "4M", "-g", "30",
        "-pix_fmt", "yuv420p", str(path),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin
        for picture in make_pictures(count):
            process.stdin.write(picture.tobytes())
    assert process.returncode == 0, "ffmpeg cannot encode H.264"


def write_jpegs(path: Path, count: int) -> None:
    with path.open("wb") as file:
        for picture in make_pictures(count):
            file.write(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())


def open_jpegs(path: Path) -> Stream:
    return JpegPipe(os.open(path, os.O_RDONLY), lambda: True)


def decode(stream: Stream, least: int) -> NDArray[np.uint8]:
    """The grabbed picture, as ``Camera.read`` decodes it."""
    reduced = stream.decode_reduced(least) if least and isinstance(stream, ReducingStream) else None
    image = reduced.image if reduced else stream.decode()
    assert image is not None
    return image


def measure_stages(
    open_stream: Callable[[], Stream], faces: int, frames: int, *, watched: bool, every: bool
) -> dict[str, float]:
    """CPU milliseconds per frame of the camera in each of ``STAGES``; ``watched``: somebody looks at the console."""
    people = unit(np.random.default_rng(0).normal(size=(1000, DIMENSIONS)).astype(np.float32))
    manifest = make_manifest()
    detector = ConstantBackend(make_detector_outputs(faces, WIDTH, HEIGHT))
    pipeline = Pipeline(manifest, detector, StandInRecognizer(people[0]))
    rules = RecognitionRules.of(manifest.thresholds)
    watcher = Watcher("bench", pipeline, lambda probes, _: [[] for _ in probes], rules)
    gate, check, jpegs, stream = FrameGate(), PictureCheck(), JpegCache(), open_stream()
    gate.side = SIDE
    spent = dict.fromkeys(STAGES, 0)

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time_ns()
        result = work()
        spent[name] += time.process_time_ns() - start
        return result

    for number in range(frames):
        moment = number / RATE
        timed("read", stream.grab)
        if not timed("check", lambda: gate.is_due(moment)):  # noqa: B023
            if every:
                timed("decode", stream.decode)
            continue
        least = 0 if every else gate.least
        image = timed("decode", lambda: decode(stream, least))  # noqa: B023
        frame = Frame(image, number, moment, "bench")
        timed("check", lambda: (is_black(image), check.note(image, moment)))  # noqa: B023
        found = timed("detect", lambda: pipeline.detect(image, rules.doubtful))  # noqa: B023
        timed("track", lambda: watcher.update(frame, found))  # noqa: B023
        gate.set_tracked_faces(watcher.tracked_faces, watcher.new_faces)
        if watched:
            timed("console", lambda: jpegs.jpeg(WatchedFrame(frame, ())))  # noqa: B023
    stream.close()
    return {name: nanoseconds / 1e6 / frames for name, nanoseconds in spent.items()}


def measure_live(path: Path, cameras: int, seconds: float) -> float:
    """The share of the looks of ``cameras`` cameras that took place, of 15 a second each."""
    with open_scheduler(Timing(0.010, 0.005), 3) as scheduler:
        workers = []
        for number in range(cameras):
            name = f"{number}"
            camera = Camera(name, lambda _: VideoFile(path), live=False, loop=True, realtime=True)
            gate = FrameGate()
            gate.set_tracked_faces(1)
            workers.append(CameraWorker(camera, gate))
        threads = [threading.Thread(target=worker.run, args=(scheduler.submit,)) for worker in workers]
        for thread in threads:
            thread.start()
        looks, end = -1, float("inf")
        for _ in scheduler.results():
            end = min(end, time.monotonic() + seconds)  # from the first result on
            looks += 1
            if time.monotonic() >= end:
                break
        for worker in workers:
            worker.close()
    for thread in threads:
        thread.join()
    return looks / (seconds * RATE * cameras)


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the video (default: %(default)g)")
    parser.add_argument("--every", action="store_true", help="decode every frame in full size")
    parser.add_argument("--live", type=float, default=0, metavar="SECONDS", help="also play cameras, each time so long")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"
    frames = round(options.seconds * RATE)
    with tempfile.TemporaryDirectory() as folder:
        sources: dict[str, Callable[[], Stream]] = {}
        with stage("encoding"):
            jpegs, h264 = Path(folder, "camera.mjpg"), Path(folder, "camera.mp4")
            write_jpegs(jpegs, frames)
            sources["MJPEG"] = lambda: open_jpegs(jpegs)
            if shutil.which("ffmpeg"):
                write_h264(h264, frames)
                sources["H.264"] = lambda: VideoFile(h264)
            else:
                print("no program ffmpeg here: no rows of H.264 (apt install ffmpeg)")
        rows = []
        with stage("cameras"):
            for codec, open_stream in sources.items():
                for what, faces, watched in (
                    ("nobody", 0, False),
                    ("nobody, console open", 0, True),
                    ("1 face", 1, False),
                    ("5 faces", 5, False),
                ):
                    spent = measure_stages(open_stream, faces, frames, watched=watched, every=options.every)
                    own = sum(spent[name] for name in ("check", "detect", "track"))
                    total = sum(spent.values())
                    carried = CORES * 1000 / RATE / total
                    rows.append(
                        [
                            codec,
                            what,
                            *(f"{spent[name]:.2f}" for name in STAGES),
                            f"{own:.2f}",
                            f"{total:.2f}",
                            f"{carried:.0f}",
                        ]
                    )
        print(
            "\n".join(
                format_table(["codec", "in the picture", *STAGES, "own", "all", f"cameras on {CORES} cores"], rows)
            )
        )
        if options.live and h264.exists():
            for cameras in range(2, 65, 2):
                share = measure_live(h264, cameras, options.live)
                print(f"{cameras} cameras of H.264, somebody always there: {share:.1%} of the looks")
                if share < 0.97:
                    break
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
