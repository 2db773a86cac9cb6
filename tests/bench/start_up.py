"""How long commands take to start, and the service from its start to the first recognized person.

    make bench-start
    make bench-start OPTIONS='--runs 3 --no-service'

Commands: the time and the CPU time of a process, median of interleaved runs, beside an empty Python.

Service: `rkface run` with the reference backend, the demo detector and an IResNet-50 of the size of w600k_r50 (174 MB
of random weights: right for time, useless for other faces), a gallery of one person, and a camera that shows that
person; without the console, and with it. All files are in the disk cache, and the recognizer was made ready before
(--not-ready: there is no place for ready models). The stages overlap in part, so they do not add up. Their CPU time is
that of the thread that runs them.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from program import create_parser, format_table

from rkface.convert.demo import unconverted
from rkface.convert.demo.camera import DemoCamera
from rkface.runtime.core.bundle import SUMS, files
from rkface.runtime.core.manifest import Input, Manifest, Model, Output, RecognizerSpec, Source, Thresholds
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample, embedding_identity
from rkface.runtime.inference.open_bundle import open_bundle
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    **{
        f"rkface {words}": ["-m", "rkface.runtime.cli.main", *words.split()]
        for words in ("--help", "--version", "version", "config check", "gallery --help", "completion bash")
    },
}
# `rkface run` that notes on stderr when each stage began and ended.
RUN = """
import sys, time
def note(module, name):
    call = getattr(module, name)
    def timed(*arguments, **options):
        start, cpu = time.monotonic(), time.thread_time()
        try:
            return call(*arguments, **options)
        finally:
            sys.stderr.write(f"STAGE {name} {start} {time.monotonic()} {time.thread_time() - cpu}\\n")
    setattr(module, name, timed)
def import_service():
    global open_bundle, service, startup
    from rkface.runtime.inference import open_bundle
    from rkface.runtime.service import service, startup
def read_in_background(folder):
    reading = begin(folder)
    import_service()  # what `rkface run` does next
    note(open_bundle, "open_model")
    note(startup, "import_backend")
    note(service.Service, "_watch_cameras")  # imports and opens what the first frames do not need
    return reading
from rkface.runtime.cli import main, run
from rkface.runtime.core import bundle
begin, run._read_in_background = run._read_in_background, read_in_background
note(bundle, "read_bundle")
note(sys.modules["__main__"], "import_service")
sys.exit(main.main(["run", *sys.argv[1:]]))
"""
PICTURES_PER_SECOND = 30


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--runs", type=int, default=11, help="of each command and the service (default: %(default)d)")
    parser.add_argument("--no-service", action="store_true", help="measure only the commands")
    parser.add_argument("--model", type=Path, metavar="ONNX", help="recognizer (default: an IResNet-50, made first)")
    parser.add_argument("--not-ready", action="store_true", help="make no model ready for ONNX Runtime")
    options = parser.parse_args()
    print("\n".join(format_table(["command", "seconds", "CPU s"], measure_commands(options.runs))), flush=True)
    if not options.no_service:
        with tempfile.TemporaryDirectory() as name:
            os.environ["RKFACE_CACHE"] = "/proc/none" if options.not_ready else f"{name}/cache"
            rows = measure_service(options.model, Path(name), options.runs)
        print("\n" + "\n".join(format_table(["service", "begins at", "takes", "ends at", "CPU s"], rows)))
    return 0


def measure_commands(runs: int) -> list[list[str]]:
    """For each command, the median of its time and of its CPU time."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, words in COMMANDS.items():
            start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *words], capture_output=True, check=False)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            spent[name].append((time.monotonic() - start, cpu))
    return [[name, *(f"{statistics.median(column):.3f}" for column in zip(*rows, strict=True))]
            for name, rows in spent.items()]  # fmt: skip


def measure_service(model: Path | None, folder: Path, runs: int) -> list[list[str]]:
    """For each stage, when it begins and ends after the start of the process, its duration, and the CPU time of its
    thread: medians in seconds."""
    if model is None:
        from rkface.convert.demo.models import export_iresnet50

        export_iresnet50(model := folder / "r50.onnx", 1)
    bundle, gallery = make_bundle(folder / "bundle", model), folder / "gallery.sqlite"
    image = DemoCamera(640, 480, people=1).render(3.0).image
    with (
        open_bundle(bundle, "reference") as pipeline,
        Gallery(gallery, embedding_identity(pipeline.manifest), create=True) as people,
    ):
        faces = pipeline.recognize(image)
        people.add("Ada", [Sample(faces.embeddings[faces.largest()], None, 1.0, "bench")])
    stages: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(runs):
        for web in (["--no-web"], ["--web-port", "0"]):
            for name, times in start_service(bundle, gallery, image, web).items():
                stages.setdefault(f"{name}, with the console" if "0" in web else name, []).append(times)
    rows = []
    for name, times in stages.items():
        start, end, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        rows.append([name, f"{start:.2f}", f"{end - start:.2f}", f"{end:.2f}", f"{cpu:.3f}"])
    return rows


def start_service(
    bundle: Path, gallery: Path, image: np.ndarray, web: Sequence[str]
) -> dict[str, tuple[float, float, float]]:
    """Start the service, and stop it at its first event. Stage → when it began and ended, in seconds from the start,
    and its CPU time. ``web``: options about the console."""
    picture = cv2.imencode(".jpg", image)[1].tobytes()
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "--bundle", bundle, "--backend", "reference", "--gallery", gallery,
         "--camera", "-", "--quiet", *web], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    threading.Thread(target=send_pictures, args=(process, picture), daemon=True).start()
    event = json.loads(process.stdout.readline())
    recognized = time.monotonic() - started
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # of all threads
    process.kill()
    lines = [line.split() for line in process.stderr.read().decode().splitlines() if line.startswith("STAGE ")]
    process.wait()
    assert event["match"]["name"] == "Ada"
    stages, models = {}, 0
    for _, name, *times in lines:
        models += name == "open_model"
        label = f"{name} {models}" if name == "open_model" else name
        begun, ended, spent = map(float, times)
        stages[label] = (begun - started, ended - started, spent)
    return stages | {"first recognized person": (0.0, recognized, cpu)}


def send_pictures(process: subprocess.Popen[bytes], picture: bytes) -> None:
    with suppress(OSError):
        while True:
            process.stdin.write(picture)
            process.stdin.flush()
            time.sleep(1 / PICTURES_PER_SECOND)


def make_bundle(folder: Path, recognizer: Path) -> Path:
    """The demo detector and ``recognizer`` in a bundle, with files of a real size in place of the .rknn files."""
    (folder / "reference").mkdir(parents=True)
    _, input, outputs = open_detector(unconverted.FOLDER / "detector.onnx")
    face = open_recognizer(recognizer)
    sources: Sequence[tuple[str, Path, Input, tuple[Output, ...]]] = (
        ("detector", unconverted.FOLDER / "detector.onnx", input, tuple(outputs)),
        ("recognizer", recognizer, face.input, (Output("embedding", (1, face.dimensions)),)),
    )
    models = []
    for role, path, size, given in sources:
        content = path.read_bytes()
        (folder / f"reference/{role}.onnx").write_bytes(content)
        (folder / f"{role}.rknn").write_bytes(content[: len(content) // 4])  # INT8
        source = Source(path.name, "0" * 64, len(content), "none")
        models.append(Model(f"{role}.rknn", f"reference/{role}.onnx", "int8", size, given, source))
    manifest = Manifest(
        "start", True, "2026-01-01T00:00:00Z", "rk3588", "2.5.0", "0.1.0", models[0],
        RecognizerSpec(**vars(models[1]), crop=face.crop), Thresholds(0.5, 0.4, 0.4),
    )  # fmt: skip
    (folder / "manifest.json").write_text(manifest.to_json())
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in files(folder)]
    (folder / SUMS).write_text("\n".join(sums) + "\n")
    return folder


if __name__ == "__main__":
    raise SystemExit(main())
