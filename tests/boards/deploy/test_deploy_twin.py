"""Deploy to the twin: an emulated aarch64 board with its Python, wheels, pip and rknn-toolkit-lite2, behind an sshd."""

import os
import re
import subprocess
from argparse import ArgumentParser
from pathlib import Path

import pytest

from rkface.boards.deploy.command import deploy
from rkface.boards.deploy.dependencies import board_requirements, fetch_wheels
from rkface.boards.profile import find_profile
from rkface.boards.twin.board import build_twin
from rkface.boards.twin.ingredients import UnavailableError, gather_ingredients
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import WorkError

ROOT = Path(__file__).resolve().parents[3]
CONVERTED = ROOT / "build/rk3588"  # made by `make convert`

# The Python of a virtual environment recognizes the environment by its own name (-0).
VENV_PYTHON = """
export QEMU_LD_PREFIX={twin.prefix} RKFACE_TWIN_ANSWERS={twin.prefix}/answers
exec {twin.ingredients.qemu} -0 "$0" {twin.ingredients.python} "$@"
"""
# This kernel cannot start aarch64 programs, so a script replaces the Python of a virtual environment.
SYSTEM_PYTHON = """
[ "$2" = venv ] || exec {python} "$@"
{python} "$@" || exit 1
for made; do :; done
rm "$made"/bin/python*
cp {folder}/venv-python "$made"/bin/python
"""


@pytest.mark.skipif("RKFACE_SLOW" not in os.environ, reason="takes a minute (pip under emulation): make twin-test")
def test_deploy_to_an_emulated_board(server, tmp_path, monkeypatch, capsys):
    if not (CONVERTED / "manifest.json").is_file():
        pytest.skip("no converted bundle: make convert")
    try:
        ingredients = gather_ingredients(ROOT / "build/twin")
        version = ingredients.python.name.removeprefix("python")
        needed = board_requirements("2.5.0", "aarch64", version, reference=False)
        fetch_wheels(needed, "aarch64", version, ROOT / "build/cache/wheels")
    except (UnavailableError, WorkError) as error:
        pytest.skip(f"no twin here: {error}")
    monkeypatch.setenv("RKFACE_CACHE", str(ROOT / "build/cache"))
    twin = build_twin(ingredients, tmp_path / "twin", find_profile("rock-5b"), [read_bundle(CONVERTED)], tmp_path)
    server.script("venv-python", VENV_PYTHON.format(twin=twin))
    server.script("python3", SYSTEM_PYTHON.format(folder=server.bin, python=twin.command([])[0]))

    parser = ArgumentParser()
    deploy(parser)
    arguments = ["--root", tmp_path / "board", "--bundle", CONVERTED, "--board", "rock-5b", "board"]
    options = parser.parse_args(list(map(str, arguments)))
    assert options.run(options) == 0, capsys.readouterr().out
    cosines = re.findall(r"(?:detector[-\dx]*|recognizer) ([01]\.\d{4})", capsys.readouterr().err)
    assert len(cosines) == len(read_bundle(CONVERTED).manifest.models)
    assert set(cosines) == {"1.0000"}, "the twin returns the simulator's outputs"
    current = tmp_path / "board/opt/rkface/current"
    done = subprocess.run(
        [current / "venv/bin/python", "-c", "import rknnlite, platform; print(platform.machine(), rknnlite.__file__)"],
        check=True,
        capture_output=True,
        text=True,
    )
    machine, place = done.stdout.split()
    assert machine == "aarch64" and place.startswith(str(current))
