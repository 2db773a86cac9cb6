"""Make the pictures of the README and of the pages beside this file, and the outputs of the notebook in examples/.

Everything in them is rendered: the faces are synthetic, the models are those of the demo pack. `make pictures` runs
this script. It needs the demo bundle (`make convert`) and Chromium.

The film is taken step by step: each step sends one or more pictures to the service, waits, and takes a screenshot. So
the film is smooth on a slow machine too. It is played about twice as fast as it was taken.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import cv2
import nbformat
from nbclient import NotebookClient
from PIL import Image

from rkface.convert.demo.camera import DemoCamera, write_portraits

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/runtime/web"))
from chromium import Page, browser  # noqa: E402

DOCS = ROOT / "docs"
CAMERA = DemoCamera(960, 540, people=3, seed=22)  # of these seeds, people stand apart from each other
KNOWN, STRANGER = ("Ada", "Bela"), "Chike"
FRAMES = 8  # of the film, per second of the rendered scene
SENT = 2  # pictures sent to the service for each of them
PAUSE = 0.08  # seconds after each picture sent: time for detection, recognition and drawing
SLOWER = 0.25  # after the stranger is enrolled: a person who stands still is searched again only after 5 seconds
FIRST, LAST = -3.0, 17.75  # seconds of the rendered scene that the service sees
BEGIN, END = 1.0, 13.0  # and that the film shows: one round, so that it can repeat
WINDOW = (944, 500)  # pixels: the narrowest page with two columns
PAIR = ("person-0003-01.jpg", "person-0003-02.jpg")
LIMIT = 2_000_000  # bytes: all pictures together


def rkface(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "rkface.runtime.cli.main", *map(str, arguments)]


def draw_comparison(bundle: Path) -> None:
    """same.jpg: what `rkface compare --draw` draws."""
    photos = bundle.with_name(f"{bundle.name}.work") / "photos/evaluation"
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "same.png"
        subprocess.run(rkface("compare", "--bundle", bundle, *(photos / name for name in PAIR), "--draw", drawn),
                       check=True)  # fmt: skip
        Image.open(drawn).save(DOCS / "same.jpg", quality=85, optimize=True)


def draw_histograms(bundle: Path) -> None:
    """spread.png: how `rkface calibrate` spreads its choice, drawn by that command."""
    photos = bundle.with_name(f"{bundle.name}.work") / "photos"
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "set"
        subprocess.run(rkface("calibrate", photos, "--out", chosen, "--count", "100", "--bundle", bundle), check=True)
        Image.open(chosen / "spread.png").quantize(32).save(DOCS / "spread.png", optimize=True)


@contextmanager
def service(bundle: Path, folder: Path) -> Iterator[tuple[IO[bytes], str]]:
    """`rkface run` with Ada and Bela enrolled: where JPEG pictures go in, and the address of its console."""
    gallery = folder / "gallery.sqlite"
    write_portraits(CAMERA, folder, 3)
    models = ("--bundle", bundle, "--backend", "reference", "--gallery", gallery)
    for name in KNOWN:
        subprocess.run(rkface("enroll", *models, name, *sorted((folder / name).glob("*.jpg"))), check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = folder / "rkface.toml"
    # People come back after some seconds. A short window makes each time a visit of its own.
    settings.write_text(f"[web]\nport = {port}\n[recognition]\nwindow = 5.0\n[events]\nstdout = false\n")
    command = rkface("run", "--config", settings, *models, "--camera", "door=-")
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield process.stdin, f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(30)


def actions(page: Page) -> dict[float, Callable[[], object]]:
    """What the person at the console does, and at which second of the scene: enroll the stranger."""
    # Not the mouse of `Page`: that scrolls first.
    press = "[...document.querySelectorAll('.card li:has(.unknown) button')].at(-1).click()"
    typing = {9.6 + 0.1 * index: partial(page.write, key) for index, key in enumerate(STRANGER)}
    return {9.3: lambda: page.run(press), **typing, 10.3: lambda: page.press("Enter")}


def film(bundle: Path) -> None:
    """console.webp, and one later moment in a larger window: web.jpg."""
    steps = [index / FRAMES for index in range(round(FIRST * FRAMES), round(LAST * FRAMES))]
    scenes = [[render(moment + part / SENT / FRAMES) for part in range(SENT)] for moment in steps]
    shots, durations = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        service(bundle, Path(folder)) as (pictures, address),
        browser() as page,
    ):
        page.call("Emulation.setScrollbarsHidden", hidden=True)
        page.look(*WINDOW)
        page.open(address)
        todo = sorted(actions(page).items())
        for moment, scene in zip(steps, scenes, strict=True):
            for picture in scene:
                pictures.write(picture)
                pictures.flush()
                time.sleep(PAUSE if todo else SLOWER)
            while todo and todo[0][0] <= moment:
                todo.pop(0)[1]()
            if BEGIN <= moment < END:
                shots.append(shoot(page))
                durations.append(1000 // FRAMES * (2 if page.run("!!document.querySelector('dialog')") else 1))
            elif moment == END:
                page.look(1280, 740)
        shoot(page).save(DOCS / "web.jpg", quality=85, optimize=True)
    durations[-1] = 1500
    shots[0].save(DOCS / "console.webp", save_all=True, append_images=shots[1:], duration=durations, loop=0, quality=60,
                  method=6, minimize_size=True)  # fmt: skip


def render(moment: float) -> bytes:
    """The rendered scene at a moment in seconds, as JPEG."""
    return cv2.imencode(".jpg", CAMERA.render(moment).image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def shoot(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(page.call("Page.captureScreenshot")["data"]))).convert("RGB")


def notebook(bundle: Path) -> None:
    """examples/face_similarity.ipynb, run from its first cell to its last."""
    path = ROOT / "examples/face_similarity.ipynb"
    content = nbformat.read(path, as_version=4)
    os.environ["RKFACE_BUNDLE"] = str(bundle.resolve())
    NotebookClient(content, timeout=300, record_timing=False, coalesce_streams=True).execute(cwd=path.parent)
    content.metadata["language_info"] = {"name": "python"}  # not this machine's version of Python
    nbformat.write(content, path)


MAKERS = {"comparison": draw_comparison, "histograms": draw_histograms, "film": film, "notebook": notebook}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "build/rk3588", help="(default: %(default)s)")
    parser.add_argument("--only", choices=MAKERS, help="make one of them (default: all)")
    options = parser.parse_args()
    for name in [options.only] if options.only else MAKERS:
        MAKERS[name](options.bundle)
    pictures = [path for path in DOCS.iterdir() if path.suffix in {".jpg", ".png", ".svg", ".webp"}]
    total = 0
    for path in sorted([*pictures, *(ROOT / "examples").glob("*.ipynb")]):
        total += path.stat().st_size
        print(f"{path.stat().st_size:>9,} bytes  {path.relative_to(ROOT)}")
    print(f"{total:>9,} bytes together; at most {LIMIT:,} are allowed")
    return 0 if total <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
