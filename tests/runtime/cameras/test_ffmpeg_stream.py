"""RTSP cameras that an ffmpeg decodes in a process of its own. There is no Rockchip chip here: a stand-in for its
ffmpeg takes the options for hardware, and decodes on the processor."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkface.runtime.cameras import ffmpeg_stream, hardware_decoder
from rkface.runtime.cameras.open_camera import open_camera

from .h264_camera import FFMPEG, H264Camera, encode_clip, running

pytestmark = pytest.mark.skipif(not FFMPEG, reason="needs the program ffmpeg (apt install ffmpeg)")

STAND_IN = f"""#!/bin/bash
echo "$0 $@" >> "$(dirname "$0")/calls"
kept=()
while [ $# -gt 0 ]; do
    case "$1" in
        -decoders) printf ' V..... h264_rkmpp    Rockchip MPP H264 decoder\\n'; exit;;
        -hwaccels) printf 'Hardware acceleration methods:\\nrkmpp\\n'; exit;;
        -hwaccel) [ -e "$(dirname "$0")/broken" ] && exit 1; shift 2;;
        -c:v) [ "$2" = h264_rkmpp ] || exit 1; shift 2;;
        *) kept+=("$1"); shift;;
    esac
done
exec {FFMPEG} "${{kept[@]}}"
"""
PASSWORD = "pass'word%21"


@pytest.fixture(scope="module")
def clips():
    gray = "nullsrc=s={width}x{height}:r=25:d=2,geq=lum='20+4*N':cb=128:cr=128"
    return {
        "bars": encode_clip(128, 96, "smptebars=s={width}x{height}:r=25:d=1"),
        "large": encode_clip(128, 96),
        "small": encode_clip(64, 48),
        "gray": encode_clip(64, 48, gray),
    }


@pytest.fixture
def board(tmp_path, monkeypatch):
    """A machine whose ffmpeg decodes H.264 in hardware; its folder has the calls of ffmpeg."""
    program = tmp_path / "ffmpeg"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setattr(hardware_decoder, "MPP_NODES", ("/dev/null",))
    monkeypatch.setattr(hardware_decoder, "PROGRAMS", (str(program),))
    hardware_decoder.find_hardware_decoder.cache_clear()
    yield tmp_path
    hardware_decoder.find_hardware_decoder.cache_clear()


def children():
    """The processes that this one started and that still run."""
    command = ["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())]
    listed = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout
    return [line for line in listed.splitlines() if "ffmpeg" in line]


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.01)
    return value


@contextmanager
def opened(address, **options):
    """An open camera. It closes itself after half a minute, so that a test without frames fails instead of hanging."""
    with open_camera(address, **options) as camera:
        timer = threading.Timer(30, camera.close)
        timer.start()
        yield camera
        timer.cancel()


def read_until(camera, condition):
    """Read frames until ``condition`` is true of one, and return it."""
    return next((frame for frame in camera if condition(frame)), None)


def read_error(camera):
    """The error of a camera that cannot be opened."""
    reader = threading.Thread(target=camera.read)
    reader.start()
    error = wait_until(lambda: camera.state().error)
    camera.close()
    reader.join()
    return error


def test_a_camera_is_decoded_in_hardware_and_shows_what_software_shows(board, clips, caplog):
    caplog.set_level("INFO")
    with running(H264Camera(clips["bars"], login=f"ada:{PASSWORD}")) as rtsp:
        frames = {}
        for decoder in (None, "software"):
            with opened(rtsp.address, decoder=decoder, name="door") as camera:
                frames[decoder] = camera.read()
                state = camera.state()
            assert state.decoder == ("software" if decoder else "hardware (h264_rkmpp)") and state.size == (128, 96)
        differences = cv2.absdiff(frames[None].image, frames["software"].image)
        assert differences.shape == (96, 128, 3) and differences.mean() < 1.5 and np.median(differences) <= 1
    assert "decoded in hardware (h264_rkmpp)" in caplog.text and "decoded in software" in caplog.text
    assert PASSWORD not in caplog.text and "ada" not in (board / "calls").read_text() and not children()


def test_no_process_has_the_password_in_its_arguments_or_environment(board, clips):
    with running(H264Camera(clips["small"], login=f"ada:{PASSWORD}")) as rtsp, opened(rtsp.address) as camera:
        camera.read()
        [pid] = [line.split()[0] for line in children()]
        for what in ("cmdline", "environ"):
            text = Path(f"/proc/{pid}/{what}").read_bytes()
            assert text and b"word%21" not in text and b"ada:" not in text


def test_a_camera_that_changes_its_size_is_opened_again(board, clips):
    with (
        running(H264Camera(clips["small"], clips["large"])) as rtsp,
        opened(rtsp.address, decoder="h264", retries=(0.0,)) as camera,
    ):
        assert camera.read().image.shape == (48, 64, 3)
        rtsp.clips = (clips["large"],)
        assert read_until(camera, lambda frame: frame.image.shape != (48, 64, 3)).image.shape == (96, 128, 3)
        assert camera.state().reconnects >= 1 and camera.state().size == (128, 96)
    assert not children()


def test_a_camera_that_falls_silent_is_opened_again(board, clips, monkeypatch, caplog):
    monkeypatch.setattr(ffmpeg_stream, "SILENT_SECONDS", 0.5)
    with (
        running(H264Camera(clips["small"])) as rtsp,
        opened(rtsp.address, decoder="h264", retries=(0.0,)) as camera,
    ):
        camera.read()
        rtsp.silent.set()
        threading.Timer(1.0, rtsp.silent.clear).start()
        before = rtsp.plays
        read_until(camera, lambda _: rtsp.plays > before)
    assert "it stopped sending pictures, for 0.5 s" in caplog.text


def test_a_picture_that_came_is_not_dropped_before_it_is_taken(board, clips, monkeypatch):
    with running(H264Camera(clips["small"])) as rtsp, opened(rtsp.address, decoder="h264") as camera:
        camera.read()
        stream, dropped, early = camera._stream, threading.Event(), []
        wait = stream._wait

        def wait_and_let_others_run(*arguments):
            wait(*arguments)
            thread = threading.Thread(target=drop)
            thread.start()
            thread.join(0.2)
            early.append(dropped.is_set())

        def drop():  # what the log's thread does when the size of the pictures changes
            with stream._changed:
                stream._waiting = None
                dropped.set()

        monkeypatch.setattr(stream, "_wait", wait_and_let_others_run)
        assert camera.read().image.shape == (48, 64, 3)
        assert early == [False] and dropped.wait(20)


def test_an_ffmpeg_that_hangs_or_dies_is_replaced(board, clips, monkeypatch):
    monkeypatch.setattr(ffmpeg_stream, "SILENT_SECONDS", 0.5)
    with (
        running(H264Camera(clips["small"])) as rtsp,
        opened(rtsp.address, decoder="h264", retries=(0.0,)) as camera,
    ):
        for number in (signal.SIGSTOP, signal.SIGKILL):
            camera.read()
            [pid] = [line.split()[0] for line in children()]
            os.kill(int(pid), number)
            read_until(camera, lambda _, old=pid: any(old not in one.split() for one in children()))
            assert len(children()) == 1
    assert not children()


def test_errors_say_what_is_wrong_and_contain_no_password(board, clips, monkeypatch):
    with running(H264Camera(clips["small"], login=f"ada:{PASSWORD}")) as rtsp:
        errors = [read_error(open_camera(rtsp.address.replace("%21", ""), decoder="h264", retries=(60.0,)))]
        rtsp.no_key_pictures = True
        with monkeypatch.context() as patch:
            patch.setattr(ffmpeg_stream, "FIRST_SECONDS", 1.0)
            errors.append(read_error(open_camera(rtsp.address, decoder="h264", retries=(60.0,))))
        address = rtsp.address
    errors.append(read_error(open_camera(address, decoder="h264", retries=(60.0,))))
    assert "401 Unauthorized" in errors[0] and "check the user and the password" in errors[0]
    assert "no picture that can be decoded came, for 1 s" in errors[1]
    assert "Connection refused" in errors[2] and "check the address" in errors[2]
    assert "word" not in errors[0].replace("the password", "") and not children()


def test_hardware_that_fails_twice_is_replaced_by_the_processor_and_this_is_said(board, clips, caplog):
    (board / "broken").touch()
    with running(H264Camera(clips["small"])) as rtsp, opened(rtsp.address, retries=(0.0,)) as camera:
        camera.read()
        assert camera.state().decoder == "software, because hardware decoding fails"
        assert camera.state().reconnects == 2
    assert "hardware decoding fails" in caplog.text


def test_a_slow_reader_gets_the_newest_picture_and_no_queue_grows(board, clips):
    with running(H264Camera(clips["gray"])) as rtsp, opened(rtsp.address, decoder="h264") as camera:
        camera.read()
        stream = camera._stream
        for _ in range(2):
            before = rtsp.sent
            wait_until(lambda: rtsp.sent > before + 30)  # noqa: B023
            frame = camera.read()
            sent = rtsp.sent
            shown = round((frame.image.mean() * 219 / 255 + 16 - 20) / 4) + 1  # the position in the clip of 50
            assert (sent - shown) % 50 <= 10
            assert len(stream._free) <= ffmpeg_stream.BUFFERS
    assert not children()


PARENT = """
import sys
from rkface.runtime.cameras.ffmpeg_stream import FfmpegStream
stream = FfmpegStream(sys.argv[1], sys.argv[2], "h264", "camera", lambda: True)
stream.grab()
print(stream._process.pid, flush=True)
sys.stdin.read()
"""


def test_ffmpeg_ends_with_a_parent_that_is_killed_even_if_the_camera_is_silent(board, clips):
    with running(H264Camera(clips["small"])) as rtsp:
        command = [sys.executable, "-c", PARENT, str(board / "ffmpeg"), rtsp.address]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
            pid = int(parent.stdout.readline())
            rtsp.silent.set()
            parent.kill()
        state = Path(f"/proc/{pid}/stat")
        wait_until(lambda: not state.exists() or state.read_text().split()[2] == "Z", 10)


GST_SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service="0")
factory = GstRtspServer.RTSPMediaFactory(shared=True, launch="( videotestsrc is-live=true ! "
    "video/x-raw,width=320,height=180,framerate=25/1 ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 "
    "! rtph264pay name=pay0 config-interval=1 )")
token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "viewer")
auth = GstRtspServer.RTSPAuth()
auth.set_supported_methods(2)  # Digest
auth.add_digest("ada", sys.argv[1], token)
server.set_auth(auth)
rights = GstRtspServer.RTSPPermissions()
for right in ("access", "construct"):
    rights.add_permission_for_role("viewer", "media.factory." + right, True)
factory.set_permissions(rights)
server.get_mount_points().add_factory("/stream", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


@pytest.fixture
def gstreamer():
    """A real RTSP server, GStreamer's: its process, and its address."""
    python = "/usr/bin/python3"  # Debian's, which has python3-gi
    with subprocess.Popen(
        [python, "-c", GST_SERVER, "secret"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        port = process.stdout.readline().strip()
        if not port:
            process.wait()
            pytest.skip("needs apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{good,ugly}")
        yield process, f"rtsp://ada:secret@127.0.0.1:{port}/stream"
        process.kill()


def test_a_real_server_that_stalls_and_stops(board, gstreamer, monkeypatch, caplog):
    monkeypatch.setattr(ffmpeg_stream, "SILENT_SECONDS", 0.5)
    server, address = gstreamer
    with opened(address, retries=(0.0, 60.0)) as camera:
        assert camera.read().image.shape == (180, 320, 3)
        assert camera.state().decoder == "hardware (h264_rkmpp)"
        server.send_signal(signal.SIGSTOP)
        threading.Timer(1.5, server.send_signal, [signal.SIGCONT]).start()
        read_until(camera, lambda _: camera.state().reconnects)
        assert "it stopped sending pictures" in caplog.text
        server.kill()
        reader = threading.Thread(target=lambda: read_until(camera, lambda _: False), daemon=True)
        reader.start()
        wait_until(lambda: camera.state().error)
        assert not camera.state().connected and "secret" not in caplog.text + str(camera.state())
    reader.join()
    assert not children()
