"""Who may import whom, and what the board must never load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "runtime": {"runtime"},
    "calibration": {"calibration", "runtime"},
    "boards": {"boards", "runtime"},
    "convert": {"convert", "calibration", "boards", "runtime"},
}


def imported(path: Path) -> set[str]:
    """Absolute names of all that a file of the project imports, also inside functions."""
    package = ("rkface", *path.relative_to(ROOT).parts[:-1])
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            names.add(base + (node.module or ""))
    return names


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_parts_import_only_what_the_design_allows(part):
    for path in (ROOT / part).rglob("*.py"):
        parts = {name.split(".")[1] for name in imported(path) if name.startswith("rkface.")}
        assert parts <= MAY_IMPORT[part], f"{path} imports {parts - MAY_IMPORT[part]}"


def test_only_the_worker_imports_the_toolkit():
    users = {
        path.relative_to(ROOT).as_posix()
        for part in MAY_IMPORT
        for path in (ROOT / part).rglob("*.py")
        if any(name.split(".")[0] == "rknn" for name in imported(path))
    }
    assert users <= {"convert/toolkit/worker.py"}


def test_main_path_of_the_runtime_loads_nothing_heavy():
    code = (
        "import sys, rkface.runtime.pipeline, rkface.runtime.image, rkface.runtime.commands;"
        "print(sorted({'onnx', 'onnxruntime', 'torch', 'rknn', 'scipy', 'rkface.convert'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_help_waits_for_neither_numpy_nor_opencv():
    # The 0.3 s that `rkface --help` may take is spent on exactly these imports, so their absence is what we hold.
    code = (
        "import sys; from rkface.runtime.cli import parser; parser();"
        "print(sorted({'numpy', 'cv2', 'onnx', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_console_is_loaded_only_where_it_is_served():
    code = (
        "import sys, rkface.runtime.service, rkface.runtime.run_command, rkface.runtime.web.password;"
        "print(sorted({'fastapi', 'starlette', 'pydantic', 'uvicorn', 'websockets', 'argon2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
