"""`rkface doctor --report`: one file with everything about a board, and no secrets."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rkface.boards.doctor.attachment import render_attachment
from rkface.boards.doctor.probe import Probe
from rkface.boards.doctor.report import CheckResult
from rkface.boards.doctor.run_checks import run_checks
from rkface.runtime.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_the_file_has_what_a_maintainer_needs():
    report = run_checks(Probe(FIXTURES / "rk3566-old"))
    text = render_attachment(report, "| detection | 27.7 ms |")
    for needed in (
        "| board | Orange Pi 3B |",
        "| NPU driver | 0.8.2 |",
        "| librknnrt | 1.4.0 |",
        "| kernel | 5.10.160-rockchip-rk356x |",
        "Initialized rknpu 0.8.2 20220829",
        "fail  NPU device",
        "| detection | 27.7 ms |",
    ):
        assert needed in text


def test_the_file_names_no_person_and_has_no_secret():
    report = run_checks(Probe(FIXTURES / "rk3566-old"))
    check = CheckResult("cameras", "warn", "ada may not use rtsp://ada:geheim@10.0.0.7/1", "see /home/ada/build")
    facts = {**report.facts, "user": "ada"}
    text = render_attachment(replace(report, checks=(*report.checks, check), facts=facts), "/home/ada/b: failed")
    assert not re.search(r"\bada\b|geheim", text)
    assert "USER may not use rtsp://" in text and "~/b: failed" in text


def test_users_that_images_come_with_stay_since_boards_are_called_like_them():
    report = run_checks(Probe(FIXTURES / "rk3576-no-librknnrt"))
    assert report.facts["user"] == "rock" and "radxa,rock-4d" in render_attachment(report, "")


def test_the_command_writes_the_file(tmp_path, capsys):
    assert main(["doctor", "--report", str(tmp_path / "board.md")]) == 1  # this machine is not a board
    assert "Not measured: this needs `--bundle DIR`" in (tmp_path / "board.md").read_text()
    assert f"written: {tmp_path / 'board.md'}" in capsys.readouterr().out
    assert main(["doctor", "--report", str(tmp_path / "none/board.md")]) == 2


def test_the_issue_template_fills_the_table_of_reported_boards():
    template = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/board.yml").read_text(encoding="utf-8"))
    labels = {field["attributes"].get("label") for field in template["body"]}
    page = (ROOT / "docs/boards.md").read_text(encoding="utf-8")
    heads = (
        page.partition("## Reported by owners")[2].partition("\n|---")[0].rpartition("\n")[2].strip("| ").split(" | ")
    )
    assert set(heads) <= labels and len(heads) == 7


@pytest.mark.parametrize("name", ["rock-5b", "rk3576-no-librknnrt", "container"])
def test_every_board_can_be_reported(name):
    assert "## rkface doctor" in render_attachment(run_checks(Probe(FIXTURES / name)), "")
