"""The service of a release, with a script in the place of systemctl; and the unit file, checked by systemd itself."""

import configparser
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from rkface.boards.deploy.release_pack import UNIT
from rkface.runtime.inference.core import LONGEST_HANG, RETRIES
from rkface.runtime.service.housekeeping import STUCK_AFTER

from .conftest import stand_in_wheel, wait_for
from .sshd import WAIT

SYSTEMCTL = """
echo "$@" >> {folder}/asked
[ "$1" = show ] || exit 0
if {root}/opt/rkface/current/venv/bin/rkface run; then echo ActiveState=active; else echo ActiveState=failed; fi
echo NRestarts=41
"""
# The file ``closed`` names a folder that the user rkface may not enter; the message is runuser's (util-linux 2.38).
AS_USER = """
shift 3
case "$(readlink -f "$1") $(readlink -f "$(dirname "$1")/python")" in
  *$(cat {folder}/closed 2>/dev/null || echo nowhere)*)
    echo "runuser: failed to execute $1: Permission denied" >&2; exit 126 ;;
esac
exec "$@"
"""
RUNS, CRASHES, HAS_NONE = (partial(stand_in_wheel, run=code) for code in (0, 1, 2))


@pytest.fixture
def systemd(served):
    served.server.script("systemctl", SYSTEMCTL.format(folder=served.server.folder, root=served.root))
    served.server.script("sudo", 'shift; exec "$@"')
    served.server.script("getent", "true")
    served.server.script("runuser", AS_USER.format(folder=served.server.folder))
    served.unit = served.root / "etc/systemd/system/rkface.service"
    return served


def asked(board):
    return (board.server.folder / "asked").read_text().splitlines()


def test_a_service_is_installed_and_started(systemd):
    assert systemd.deploy("--service", make=RUNS) == 0
    assert systemd.unit.read_bytes() == UNIT.read_bytes()
    assert asked(systemd)[:3] == ["daemon-reload", "enable --quiet rkface.service", "restart rkface.service"]
    assert systemd.current() != "1-first"


def test_opt_may_be_a_link_to_another_disk(systemd):
    (systemd.root / "opt").rename(systemd.root / "data")
    (systemd.root / "opt").symlink_to("data")
    assert systemd.deploy("--service", make=RUNS) == 0
    assert systemd.unit.is_file() and systemd.current() != "1-first"


def test_an_installed_service_is_restarted_without_an_option(systemd):
    systemd.unit.parent.mkdir(parents=True)
    systemd.unit.write_text("[Service]\nExecStart=/bin/false\n")
    assert systemd.deploy(make=RUNS) == 0
    assert asked(systemd).count("restart rkface.service") == 1
    assert systemd.unit.read_bytes() == UNIT.read_bytes()
    assert systemd.deploy("--rollback") == 0
    assert asked(systemd).count("restart rkface.service") == 2


def test_without_a_service_systemd_is_not_used(systemd):
    assert systemd.deploy(make=RUNS) == 0
    assert not (systemd.server.folder / "asked").exists() and not systemd.unit.exists()


def test_if_a_service_does_not_stay_up_the_previous_release_runs_again(systemd, capsys):
    systemd.unit.parent.mkdir(parents=True)
    systemd.unit.write_text("[Service]\nExecStart=/bin/false\n")
    assert systemd.deploy(make=CRASHES) == 1
    said = capsys.readouterr().out
    assert "did not stay up" in said and "1-first is running again" in said
    assert systemd.current() == "1-first" and systemd.releases() == ["1-first"]
    unit = systemd.base / "releases/1-first/rkface.service"
    assert systemd.unit.read_bytes() == unit.read_bytes(), "the unit of the release that runs"
    assert asked(systemd).count("restart rkface.service") == 2


def test_a_first_service_that_does_not_stay_up_is_removed(systemd, capsys):
    assert systemd.deploy("--service", make=CRASHES) == 1
    assert "1-first is current again" in capsys.readouterr().out
    assert systemd.current() == "1-first" and not systemd.unit.exists()
    assert asked(systemd)[-1] == "disable --now rkface.service"


def test_a_service_needs_the_command_run(systemd, capsys):
    assert systemd.deploy("--service", make=HAS_NONE) == 1
    assert "has no command `rkface run`" in capsys.readouterr().out
    assert systemd.current() == "1-first" and systemd.releases() == ["1-first"]
    assert not (systemd.server.folder / "asked").exists()


def closed(board, folder):
    """From now on, the service's user may not enter ``folder``."""
    (board.server.folder / "closed").write_text(str(folder))


def nothing_happened(board):
    return (
        board.current() == "1-first"
        and board.releases() == ["1-first"]
        and not board.unit.exists()
        and not (board.server.folder / "asked").exists()
    )


def test_a_python_that_the_services_user_may_not_execute_is_reported_before_the_switch(systemd, capsys):
    real = Path(sys.executable).resolve()
    closed(systemd, real.parent)
    assert systemd.deploy("--service", make=RUNS) == 1
    said = capsys.readouterr().out
    assert f"user rkface may not execute {real}" in said and "UV_PYTHON_INSTALL_DIR" in said and "Permission" in said
    assert nothing_happened(systemd)


def test_a_release_that_the_services_user_may_not_read_is_reported_before_the_switch(systemd, capsys):
    closed(systemd, systemd.base / "releases")
    assert systemd.deploy("--service", make=RUNS) == 1
    said = capsys.readouterr().out
    assert "cannot run" in said and "--prepare" in said
    assert nothing_happened(systemd)


def test_without_the_services_user_there_is_no_switch(systemd, capsys):
    systemd.server.script("getent", "exit 2")
    assert systemd.deploy("--service", make=RUNS) == 1
    assert "a user rkface, which does not exist" in (said := capsys.readouterr().out) and "--prepare" in said
    assert nothing_happened(systemd)


def test_a_sudo_that_needs_a_password_is_reported_as_such(systemd, capsys):
    systemd.server.script("runuser", 'echo "sudo: a password is required" >&2; exit 1')
    assert systemd.deploy("--service", make=RUNS) == 1
    assert "a password is required: for a service, deploy must run runuser" in capsys.readouterr().out
    assert nothing_happened(systemd)


def test_a_rollback_checks_the_services_user_too(systemd, capsys):
    assert systemd.deploy("--service", make=RUNS) == 0
    now = systemd.current()
    closed(systemd, systemd.base / "releases/1-first")
    assert systemd.deploy("--rollback") == 1
    assert "--prepare" in capsys.readouterr().out and systemd.current() == now


def test_without_a_service_its_user_is_not_needed(systemd):
    systemd.server.script("getent", "exit 2")
    assert systemd.deploy(make=RUNS) == 0 and systemd.current() != "1-first"


def test_a_switch_finishes_after_the_connection_was_lost(systemd, capsys):
    """The connection is lost while the new service starts, which then fails: the board switches back by itself.

    logind may send these signals to processes that a closed session leaves behind.
    """
    systemd.unit.parent.mkdir(parents=True)
    systemd.unit.write_text("[Service]\nExecStart=/bin/false\n")
    hold, script = systemd.server.folder / "hold", (systemd.server.bin / "systemctl").read_text()
    held = f"{WAIT.format(f'[ ! -e {hold} ]')}\nkill -HUP $PPID; kill -TERM $PPID\n[ "
    systemd.server.script("systemctl", script.replace("[ ", held, 1))
    hold.touch()
    codes = []
    deploying = threading.Thread(target=lambda: codes.append(systemd.deploy(make=CRASHES)))
    deploying.start()
    wait_for(lambda: systemd.current() != "1-first")
    for session in systemd.server.sessions():
        os.kill(session, signal.SIGKILL)
    deploying.join()
    hold.unlink()
    assert codes == [1] and "it may have switched" in capsys.readouterr().out
    wait_for(lambda: systemd.current() == "1-first" and systemd.releases() == ["1-first"])
    assert asked(systemd).count("restart rkface.service") == 2


def test_systemd_accepts_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: apt install systemd")
    text = UNIT.read_text().replace("/opt/rkface/current/venv/bin/rkface run", "/bin/true run")
    (tmp_path / UNIT.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / UNIT.name],
        capture_output=True,
        text=True,
        check=False,
    )
    # systemd before 254 reports that it ignores these two.
    said = [line for line in done.stderr.splitlines() if not re.search("RestartSteps|RestartMaxDelaySec", line)]
    assert (done.returncode, said) == (0, [])


def read_unit():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(UNIT)
    return unit["Service"]


def test_systemd_waits_longer_than_an_inference_on_a_hung_npu_takes():
    service = read_unit()
    assert int(service["TimeoutStopSec"]) > LONGEST_HANG + 5, "5 s are for the last events"
    # The longest time without a result from a core that recovers after its last attempt to open the model.
    assert max(RETRIES) + LONGEST_HANG < STUCK_AFTER


def test_the_unit_restricts_the_service():
    service = read_unit()
    for key, value in {
        "User": "rkface",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "StateDirectory": "rkface",
        "StateDirectoryMode": "0700",
        "DevicePolicy": "closed",
        "Restart": "always",
        "Type": "notify",
    }.items():
        assert service[key] == value, key
    assert int(service["WatchdogSec"]) and service["MemoryMax"].endswith("M") and int(service["RestartMaxDelaySec"])
    allowed = re.findall(r"^DeviceAllow=(\S+)", Path(UNIT).read_text(), re.MULTILINE)
    assert {"char-drm", "char-video4linux", "/dev/rknpu"} <= set(allowed)
