"""From a camera to an event on an emulated board, in the INT8 numbers of the toolkit's own simulator.

The models are built again for it, and everything runs under emulation: minutes, so only with RKFACE_SLOW.
"""

import json
import os

import cv2
import numpy as np
import pytest

from rkface.convert.demo.camera import DemoCamera
from rkface.convert.twin_simulators import run_simulators
from rkface.runtime.backends.bindings import DIRECT, LITE
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import InputError
from rkface.runtime.vision.letterbox import letterbox

from .conftest import CONVERTED

RKFACE = ("-m", "rkface.runtime.cli.main")
FRAME_RATE = 5
HERE = __file__.rsplit("/", 1)[0]
pytestmark = pytest.mark.skipif("RKFACE_SLOW" not in os.environ, reason="minutes of emulation: make twin-test")


class EmulatedBoard:
    """A twin with a bundle, and the simulator of its models."""

    def __init__(self, twin, bundle, sockets):
        self.twin, self.bundle, self.sockets = twin, bundle, sockets

    def python(self, *words, **options):
        done = self.twin.python(*map(str, words), simulator=self.sockets, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rkface(self, command, *words):
        return self.python(*RKFACE, command, "--bundle", self.bundle, *words)

    def watch(self, pictures, gallery):
        """What ``rkface run`` tells at the end of each appearance in a video of ``pictures`` (BGR)."""
        video = gallery.with_suffix(".avi")
        height, width = pictures[0].shape[:2]
        writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), FRAME_RATE, (width, height))
        for picture in pictures:
            writer.write(picture)
        writer.release()
        lines = self.rkface("run", "--gallery", gallery, "--camera", f"door={video}", "--no-web").splitlines()
        return [event for event in map(json.loads, lines) if event["stage"] == "end"]


@pytest.fixture(scope="module")
def simulated(make_twin):
    """Builds an emulated board with a bundle; one at a time."""
    pytest.importorskip("rknn.api", reason="rknn-toolkit2 is not installed")
    opened = []

    def build(bundle):
        twin = make_twin("rock-5b", [bundle])
        manager = run_simulators([read_bundle(bundle)])
        opened.append(manager)
        return EmulatedBoard(twin, bundle, manager.__enter__())

    yield build
    for manager in opened:
        manager.__exit__(None, None, None)


@pytest.fixture(scope="module")
def demo(simulated):
    if not (CONVERTED / "manifest.json").is_file():
        pytest.skip("no converted bundle: make convert")
    return simulated(CONVERTED)


def test_the_simulator_gives_the_golden_outputs(demo):
    found = json.loads(demo.rkface("selftest", "--runs", "1", "--json"))
    assert found["verdict"] == "ok" and all(one["simulator"] == pytest.approx(1) for one in found["agreements"])


def test_both_bindings_give_the_same_bits_for_any_picture(demo):
    lite, direct = (demo.python(f"{HERE}/same_bits.py", demo.bundle, binding=binding) for binding in (LITE, DIRECT))
    assert lite == direct and len(lite.splitlines()) == len(read_bundle(demo.bundle).manifest.models)


def test_a_rendered_person_who_was_enrolled_on_the_board_is_recognized_by_its_camera(demo, tmp_path):
    camera = DemoCamera(960, 540, people=1)
    gallery, photo = tmp_path / "gallery.sqlite", tmp_path / "ada.png"
    cv2.imwrite(str(photo), camera.portraits("Ada", 1)[0])
    demo.rkface("enroll", "--gallery", gallery, "Ada", photo)
    events = demo.watch([camera.render(moment).image for moment in np.arange(2.6, 5.0, 1 / FRAME_RATE)], gallery)
    assert [event["match"] and event["match"]["name"] for event in events] == ["Ada"], events
    assert events[0]["match"]["cosine"] > events[0]["threshold"]


def test_a_real_person_is_recognized_with_real_weights_and_another_one_is_not(
    simulated, converted_open, shared, tmp_path
):
    board, folder, gallery = simulated(converted_open), shared / "data/people", tmp_path / "gallery.sqlite"
    enrolled, same, other = "img20.jpg", "img21.jpg", "img3.jpg"  # as master.csv says
    board.rkface("enroll", "--gallery", gallery, "A", folder / enrolled)
    pause = [np.full((480, 640, 3), 127, np.uint8)] * (2 * FRAME_RATE)
    seen = [letterbox(cv2.imread(str(folder / name)), 640, 480).image for name in (same, other)]
    events = board.watch([*[seen[0]] * 6, *pause, *[seen[1]] * 6], gallery)
    assert [event["match"] and event["match"]["name"] for event in events] == ["A", None], events


def test_a_bundle_without_its_calibration_set_cannot_be_simulated(bundles):
    with pytest.raises(InputError, match="calibration set was not found"), run_simulators([read_bundle(bundles[0])]):
        pass
