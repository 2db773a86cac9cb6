"""The runtime wheel: what is in it, and that it works in an environment of its own."""

import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution, requires, version

import pytest

from rkface.boards.deploy.runtime_wheel import build_runtime_wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_runtime_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder into which the real pip installed the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", folder, wheel], check=True)
    return folder


def run_with(installed, code):
    """What ``code`` prints in a Python that has only the standard library and the installed wheel."""
    code = f"import sys; sys.path.insert(0, {str(installed)!r})\n{code}"
    return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_board_gets_the_runtime_and_nothing_of_conversion(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[1] for name in names if name.startswith("rkface/") and name.count("/") > 1}
    assert folders == {"runtime", "boards"}
    assert not [name for name in names if "twin" in name or name.endswith(".pyc")]
    for needed in (
        "__init__.py",
        "py.typed",
        "runtime/backends/npu.py",
        "runtime/web/static/index.html",
        "boards/chips.toml",
        "boards/profiles/rock-5b.toml",
        "boards/rkface.service",
    ):
        assert f"rkface/{needed}" in names


def test_the_same_source_makes_the_same_wheel(wheel, tmp_path):
    assert build_runtime_wheel(tmp_path).read_bytes() == wheel.read_bytes()


def test_the_installed_wheel_has_the_front_door_and_does_not_load_numpy(installed):
    said = run_with(
        installed, "import rkface; print(rkface.__file__); print(sorted({'numpy', 'cv2'} & set(sys.modules)))"
    )
    assert said.splitlines() == [str(installed / "rkface/__init__.py"), "[]"]
    assert (installed / "rkface/py.typed").is_file(), "type checkers read the annotations of the installed package"


def test_its_commands_load_without_the_other_parts_of_rkface(installed):
    words = run_with(
        installed,
        "from rkface.runtime.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "import rkface.boards.deploy.agent, rkface.boards.profile; rkface.boards.profile.read_profiles()",
    ).split()
    assert {"selftest", "doctor", "verify"} <= set(words) and "convert" not in words


def test_its_requirements_are_those_of_the_project(installed):
    """With the extras of a board, and OpenCV without windows."""
    made = PathDistribution(installed / f"rkface-{version('rkface')}.dist-info")
    others = ("convert", "dev", "hub-embedded")
    ours = [line for line in requires("rkface") if not any(f'"{extra}"' in line for extra in others)]
    assert sorted(made.requires) == sorted(line.replace("opencv-python", "opencv-python-headless") for line in ours)
    assert set(made.metadata.get_all("Provides-Extra")) == {
        "reference", "web", "mqtt", "notify", "hub", "crypto", "heif",
    }  # fmt: skip
