"""The programs that are sent to boards, where nothing is installed yet."""

import ast
import subprocess
import sys

import pytest

from rkface.boards.deploy import session
from rkface.boards.doctor import remote
from rkface.boards.source_program import build_program, source_path

PROGRAMS = {"doctor": (remote.DOCTOR_MODULES, remote.ENTRY), "agent": (session.AGENT_MODULES, session.ENTRY)}


def imported_modules(module):
    """Absolute names of all modules that ``module`` imports. Its syntax must be that of Python 3.8."""
    tree = ast.parse(source_path(module).read_text(encoding="utf-8"), feature_version=(3, 8))
    package = module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{name}.{alias.name}" for alias in node.names]
            yield from (names if all(source_path(one).is_file() for one in names) else [name])


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_sent_module_needs_only_the_standard_library_and_other_sent_modules(name):
    modules, entry = PROGRAMS[name]
    for module in modules:
        for needed in imported_modules(module):
            assert needed in modules or needed.split(".")[0] in sys.stdlib_module_names, f"{module} imports {needed}"
    assert entry in modules and build_program(modules, entry).isascii()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs_without_rkface(name):
    """Without site packages; the agent ends because it gets no requests."""
    program = build_program(*PROGRAMS[name])
    subprocess.run([sys.executable, "-IS", "-c", program, *(["/"] if name == "agent" else [])], check=True, input=b"")
