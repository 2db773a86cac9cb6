"""The rendered camera, and the complete path from its images to appearances, with the demo models: synthetic faces."""

import os
import subprocess
import sys

import numpy as np
import pytest

from rkface.convert.demo import camera as demo
from rkface.convert.demo.camera import DemoCamera, main, stream
from rkface.convert.demo.unconverted import open_demo
from rkface.runtime.cameras.camera import Camera
from rkface.runtime.cameras.sources import JpegPipe
from rkface.runtime.core.errors import InputError
from rkface.runtime.gallery.match import Match
from rkface.runtime.inference.frames import Frame
from rkface.runtime.tracking.rules import RecognitionRules, detect_for_tracking
from rkface.runtime.tracking.watch import watch_results
from rkface.runtime.tracking.watcher import Watcher


@pytest.fixture(scope="module")
def scheduler():
    with open_demo(detect_for_tracking) as running:
        yield running


def enrolled(pipeline, camera, names):
    """The fused embedding of each name, from portraits that the camera never shows."""
    vectors = []
    for name in names:
        found = []
        for photo in camera.portraits(name, 3):
            faces = pipeline.recognize(photo)
            if len(faces):
                found.append(faces[faces.largest() : faces.largest() + 1].embeddings[0])
        vectors.append(np.mean(found, axis=0) / np.linalg.norm(np.mean(found, axis=0)))
    return np.stack(vectors)


def test_each_person_who_walks_by_is_one_appearance_and_is_recognized(scheduler):
    camera = DemoCamera(640, 480, people=3, seed=4)
    pipeline = scheduler.pipeline()
    names = list(camera.cast)
    known = names[:2]  # the third is a stranger
    gallery = enrolled(pipeline, camera, known)

    def search(vectors, k):
        return [
            sorted((Match(n, n, float(c)) for n, c in zip(known, row, strict=True)), key=lambda m: -m.cosine)[:k]
            for row in vectors @ gallery.T
        ]

    watcher = Watcher("demo", pipeline, search, RecognitionRules.of(pipeline.thresholds), to_utc=lambda moment: moment)
    rate = 6
    frames = (Frame(camera.render(n / rate).image, n, n / rate, "demo") for n in range(round(camera.round * rate)))
    told = [*watch_results(scheduler.run(frames), {"demo": watcher}), *watcher.close()]
    ends = [one for one in told if one.stage == "end"]
    assert sorted(one.match.name if one.match else "stranger" for one in ends) == sorted([*known, "stranger"])
    assert len({one.id for one in told}) == 3
    # Each person is visible in about 8 seconds × 6 frames, and only a few of these are embedded.
    assert watcher.state.embeddings <= watcher.state.faces / 4


def test_rounds_repeat_and_the_same_seed_gives_the_same_images():
    camera = DemoCamera(320, 240, people=3, seed=2)
    first, again = camera.render(1.5), camera.render(1.5 + camera.round)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.image, DemoCamera(320, 240, people=3, seed=2).render(1.5).image)
    assert not np.array_equal(first.image, DemoCamera(320, 240, people=3, seed=3).render(1.5).image)


def test_everybody_walks_by_and_the_ground_truth_is_inside_the_image():
    camera = DemoCamera(320, 240, people=4)
    seen = set()
    for moment in np.arange(0, camera.round, 0.5):
        scene = camera.render(float(moment))
        seen |= set(scene.identities.tolist())
        assert (scene.landmarks >= 0).all() and (scene.landmarks < (320, 240)).all()
    assert seen == set(camera.cast.values()) and len(seen) == 4


def test_the_command_writes_images_that_the_pipe_camera_reads():
    command = [sys.executable, "-m", "rkface.convert.demo.camera", "--size", "320x240", "--seconds", "0.5", "--fast"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        descriptor = process.stdout.fileno()
        camera = Camera("stdin", lambda camera: JpegPipe(descriptor, lambda: not camera.closed), live=False)
        sizes = [frame.image.shape for frame in iter(camera.read, None)]
    assert process.returncode == 0 and set(sizes) == {(240, 320, 3)}
    assert len(sizes) == 8  # 0.5 s at 15 images per second, the first at 0


def test_the_command_ends_quietly_when_the_reader_closes_the_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "rkface.convert.demo.camera", "--size", "320x240", "--fast"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_portraits_for_enrollment(tmp_path):
    assert main(["--portraits", str(tmp_path), "--people", "2"]) == 0
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    assert found == [f"{name}/{index}.jpg" for name in ("Ada", "Bela") for index in (1, 2, 3)]


def test_slow_rendering_leaves_out_images(monkeypatch):
    now = [0.0]
    shown = []

    def render(moment):
        shown.append(moment)
        now[0] += 0.25
        return np.zeros((120, 160, 3), np.uint8)

    monkeypatch.setattr(demo.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(demo.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    list(stream(render, rate=10, seconds=1.0, fast=False))
    assert shown == [0.0, 0.2, 0.5, 0.7]


@pytest.mark.parametrize("options", [["--size", "big"], ["--size", "9x9"], ["--people", "99"], ["--rate", "0"]])
def test_wrong_options_are_refused(options, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(options)
    assert stopped.value.code == 2 and "usage:" in capsys.readouterr().err


def test_limits_of_the_scene():
    with pytest.raises(InputError, match="1 to"):
        DemoCamera(people=0)
