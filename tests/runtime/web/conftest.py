"""The camera service as it is, over the demo models and rendered people, with its console."""

import threading
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

for needed in ("fastapi", "uvicorn", "argon2", "websockets", "httpx"):
    pytest.importorskip(needed, reason="the console needs rkface[web], its tests httpx")

from rkface.convert.demo import camera as demo_camera  # noqa: E402
from rkface.runtime.backends.reference import open_detector, open_recognizer  # noqa: E402
from rkface.runtime.bundle import Manifest, Model, Output, Source, Thresholds  # noqa: E402
from rkface.runtime.opening import detect_doubtful  # noqa: E402
from rkface.runtime.scheduler import Scheduler  # noqa: E402
from rkface.runtime.service import Service  # noqa: E402
from rkface.runtime.settings import CameraSettings, Events, Recognition, Settings  # noqa: E402
from rkface.runtime.web.serve import serve  # noqa: E402

FOLDER = Path(demo_camera.__file__).parent
RATE = 5.0
PASSWORD = "correct horse battery"


def open_demo(_settings=None):
    """A scheduler over the demo models, without a bundle."""
    detector, seen, outputs = open_detector(FOLDER / "detector.onnx", threads=1)
    recognizer, crop, dimensions = open_recognizer(FOLDER / "recognizer.onnx", threads=1)
    sources = [Source(f"{role}.onnx", "0" * 64, 10, "Apache-2.0") for role in ("detector", "recognizer")]
    manifest = Manifest(
        name="demo", synthetic=True, created="2026-01-01T00:00:00Z", target="rk3588", toolkit="2.5.0", rkface="0.1.0",
        detector=Model("detector.rknn", "", "int8", seen, outputs, sources[0]),
        recognizer=Model("recognizer.rknn", "", "int8", crop, (Output("embedding", (1, dimensions)),), sources[1]),
        thresholds=Thresholds(0.5, 0.4, 0.411),
    )  # fmt: skip
    backends = {"detector": detector, "recognizer": recognizer}
    return Scheduler(manifest, lambda role, core: backends[role], 1, detect_doubtful)


@pytest.fixture(scope="session")
def cast():
    """Two synthetic people, who walk by in turn."""
    return demo_camera.DemoCamera(640, 360, people=2, seed=21)  # both large enough in so small a picture


@pytest.fixture(scope="session")
def pictures(cast, tmp_path_factory):
    """What the rendered camera sees in one round, as a folder of photos."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(int(cast.round * RATE)):
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), cast.render(number / RATE).image)
    return folder


@contextmanager
def running(folder, pictures):
    settings = Settings(
        gallery=folder / "gallery.sqlite", camera={"door": CameraSettings(str(pictures), rate=RATE, loop=True)},
        recognition=Recognition(window=0.5), events=Events(stdout=False),
    )  # fmt: skip
    with Service(settings, open_scheduler=open_demo) as service:
        yield service


@pytest.fixture(scope="session")
def service(tmp_path_factory, pictures):
    with running(tmp_path_factory.mktemp("service"), pictures) as service:
        yield service


@pytest.fixture(scope="session")
def address(service):
    with serve(service, port=0) as address:
        yield address


@pytest.fixture
def client(address):
    """As a page of the console: with the token."""
    with browser_like(address) as client:
        yield client


@contextmanager
def browser_like(address, **options):
    import httpx

    with httpx.Client(base_url=address, timeout=30, trust_env=False, **options) as client:
        client.headers["x-csrf-token"] = client.get("/v1/session").json()["token"]
        yield client


@pytest.fixture(scope="session")
def portraits(cast):
    """Photos of the first of the cast, as JPEG."""
    name = next(iter(cast.cast))
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in cast.portraits(name, 3)]


def eventually(look, what, patience=60.0):
    """What ``look`` finds, once it finds something. The patience is for a busy machine: nothing waits that long."""
    until, pause = time.monotonic() + patience, threading.Event()
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        pause.wait(0.05)
    raise AssertionError(f"never: {what}")


def black(width, height):
    return cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()
