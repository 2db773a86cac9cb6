"""The service over a day, and how soon it knows somebody: docs/service.md.

    make bench-run        (python tests/bench/run.py --help)

The day: a simulated camera, whose clock runs as fast as frames are looked at, shows somebody for 5 s of every minute,
in turn one who is known and one who is not. Stand-ins answer in place of the models, so that no model is in memory; all
else is the real service: scheduler, watcher, gallery of 1000 × 512, log with pictures of the unknown, events to a file.
How long things are kept, and how often what is too old is looked for, is shortened as time is, so that retention has to
do its work.

The start: `rkface run` as a process, fed with a still of somebody enrolled, until it says who that is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from hot import INPUT, OUTPUTS, answers
from numpy.typing import NDArray

from rkface.runtime.cameras.camera import Camera
from rkface.runtime.core.bundle import Input, Manifest, Model, Output, Source, Thresholds
from rkface.runtime.core.progress import stage
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample, embedding_identity
from rkface.runtime.inference.pipeline import open_bundle
from rkface.runtime.inference.scheduler import Scheduler
from rkface.runtime.service import service
from rkface.runtime.service.camera_worker import CameraWorker
from rkface.runtime.service.health import resident
from rkface.runtime.service.settings import DAY, CameraSettings, Events, Keep, Settings
from rkface.runtime.service.startup import detect_doubtful
from rkface.runtime.vision import embed

PEOPLE, DIMENSIONS, WIDTH, HEIGHT = 1000, 512, 640, 360
NOBODY, KNOWN, STRANGER = 0, 90, 160  # gray level of the picture: who the stand-ins say is there
VISIT = [*[0.2] * 25, 1.0, 54.0]  # seconds after which each frame of a minute comes; the last two are empty
KEPT = 20.0  # seconds of ours that the log keeps


class Detector:
    name = "answers"

    def __init__(self) -> None:
        self.one, self.none = answers(1, WIDTH, HEIGHT), answers(0, WIDTH, HEIGHT)

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return self.none if images[0, :32, :32].mean() < KNOWN / 2 else self.one

    def close(self) -> None: ...


class Recognizer:
    name = "answers"

    def __init__(self, people: NDArray[np.float32], stranger: NDArray[np.float32]) -> None:
        self.people, self.stranger = people, stranger

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        bright = images.mean(axis=(1, 2, 3)) > (KNOWN + STRANGER) / 2
        return [np.where(bright[:, None], self.stranger, self.people[0])]

    def close(self) -> None: ...


class Day:
    """A stream of ``minutes``; ``told`` is called with the hour that begins."""

    format, rate = "SIM", 5.0

    def __init__(self, minutes: int, told) -> None:
        noise = np.random.default_rng(0).integers(-32, 32, (HEIGHT, WIDTH, 3), np.int16)
        self.pictures = {who: (noise + who).clip(0).astype(np.uint8) for who in (NOBODY, KNOWN, STRANGER)}
        self.told, self.minutes, self.time = told, minutes, time.monotonic()
        self.frames = ((minute, place) for minute in count() for place in range(len(VISIT)))

    def read(self) -> tuple[NDArray[np.uint8], float]:
        minute, place = next(self.frames)
        if minute == self.minutes:
            raise EOFError
        if place == 0 and minute % 60 == 0:
            self.told(minute // 60)
        self.time += VISIT[place]
        who = NOBODY if place >= len(VISIT) - 2 else KNOWN if minute % 2 else STRANGER
        return self.pictures[who], self.time

    def close(self) -> None: ...


def day(hours: float, folder: Path, cameras: int = 1) -> list[dict[str, float]]:
    """What the process holds at the beginning of each hour of the first camera, and at the end."""
    random = np.random.default_rng(0)
    people = embed.unit(random.normal(size=(PEOPLE + 1, DIMENSIONS)).astype(np.float32))
    source = Source("none", "0" * 64, 1, "none")
    crop = Input("face", 112, 112, embed.MEAN, embed.STD)
    face = Model("r", "r", "int8", crop, (Output("e", (1, DIMENSIONS)),), source)
    manifest = Manifest(
        name="bench",
        synthetic=True,
        created="2026-01-01T00:00:00Z",
        target="rk3588",
        toolkit="2.5.0",
        rkface="0",
        detector=Model("d", "d", "int8", INPUT, OUTPUTS, source),
        recognizer=face,
        thresholds=Thresholds(0.5, 0.4, 0.4),
    )
    names = [f"day{number}" for number in range(cameras)]
    settings = Settings(
        gallery=folder / "gallery.sqlite",
        camera={name: CameraSettings("simulated") for name in names},
        events=Events(stdout=False, file=folder / "events.jsonl"),
        keep=Keep(KEPT / DAY, KEPT / 2 / DAY),
    )
    with Gallery(settings.gallery, embedding_identity(manifest), create=True) as gallery:
        for number in range(PEOPLE):
            gallery.add(f"Person {number}", [Sample(people[number], None, 1.0, "bench")])
    service.ROUND = 2.0
    recognizer, detector, held = Recognizer(people, people[PEOPLE]), Detector(), []
    begun, used = time.monotonic(), time.process_time()

    def note(hour: float) -> None:
        held.append(
            {
                "hour": hour,
                "seconds": round(time.monotonic() - begun),
                "CPU s": round(time.process_time() - used, 3),
                "RSS MiB": round(resident() / 2**20, 1),
                "threads": threading.active_count(),
                "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
                "log KiB": sum(path.stat().st_size for path in folder.glob("appearances*")) // 1024,
                "events KiB": sum(path.stat().st_size for path in folder.glob("events*")) // 1024,
            }
        )

    def opened(name: str) -> CameraWorker:
        told = note if name == names[0] else lambda hour: None
        day = Day(round(hours * 60), told)
        return CameraWorker(Camera(name, lambda _: day, name=name, live=False), every=True)

    views = {name: opened(name) for name in names}
    running = service.Service(
        settings,
        open_camera_worker=lambda name, _: views[name],
        open_scheduler=lambda _: Scheduler(
            manifest, lambda role, core: detector if role == "detector" else recognizer, 1, detect_doubtful
        ),
    )
    with running:
        running.run()
        note(hours)
        seen = sum(view.watcher.state.appearances for view in views.values() if view.watcher)
    told = (folder / "events.jsonl").read_bytes() if hours < 24 else b""
    assert seen == cameras * round(hours * 60), f"{seen} appearances in {hours * 60:.0f} minutes"
    assert not told or told.count(b'"stage":"start"') == seen
    return held


RUN = (
    "import sys; from rkface.runtime.cli import main, parser, run;"
    "parser.entry_points = lambda group: [type('E', (), {'name': 'run', 'load': lambda: run.run})];"
    "sys.exit(main.main(['run', *sys.argv[1:]]))"
)


def start(bundle: Path, still: Path, folder: Path) -> tuple[float, float]:
    """Seconds from the start of the process until it says who ``still`` shows, and of loading the models in them."""
    gallery = folder / "gallery.sqlite"
    with (
        open_bundle(bundle, "reference") as pipeline,
        Gallery(gallery, embedding_identity(pipeline.manifest), create=True) as known,
    ):
        image = cv2.imread(str(still))
        faces = pipeline.recognize(image)
        known.add("Still", [Sample(faces.embeddings[faces.largest()], None, 1.0, "bench")])
    begun = time.monotonic()
    with open_bundle(bundle, "reference"):
        load = time.monotonic() - begun
    picture = cv2.imencode(".jpg", image)[1].tobytes()
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "--bundle", bundle, "--backend", "reference", "--gallery", gallery,
         "--camera", "-", "--no-web"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def show() -> None:
        try:
            while True:
                process.stdin.write(picture)
                process.stdin.flush()
                time.sleep(1 / 15)
        except OSError:
            pass

    threading.Thread(target=show, daemon=True).start()
    said = json.loads(process.stdout.readline())
    taken = time.monotonic() - begun
    process.kill()
    process.wait()
    assert said["match"]["name"] == "Still"
    return taken, load


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0, help="to simulate (default: %(default)g)")
    parser.add_argument("--bundle", type=Path, help="also time the start, with this bundle …")
    parser.add_argument("--still", type=Path, help="… and a photo of one face")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        if options.hours:
            with stage(f"{options.hours:g} hours"):
                held = day(options.hours, Path(name) / "day")
            print(f"| {' | '.join(held[0])} |")
            print("|---" * len(held[0]) + "|")
            for row in held:
                print("| " + " | ".join(f"{value:g}" for value in row.values()) + " |")
        if options.bundle:
            with stage("starting"):
                taken, load = start(options.bundle, options.still, Path(name))
            print(f"start to the first person recognized: {taken:.2f} s, of which models {load:.2f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
