"""``import rkface``: the public names, their types, and what an installed wheel brings."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import rkface

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import rkface
from rkface import Faces, Gallery, Match, Pipeline, open_bundle, open_camera, open_scheduler, read_image

with open_bundle("build/rk3588") as pipeline:
    faces = pipeline.recognize(read_image("party.jpg"))
reveal_type(pipeline)
reveal_type(faces.boxes)
reveal_type(rkface.identify(faces, Gallery("gallery.sqlite"), 0.4))
reveal_type(rkface.__version__)
wrong: int = faces.largest
"""


def test_tab_completion_shows_the_public_names_and_nothing_else():
    code = "import rkface, rkface.runtime.core.errors; print(*dir(rkface))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert shown == sorted(rkface.__all__) and "runtime" not in shown


@pytest.mark.parametrize("name", rkface.__all__)
def test_every_public_name_exists_and_has_a_docstring(name):
    found = getattr(rkface, name)
    assert name == "__version__" or len(found.__doc__) > 30


def test_the_page_on_python_lists_every_public_name():
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    listed = {line.rpartition(".")[2] for line in page.splitlines() if line.startswith("::: rkface.")}
    assert listed == set(rkface.__all__) - {"__version__"}


def test_the_version_is_the_version_of_the_package():
    assert rkface.__version__ == version("rkface")


def test_the_error_for_a_mistyped_name_suggests_the_nearest_one():
    with pytest.raises(AttributeError, match=r"did you mean rkface\.open_bundle\?"):
        rkface.open_bundel  # noqa: B018


def test_import_loads_neither_numpy_nor_opencv():
    code = "import rkface, sys; dir(rkface); print(sorted({'numpy', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def check_types(script: Path, python: Path, environment: dict[str, str]) -> str:
    """The output of ``mypy --strict`` for ``script`` with the packages of ``python``."""
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python), script.name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=script.parent, env=environment, check=False)
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    # setuptools writes build/ and *.egg-info into the source, so it gets a copy.
    copy = folder / "source"
    names = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True,
                           text=True, check=True).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        source, target = ROOT / name, copy / name
        if not name.startswith(("tests/", "docs/")) and (source.is_symlink() or source.is_file()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    done = subprocess.run([*build, "--wheel-dir", str(folder), str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("rkface-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The Python of a virtual environment with the wheel, and with the other packages of this environment."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    here = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    (packages / "others.pth").write_text(f"{here}\n")
    return folder / "bin/python"


def environment_without_paths() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}


@pytest.mark.slow
@pytest.mark.parametrize("install", ["wheel", "development"])
def test_mypy_sees_the_types_in_a_users_script(install, request, tmp_path):
    script, environment = tmp_path / "script.py", environment_without_paths()
    script.write_text(SCRIPT)
    if install == "wheel":
        python = request.getfixturevalue("installed")
    else:
        python = Path(sys.executable)
        place = subprocess.run([python, "-c", "import rkface; print(rkface.__file__)"], capture_output=True, text=True,
                               env=environment, cwd=tmp_path, check=False).stdout  # fmt: skip
        if Path(place.strip()) != Path(rkface.__file__):
            pytest.skip("this environment has another checkout installed")
    said = check_types(script, python, environment)
    assert re.findall(r'Revealed type is "(.*)"', said.replace("builtins.", "")) == [
        "rkface.runtime.inference.pipeline.Pipeline",
        "numpy.ndarray[Any, numpy.dtype[numpy.floating[numpy._typing._32Bit]]]",
        "list[rkface.runtime.gallery.match.Match | None]",
        "str",
    ], said
    assert "Incompatible types in assignment" in said and said.count(" error: ") == 1, said


@pytest.mark.slow
def test_an_installed_wheel_has_the_front_door_and_the_commands(installed, tmp_path):
    def run(*arguments):
        return subprocess.run([installed, *arguments], capture_output=True, text=True, env=environment_without_paths(),
                              cwd=tmp_path, check=True).stdout  # fmt: skip

    place, number = run("-c", "import rkface; print(rkface.__file__, rkface.__version__)").split()
    assert str(installed.parents[1]) in place and number == version("rkface")
    assert "rkface.runtime" in run("-c", "from rkface import open_bundle; print(open_bundle.__module__)")
    commands = run("-m", "rkface.runtime.cli.main", "--help")
    assert all(f" {name} " in commands for name in ("convert", "detect", "enroll", "run", "deploy", "doctor"))
