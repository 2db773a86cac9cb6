"""One conversion of the demo pack with the real command, for every test that looks at its result."""

import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

RKFACE = [sys.executable, "-m", "rkface.runtime.cli.main"]


@dataclass(frozen=True)
class Converted:
    bundle: Path
    work: Path
    stdout: str
    stderr: str


def heed_ctrl_c():
    """For a child process that a test interrupts: tests that a shell runs in the background inherit an ignored
    SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def rkface(*arguments, **options):
    """Run the command with ``arguments``; ``options`` are those of subprocess.run."""
    command = [*RKFACE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def calibration(folder, images):
    """Write ``images`` (H×W×3 RGB) as PNG files into ``folder``, and a list of them; returns the list."""
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    (folder / "dataset.txt").write_text("".join(f"{index}.png\n" for index in range(len(images))))
    return folder / "dataset.txt"


@pytest.fixture(scope="session")
def converted(tmp_path_factory, demo_cache):
    pytest.importorskip("rknn.api", reason="rknn-toolkit2 is not installed")
    folder = tmp_path_factory.mktemp("converted")
    done = rkface("convert", "--out", "out/bundle", cwd=folder)
    assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "out/bundle.work/cache", folder / "cache")
    (folder / "cache").rename(demo_cache)
    return Converted(folder / "out/bundle", folder / "out/bundle.work", done.stdout, done.stderr)
