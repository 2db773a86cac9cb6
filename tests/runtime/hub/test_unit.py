"""The systemd unit of a hub's page: systemd itself checks it, and its command is started as systemd would start it."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rkface.runtime.web.password import write_password

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "boards/rkface-hub.service"
SECONDS = 60.0  # until a test gives up


def analyze(*options):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: apt install systemd")
    return subprocess.run(["systemd-analyze", *options], capture_output=True, text=True, check=False)


@pytest.fixture
def unit(tmp_path):
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/opt/rkface-hub/bin/rkface", "/bin/true"))
    return path


def test_systemd_accepts_the_unit(unit):
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_restricts_the_service(unit):
    done = analyze("security", "--offline=yes", "--threshold=20", "--no-pager", unit)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at a file")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_its_command_tells_systemd_when_it_can_be_used_and_ends_when_it_is_told(hub, database, tmp_path, certificate):
    """With the environment file of the documentation, but for addresses and folders of a server."""
    pytest.importorskip("fastapi", reason="the page of the hub needs rkface[web]")
    (command,) = re.findall(r"^ExecStart=\S+ (.*)$", UNIT.read_text(), re.MULTILINE)
    example = re.search(r"^OPTIONS=(.*)$", (ROOT / "docs/hub.md").read_text(), re.MULTILINE)
    assert example, "docs/hub.md shows an environment file"
    write_password(tmp_path / "password", "correct horse battery")
    for name in ("ca", "key"):
        shutil.copy(certificate / name, tmp_path / {"ca": "hub.pem", "key": "hub.key"}[name])
    options = example[1].replace("/etc/rkface-hub", str(tmp_path)).replace("/var/lib/rkface-hub", str(tmp_path))
    options = options.replace("0.0.0.0", "127.0.0.1") + " --port 0"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(SECONDS)
        started = subprocess.Popen(
            [sys.executable, "-m", "rkface.runtime.cli.main", *shlex.split(command.replace("$OPTIONS", options))],
            env=os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "RKFACE_HUB": database},
            stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )  # fmt: skip
        try:
            assert systemd.recv(100) == b"READY=1"
            started.send_signal(signal.SIGTERM)
            assert systemd.recv(100) == b"STOPPING=1"
            _, said = started.communicate(timeout=SECONDS)
        finally:
            started.kill()
            started.wait()
    assert started.returncode == 0, said
    assert "https://127.0.0.1:" in said
