"""The demo models in a bundle, and what a person would give the examples: photos, a gallery and a video."""

import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import cv2
import pytest

pytest.importorskip("onnx", reason="the shapes of the demo models are read with onnx")
from rkface.convert.demo.camera import DemoCamera, write_portraits

from ..runtime.conftest import write_demo_bundle

ROOT = Path(__file__).resolve().parents[2]
CAMERA = DemoCamera(640, 360, people=3, seed=22)  # Ada and Bela are enrolled, Chike is not
RATE, SECONDS = 8, 4  # frames per second, and length of the video


def start_example(name, *arguments):
    """Start an example as a person does. It must never end in a traceback."""
    command = [sys.executable, ROOT / "examples" / name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def run_example(name, *arguments):
    """Run an example as ``start_example`` does, but in this process, where the libraries are loaded already. Here it
    may raise nothing but SystemExit."""
    path, said, errors = ROOT / "examples" / name, StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(errors):
        patch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
    return subprocess.CompletedProcess(path, ended.value.code, said.getvalue(), errors.getvalue())


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A bundle of the demo models, for the reference backend."""
    folder = tmp_path_factory.mktemp("bundles") / "demo"
    write_demo_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """Three portraits each of Ada, Bela and Chike: NAME/1.jpg and so on."""
    folder = tmp_path_factory.mktemp("people")
    write_portraits(CAMERA, folder, 3)
    return folder


@pytest.fixture(scope="session")
def staff(people, tmp_path_factory):
    """The photos to enroll: two of Ada and two of Bela."""
    folder = tmp_path_factory.mktemp("staff")
    for name in ("Ada", "Bela"):
        (folder / name).mkdir()
        for photo in ("1.jpg", "2.jpg"):
            (folder / name / photo).write_bytes((people / name / photo).read_bytes())
    return folder


@pytest.fixture(scope="session")
def gallery(demo, staff, tmp_path_factory):
    """A gallery in which enroll_folder.py enrolled Ada and Bela; for reading only."""
    path = tmp_path_factory.mktemp("gallery") / "gallery.sqlite"
    done = run_example("enroll_folder.py", staff, "--gallery", path, "--bundle", demo)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """Ada, then also Bela, in front of the camera."""
    path = tmp_path_factory.mktemp("video") / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (CAMERA.width, CAMERA.height))
    for number in range(SECONDS * RATE):
        writer.write(CAMERA.render(3 + number / RATE).image)
    writer.release()
    return path
