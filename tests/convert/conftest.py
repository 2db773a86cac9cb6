"""One conversion of the demo pack, run as a person runs it, for every test that looks at its result."""

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
    """For a child that is to be interrupted: a test run in the background of a shell inherits an ignored SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def rkface(*arguments, **options):
    """Run the command; the working folder is one where relative paths have to hold."""
    command = [*RKFACE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def calibration(folder, images):
    """Write ``images`` (H×W×3 RGB) so that any viewer shows their colors, and the list of them."""
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    (folder / "dataset.txt").write_text("".join(f"{index}.png\n" for index in range(len(images))))
    return folder / "dataset.txt"


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    pytest.importorskip("rknn.api", reason="rknn-toolkit2 is not installed")
    folder = tmp_path_factory.mktemp("converted")
    done = rkface("convert", "--out", "out/bundle", cwd=folder)
    assert done.returncode == 0, done.stderr
    return Converted(folder / "out/bundle", folder / "out/bundle.work", done.stdout, done.stderr)
