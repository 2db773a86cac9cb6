"""Memory of the service over a simulated day: docs/service.md.

    make bench-run
    python tests/bench/service_day.py --hours 1        one simulated hour, in a few seconds
    python tests/bench/service_day.py --hours 72 --flat   three days, and an error if anything grows

The day: a simulated camera shows a person for 5 s of every minute, alternately a known one and an unknown one. Its
clock runs as fast as frames are processed. Stand-ins replace the models, so that no model is in memory. Everything else
is real: scheduler, watcher, a gallery of 1000 people with 512 numbers each, the appearance log with pictures of unknown
people, and events to a file and, through an outbox, to a webhook in this process that is busy now and then.
The log keeps entries for 20 s of real time and deletes old ones every 2 s, so that
retention has work to do.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray
from program import create_parser, format_table
from stand_ins import DIMENSIONS, make_detector_outputs, make_manifest

from rkface.runtime.cameras.camera import Camera
from rkface.runtime.core.progress import stage
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample, embedding_identity
from rkface.runtime.inference.scheduler import Scheduler
from rkface.runtime.service import housekeeping
from rkface.runtime.service.camera_worker import CameraWorker
from rkface.runtime.service.health import read_resident_bytes
from rkface.runtime.service.receiver_settings import Events, WebhookSettings
from rkface.runtime.service.service import Service
from rkface.runtime.service.settings import DAY, CameraSettings, Keep, Settings
from rkface.runtime.tracking.rules import detect_for_tracking
from rkface.runtime.vision.embed import unit

PEOPLE, WIDTH, HEIGHT = 1000, 640, 360
# Gray level of the picture. It tells the stand-ins who is in it.
NOBODY, KNOWN, UNKNOWN = 0, 90, 160
INTERVALS = [*[0.2] * 25, 1.0, 54.0]  # seconds before each frame of a minute; the last two frames are empty
KEEP_SECONDS, PRUNE_SECONDS = 20.0, 2.0  # of real time: age of entries in the log, and time between two deletions


class StandInDetector:
    """Finds one face in pictures that show a person, and none in the others."""

    name = "stand-in"

    def __init__(self) -> None:
        self.one_face = make_detector_outputs(1, WIDTH, HEIGHT)
        self.no_face = make_detector_outputs(0, WIDTH, HEIGHT)

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return self.no_face if images[0, :32, :32].mean() < KNOWN / 2 else self.one_face

    def close(self) -> None: ...


class StandInRecognizer:
    """Gives bright crops the embedding ``unknown``, and dark ones ``known``."""

    name = "stand-in"

    def __init__(self, known: NDArray[np.float32], unknown: NDArray[np.float32]) -> None:
        self.known, self.unknown = known, unknown

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        bright = images.mean(axis=(1, 2, 3)) > (KNOWN + UNKNOWN) / 2
        return [np.where(bright[:, None], self.unknown, self.known)]

    def close(self) -> None: ...


class Receiver(BaseHTTPRequestHandler):
    """A webhook that is busy at every 500th request."""

    protocol_version = "HTTP/1.1"
    requests = count(1)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(503 if next(self.requests) % 500 == 0 else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


class SimulatedStream:
    """A video stream of ``minutes``. Calls ``on_hour`` with the number of each hour when it begins."""

    format, rate, decoder = "SIM", 5.0, ""

    def __init__(self, minutes: int, on_hour: Callable[[float], None]) -> None:
        noise = np.random.default_rng(0).integers(-32, 32, (HEIGHT, WIDTH, 3), np.int16)
        self.pictures = {gray: (noise + gray).clip(0).astype(np.uint8) for gray in (NOBODY, KNOWN, UNKNOWN)}
        self.on_hour, self.minutes, self.time = on_hour, minutes, time.monotonic()
        self.frames = ((minute, number) for minute in count() for number in range(len(INTERVALS)))

    def grab(self) -> float:
        minute, number = next(self.frames)
        if minute == self.minutes:
            raise EOFError
        if number == 0 and minute % 60 == 0:
            self.on_hour(minute // 60)
        self.time += INTERVALS[number]
        self.gray = NOBODY if number >= len(INTERVALS) - 2 else KNOWN if minute % 2 else UNKNOWN
        return self.time

    def decode(self) -> NDArray[np.uint8]:
        return self.pictures[self.gray]

    def close(self) -> None: ...


def simulate_day(hours: float, folder: Path, cameras: int = 1) -> list[dict[str, float]]:
    """Resources of the process at the beginning of each hour of the first camera, and at the end."""
    random = np.random.default_rng(0)
    people = unit(random.normal(size=(PEOPLE + 1, DIMENSIONS)).astype(np.float32))
    detector, recognizer = StandInDetector(), StandInRecognizer(people[0], people[PEOPLE])
    manifest = make_manifest()
    names = [f"camera{number}" for number in range(cameras)]
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{receiver.server_address[1]}/"
    settings = Settings(
        gallery=folder / "gallery.sqlite",
        camera={name: CameraSettings("simulated") for name in names},
        events=Events(stdout=False, file=folder / "events.jsonl", webhook=WebhookSettings(url)),
        keep=Keep(KEEP_SECONDS / DAY, KEEP_SECONDS / 2 / DAY),
    )
    with Gallery(settings.gallery, embedding_identity(manifest), create=True) as gallery:
        for number in range(PEOPLE):
            gallery.add(f"Person {number}", [Sample(people[number], None, 1.0, "bench")])
    resources: list[dict[str, float]] = []
    wall_start, cpu_start = time.monotonic(), time.process_time()

    def record_resources(hour: float) -> None:
        resources.append(
            {
                "hour": hour,
                "seconds": round(time.monotonic() - wall_start),
                "CPU s": round(time.process_time() - cpu_start, 3),
                "RSS MiB": round(read_resident_bytes() / 2**20, 1),
                "threads": threading.active_count(),
                "open files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
                "log KiB": sum(path.stat().st_size for path in folder.glob("*.appearances*")) // 1024,
                "events KiB": sum(path.stat().st_size for path in folder.glob("events.*")) // 1024,
                "outbox KiB": sum(path.stat().st_size for path in folder.glob("*.events-webhook/*")) // 1024,
            }
        )

    def open_worker(name: str) -> CameraWorker:
        on_hour = record_resources if name == names[0] else lambda hour: None
        stream = SimulatedStream(round(hours * 60), on_hour)
        return CameraWorker(Camera(name, lambda _: stream, name=name, live=False, recording=True))

    workers = {name: open_worker(name) for name in names}
    running = Service(
        settings,
        open_camera_worker=lambda name, _: workers[name],
        open_scheduler=lambda _: Scheduler(
            manifest, lambda role, core: detector if role == "detector" else recognizer, 1, detect_for_tracking
        ),
    )
    with patch.object(housekeeping, "PRUNE_INTERVAL", PRUNE_SECONDS), running:
        running.run()
        record_resources(hours)
        appearances = sum(watcher.state.appearances for watcher in running.watchers.values())
    events = (folder / "events.jsonl").read_bytes() if hours < 24 else b""
    assert appearances == cameras * round(hours * 60), f"{appearances} appearances in {hours * 60:.0f} minutes"
    assert not events or events.count(b'"stage":"start"') == appearances
    return resources


def find_growth(rows: list[dict[str, float]]) -> list[str]:
    """What grew between the first tenth and the end, by more than what one hour can differ from another. The file with
    events grows until it is rotated, so it does not count."""
    early, late = rows[max(1, len(rows) // 10)], rows[-1]
    allowed = {"RSS MiB": 8.0, "threads": 2.0, "open files": 4.0, "log KiB": 4096.0, "outbox KiB": 1024.0}
    return [
        f"{name} grew from {early[name]:g} to {late[name]:g}"
        for name, most in allowed.items()
        if late[name] - early[name] > most
    ]


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="simulated hours (default: %(default)g)")
    parser.add_argument("--flat", action="store_true", help="exit with 1 if memory, threads or files grow")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        if options.hours:
            with stage(f"{options.hours:g} hours"):
                rows = simulate_day(options.hours, Path(name) / "day")
            print("\n".join(format_table(list(rows[0]), [[f"{value:g}" for value in row.values()] for row in rows])))
            growth = find_growth(rows) if options.flat else []
            print("\n".join(growth))
            if growth:
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
