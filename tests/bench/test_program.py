"""Each benchmark says on which machine its figures were measured."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are scripts

from program import create_parser, write_results

HERE = Path(__file__).parent
SCRIPTS = sorted(set(re.findall(r"python tests/bench/(\w+)\.py", (HERE.parents[1] / "Makefile").read_text())))
COUNTING = {"gallery_kills"}  # its figures depend on no machine


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in COUNTING])
def test_a_benchmark_of_the_makefile_shows_the_machine(name):
    source = (HERE / f"{name}.py").read_text(encoding="utf-8")
    assert "create_parser(" in source and "ArgumentParser(" not in source


def test_machine_and_versions_are_shown_and_in_the_results(tmp_path, capsys):
    create_parser("what it measures").parse_args([])
    shown = capsys.readouterr().err
    write_results(tmp_path / "own", "| a |", [1])
    for text in (shown, (tmp_path / "own.md").read_text(encoding="utf-8")):
        assert re.search(r", \d+ cores, load \d.*; python 3\.\d+\.\d+, kernel \S+.*numpy \d", text)
