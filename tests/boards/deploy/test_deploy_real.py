"""A deploy without stand-ins: the runtime wheel, wheels from the package index, pip, selftest, the demo bundle."""

import json
import os
import subprocess
from argparse import ArgumentParser
from pathlib import Path

import pytest

from rkface.boards.deploy.command import deploy
from rkface.boards.deploy.dependencies import board_requirements, fetch_wheels
from rkface.runtime.core.errors import WorkError

ROOT = Path(__file__).resolve().parents[3]
CONVERTED = ROOT / "build/rk3588"  # made by `make convert`


def test_a_deploy_without_stand_ins(server, tmp_path, monkeypatch, capsys):
    """This machine is the board, and ONNX Runtime runs the selftest. Doctor is skipped: it would fail here."""
    if not (CONVERTED / "manifest.json").is_file():
        pytest.skip("no converted bundle: make convert")
    version = subprocess.run(
        [server.bin / "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    monkeypatch.setenv("RKFACE_CACHE", str(ROOT / "build/cache"))
    try:
        needed = board_requirements("2.5.0", os.uname().machine, version, reference=True)
        fetch_wheels(needed, os.uname().machine, version, ROOT / "build/cache/wheels")
    except WorkError as error:
        pytest.skip(str(error))
    parser = ArgumentParser()
    deploy(parser)
    arguments = ["--root", tmp_path / "board", "--bundle", CONVERTED, "--backend", "reference", "--no-doctor", "board"]
    options = parser.parse_args(list(map(str, arguments)))
    assert options.run(options) == 0, capsys.readouterr().out
    assert "lowest cosine to the simulator: detector 0.9" in capsys.readouterr().err, (
        "the result of the selftest is shown"
    )
    current = tmp_path / "board/opt/rkface/current"
    done = subprocess.run(
        [current / "venv/bin/rkface", "selftest", "--bundle", current / "bundle", "--runs", "1", "--json"],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    said = json.loads(done.stdout)
    assert said["verdict"] == "ok" and said["machine"]["versions"]["opencv-python-headless"]
