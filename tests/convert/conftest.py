"""The real command, and images to calibrate on."""

import io
import os
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

from rkface.convert.packs.pack import DEMO
from rkface.convert.targets import TARGETS
from rkface.runtime.cli.main import main

RKFACE = [sys.executable, "-m", "rkface.runtime.cli.main"]


OWN = ["--detector", str(DEMO / "detector.onnx"), "--recognizer", str(DEMO / "recognizer.onnx")]
ONE_SHAPE = ["--size", "416x416"]  # the detector in its own shape only, for tests that do not check the others
NPU_KINDS = ("rk3588", "rk3576", "rk3566", "rv1106")  # three cores, two, one, and INT8 only


def heed_ctrl_c():
    """For a child process that a test interrupts: tests that a shell runs in the background inherit an ignored
    SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def rkface(*arguments, **options):
    """Run the command with ``arguments``; ``options`` are those of subprocess.run."""
    command = [*RKFACE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture
def rkface_here(capsys):
    """``rkface`` in this process, for a test that is not about the start of the command: the libraries and the toolkit
    are loaded already."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


def calibration(folder, images):
    """Write ``images`` (H×W×3 RGB) as PNG files into ``folder``, and a list of them; returns the list."""
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    (folder / "dataset.txt").write_text("".join(f"{index}.png\n" for index in range(len(images))))
    return folder / "dataset.txt"


def copy_photos(photos, folder, count=30):
    """Copy ``count`` of the folder ``photos`` to ``folder``, for tests that do not check the figures."""
    folder.mkdir()
    for photo in sorted(photos.glob("*.jpg"))[:count]:
        shutil.copy(photo, folder)
    return folder


@dataclass(frozen=True)
class SmallConversion:
    """The demo models, converted on few photos for several chips.

    photos  the options that name them; the same ones find the same results in a copy of ``work``
    """

    names: tuple[str, ...]
    photos: tuple[str, ...]
    bundles: Path
    work: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def small_conversion(converted, make_once) -> SmallConversion:
    """By default for one chip of each kind of NPU, because each takes seconds."""
    every = tuple(target.name for target in TARGETS.values() if target.int8)
    names = every if os.environ.get("RKFACE_SLOW") else NPU_KINDS

    def photos(folder):
        kinds = ("calibration", "evaluation")
        return [word for kind in kinds for word in (f"--{kind}", str(folder / kind))] + ["--evaluate", "20"]

    def convert(folder):
        for kind in ("calibration", "evaluation"):
            copy_photos(converted.work / "photos" / kind, folder / kind)
        command = ["convert", *OWN, *ONE_SHAPE, *photos(folder), "--target", ",".join(names), "--recipe", "fast"]
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as error:
            code = main([*command, "--out", str(folder / "all"), "--json"])
        assert code == 0, error.getvalue()
        (folder / "stdout").write_text(out.getvalue(), encoding="utf-8")
        (folder / "stderr").write_text(error.getvalue(), encoding="utf-8")

    folder = make_once("small-conversion", convert)
    said = [(folder / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
    return SmallConversion(names, tuple(photos(folder)), folder / "all", folder / "all/rk3588.work", *said)


@pytest.fixture(scope="session")
def iresnet50(make_once):
    """A generated IResNet-50 of the size of w600k_r50, as ONNX. Only its graph and the size of its file count."""
    pytest.importorskip("torch", reason="torch is not installed")
    from rkface.convert.demo.models import export_iresnet50

    return make_once("iresnet50", lambda folder: export_iresnet50(folder / "r50.onnx", seed=1, samples=2)) / "r50.onnx"
