"""The real camera service with the demo models, rendered people and its console."""

import os
import threading
import time
from contextlib import contextmanager
from functools import partial
from hashlib import sha1
from pathlib import Path

import cv2
import numpy as np
import pytest

for needed in ("fastapi", "uvicorn", "argon2", "websockets", "httpx"):
    pytest.importorskip(needed, reason="the console needs rkface[web], its tests httpx")

from rkface.convert.demo import camera as demo_camera
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.manifest import Manifest, Model, Output, RecognizerSpec, Source, Thresholds
from rkface.runtime.inference.open_bundle import open_model
from rkface.runtime.inference.scheduler import Scheduler
from rkface.runtime.service.receiver_settings import Events
from rkface.runtime.service.service import Service
from rkface.runtime.service.settings import CameraSettings, Keep, Recognition, Settings
from rkface.runtime.service.settings import Liveness as LivenessSettings
from rkface.runtime.tracking.rules import detect_for_tracking
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
from rkface.runtime.web.accounts import Accounts
from rkface.runtime.web.places import Workload
from rkface.runtime.web.serve import serve

FOLDER = Path(demo_camera.__file__).parent
RATE = 5.0
PASSWORD = "correct horse battery"


class RepeatedPictures:
    """A backend that computes the answer to the same picture once: the recording of the camera is repeated, and its
    inferences would take a part of a core as long as it runs."""

    def __init__(self, backend):
        self.name, self._backend, self._answers = backend.name, backend, {}

    def infer(self, images):
        return self._infer_once(self._backend.infer, images)

    def infer_bgr(self, images):
        return self._infer_once(self._backend.infer_bgr, images)

    def infer_picture(self, picture):
        return self._infer_once(self._backend.infer_picture, picture)

    def _infer_once(self, infer, images):
        key = infer.__name__, images.shape, sha1(np.ascontiguousarray(images)).digest()
        if key not in self._answers:
            self._answers[key] = infer(images)
        return [one.copy() for one in self._answers[key]]

    def close(self):
        self._backend.close()


def open_demo(_settings=None, liveness=None):
    """A scheduler of the demo models, without a bundle. ``liveness`` is a bundle with a liveness model."""
    detector, seen, outputs = open_detector(FOLDER / "detector.onnx", threads=1)
    recognizer = open_recognizer(FOLDER / "recognizer.onnx", threads=1)
    sources = [Source(f"{role}.onnx", "0" * 64, 10, "Apache-2.0") for role in ("detector", "recognizer")]
    manifest = Manifest(
        name="demo",
        synthetic=True,
        created="2026-01-01T00:00:00Z",
        target="rk3588",
        toolkit="2.5.0",
        rkface="0.1.0",
        detector=Model("detector.rknn", "", "int8", seen, outputs, sources[0]),
        recognizer=RecognizerSpec(
            "recognizer.rknn",
            "",
            "int8",
            recognizer.input,
            (Output("embedding", (1, recognizer.dimensions)),),
            sources[1],
            recognizer.crop,
        ),
        thresholds=Thresholds(0.5, 0.4, 0.411),
        liveness=liveness and liveness.manifest.liveness,
    )
    backends = {"detector": detector, "recognizer": recognizer.backend}
    if liveness:
        backends["liveness"] = open_model(liveness, "liveness", "reference", threads=1)
    repeated = {role: RepeatedPictures(backend) for role, backend in backends.items()}
    return Scheduler(manifest, lambda role, core: repeated[role], 1, detect_for_tracking, liveness=liveness is not None)


@pytest.fixture(scope="session")
def cast():
    """A rendered camera with two synthetic people who walk by one after the other."""
    return demo_camera.DemoCamera(
        640, 360, people=2, seed=21
    )  # with this seed, both faces are large enough in this small picture


@pytest.fixture(scope="session")
def pictures(cast, make_once):
    """What the rendered camera sees in one round, as a folder of photos."""

    def render(folder):
        for number in range(int(cast.round * RATE)):
            cv2.imwrite(str(folder / f"{number:03d}.jpg"), cast.render(number / RATE).image)

    return make_once("pictures", render)


@contextmanager
def running(folder, pictures, opening=open_demo, rate=RATE, **settings):
    settings = Settings(
        gallery=folder / "gallery.sqlite",
        camera={"door": CameraSettings(str(pictures), rate=rate, hold=0.0, loop=True)},
        recognition=Recognition(window=0.5),
        **{"events": Events(stdout=False)} | settings,
    )
    with Service(settings, open_scheduler=opening) as service:
        yield service


@pytest.fixture(scope="module")
def photo_held_up(tmp_path_factory):
    """Pictures of a camera: the first person walks by, then a photo of her in a black frame is held up."""
    folder, alone = tmp_path_factory.mktemp("held-up"), demo_camera.DemoCamera(640, 360, people=1, seed=21)
    moments = [0.0] * 5 + [*np.arange(0, 5.5, 1 / RATE)]  # one second without anybody
    for number, moment in enumerate((*moments, *moments)):
        scene = alone.render(moment)
        image = cv2.add(scene.image, (60, 60, 60, 0))  # the test's liveness model takes a bright surrounding as live
        for x1, y1, x2, y2 in scene.boxes.astype(int) if number >= len(moments) else ():
            wide, high = x2 - x1, y2 - y1
            photo = (slice(max(0, y1 - high // 8), y2 + high // 8), slice(max(0, x1 - wide // 8), x2 + wide // 8))
            framed = np.zeros_like(image)
            framed[photo] = image[photo]
            held = (slice(max(0, y1 - high), y2 + high), slice(max(0, x1 - wide), x2 + wide))
            image[held] = framed[held]
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), image)
    return folder


@pytest.fixture(scope="module")
def service_with_liveness(live_bundle, photo_held_up, tmp_path_factory):
    """A service that checks liveness, with this camera."""
    opening = partial(open_demo, liveness=read_bundle(live_bundle))
    folder = tmp_path_factory.mktemp("liveness")
    events = Events(stdout=False, file=folder / "events.jsonl")
    with running(folder, photo_held_up, opening, liveness=LivenessSettings(True), events=events) as service:
        yield service


@pytest.fixture(scope="package")  # the camera takes time that the tests of other folders need
def service(request, tmp_path_factory, pictures):
    assert isinstance(request.node, pytest.Package), "without __init__.py in this folder, the camera never ends"
    keep = Keep(
        known_faces=1.0
    )  # the service deletes what it may not keep at any moment: tests that store one need this
    with running(tmp_path_factory.mktemp("service"), pictures, keep=keep) as service:
        yield service


@pytest.fixture(scope="package")
def address(service, tmp_path_factory):
    with (
        Accounts(tmp_path_factory.mktemp("accounts") / "accounts") as accounts,
        serve(service, port=0, accounts=accounts) as address,
    ):
        yield address


@pytest.fixture
def client(address):
    """An HTTP client that sends the token, as a page of the console does."""
    with browser_like(address) as client:
        yield client


@contextmanager
def browser_like(address, **options):
    import httpx

    options.setdefault("verify", address.startswith("https:"))  # reading the trusted authorities takes 17 ms
    with httpx.Client(base_url=address, timeout=30, trust_env=False, **options) as client:
        client.headers["x-csrf-token"] = client.get("/v1/session").json()["token"]
        yield client


@pytest.fixture
def workloads(monkeypatch):
    """The Workload of each console that is served in this test."""
    made = []
    monkeypatch.setattr("rkface.runtime.web.server.Workload", lambda: made.append(Workload()) or made[-1])
    return made


@pytest.fixture(scope="module")
def page(browser):
    with browser.private_page() as page:
        page.look(1280, 800)
        yield page


@pytest.fixture
def shot(page):
    """``shot(name)`` writes a screenshot to the folder $RKFACE_SCREENSHOTS, if it is set."""

    def write(name):
        if folder := os.environ.get("RKFACE_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(Path(folder) / f"{name}.png")

    return write


@pytest.fixture(scope="session")
def portraits(cast):
    """Photos of the first person, as JPEG."""
    name = next(iter(cast.cast))
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in cast.portraits(name, 3)]


@pytest.fixture(scope="session")
def portraits_of_two(cast):
    """Two photos of each of two people, H×W×3."""
    return [cast.portraits(name, 2) for name in list(cast.cast)[:2]]


def eventually(look, what, timeout=60.0):
    """Call ``look`` until its result is true; return the result. The timeout is long only for a busy machine."""
    until, pause = time.monotonic() + timeout, threading.Event()
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        pause.wait(0.05)
    raise AssertionError(f"did not happen in time: {what}")


def black(width, height):
    return cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()
