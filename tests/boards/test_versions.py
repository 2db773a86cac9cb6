"""Each version stands in one place. Files that cannot read that place are compared with it here.

The toolkit and the versions of Python: runtime/core/versions.py. Requirements of rkface: pyproject.toml. Versions that
are known to work together: constraints.txt.
"""

import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

from rkface.boards.deploy import dependencies
from rkface.runtime.core.versions import (
    OPENCV_OLDEST,
    PYTHON_NEWEST,
    PYTHON_OLDEST,
    PYTHONS,
    TOOLKIT,
    TOOLKIT_PYTHON_NEWEST,
    TOOLKITS,
    opencv_risk,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = "runtime/core/versions.py"


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_pyproject_has_the_versions_of_python():
    oldest, newest = (".".join(map(str, version)) for version in (PYTHON_OLDEST, PYTHON_NEWEST))
    beyond = f"{PYTHON_NEWEST[0]}.{PYTHON_NEWEST[1] + 1}"
    message = f"pyproject.toml and {VERSIONS} disagree: change requires-python"
    assert PROJECT["requires-python"] == f">={oldest},<{beyond}", message
    assert sorted(PYTHONS, key=lambda version: int(version[2:])) == [
        f"3.{minor}" for minor in range(PYTHON_OLDEST[1], PYTHON_NEWEST[1] + 1)
    ], f"{VERSIONS}: PYTHONS must list {oldest} to {newest}"


def test_tools_check_for_the_oldest_python():
    tools = tomllib.loads(text_of("pyproject.toml"))["tool"]
    oldest = ".".join(map(str, PYTHON_OLDEST))
    assert tools["mypy"]["python_version"] == oldest, "change python_version of mypy in pyproject.toml"
    assert tools["ruff"]["target-version"] == f"py{oldest.replace('.', '')}", "change target-version in pyproject.toml"


def test_the_makefile_accepts_the_versions_of_python_that_the_toolkit_has_wheels_for():
    beyond = (TOOLKIT_PYTHON_NEWEST[0], TOOLKIT_PYTHON_NEWEST[1] + 1)
    assert f"{PYTHON_OLDEST} <= sys.version_info < {beyond}" in text_of("Makefile"), "change the target venv"


def test_the_makefile_reads_the_toolkit():
    done = subprocess.run(
        ["make", "-s", "-f", "-", "show"],
        input="include Makefile\nshow: ; @echo $(TOOLKIT)\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == TOOLKIT, f"the Makefile must read TOOLKIT from {VERSIONS}"


def test_another_toolkit_has_an_environment_of_its_own():
    for toolkit, folder in ((TOOLKIT, ".venv"), (TOOLKITS[1], f".venv-{TOOLKITS[1]}")):
        done = subprocess.run(
            ["make", "-s", "-f", "-", "show", f"TOOLKIT={toolkit}"],
            input="include Makefile\nshow: ; @echo $(INSTALLED) $(OLDER_TOOLKIT)\n",
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [f"{folder}/installed", TOOLKITS[1]]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("boards/Dockerfile", r"rknn-toolkit-lite2==([\d.]+)"),
        ("boards/chips.toml", r"rknn-toolkit-lite2 ([\d.]+)"),
        ("constraints.txt", r"rknn-toolkit2 ([\d.]+)"),
    ],
)
def test_files_that_state_the_toolkit_agree(name, pattern):
    found = set(re.findall(pattern, text_of(name)))
    assert found <= {TOOLKIT}, f"{name} says {found}, {VERSIONS} says {TOOLKIT}: change {name}"


def test_no_other_source_file_defines_the_toolkit():
    definition = re.compile(rf"^\w+ = [\"']{re.escape(TOOLKIT)}[\"']", re.M)
    for folder in ("runtime", "boards", "convert", "calibration"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.relative_to(ROOT).as_posix() != VERSIONS:
                assert not definition.search(path.read_text(encoding="utf-8")), f"{path}: import TOOLKIT instead"


def test_a_board_has_the_numpy_that_is_tested():
    number = re.search(r"^TOOLKIT_NUMPY := (\S+)", text_of("Makefile"), re.M)[1]
    assert dependencies.LIMITS_WITH_LITE["numpy"] == f"numpy=={number}", (
        "change boards/deploy/dependencies.py or the Makefile"
    )


def parts_of(requirement):
    """Name and limits without the marker; setuptools sorts the limits."""
    name, limits = re.match(r"([\w.-]+)([^;]*)", requirement).groups()
    return name, frozenset(re.sub(r"\s", "", limits).split(","))


def test_the_installed_metadata_is_that_of_pyproject():
    """Development installs go stale: `make venv` refreshes them."""
    stated = {parts_of(one) for one in PROJECT["dependencies"]}
    for extra in dependencies.BOARD_EXTRAS:
        stated |= {parts_of(one) for one in PROJECT["optional-dependencies"][extra]}
    read = {parts_of(line) for line in requires("rkface")}
    assert stated <= read, "reinstall rkface: pip install -e ."


def test_an_opencv_with_known_crashes_is_neither_required_nor_passed_over():
    oldest = ".".join(map(str, OPENCV_OLDEST))
    assert f"opencv-python>={oldest},<5" in PROJECT["dependencies"], f"pyproject.toml and {VERSIONS} disagree"
    assert re.search(rf"^opencv-python=={re.escape(oldest)}\.", text_of("constraints.txt"), re.MULTILINE)
    assert not opencv_risk(oldest) and not opencv_risk("4.14.0.94") and not opencv_risk("5.0.0")
    for old in ("4.6.0", "4.13.0.92", "3.4"):
        assert old in opencv_risk(old) and "camera" in opencv_risk(old)
