"""Cameras that disappear and return, change their size, send black or broken pictures; invalid sources; the gate."""

import io
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rkface.runtime.cameras import sources
from rkface.runtime.cameras.camera import Camera, is_black
from rkface.runtime.cameras.frame_gate import FrameGate, feed_frames
from rkface.runtime.cameras.mjpeg import JpegSplitter
from rkface.runtime.cameras.open_camera import open_camera
from rkface.runtime.cameras.opencv import format_name
from rkface.runtime.cameras.source_names import find_device
from rkface.runtime.cameras.sources import JpegPipe
from rkface.runtime.cameras.v4l2_device import CaptureFormat, V4l2Device
from rkface.runtime.core.addresses import mask_address
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.inference.frames import Frame, Result
from rkface.runtime.service.camera_worker import make_frame_gate, open_camera_worker
from rkface.runtime.service.settings import CameraSettings
from rkface.runtime.tracking.rules import RecognitionRules

PATIENCE = 60


def picture(number, width=64, height=48):
    """A plain picture whose brightness is its number, so that it survives JPEG."""
    return np.full((height, width, 3), 20 + 10 * number, np.uint8)


def jpeg(number, width=64, height=48, *flags):
    return cv2.imencode(".jpg", picture(number, width, height), flags)[1].tobytes()


def number_of(frame):
    return round((float(frame.image.mean()) - 20) / 10)


def with_thumbnail(data):
    """``data`` with a JPEG thumbnail in its EXIF segment, as cameras write it."""
    inner = b"Exif\0\0" + jpeg(9, 16, 16)
    return data[:2] + b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner + data[2:]


class Playlists:
    """A stream that plays lists of pictures: each opening plays the next list. An exception in a list is raised."""

    format, rate, decoder = "TEST", 30.0, ""

    def __init__(self, *plays):
        self.plays, self.opened, self.closed = list(plays), 0, 0

    def __call__(self, camera):
        self.opened += 1
        if not self.plays:
            camera._closed.set()
            raise WorkError("there is nothing left to play")
        self.left = self.plays.pop(0)
        if isinstance(self.left, Exception):
            raise self.left
        return self

    def grab(self):
        if not self.left:
            raise EOFError
        self.picture = self.left.pop(0)
        if isinstance(self.picture, Exception):
            raise self.picture
        return float(self.opened)

    def decode(self):
        return self.picture

    def close(self):
        self.closed += 1


def frames_of(camera):
    with camera:
        return list(iter(camera.read, None))


def test_a_lost_live_camera_is_opened_again_and_may_change_its_size(caplog):
    playlists = Playlists(
        [picture(0), picture(1), WorkError("/dev/video0 stopped delivering pictures")],
        WorkError("/dev/video0 does not exist"),
        WorkError("/dev/video0 does not exist"),
        [picture(2, 96, 64)],
    )
    camera = Camera("door", playlists, retries=(0.0,))
    found = frames_of(camera)
    assert [number_of(frame) for frame in found] == [0, 1, 2] and [frame.number for frame in found] == [0, 1, 2]
    assert found[0].source == "door"
    state = camera.state()
    assert state.size == (96, 64) and state.frames == 3 and state.reconnects == 5
    assert playlists.closed == 2  # each that was opened, once
    assert caplog.text.count("/dev/video0 does not exist") == 1  # logged once


def test_the_state_has_the_error_only_while_it_lasts():
    seen = []

    def open_stream(camera):
        seen.append(camera.state())
        return playlists(camera)

    playlists = Playlists([WorkError("the cable is loose")], [picture(0)])
    camera = Camera("door", open_stream, retries=(0.0,))
    camera.read()
    assert [(state.connected, state.error) for state in seen] == [(False, ""), (False, "the cable is loose")]
    assert camera.state().connected and camera.state().error == "" and camera.state().reconnects == 1


def test_each_retry_waits_longer_and_success_resets_the_delay():
    waits = []
    lost = WorkError("gone")
    camera = Camera("door", Playlists(lost, lost, lost, lost, [picture(0)], lost), retries=(1.0, 2.0, 3.0))
    camera._pause = waits.append
    frames_of(camera)
    # Four failures in a row; the picture; its end, and two more.
    assert waits == [1, 2, 3, 3, 1, 2, 3]


def test_close_ends_the_wait_for_a_retry():
    camera = Camera("door", Playlists(WorkError("gone")), retries=(PATIENCE,))
    reader = threading.Thread(target=camera.read)
    reader.start()
    while not camera.state().error:
        pass
    camera.close()
    reader.join(PATIENCE / 2)
    assert not reader.is_alive() and camera.read() is None


def test_undecodable_pictures_are_counted_and_too_many_make_the_camera_open_again(monkeypatch):
    monkeypatch.setattr("rkface.runtime.cameras.camera.UNREADABLE_LIMIT", 3)
    playlists = Playlists([picture(0), None, None, picture(1), None, None, None], [picture(2)])
    camera = Camera("door", playlists, retries=(0.0,))
    assert [number_of(frame) for frame in frames_of(camera)] == [0, 1, 2]
    assert camera.state().unreadable == 5


def test_black_pictures_are_delivered_and_counted_in_a_row():
    black = np.zeros((48, 64, 3), np.uint8)
    camera = Camera("door", Playlists([picture(1), black, black, black, picture(2)]), retries=(0.0,))
    counts = []
    with camera:
        while camera.read() is not None:
            counts.append(camera.state().black)
    assert counts == [0, 1, 2, 3, 0]


class Played(BaseHTTPRequestHandler):
    """Sends each connection the next list of JPEG pictures as multipart/x-mixed-replace, then closes it."""

    def do_GET(self):
        pictures = self.server.plays.pop(0) if self.server.plays else []
        if not pictures:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for data in pictures:
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
            self.wfile.write(data + b"\r\n")

    def log_message(self, *what):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Played) as running:
        running.plays = []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_network_camera_may_return_from_a_reboot_with_another_resolution(server):
    # FFmpeg's demuxer looks a few pictures ahead: the first ones are repeated.
    server.plays = [[jpeg(3)] * 5, [], [jpeg(5, 96, 64)] * 5]
    sizes = []
    camera = open_camera(f"http://ada:secret@127.0.0.1:{server.server_port}/live.mjpg", name="gate", retries=(0.0,))
    timer = threading.Timer(PATIENCE, camera.close)
    timer.start()
    with camera:
        while len(set(sizes)) < 2:
            frame = camera.read()
            sizes.append((frame.image.shape[1], frame.image.shape[0], number_of(frame)))
    timer.cancel()
    assert list(dict.fromkeys(sizes)) == [(64, 48, 3), (96, 64, 5)]
    state = camera.state()
    assert frame.source == "gate" and state.format == "MJPG" and state.reconnects >= 2
    assert "secret" not in str(state)


def test_a_video_is_read_to_its_end_with_its_own_times(tmp_path):
    path = tmp_path / "door.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(6):
        writer.write(picture(number))
    writer.release()
    camera = open_camera(str(path))
    found = frames_of(camera)
    assert [number_of(frame) for frame in found] == list(range(6))
    np.testing.assert_allclose(np.diff([frame.time for frame in found]), 0.1, atol=1e-6)
    assert camera.state().rate == 10 and camera.state().format == "MJPG"
    again = open_camera(str(path), loop=True)
    with again:
        assert [number_of(again.read()) for _ in range(8)] == [0, 1, 2, 3, 4, 5, 0, 1]


def test_a_folder_of_photos_plays_at_its_rate_and_skips_files_that_are_not_photos(tmp_path):
    for number in (0, 1, 3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    (tmp_path / "2.png").write_bytes(b"no picture")
    camera = open_camera(str(tmp_path), capture_format=CaptureFormat(rate=4))
    found = frames_of(camera)
    assert [number_of(frame) for frame in found] == [0, 1, 3]
    assert found[2].time - found[0].time == pytest.approx(0.75)
    assert camera.state().unreadable == 1


def test_a_source_may_be_a_path_and_a_camera_is_an_iterator(tmp_path):
    for number in (0, 1):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    with open_camera(tmp_path) as camera:
        assert camera.recording and [number_of(frame) for frame in camera] == [0, 1]
    with open_camera(tmp_path, loop=True) as camera:
        assert not camera.recording, "a looped recording has no last frame that must not be missed"


def test_a_held_photo_is_repeated_and_a_black_frame_separates_it_from_the_next(tmp_path):
    for number in (0, 1):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    frames = frames_of(open_camera(str(tmp_path), capture_format=CaptureFormat(hold=1.0)))
    dark = [is_black(frame.image) for frame in frames]
    assert dark == 2 * ([False] * 5 + [True])
    assert [number_of(frame) for frame, black in zip(frames, dark, strict=True) if not black] == [0] * 5 + [1] * 5
    apart = np.diff([frame.time for frame in frames])
    assert apart[:4] == pytest.approx(0.2)
    assert apart[4] > RecognitionRules(0.5).keep, "a track would outlive its photo"


def test_photos_of_different_sizes_are_one_line_in_the_log(tmp_path, caplog):
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((64 + number, 96, 3), np.uint8))
    with caplog.at_level("INFO", "rkface.camera"), open_camera(str(tmp_path), loop=True) as camera:
        assert {camera.read().image.shape[0] for _ in range(9)} == {64, 65, 66, 67}
    assert len(caplog.records) == 1


def test_jpegs_are_read_from_a_pipe_until_the_writer_closes_it():
    data = with_thumbnail(jpeg(0)) + jpeg(1)[:-40] + jpeg(2) + b"junk" + jpeg(3, 96, 64)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(data)
    camera = Camera("stdin", lambda camera: JpegPipe(reading, lambda: not camera.closed), live=False)
    assert [(number_of(frame), frame.image.shape[1]) for frame in frames_of(camera)] == [(0, 64), (2, 64), (3, 96)]
    assert camera.state().unreadable == 1
    os.close(reading)


def test_a_silent_pipe_can_be_closed():
    reading, writing = os.pipe()
    camera = Camera("stdin", lambda camera: JpegPipe(reading, lambda: not camera.closed), live=False)
    thread = threading.Thread(target=camera.read)
    thread.start()
    camera.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    os.close(reading)
    os.close(writing)


PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
def test_the_stream_is_split_at_the_same_places_for_every_chunk_size(chunk):
    noisy = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()
    pictures = [with_thumbnail(jpeg(0)), jpeg(1, 64, 48, *PROGRESSIVE), jpeg(2, 64, 48, *RESTARTS), noisy, jpeg(4)]
    stream = io.BytesIO(b"--frame\r\n\r\n" + b"\r\n--frame\xff\r\n".join(pictures))
    splitter, found = JpegSplitter(), []
    while data := stream.read(chunk):
        found += splitter.feed(data)
    assert found == pictures and splitter.broken == 0


def test_missing_bytes_lose_only_the_pictures_around_them():
    random = np.random.default_rng(2)
    # Each longer than 64 kB, as far as a wrong segment length can lead astray.
    pictures = [cv2.imencode(".jpg", random.integers(0, 256, (256, 256, 3), np.uint8))[1].tobytes() for _ in range(8)]
    whole, ends = b"".join(pictures), np.cumsum([len(data) for data in pictures])
    assert min(np.diff(ends)) > 1 << 16
    heads = [end + offset for end in ends[:4] for offset in range(-30, 700, 20)]  # the markers are in the head
    for start in [*heads, *random.integers(0, ends[3], 40)]:
        found = JpegSplitter().feed(whole[:start] + whole[start + 30 :])
        hit = int(np.searchsorted(ends, start, side="right"))
        assert found[:hit] == pictures[:hit] and found[-(8 - hit - 3) :] == pictures[hit + 3 :]


@pytest.mark.parametrize("spec", ["nowhere.mp4", "ftp://door", "", "usb-No_Such_Camera-video-index0"])
def test_an_invalid_source_is_refused_with_the_valid_forms(spec):
    with pytest.raises(InputError, match=r"/dev/video0.*rtsp://.*folder.*stdin"):
        open_camera(spec)


def test_a_video_whose_name_opencv_would_crash_on_is_refused(tmp_path):
    film = tmp_path / os.fsdecode(b"f\xfflm.avi")
    film.write_bytes(b"RIFF")
    with pytest.raises(InputError, match="not in UTF-8: rename the file"):
        open_camera(str(film))


def test_a_recording_without_a_picture_is_an_error_not_an_end(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100))
    with open_camera(str(tmp_path / "cut.jpg")) as camera, pytest.raises(InputError, match="no picture in this file"):
        camera.read()


def test_a_file_without_video_and_an_empty_folder_are_refused(tmp_path):
    (tmp_path / "door.mp4").write_bytes(b"no video at all")
    with pytest.raises(InputError, match="is not a video"):
        open_camera(str(tmp_path / "door.mp4"))
    (tmp_path / "notes.txt").write_bytes(b"a\x1b[31mb\n")  # FFmpeg would film a terminal that shows it
    with pytest.raises(InputError, match="is not a video"):
        open_camera(str(tmp_path / "notes.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no JPEG"):
        open_camera(str(tmp_path / "empty"))


def test_a_pipeline_is_refused_if_opencv_was_built_without_gstreamer(monkeypatch):
    monkeypatch.setattr("rkface.runtime.cameras.open_camera.has_gstreamer", lambda: False)
    with pytest.raises(InputError, match="without GStreamer"):
        open_camera("videotestsrc ! appsink")


def test_devices_are_found_by_number_path_and_id(tmp_path, monkeypatch):
    assert str(find_device("2")) == "/dev/video2" and str(find_device("/dev/video11")) == "/dev/video11"
    monkeypatch.setattr("rkface.runtime.cameras.source_names.BY_ID", tmp_path)
    (tmp_path / "usb-Maker_Cam-video-index0").symlink_to("../../video3")
    assert find_device("usb-Maker_Cam-video-index0") == tmp_path / "usb-Maker_Cam-video-index0"
    assert find_device("clip.mp4") is None and find_device(str(tmp_path)) is None


def test_a_missing_device_is_retried():
    camera = open_camera("/dev/video987", retries=(PATIENCE,))
    reader = threading.Thread(target=camera.read)
    reader.start()
    while not camera.state().error:
        pass
    assert "/dev/video987 does not exist" in camera.state().error and "rkface doctor" in camera.state().error
    camera.close()
    reader.join(PATIENCE)


def test_the_format_is_requested_first_and_the_choice_of_the_driver_is_reported(tmp_path, monkeypatch):
    node = tmp_path / "video0"
    node.touch()
    asked = []

    class Capture:
        def __init__(self, path, api):
            assert (path, api) == (str(node), cv2.CAP_V4L2)

        def isOpened(self):  # OpenCV's name
            return True

        def set(self, what, value):
            asked.append((what, value))

        def get(self, what):
            given = {cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"YUYV"), cv2.CAP_PROP_FPS: 30.0}
            return given.get(what, 0.0)

        def grab(self):
            return True

        def retrieve(self):
            return True, picture(4, 640, 480)

        def release(self):
            pass

    monkeypatch.setattr(sources.cv2, "VideoCapture", Capture)
    wanted = CaptureFormat(1920, 1080, 25, "MJPG")
    camera = Camera("0", lambda camera: V4l2Device(node, wanted))
    with camera:
        assert number_of(camera.read()) == 4
    assert asked == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1920),
        (cv2.CAP_PROP_FRAME_HEIGHT, 1080),
        (cv2.CAP_PROP_FPS, 25),
    ]
    state = camera.state()
    assert (state.format, state.size, state.rate) == ("YUYV", (640, 480), 30.0)


@pytest.mark.parametrize(("version", "limited"), [("4.6.0", False), ("4.10.0", True)])
def test_a_pipeline_gets_timeouts_if_opencv_supports_them(monkeypatch, version, limited):
    opened = []

    class Capture:
        def __init__(self, *how):
            opened.append(how)

        def isOpened(self):  # OpenCV's name
            return False

    monkeypatch.setattr(sources.cv2, "VideoCapture", Capture)
    monkeypatch.setattr(sources.cv2, "__version__", version)
    with pytest.raises(WorkError, match="does not answer"):
        sources.NetworkStream("videotestsrc ! appsink", "pipeline", gstreamer=True)
    [(address, backend, limits)] = opened
    assert (address, backend) == ("videotestsrc ! appsink", cv2.CAP_GSTREAMER)
    assert (cv2.CAP_PROP_READ_TIMEOUT_MSEC in limits) == limited


def test_passwords_are_removed_and_formats_named():
    assert mask_address("rtsp://ada:p%40ss@10.0.0.2/1") == "rtsp://10.0.0.2/1"
    assert mask_address("rtspsrc location=rtsp://a:b@c/1 ! appsink") == "rtspsrc location=rtsp://c/1 ! appsink"
    assert mask_address("rtsp://ada:a/b@c@host/1") == "rtsp://host/1"
    assert mask_address("rtsp://h/user=ada&password=secret&channel=1") == "rtsp://h/user=…&password=…&channel=1"
    assert format_name(cv2.VideoWriter.fourcc(*"NV12")) == "NV12" and format_name(0) == "" and format_name(-1) == ""


def passes(gate, frame):
    """Whether ``frame`` goes to the detector, as ``feed_frames`` asks."""
    return gate.is_due(frame.time) and gate.accepts(frame)


def count_accepted(gate, seconds, rate=30, start=0.0, image=None):
    image = picture(3) if image is None else image
    return sum(passes(gate, Frame(image, n, start + n / rate)) for n in range(round(seconds * rate)))


@pytest.mark.parametrize(("camera", "rate", "expected"), [(30, 15, 150), (25, 15, 150), (10, 15, 100), (30, 7, 70)])
def test_a_gate_keeps_its_rate_on_average(camera, rate, expected):
    gate = FrameGate(rate=rate)
    gate.set_tracked_faces(1)
    assert count_accepted(gate, 10, camera) == pytest.approx(expected, abs=2)


def test_a_gate_is_slower_while_nobody_is_there_and_speeds_up_at_once():
    gate = FrameGate(rate=15, idle_rate=2)
    assert count_accepted(gate, 10) == pytest.approx(20, abs=2)
    gate.set_tracked_faces(1)
    assert count_accepted(gate, 1, start=10) >= 13
    gate.set_tracked_faces(0)
    assert count_accepted(gate, 3, start=11) == pytest.approx(45, abs=2)  # the calm seconds after that
    assert count_accepted(gate, 10, start=14) == pytest.approx(20, abs=2)


def test_a_face_that_was_seen_once_is_looked_at_again_soon_and_only_once_if_it_is_not_a_face():
    gate, looks, image = FrameGate(rate=15, idle_rate=5), [], picture(3)
    for number in range(60):
        if passes(gate, Frame(image, number, number / 30)):
            looks.append(number)
            gate.set_tracked_faces(0, new=int(len(looks) == 4))  # a false detection
    assert np.diff(looks[3:6]).tolist() == [2, 6] and gate.state == "idle"
    assert set(np.diff(looks[5:])) == {6}


def test_a_picture_without_motion_is_accepted_every_few_seconds():
    random = np.random.default_rng(0)
    noisy = [(picture(5, 640, 360) + random.integers(0, 9, (360, 640, 3))).astype(np.uint8) for _ in range(30)]
    gate = FrameGate(idle_rate=5, calm=3, motion=0.005)
    start = sum(passes(gate, Frame(noisy[n % 30], n, n / 30)) for n in range(90))
    assert start == pytest.approx(45, abs=2)  # the first picture counts as motion
    assert sum(passes(gate, Frame(noisy[n % 30], n, 3 + n / 30)) for n in range(900)) <= 30 / 3 + 1
    moved = noisy[0].copy()
    moved[100:160, 200:260] = 255  # a face's worth
    assert passes(gate, Frame(moved, 0, 33.2)) and passes(gate, Frame(moved, 1, 33.3))


def room(number, noise=6.0):
    """A dim picture of an empty room, 1280×720, with a webcam's noise that depends on ``number``."""
    random = np.random.default_rng(number)
    wall = np.tile(np.linspace(40, 110, 1280)[None, :, None], (720, 1, 3))
    return np.clip(wall + random.normal(0, noise, (720, 1280, 3)), 0, 255).astype(np.uint8)


@pytest.mark.slow
def test_with_motion_set_a_still_picture_is_accepted_rarely_and_a_new_face_at_once():
    rate = 15
    pictures = [room(number) for number in range(20)]
    sets = {"off": CameraSettings("door"), "on": CameraSettings("door", motion=True)}
    looked = {}
    for name, settings in sets.items():
        gate = make_frame_gate(settings)
        looked[name] = [n for n in range(20 * rate) if passes(gate, Frame(pictures[n % 20], n, n / rate))]
    after = [n for n in looked["on"] if n > 4 * rate]  # the first picture counts as motion, for three seconds
    assert len(after) <= 16 / 3 + 1 and len([n for n in looked["off"] if n > 4 * rate]) >= 16 * 5 - 2
    assert gate.state == "still" and gate.skipped == 20 * rate - len(looked["on"])
    wanted = []
    for n in range(20 * rate, 21 * rate):  # a face 90 px wide comes in from the left, 12 px a frame
        picture, edge = pictures[n % 20].copy(), 12 * (n - 20 * rate + 1)
        picture[200:320, max(0, edge - 90) : edge] = 190
        wanted.append(passes(gate, Frame(picture, n, n / rate)))
    assert any(wanted[:5]), "before the whole face is in the picture"
    assert all(wanted[wanted.index(True) :]) and gate.state == "busy"


def test_the_setting_looks_limits_the_detections_per_second():
    gate = make_frame_gate(CameraSettings("door", looks=6))
    assert count_accepted(gate, 10) == pytest.approx(20, abs=2) and gate.state == "idle"
    gate.set_tracked_faces(1)
    assert count_accepted(gate, 10, start=10) == pytest.approx(60, abs=2)


def test_every_frame_of_a_recording_is_processed(tmp_path):
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), picture(3))
    worker, seen = open_camera_worker("still", CameraSettings(str(tmp_path), hold=0.0, looks=1, motion=True)), []
    watcher = SimpleNamespace(visible_faces=lambda: ())

    def submit(frame):
        seen.append(frame.number)
        worker.note_result(Result(frame, None, None, 0, 0.0, 0.0), watcher)
        return True

    worker.run(submit)
    assert seen == list(range(12)) and (worker.health().skipped, worker.health().pace) == (0, "")


def test_a_clock_that_jumps_back_does_not_stop_the_gate():
    gate = FrameGate(rate=10, idle_rate=10)
    assert count_accepted(gate, 2, start=3600) == pytest.approx(20, abs=2)
    assert count_accepted(gate, 2, start=0) == pytest.approx(20, abs=2)


def test_feeding_ends_with_the_camera_or_when_submit_returns_false():
    got = []
    feed_frames(
        Camera("x", Playlists([picture(n) for n in range(5)]), live=False), lambda frame: not got.append(frame.number)
    )
    assert got == [0, 1, 2, 3, 4]
    feed_frames(Camera("x", Playlists([picture(n) for n in range(5)]), live=False), lambda frame: got.append(-1))
    assert got == [0, 1, 2, 3, 4, -1]


class Device:
    """A device that delivers a picture whenever ``next`` is set, and counts how often it is opened and closed."""

    format, rate, decoder = "TEST", 30.0, ""

    def __init__(self):
        self.opened, self.closed, self.next = 0, threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, camera):
        self.opened += 1
        return self

    def grab(self):
        assert self.next.acquire(timeout=PATIENCE)
        return 1.0

    def decode(self):
        return picture(1)

    def close(self):
        self.closed.release()


def test_a_camera_that_is_switched_off_releases_its_device_and_reads_nothing():
    device, found = Device(), []
    camera = Camera("door", device)
    arrived = threading.Semaphore(0)
    reading = threading.Thread(
        target=lambda: feed_frames(camera, lambda frame: found.append(frame) or arrived.release() or True)
    )
    reading.start()
    device.next.release()
    assert arrived.acquire(timeout=PATIENCE) and camera.state().connected
    camera.switch(False)
    device.next.release()  # the picture for which it waited: nobody gets it
    assert device.closed.acquire(timeout=PATIENCE)
    device.next.release()
    assert not camera.state().connected and camera.state().error == "" and camera.state().reconnects == 0
    assert len(found) == 1 and device.opened == 1
    camera.switch(True)
    assert arrived.acquire(timeout=PATIENCE) and len(found) == 2 and device.opened == 2
    camera.switch(False)
    device.next.release()
    assert device.closed.acquire(timeout=PATIENCE)
    camera.close()
    reading.join(PATIENCE)
    assert not reading.is_alive()


def test_a_camera_that_is_off_from_the_start_is_never_opened():
    device = Device()
    camera = Camera("door", device)
    camera.switch(False)
    reading = threading.Thread(target=camera.read)
    reading.start()
    camera.close()
    reading.join(PATIENCE)
    assert device.opened == 0 and not reading.is_alive()


def test_a_lost_camera_that_is_switched_off_is_not_tried_again():
    lost = threading.Event()

    def open_stream(camera):
        lost.set()
        raise WorkError("the cable is loose")

    camera = Camera("door", open_stream, retries=(3600.0,))
    reading = threading.Thread(target=camera.read)
    reading.start()
    assert lost.wait(PATIENCE)
    camera.switch(False)
    camera.close()  # waits for ``read``, which the switch has woken
    reading.join(PATIENCE)
    assert not reading.is_alive() and camera.state().error in ("", "the cable is loose")


def test_a_silent_pipe_can_be_switched_off_and_on():
    reader, writer = os.pipe()
    camera = Camera("stdin", lambda one: JpegPipe(reader, lambda: one.wanted), live=False)
    found = threading.Semaphore(0)
    reading = threading.Thread(target=lambda: feed_frames(camera, lambda frame: found.release() or True))
    reading.start()
    os.write(writer, jpeg(1) + jpeg(1))
    assert found.acquire(timeout=PATIENCE)
    camera.switch(False)
    camera.switch(True)
    os.write(writer, jpeg(1) + jpeg(1))
    assert found.acquire(timeout=PATIENCE)
    os.close(writer)
    reading.join(PATIENCE)
    os.close(reader)
    assert not reading.is_alive()


@pytest.mark.parametrize("error", [EOFError(), WorkError("the connection was closed")])
@pytest.mark.parametrize("live", [True, False])
def test_a_stream_that_ends_because_it_is_switched_off_is_not_an_error(error, live):
    class Ending(Device):
        def grab(self):
            moment = super().grab()
            if not camera.wanted:
                raise error
            return moment

    device, found = Ending(), threading.Semaphore(0)
    camera = Camera("door", device, live=live)
    reading = threading.Thread(target=lambda: feed_frames(camera, lambda frame: found.release() or True))
    reading.start()
    device.next.release()
    assert found.acquire(timeout=PATIENCE)
    camera.switch(False)
    device.next.release()
    assert device.closed.acquire(timeout=PATIENCE)
    camera.switch(True)
    device.next.release()
    assert found.acquire(timeout=PATIENCE) and camera.state().reconnects == 0
    camera.switch(False)
    device.next.release()
    camera.close()
    reading.join(PATIENCE)
    assert not reading.is_alive()
