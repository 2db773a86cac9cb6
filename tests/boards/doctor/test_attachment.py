"""`rkface doctor --report`: one file with everything about a board, and no secrets."""

import json
import re
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import yaml

from rkface.boards.board_answers import clean_report
from rkface.boards.doctor.attachment import check_place, render_attachment
from rkface.boards.doctor.checks_software import BundleNeeds
from rkface.boards.doctor.probe import Probe
from rkface.boards.doctor.report import CheckResult, DoctorReport
from rkface.boards.doctor.run_checks import run_checks
from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError

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


def test_no_check_is_lost_in_the_part_for_programs():
    report = run_checks(Probe(FIXTURES / "rock-5b"), BundleNeeds("rk3588", "2.6.0"))
    assert any("https://" in check.fix for check in report.checks)
    assert any("1080@30" in check.found for check in report.checks)  # this @ does not end an address
    part = render_attachment(report, "").rpartition("```json\n")[2].partition("\n```")[0]
    assert [one["name"] for one in json.loads(part)["lines"]] == [check.name for check in report.checks]


def test_the_names_of_all_users_are_hidden_wherever_lines_are_broken(monkeypatch):
    monkeypatch.setenv("SUDO_USER", "grace")
    monkeypatch.setenv("LOGNAME", "ada-lovelace")  # the user of the workstation, if the board is another machine
    checks = tuple(CheckResult("cameras", "warn", f"{'x' * filler} ada-lovelace") for filler in range(60, 90))
    last = CheckResult("bundle", "fail", "/srv/grace/bundle is no folder", "su bob-grace")
    text = render_attachment(DoctorReport((*checks, last), {"user": "bob-grace"}), "grace: failed")
    assert not re.search("grace|lovelace|bob", text) and "su USER\n" in text


def test_the_file_says_that_root_may_do_everything():
    report = DoctorReport((CheckResult("NPU device", "ok", "root may use it"),), {"user": "root"})
    assert "did not check the permissions of other users" in render_attachment(report, "")
    assert "permissions of other" not in render_attachment(replace(report, facts={"user": "rock"}), "")


def test_the_newest_lines_of_the_log_stay():
    log = "\n".join(f"[ {number}.0] RKNPU: job timeout {'x' * 100}" for number in range(20))
    assert clean_report(DoctorReport((), {"driver_log": log})).facts["driver_log"] == log
    kept = clean_report(DoctorReport((), {"driver_log": log * 1000})).facts["driver_log"]
    assert kept.endswith(log) and len(kept) < 10_000


def test_a_file_can_be_written_without_installed_metadata(monkeypatch):
    monkeypatch.setattr("importlib.metadata.distribution", _not_installed)
    assert "by rkface of unknown version" in render_attachment(DoctorReport(()), "")


def _not_installed(name):
    raise PackageNotFoundError(name)


def test_a_folder_that_takes_no_files_is_refused_at_once():
    with pytest.raises(InputError, match="nothing can be written to the folder /proc/self"):
        check_place(Path("/proc/self/board.md"))  # not even root may create files there


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
