"""`rkface doctor` on machines written down in fixtures/, and, by the way it goes to a board, on this one."""

import ast
import json
import struct
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest

from rkface.boards import remote, v4l2
from rkface.boards.checks_npu import Need, numbers
from rkface.boards.doctor import doctor, mend
from rkface.boards.examine import examine
from rkface.boards.probe import Probe
from rkface.boards.report import FAIL, OK, WARN, Repair, from_json, render
from rkface.runtime.core.errors import InputError, WorkError

FIXTURES = Path(__file__).with_name("fixtures")
SHELL = ["sh", "-c"]  # runs its last argument in a shell here, as ssh does there


def look(name, target="", toolkit="2.5.0"):
    report = examine(Probe(FIXTURES / name), Need(target, toolkit if target else ""))
    return report, {line.name: line for line in report.lines}


def run(*arguments):
    parser = ArgumentParser()
    doctor(parser)
    options = parser.parse_args(list(map(str, arguments)))
    return options.run(options)


def test_a_healthy_board_is_fine():
    report, lines = look("rock-5b", "rk3588")
    assert {line.verdict for line in report.lines} == {OK} and report.verdict == OK
    assert "3 NPU cores" in lines["board"].found and "0.9.8" in lines["NPU driver"].found
    assert "MJPG 1920×1080@30" in lines["cameras"].found
    assert "all 18 checks are fine" in render(report, width=100, color=False)


@pytest.mark.parametrize(
    ("name", "failing", "says"),
    [
        (
            "rock-5b-mainline",
            {"kernel", "NPU driver", "NPU device", "librknnrt", "Python"},
            {"kernel": "rocket driver is another stack", "Python": "wheels up to 3.12"},
        ),
        (
            "rk3566-old",
            {"NPU device", "librknnrt", "Python", "bundle"},
            {"NPU device": "0660 root:render", "librknnrt": "1.4.0 is older", "bundle": "this is rk3566"},
        ),
        ("rk3576-no-librknnrt", {"NPU device", "librknnrt", "bundle"}, {"librknnrt": "not installed"}),
        ("container", {"board", "bundle"}, {"board": "in this container"}),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(name, failing, says):
    report, lines = look(name, "rk3588")
    assert {line.name for line in report.lines if line.verdict == FAIL} == failing and report.verdict == FAIL
    for where, text in says.items():
        assert text in lines[where].found
    assert all(line.fix for line in report.lines if line.verdict != OK)


def test_an_old_driver_is_worse_where_there_are_several_cores(tmp_path):
    assert look("rk3566-old")[1]["NPU driver"].verdict == WARN
    for version, verdict in (("0.9.3", FAIL), ("0.9.6", WARN), ("0.9.8", OK), ("0.10.0", OK)):
        (root := tmp_path / version / "proc/device-tree").mkdir(parents=True)
        (root / "compatible").write_bytes(b"radxa,rock-5b\0rockchip,rk3588\0")
        (module := tmp_path / version / "sys/module/rknpu").mkdir(parents=True)
        (module / "version").write_text(f"{version}\n")
        lines = {line.name: line for line in examine(Probe(tmp_path / version)).lines}
        assert lines["NPU driver"].verdict == verdict, version


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html>", "no library (perhaps a web page"),
        (b"\x7fELF\x02\x01\x01" + bytes(11) + (62).to_bytes(2, "little"), "for another processor"),  # 62: x86-64
        (b"", "is empty"),
    ],
)
def test_what_is_no_library_for_this_board_is_seen(tmp_path, content, says):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_bytes(b"rockchip,rk3576\0")
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/librknnrt.so").write_bytes(content)
    lines = {line.name: line for line in examine(Probe(tmp_path)).lines}
    assert lines["librknnrt"].verdict == FAIL and says in lines["librknnrt"].found


def test_versions_compare_as_numbers():
    assert numbers("RKNPU driver: v0.9.10") > numbers("0.9.8") and numbers("no version") == ()


def test_this_machine_the_way_a_board_is_examined():
    report = remote.examine_there(SHELL, Need("rk3588", "2.5.0"))
    assert {"board", "Python", "memory", "disk", "bundle"} <= {line.name for line in report.lines}
    assert from_json(report.to_json()) == report and report.facts["python"].startswith("3.")


def test_what_is_sent_runs_before_anything_is_installed():
    sent = {"rkface." + name[: -len(".py")].replace("/", ".") for name in remote.SENT}
    folder = Path(remote.__file__).parents[1]
    for name in remote.SENT:
        tree = ast.parse((folder / name).read_text(encoding="utf-8"), feature_version=(3, 8))
        package = "rkface." + name.split("/")[0]
        for node in ast.walk(tree):
            named = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                base = f"{package}.{node.module}" if node.module and node.level else node.module or package
                named = [base] if base != package else [f"{package}.{one.name}" for one in node.names]
            for module in named:
                assert module in sent or module.split(".")[0] in sys.stdlib_module_names, f"{name} imports {module}"
    assert remote.program().isascii()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("echo 'ssh: no route to host' >&2; exit 255", "radxa@rock cannot be reached: ssh: no route to host"),
        ("exit 127", "has no Python 3"),
        ("echo hello", "doctor failed there"),
        ("echo '{}'", "doctor failed there"),
    ],
)
def test_a_board_that_does_not_answer(answer, says):
    with pytest.raises(WorkError, match=says):
        remote.examine_there([*SHELL, answer, "ignored"], name="radxa@rock")


def test_a_host_is_no_option_of_ssh():
    with pytest.raises(InputError, match="no host"):
        remote.ssh("-oProxyCommand=touch /tmp/x")


def test_nothing_is_mended_unasked(tmp_path, capsys):
    repairs = [Repair("a governor", ("sh", "-c", f"echo performance > {tmp_path / 'governor'}"))]
    mend(repairs, [], ask=lambda _: "n")
    mend(repairs, [])  # nobody at a terminal
    assert not list(tmp_path.iterdir()) and "nothing was changed" in capsys.readouterr().out
    mend(repairs, SHELL, ask=lambda _: "y")
    assert (tmp_path / "governor").read_text() == "performance\n"
    assert str(repairs[0]) in capsys.readouterr().out, "the exact command is shown"
    with pytest.raises(WorkError, match="exit code 3"):
        mend([Repair("fails", ("sh", "-c", "exit 3"))], [], ask=lambda _: "yes")


def test_repairs_are_governors_and_groups_alone():
    offered = [repair for name in ("rock-5b", "rk3566-old") for repair in look(name)[0].repairs]
    assert offered
    for repair in offered:
        command = " ".join(repair.argv)
        assert command.startswith(("sudo sh -c echo performance | tee /sys/", "sudo usermod -aG "))


def test_the_command(tmp_path, capsys):
    (tmp_path / "bundle").mkdir()
    assert run("--json", "--bundle", tmp_path / "bundle") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "fail" and answer["lines"][-1]["name"] == "bundle"
    with pytest.raises(InputError, match="--fix asks questions"):
        run("--fix", "--json")


def test_cameras_as_v4l2_answers():
    """A driver with one codec-like format and two of pictures; structures as linux/videodev2.h lays them out."""
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
