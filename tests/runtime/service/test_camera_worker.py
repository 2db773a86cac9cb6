"""Health of one camera: pictures that show nothing, and too few looks, are problems with advice."""

from types import SimpleNamespace

import numpy as np
import pytest

from rkface.runtime.cameras.camera import Camera
from rkface.runtime.cameras.frame_gate import FrameGate
from rkface.runtime.inference.frames import Result
from rkface.runtime.service.camera_worker import CameraWorker

RANDOM = np.random.default_rng(0)


class Simulation:
    """A camera of ``offered`` frames a second, of which the machine processes ``power``, on a simulated clock."""

    def __init__(self, *, offered=15.0, power=30.0, looks=15.0, picture=None, live=True, recording=False):
        self.now, self.offered, self.power, self.free, self.faces = 1000.0, offered, power, 0.0, 1
        self.picture = picture
        self.number = 0
        self.format, self.rate, self.decoder = "TEST", offered, ""
        camera = Camera("door", lambda _: self, name="door", live=live, recording=recording)
        self.worker = CameraWorker(camera, FrameGate(looks, looks / 3), clock=lambda: self.now)
        self.sampled = self.now

    def grab(self):
        self.now += 1 / self.offered
        return self.now

    def decode(self):
        return RANDOM.integers(0, 255, (48, 64, 3), np.uint8) if self.picture is None else self.picture

    def close(self):
        pass

    def run(self, seconds):
        until = self.now + seconds
        watcher = SimpleNamespace(tracked_faces=self.faces, new_faces=0, visible_faces=lambda: ())

        def submit(frame):
            if self.now >= self.free:
                self.free = self.now + 1 / self.power
                self.worker.note_result(Result(frame, None, None, 0.0, 0.0, 0), watcher)
            else:
                self.worker._pending -= 1
            while self.sampled + 1 <= self.now:
                self.sampled += 1
                self.worker.sample()
            return self.now < until

        self.worker.run(submit)
        self.worker.ended = False
        return self.worker.problem()


def test_enough_looks_are_no_problem():
    for options in ({}, {"looks": 3.0}, {"offered": 3.2}):
        assert Simulation(**options).run(30) == ""


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (
            {"power": 1.0},
            "machine is too slow. Use fewer cameras, lower the looks of the others, or a bundle with a smaller",
        ),
        ({"power": 0.5}, "only 0.5 times a second"),
        ({"power": 2.5}, "smaller detector size"),
        ({"offered": 1.0}, "it delivers 1.0 frames a second. Raise its frame rate"),
        ({"looks": 1.0}, "set its setting looks to 3 or more"),
    ],
)
def test_fewer_than_three_looks_a_second_are_a_problem_with_advice(options, advice):
    simulation = Simulation(**options)
    assert simulation.run(5) == "", "the first seconds say nothing"
    said = simulation.run(20)
    assert said.startswith("Camera door is searched only ") and advice in said


def test_while_nobody_is_there_few_looks_are_a_problem_only_if_more_were_wanted():
    simulation = Simulation(looks=6.0)
    simulation.faces = 0
    assert simulation.run(40) == ""
    simulation.power = 0.5
    assert "this machine is too slow" in simulation.run(40)


def test_a_recording_is_never_a_problem_of_looks():
    assert Simulation(recording=True, live=False, offered=1.0).run(30) == ""


def test_a_picture_of_one_color_is_a_problem_of_the_camera():
    gray = np.full((48, 64, 3), 128, np.uint8)
    simulation = Simulation(picture=gray)
    simulation.faces = 0
    assert simulation.run(3) == ""
    assert simulation.run(4).startswith(
        "Camera door delivers no picture, only one color (red 128, green 128, blue 128): "
    )
    simulation.picture = None
    assert simulation.run(2) == ""


def test_a_camera_that_hangs_is_a_problem_and_a_folder_of_photos_is_not():
    still = RANDOM.integers(0, 255, (48, 64, 3), np.uint8)
    assert "delivers no picture, only the same one" in Simulation(picture=still).run(30)
    assert Simulation(picture=still, live=False).run(30) == ""
