"""The real command, and images to calibrate on."""

import signal
import subprocess
import sys

import cv2
import pytest

from rkface.runtime.cli.main import main

RKFACE = [sys.executable, "-m", "rkface.runtime.cli.main"]


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


@pytest.fixture(scope="session")
def iresnet50(make_once):
    """A generated IResNet-50 of the size of w600k_r50, as ONNX. Only its graph and the size of its file count."""
    pytest.importorskip("torch", reason="torch is not installed")
    from rkface.convert.demo.models import export_iresnet50

    return make_once("iresnet50", lambda folder: export_iresnet50(folder / "r50.onnx", seed=1, samples=2)) / "r50.onnx"
