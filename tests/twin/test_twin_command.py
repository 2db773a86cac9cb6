"""``rkface twin`` from the command line."""

import os
import subprocess
import sys

import pytest

from rkface.boards.twin.ingredients import UnavailableError, gather_ingredients
from rkface.runtime.cli.main import main

from .conftest import ROOT

SLOW = pytest.mark.skipif("RKFACE_SLOW" not in os.environ, reason="seconds of emulation: make twin-test")


def twin_run(*words):
    try:
        gather_ingredients(ROOT / "build/twin")
    except UnavailableError as error:
        pytest.skip(f"no twin here: {error}")
    command = [sys.executable, "-m", "rkface.runtime.cli.main", "twin", "run", "--cache", ROOT / "build/twin", "--"]
    return subprocess.run([*command, *words], capture_output=True, text=True, check=False)


@SLOW
def test_a_command_runs_on_the_board_with_its_own_output_and_exit_code():
    script = "import platform, sys; print(platform.machine()); print('hint', file=sys.stderr); sys.exit(3)"
    done = twin_run("python", "-c", script)
    assert (done.returncode, done.stdout) == (3, "aarch64\n") and done.stderr.endswith("hint\n")


@SLOW
def test_programs_of_the_workstation_find_the_boards_python_and_rkface():
    done = twin_run("sh", "-c", "command -v python; command -v rkface; rkface --version")
    assert done.stdout.count("/boards/rock-5b/venv/bin/") == 2 and "rkface 0." in done.stdout, done.stdout


@SLOW
def test_a_command_that_the_board_does_not_have_is_named():
    done = twin_run("npu-smi")
    assert done.returncode == 2 and "npu-smi: no such program" in done.stderr


def test_a_simulator_needs_a_bundle(capsys):
    assert main(["twin", "run", "--simulate", "--", "rkface", "version"]) == 2
    assert "--simulate needs a --bundle" in capsys.readouterr().err
