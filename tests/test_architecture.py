"""The files and folders that docs/architecture.md names exist, and it names all packages."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
TOP = ("runtime", "convert", "calibration", "boards", "tests", "docs", "src", "examples")
ROW = re.compile(r"^\| `([\w/]+/)` \| (.*) \|$", re.MULTILINE)


def paths_in_prose() -> list[str]:
    """Paths in backticks that start with a top-level folder."""
    named = re.findall(r"`([\w./-]+)`", PAGE)
    return sorted({path for path in named if path.split("/")[0] in TOP and "/" in path})


def paths_in_tables() -> list[str]:
    """Modules in the tables of packages. The tables name them without the folder, which is in the first column."""
    return sorted(
        {
            folder + name
            for folder, cells in ROW.findall(PAGE)
            if "may import" not in cells
            for name in re.findall(r"`(\w+\.\w+)`", cells)
        }
    )


@pytest.mark.parametrize("path", paths_in_prose())
def test_a_path_on_the_page_exists(path):
    assert (ROOT / path).exists(), f"docs/architecture.md names {path}, which does not exist: correct the page"


@pytest.mark.parametrize("path", paths_in_tables())
def test_a_module_in_the_tables_exists(path):
    assert (ROOT / path).is_file(), f"docs/architecture.md names {path}, which does not exist: correct the table"


def test_every_package_of_the_runtime_is_in_the_table():
    packages = {f"runtime/{path.parent.name}/" for path in (ROOT / "runtime").glob("*/__init__.py")}
    assert packages <= {folder for folder, _ in ROW.findall(PAGE)}
