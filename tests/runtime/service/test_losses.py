"""A run whose recordings have ended says what is missing in its output; a run that lost nothing is a success."""

import os
import subprocess
import sys

import cv2
import pytest

from rkface.runtime.core.errors import DeviceError, WorkError
from rkface.runtime.events import RefusedError
from rkface.runtime.service.appearance_log import AppearanceLog
from rkface.runtime.service.receiver_settings import Events, WebhookSettings
from rkface.runtime.service.service import Service
from rkface.runtime.service.settings import CameraSettings, Settings, Web

from ..conftest import scene

RUN = "import sys; from rkface.runtime.cli.main import main; sys.exit(main(['run', *sys.argv[1:]]))"
WEBHOOK = Events(stdout=False, webhook=WebhookSettings("http://127.0.0.1:9/"))  # nobody answers there


@pytest.fixture(autouse=True)
def brisk(monkeypatch, quick_looks):
    monkeypatch.setattr("rkface.runtime.service.service.DELIVERY_GRACE", 0.5)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.jpg"), scene((1, 5)))
    return folder


@pytest.fixture
def lost(bundle, photos, tmp_path):
    """What a service lost whose camera is the folder of photos."""

    def play(events):
        settings = Settings(
            bundle=bundle,
            backend="reference",
            gallery=tmp_path / "gallery.sqlite",
            camera={"door": CameraSettings(str(photos))},
            events=events,
            web=Web(enabled=False),
        )
        with Service(settings) as service:
            service.run()
        return service.losses()

    return play


def test_a_run_that_kept_everything_lost_nothing(lost, tmp_path):
    assert lost(Events(stdout=False, file=tmp_path / "events.jsonl")) == []


def test_events_that_wait_for_their_receiver_are_not_lost(lost, caplog):
    assert lost(WEBHOOK) == []
    assert [record.getMessage() for record in caplog.records if "wait on disk" in record.msg] == [
        "webhook: events wait on disk (2): they are sent when rkface runs again"
    ]


def test_refused_events_are_lost(lost, monkeypatch):
    def refuse(*_):
        raise RefusedError("answered 400")

    monkeypatch.setattr("rkface.runtime.events.webhook.Webhook.deliver", refuse)
    assert lost(WEBHOOK) == ["2 events did not reach webhook (answered 400)"]


def test_events_that_a_file_cannot_take_are_lost(lost, tmp_path):
    (tmp_path / "folder").mkdir()
    (said,) = lost(Events(stdout=False, file=tmp_path / "folder"))
    assert said.startswith("2 events did not reach file (") and "Is a directory" in said


def test_a_photo_that_cannot_be_decoded_is_named_and_counted(lost, photos, tmp_path, caplog):
    (photos / "1.jpg").write_bytes(b"\xff\xd8\xff no picture")
    assert lost(Events(stdout=False, file=tmp_path / "events.jsonl")) == [
        "1 picture of camera door could not be decoded"
    ]
    assert any("1.jpg" in record.getMessage() for record in caplog.records)


def test_frames_that_could_not_be_processed_are_counted(lost, tmp_path, monkeypatch):
    def fail(watcher, *_):
        raise DeviceError("the NPU failed")

    monkeypatch.setattr("rkface.runtime.inference.pipeline.Pipeline.detect", fail)
    assert lost(Events(stdout=False, file=tmp_path / "events.jsonl")) == ["22 frames could not be processed"]


def test_gaps_in_the_log_are_counted(lost, tmp_path, monkeypatch):
    def fail(*_):
        raise WorkError("the disk is full")

    monkeypatch.setattr(AppearanceLog, "record", fail)
    assert lost(Events(stdout=False, file=tmp_path / "events.jsonl")) == [
        "2 changes could not be written into the appearance log"
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("output", "code"), [("/dev/full", 1), ("closed pipe", 0), ("/dev/null", 0)])
def test_the_exit_code_says_whether_stdout_took_the_events(bundle, photos, tmp_path, output, code):
    """Nobody who reads `rkface run … | head -1` misses the rest."""
    command = [sys.executable, "-c", RUN, "--bundle", bundle, "--backend", "reference", "--camera", photos, "--no-web"]
    if output == "closed pipe":
        end, stdout = os.pipe()
        os.close(end)
    else:
        stdout = os.open(output, os.O_WRONLY)
    try:
        done = subprocess.run(
            [*command, "--gallery", tmp_path / "gallery.sqlite"], stdout=stdout, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(stdout)
    said = done.stderr.decode().splitlines()
    assert done.returncode == code, said
    lines = [line for line in said if line.startswith("rkface: ")]
    assert bool(lines) == (code != 0) and all("did not reach stdout" in line for line in lines)
