"""`rkface doctor` on the machines described in fixtures/, and on this machine in the same way as over ssh."""

import json
import struct
from argparse import ArgumentParser
from pathlib import Path

import pytest

from rkface.boards.doctor import remote, v4l2
from rkface.boards.doctor.apply_fixes import apply_fixes
from rkface.boards.doctor.checks_software import BundleNeeds, check_binding
from rkface.boards.doctor.command import doctor
from rkface.boards.doctor.probe import Probe
from rkface.boards.doctor.report import FAIL, OK, WARN, FixCommand, render_report, report_from_json
from rkface.boards.doctor.run_checks import run_checks
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.versions import version_numbers

FIXTURES = Path(__file__).parents[1] / "fixtures"
SHELL = ["sh", "-c"]  # runs its last argument in a shell on this machine, as ssh does on a board


def check_fixture(name, target="", toolkit="2.5.0"):
    report = run_checks(Probe(FIXTURES / name), BundleNeeds(target, toolkit if target else ""))
    return report, {check.name: check for check in report.checks}


def run_doctor(*arguments):
    parser = ArgumentParser()
    doctor(parser)
    options = parser.parse_args(list(map(str, arguments)))
    return options.run(options)


def test_a_healthy_board_passes_all_checks():
    report, lines = check_fixture("rock-5b", "rk3588")
    assert {check.verdict for check in report.checks} == {OK} and report.verdict == OK
    assert "3 NPU cores" in lines["board"].found and "0.9.8" in lines["NPU driver"].found
    assert "MJPG 1920×1080@30" in lines["cameras"].found
    assert "all 18 checks passed" in render_report(report, width=100, color=False)


@pytest.mark.parametrize(
    ("name", "failing", "says"),
    [
        (
            "rock-5b-mainline",
            {"kernel", "NPU driver", "NPU device", "librknnrt"},
            {"kernel": "cannot use its rocket driver", "NPU binding": "direct: rknn-toolkit-lite2 has no wheel for"},
        ),
        (
            "rk3566-old",
            {"NPU device", "librknnrt", "Python", "bundle"},
            {
                "NPU device": "0660 root:render",
                "librknnrt": "1.4.0 does not load the models",
                "Python": "3.9.2, linux-aarch64 (wheels: cp39): rkface needs 3.10 to 3.14",
                "bundle": "this is rk3566",
            },
        ),
        ("rk3576-no-librknnrt", {"librknnrt", "bundle"}, {"librknnrt": "not installed"}),
        ("container", {"board", "bundle"}, {"board": "in this container"}),
    ],
)
def test_each_problem_is_reported_with_a_fix(name, failing, says):
    report, lines = check_fixture(name, "rk3588")
    assert {check.name for check in report.checks if check.verdict == FAIL} == failing and report.verdict == FAIL
    for where, text in says.items():
        assert text in lines[where].found
    assert all(check.fix for check in report.checks if check.verdict != OK)


@pytest.mark.parametrize(
    ("chip", "kernel", "version", "verdict"),
    [
        ("rk3588", "6.1.75", "0.9.0", FAIL),
        ("rk3588", "6.1.75", "0.9.5", FAIL),
        ("rk3588", "5.10.198", "0.9.3", WARN),
        ("rk3566", "6.1.75", "0.9.3", WARN),
        ("rk3588", "5.10.110", "0.8.2", WARN),
        ("rk3588", "6.1.75", "0.9.6", WARN),
        ("rk3588", "6.1.115", "0.9.8", OK),
        ("rk3588", "6.12", "0.10.0", OK),
    ],
)
def test_only_drivers_that_are_known_to_fail_are_refused(tmp_path, chip, kernel, version, verdict):
    for name, content in (
        ("proc/device-tree/compatible", f"vendor,board\0rockchip,{chip}\0"),
        ("proc/sys/kernel/osrelease", f"{kernel}-vendor\n"),
        ("sys/module/rknpu/version", f"{version}\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    lines = {check.name: check for check in run_checks(Probe(tmp_path)).checks}
    assert lines["NPU driver"].verdict == verdict


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html>", "not a library (perhaps a web page"),
        (b"\x7fELF\x02\x01\x01" + bytes(11) + (62).to_bytes(2, "little"), "for another processor"),  # 62: x86-64
        (b"", "is empty"),
    ],
)
def test_a_file_that_is_not_a_library_for_this_board_fails(tmp_path, content, says):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_bytes(b"rockchip,rk3576\0")
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/librknnrt.so").write_bytes(content)
    lines = {check.name: check for check in run_checks(Probe(tmp_path)).checks}
    assert lines["librknnrt"].verdict == FAIL and says in lines["librknnrt"].found


def test_versions_compare_as_numbers():
    assert version_numbers("RKNPU driver: v0.9.10") > version_numbers("0.9.8") and version_numbers("no version") == ()


def test_doctor_runs_on_this_machine_in_the_same_way_as_over_ssh():
    report = remote.run_checks_over(SHELL, BundleNeeds("rk3588", "2.5.0"))
    assert {"board", "Python", "memory", "disk", "bundle"} <= {check.name for check in report.checks}
    assert report_from_json(json.loads(report.to_json())) == report and report.facts["python"].startswith("3.")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("echo 'ssh: no route to host' >&2; exit 255", "radxa@rock cannot be reached: ssh: no route to host"),
        ("exit 127", "has no Python 3"),
        ("echo hello", "doctor failed there"),
        ("echo '{}'", "doctor failed there"),
    ],
)
def test_a_board_that_does_not_answer_with_a_report(answer, says):
    with pytest.raises(WorkError, match=says):
        remote.run_checks_over([*SHELL, answer, "ignored"], name="radxa@rock")


def test_nothing_is_changed_without_consent(tmp_path, capsys):
    commands = [FixCommand("a governor", ("sh", "-c", f"echo performance > {tmp_path / 'governor'}"))]
    apply_fixes(commands, [], ask=lambda _: "n")
    apply_fixes(commands, [])  # no terminal to ask on
    assert not list(tmp_path.iterdir()) and "nothing was changed" in capsys.readouterr().out
    apply_fixes(commands, SHELL, ask=lambda _: "y")
    assert (tmp_path / "governor").read_text() == "performance\n"
    assert str(commands[0]) in capsys.readouterr().out, "the exact command is shown"
    with pytest.raises(WorkError, match="exit code 3"):
        apply_fixes([FixCommand("fails", ("sh", "-c", "exit 3"))], [], ask=lambda _: "yes")


def test_fixes_change_only_governors_groups_and_the_rules_of_rkface():
    names = ("rock-5b", "rk3566-old", "rk3576-no-librknnrt")
    offered = [fix for name in names for fix in check_fixture(name)[0].fixes]
    assert offered
    for fix in offered:
        command = " ".join(fix.argv)
        assert command.startswith(
            ("sudo sh -c echo performance | tee /sys/", "sudo usermod -aG ", 'sudo sh -c printf "%s\\n" "KERNEL==')
        )


def test_the_command_prints_json_and_rejects_wrong_use(tmp_path, capsys):
    (tmp_path / "bundle").mkdir()
    assert run_doctor("--json", "--bundle", tmp_path / "bundle") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "fail" and answer["lines"][-1]["name"] == "bundle"
    with pytest.raises(InputError, match="--fix asks questions"):
        run_doctor("--fix", "--json")


def test_formats_are_read_from_v4l2():
    """A fake driver with two formats; its structures are those of linux/videodev2.h."""
    sizes = {b"MJPG": [(640, 480), (1920, 1080)], b"YUYV": [(640, 480)]}

    def ioctl(descriptor, request, answer):
        index = struct.unpack_from("=I", answer)[0]
        if request == v4l2.QUERYCAP:
            answer[16:23] = b"Webcam\0"
            struct.pack_into("=II", answer, 84, v4l2.DEVICE_CAPS, v4l2.CAPTURE)
            return
        known = list(sizes)
        if request == v4l2.ENUM_FMT:
            if index >= len(known):
                raise OSError
            answer[44:48] = known[index]
            return
        code = bytes(answer[4:8])
        if request == v4l2.ENUM_FRAMESIZES:
            if index >= len(sizes[code]):
                raise OSError
            struct.pack_into("=III", answer, 8, v4l2.DISCRETE, *sizes[code][index])
            return
        if index:
            raise OSError
        assert struct.unpack_from("=II", answer, 8) == max(sizes[code])
        struct.pack_into("=III", answer, 16, v4l2.DISCRETE, 1, 30)

    camera = v4l2.read_camera("/dev/video0", 0, ioctl)
    assert (camera.name, list(map(str, camera.formats))) == ("Webcam", ["MJPG 1920×1080@30", "YUYV 640×480@30"])


def test_an_empty_host_is_not_this_machine():
    with pytest.raises(InputError, match="'' is not a host: give user@board"):
        run_doctor("--host", "")


@pytest.mark.parametrize(
    ("facts", "verdict", "found"),
    [
        ({"version": "3.11.2", "lite": "2.5.0"}, OK, "rknn-toolkit-lite2 2.5.0"),
        ({"version": "3.11.2", "lite": "2.3.2"}, WARN, "rknn-toolkit-lite2 2.3.2, but the models were made with"),
        ({"version": "3.11.2", "lite": None}, OK, "direct: rknn-toolkit-lite2 is not installed"),
        ({"version": "3.14.0", "lite": None}, OK, "direct: rknn-toolkit-lite2 has no wheel for Python 3.14"),
        (
            {"version": "3.12.1", "lite": "2.5.0", "error": "ValueError: numpy"},
            WARN,
            "does not import: ValueError: numpy",
        ),
    ],
)
def test_doctor_names_the_binding_that_opens_models(tmp_path, facts, verdict, found):
    check = check_binding(Probe(tmp_path), facts, BundleNeeds("rk3588", "2.5.0"))
    assert (check.name, check.verdict) == ("NPU binding", verdict) and found in check.found


def test_what_a_package_prints_when_it_is_imported_does_not_disturb_doctor(tmp_path, monkeypatch):
    package = tmp_path / "rknnlite"
    package.mkdir()
    (package / "__init__.py").write_text("import os, sys; print('noise'); os.write(1, b'noise'); os.write(2, b'noise')")
    (package / "api.py").write_text("class RKNNLite: pass")
    metadata = tmp_path / "rknn_toolkit_lite2-2.5.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: rknn-toolkit-lite2\nVersion: 2.5.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    facts = Probe().python()
    assert (facts["lite"], facts["error"]) == ("2.5.0", None)
