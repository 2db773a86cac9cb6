"""Single checks of `rkface doctor`, on machines that each test describes."""

import pytest

from rkface.boards.doctor.checks_machine import check_clock, check_memory
from rkface.boards.doctor.checks_software import BundleNeeds, check_binding
from rkface.boards.doctor.probe import Probe
from rkface.boards.doctor.report import FAIL, OK, WARN
from rkface.boards.doctor.run_checks import run_checks
from rkface.runtime.backends import bindings
from rkface.runtime.core.device_access import DeviceNode, read_node
from rkface.runtime.core.errors import InputError

NEEDS = BundleNeeds("rk3588", "2.5.0")


@pytest.fixture
def machine(tmp_path):
    def with_files(files):
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return Probe(tmp_path)

    return with_files


def test_a_driver_that_is_known_to_hang_fails_also_after_it_hung(machine):
    board = machine(
        {
            "proc/device-tree/compatible": "vendor,board\0rockchip,rk3588\0",
            "proc/sys/kernel/osrelease": "6.1.75-vendor\n",
            "sys/module/rknpu/version": "0.9.3\n",
            "commands/dmesg": "[ 9.1] RKNPU: job timeout, flags: 0x0\n",
        }
    )
    driver = next(check for check in run_checks(board).checks if check.name == "NPU driver")
    assert driver.verdict == FAIL and "known to hang" in driver.found and "hung 1 time since" in driver.found
    assert "update the kernel" in driver.fix


def test_a_hang_is_mentioned_also_if_the_version_of_the_driver_is_unknown(machine):
    board = machine(
        {
            "proc/device-tree/compatible": "vendor,board\0rockchip,rk3588\0",
            "sys/bus/platform/drivers/RKNPU/uevent": "",
            "commands/dmesg": "[ 9.1] RKNPU: job timeout, flags: 0x0\n[ 9.9] RKNPU: job timeout, flags: 0x0\n",
        }
    )
    driver = next(check for check in run_checks(board).checks if check.name == "NPU driver")
    assert driver.verdict == WARN and "version is unknown; the NPU hung 2 times" in driver.found
    assert "/sys/kernel/debug/rknpu/version" in driver.fix


def test_an_npu_that_is_off_is_not_taken_for_a_mainline_kernel(machine):
    """The driver is a module, which is only loaded for a device that is on."""
    board = machine(
        {
            "proc/device-tree/compatible": "radxa,zero3\0rockchip,rk3566\0",
            "proc/device-tree/npu@fde40000/compatible": "rockchip,rk3568-rknpu\0",
            "proc/device-tree/npu@fde40000/status": "disabled\0",
            "proc/sys/kernel/osrelease": "6.1.84-rk2410\n",
        }
    )
    checks = {check.name: check for check in run_checks(board).checks}
    assert (checks["kernel"].verdict, checks["NPU device"].verdict) == (WARN, FAIL)
    for name in ("kernel", "NPU device"):
        assert "npu@fde40000 is disabled" in checks[name].found and "rk3568-npu-enable" in checks[name].fix
    assert "mainline" not in "".join(check.found for check in checks.values())
    assert checks["NPU driver"].fix == "switch the NPU on first"


def test_what_the_kernel_grants_counts_beside_the_permission_bits(tmp_path):
    (tmp_path / "card0").touch(mode=0o600)
    assert read_node(tmp_path / "card0").usable("somebody-else", ())  # as with an access control list
    assert not DeviceNode("/dev/dri/card0", 0o660, "root", "video").usable("somebody-else", ())


@pytest.mark.parametrize("files", [{}, {"cur_freq": "busy"}, {"cur_freq": "0"}])
def test_a_clock_that_cannot_be_read_is_not_slow(machine, files):
    npu = "sys/class/devfreq/fdab0000.npu"
    board = machine({f"{npu}/governor": "simple_ondemand", **{f"{npu}/{name}": text for name, text in files.items()}})
    check = check_clock(board, "NPU clock")
    assert check.verdict == OK and "MHz" not in check.found


def test_fewer_cores_are_not_recommended_against_little_memory(machine):
    check = check_memory(machine({"proc/meminfo": "MemTotal: 2000000 kB\nMemAvailable: 800000 kB\n"}))
    assert check.verdict == WARN and "one NPU core" not in check.fix and "smaller recognizer" in check.fix


@pytest.mark.parametrize("wanted", ["", "direct", "rknn-toolkit-lite2", "lite3"])
@pytest.mark.parametrize("files", [(), (".dockerenv",), (".dockerenv", "dev/dri/renderD129")])
@pytest.mark.parametrize("lite", [None, "2.3.2", "broken"])
def test_doctor_names_the_binding_that_the_runtime_takes(machine, monkeypatch, wanted, files, lite):
    board = machine(dict.fromkeys(files, ""))
    monkeypatch.setattr(bindings, "ROOT", board.root)
    monkeypatch.setenv("RKFACE_NPU_BINDING", wanted)
    error = ModuleNotFoundError("none", name="rknnlite") if lite is None else ValueError("numpy")
    monkeypatch.setattr(bindings, "_import_lite", lambda: object if lite == "2.3.2" else error)
    facts = {"version": "3.11.2", "lite": lite, "error": "ValueError: numpy" if lite == "broken" else None}
    check = check_binding(board, {**facts, "wanted": wanted}, NEEDS)
    try:
        taken = bindings.find_binding()
    except InputError:
        assert check.verdict == FAIL and check.fix
        return
    assert check.found.startswith(taken.name)
    if lite != "broken":  # a package with another version than the models is a problem only if it is used
        assert check.verdict == (WARN if taken.name == bindings.LITE else OK)


def test_the_binding_that_the_environment_asks_for_is_read(monkeypatch):
    monkeypatch.setenv("RKFACE_NPU_BINDING", "direct")
    assert Probe().python()["wanted"] == "direct"
