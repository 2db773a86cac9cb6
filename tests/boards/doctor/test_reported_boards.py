"""Doctor's verdicts on what real boards print (fixtures/reported.toml names the public report of each)."""

import sys
from pathlib import Path

import pytest

from rkface.boards.doctor.checks_software import AARCH64, BundleNeeds
from rkface.boards.doctor.probe import Probe
from rkface.boards.doctor.report import OK
from rkface.boards.doctor.run_checks import run_checks
from rkface.boards.profile import match_profile
from rkface.runtime.cli.selftest import clock_lines
from rkface.runtime.core.soc import read_soc
from rkface.runtime.inference.machine import read_clocks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPORTED = Path(__file__).parents[1] / "fixtures/reported.toml"
REPORTS = tomllib.loads(REPORTED.read_text(encoding="utf-8"))
ELF = b"\x7fELF\x02\x01\x01" + bytes(11) + AARCH64.to_bytes(2, "little")


def describe(root, report):
    """Write the machine that ``report`` quotes to the folder ``root``."""
    files = {"commands/id -un": "biqu\n", "commands/id -Gn": "biqu sudo\n", **report["files"]}
    if "chip" in report:
        files.setdefault("proc/device-tree/compatible", f"vendor,board\0rockchip,{report['chip']}\0")
    if "kernel" in report:
        files["proc/sys/kernel/osrelease"] = report["kernel"]
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    if "library" in report:
        (root / "usr/lib").mkdir(parents=True)
        said = b"librknnrt version: " + report["library"].encode() + b" (0@2024-01-01T00:00:00)"
        (root / "usr/lib/librknnrt.so").write_bytes(ELF + said)


@pytest.mark.parametrize("name", REPORTS)
def test_the_verdict_of_an_experienced_person(name, tmp_path):
    report = REPORTS[name]
    describe(tmp_path, report)
    soc, toolkit = read_soc(tmp_path), report.get("toolkit", "2.5.0")
    checks = {check.name: check for check in run_checks(Probe(tmp_path), BundleNeeds(soc, toolkit, "1.6.0")).checks}
    for where, (verdict, says) in report["verdicts"].items():
        found = checks[where]
        assert (found.verdict, says in found.found) == (verdict, True), f"{where}: {found}"
        assert found.verdict == OK or found.fix
    fixes = "\n".join(check.fix for check in checks.values())
    assert report.get("fix", "") in fixes
    assert "-aG root" not in fixes, "nobody is told to join the group of root"


@pytest.mark.parametrize("name", [name for name in REPORTS if "load" in REPORTS[name]])
def test_the_load_of_the_npu_is_shown(name, tmp_path):
    describe(tmp_path, REPORTS[name])
    assert REPORTS[name]["load"] in clock_lines(read_clocks(tmp_path))


def test_a_board_with_another_grade_of_chip_has_its_profile():
    assert match_profile(REPORTS["rock-5c-device-tree"]["files"]["proc/device-tree/compatible"]).name == "rock-5c"


def test_a_mipi_camera_with_rkaiq_is_fine(tmp_path):
    describe(tmp_path, REPORTS["orange-pi-5-plus-mipi"])
    (tmp_path / "proc/812").mkdir()
    (tmp_path / "proc/812/comm").write_text("rkaiq_3A_server\n")
    checks = {check.name: check for check in run_checks(Probe(tmp_path)).checks}
    assert checks["cameras"].verdict == OK
    assert "/dev/video11 rkisp_mainpath: UYVY 4224×3136" in checks["cameras"].found
    assert "video12" not in checks["cameras"].found


def test_files_that_only_root_may_use_are_offered_to_groups(tmp_path):
    describe(tmp_path, REPORTS["ubuntu-rockchip-mpp"])
    rules, join = [fix for fix in run_checks(Probe(tmp_path)).fixes if "governor" not in str(fix)]
    assert rules.argv[:3] == ("sudo", "sh", "-c") and join.argv[-3:] == ("-aG", "render,video", "biqu")
    for device in ("rknpu", "rga", "mpp_service", "dma_heap"):
        assert f'==\\"{device}\\"' in rules.argv[3]
