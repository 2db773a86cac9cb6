"""``rkface run`` as a process: what systemd, a terminal and a power switch do to it."""

import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

import cv2
import pytest

from rkface.runtime.core.errors import BundleError, ModelError
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.service.logging_setup import start_logs, under_journal
from rkface.runtime.service.systemd import notify, watchdog_seconds

from ..conftest import scene, write_sums

RUN = "import sys; from rkface.runtime.cli.main import main; sys.exit(main(['run', *sys.argv[1:]]))"
WAIT = 30  # seconds until a test gives up
JPEG = cv2.imencode(".jpg", scene((1, 5)))[1].tobytes()


class NotifySocket:
    """systemd's end of the notification socket: collects all messages."""

    def __init__(self, path):
        self.path, self.messages, self._new = str(path), [], threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self):
        while words := self._socket.recv(4096):
            with self._new:
                self.messages += words.decode().split("\n")
                self._new.notify()

    def wait(self, word):
        with self._new:
            assert self._new.wait_for(lambda: word in self.messages, WAIT), self.messages

    def close(self):
        self._socket.sendto(b"", self.path)


@pytest.fixture
def notify_socket(tmp_path):
    with closing(NotifySocket(tmp_path / "notify")) as socket_of_systemd:
        yield socket_of_systemd


@pytest.fixture
def run(bundle, tmp_path):
    """Starts the service on a pipe of pictures that never ends by itself."""
    started = []

    def start(*options, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, "--bundle", bundle, "--backend", "reference", "--camera", "-", "--no-web",
             "--gallery", tmp_path / "state/gallery.sqlite", "--log", "json", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment},
        )  # fmt: skip
        started.append(process)
        threading.Thread(target=show, args=(process.stdin,), daemon=True).start()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def show(pipe):
    try:
        while True:
            pipe.write(JPEG)
            pipe.flush()
            time.sleep(0.03)  # about the rate of a camera; no test waits for it
    except (OSError, ValueError):
        pass


@pytest.mark.slow
def test_systemd_is_notified_and_a_stop_loses_no_event(run, notify_socket, tmp_path):
    process = run(NOTIFY_SOCKET=notify_socket.path, WATCHDOG_USEC="300000")
    notify_socket.wait("WATCHDOG=1")
    assert notify_socket.messages[0] == "READY=1"
    start = json.loads(process.stdout.readline())
    assert start["stage"] == "start"
    process.send_signal(signal.SIGTERM)
    out, err = process.stdout.read(), process.stderr.read().decode()
    assert process.wait(WAIT) == 0, err
    notify_socket.wait("STOPPING=1")
    (end,) = map(json.loads, out.splitlines())
    assert (end["stage"], end["id"]) == ("end", start["id"]), "the person who was present at the stop has an end event"
    assert all(json.loads(line).keys() == {"time", "level", "part", "message"} for line in err.splitlines())


@pytest.mark.slow
def test_a_second_service_is_refused_until_the_first_is_killed_and_then_uses_its_state(run, tmp_path):
    first = run()
    start = json.loads(first.stdout.readline())
    second = run()
    assert second.wait(WAIT) == 2
    (line,) = second.stderr.read().decode().splitlines()
    assert line.startswith("rkface: ") and f"process {first.pid}" in line
    first.kill()
    first.wait()
    third = run()
    assert json.loads(third.stdout.readline())["id"] != start["id"]
    third.send_signal(signal.SIGINT)
    assert third.wait(WAIT) == 0
    with Gallery(tmp_path / "state/gallery.sqlite") as gallery:
        assert find_problems(gallery) == []


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("text", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d warning camera: lost\\nagain\n"),
        ("journal", r"<4>camera: lost\\nagain\n"),
        ("json", r'\{"time": [\d.]+, "level": "warning", "part": "camera", "message": "lost\\nagain"\}\n'),
    ],
)
def test_a_log_record_is_one_line_even_with_a_line_break_in_it(form, line):
    stream, logger = io.StringIO(), logging.getLogger("rkface")
    kept = logger.level, logger.propagate
    handler = start_logs(form, stream)
    try:
        logging.getLogger("rkface.camera").warning("%s\nagain", "lost")
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = kept
    assert re.fullmatch(line, stream.getvalue()), stream.getvalue()


def test_the_journal_is_recognized_by_its_file():
    about = os.fstat(2)
    assert under_journal({"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"})
    assert not under_journal({"JOURNAL_STREAM": "1:1"}) and not under_journal({})


def test_without_systemd_notify_does_nothing(tmp_path):
    assert not notify("READY=1", environment={})
    assert not notify("READY=1", environment={"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_a_notification_socket_in_the_abstract_namespace():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name := f"\0rkface-test-{os.getpid()}")
        assert notify("READY=1", "STATUS=2 cameras", environment={"NOTIFY_SOCKET": "@" + name[1:]})
        assert receiver.recv(100) == b"READY=1\nSTATUS=2 cameras"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_interval_of_the_watchdog(environment, seconds):
    assert watchdog_seconds(environment) == seconds


def test_a_damaged_bundle_is_refused_although_it_is_verified_while_the_service_is_imported(own_bundle, tmp_path):
    model = own_bundle / "reference/recognizer.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    command = [sys.executable, "-c", RUN, "--bundle", own_bundle, "--backend", "reference", "--camera", "-", "--no-web"]
    done = subprocess.run(
        [*command, "--gallery", tmp_path / "gallery.sqlite"], input=JPEG * 9, capture_output=True, check=False
    )
    said = done.stderr.decode().splitlines()[-1]
    assert done.returncode == BundleError.exit_code and not done.stdout
    assert said.startswith("rkface: ") and "recognizer.onnx was changed or damaged" in said


def test_a_recognizer_that_does_not_open_stops_the_start_although_it_opens_after_the_cameras(run, own_bundle):
    (own_bundle / "reference/recognizer.onnx").write_bytes(b"no model")
    write_sums(own_bundle)
    process = run("--bundle", own_bundle)  # somebody is in the pictures
    assert process.wait(WAIT) == ModelError.exit_code
    said = process.stderr.read().decode().splitlines()[-1]
    assert said.startswith(f"rkface: {own_bundle / 'reference/recognizer.onnx'}: ONNX Runtime cannot load this model")
    assert process.stdout.read() == b"", "nobody is reported"
