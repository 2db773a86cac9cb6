"""What is decoded of a camera's pictures: those that are searched, and no larger than the search needs."""

import os
import threading

import cv2
import numpy as np
import pytest

from rkface.runtime.cameras.camera import Camera
from rkface.runtime.cameras.frame_gate import FrameGate, feed_frames
from rkface.runtime.cameras.sources import JpegPipe
from rkface.runtime.cameras.stream import ReducedPicture, ReducingStream
from rkface.runtime.cameras.v4l2_device import CaptureFormat, V4l2Device
from rkface.runtime.cameras.y4m import VideoHeader, to_bgr
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.faces import Faces
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.scheduler import Scheduler

RATE, WIDTH, HEIGHT, SIDE = 15, 1280, 720, 640


def scene(width=WIDTH, height=HEIGHT):
    """A smooth picture: at every size, it looks the same."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.dstack([columns * 255 // width, rows * 255 // height, (columns + rows) * 127 // width]).astype(np.uint8)


def jpeg(image):
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def difference(one, other):
    """The mean difference of two pictures, at the size of the smaller one."""
    height, width = min(one.shape, other.shape)[:2]
    first, second = (cv2.resize(each, (width, height), interpolation=cv2.INTER_AREA) for each in (one, other))
    return float(cv2.absdiff(first, second).mean())


class Counting:
    """A camera of 15 pictures a second that counts what is decoded, of which size."""

    format, rate, decoder = "TEST", float(RATE), ""

    def __init__(self, seconds):
        self.left, self.now, self.full, self.reduced = seconds * RATE, 0.0, 0, 0

    def grab(self):
        self.left -= 1
        if self.left < 0:
            raise EOFError
        self.now += 1 / RATE
        return self.now

    def decode(self):
        self.full += 1
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    def decode_reduced(self, least):
        self.reduced += 1
        return ReducedPicture(np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8), (WIDTH, HEIGHT), self.decode)

    def close(self):
        pass


@pytest.mark.parametrize(
    ("faces", "side", "motion", "full", "reduced"),
    [
        (0, 0, None, 50, 0),  # 5 a second, and the size that the detector needs is not known
        (0, SIDE, None, 0, 50),
        (1, SIDE, None, 150, 0),
        (0, SIDE, 0.005, 61, 0),  # 15 a second for 3 s, until the picture is still; then 5 a second
    ],
)
def test_only_frames_that_are_searched_are_decoded_and_small_ones_while_nobody_is_there(
    faces, side, motion, full, reduced
):
    stream, gate, got = Counting(10), FrameGate(motion=motion), []
    gate.side = side
    gate.set_tracked_faces(faces)
    with Camera("x", lambda _: stream, live=False) as camera:
        feed_frames(camera, lambda frame: not got.append(frame), gate)
        assert camera.state().frames == 10 * RATE and camera.state().size == (WIDTH, HEIGHT)
    assert (stream.full, stream.reduced) == (
        pytest.approx(full, abs=20 if motion else 1),
        pytest.approx(reduced, abs=1),
    )
    assert all((frame.full is not None) == bool(reduced) for frame in got)


def test_a_reduced_frame_of_a_turned_camera_is_turned_like_the_full_one():
    picture = scene()
    source = Counting(1)
    source.decode_reduced = lambda least: ReducedPicture(picture[::2, ::2], (WIDTH, HEIGHT), lambda: picture)
    with Camera("x", lambda _: source, live=False, rotate=90) as camera:
        frame = camera.read(None, lambda: SIDE)
    assert frame.image.shape == (WIDTH // 2, HEIGHT // 2, 3) and frame.full().shape == (WIDTH, HEIGHT, 3)
    assert difference(frame.image, frame.full()) < 1 and camera.state().size == (HEIGHT, WIDTH)


def test_jpegs_of_a_pipe_are_decoded_smaller_if_that_is_enough():
    reading, writing = os.pipe()
    thread = threading.Thread(target=lambda: (os.write(writing, jpeg(scene()) * 2), os.close(writing)))
    thread.start()
    stream = JpegPipe(reading, lambda: True)
    assert isinstance(stream, ReducingStream)
    stream.grab()
    assert stream.decode_reduced(SIDE + 1) is None and stream.decode_reduced(SIDE).image.shape == (360, 640, 3)
    reduced = stream.decode_reduced(320)
    stream.grab()  # the full picture is still that of the reduced one
    assert reduced.image.shape == (180, 320, 3) and reduced.size == (WIDTH, HEIGHT)
    assert difference(reduced.image, reduced.full()) < 1.5
    thread.join()
    os.close(reading)


class Capture:
    """OpenCV's capture of a device that delivers ``data``."""

    def __init__(self, data):
        self.data, self.settings = data, {}

    def __call__(self, path, api):
        return self

    def isOpened(self):  # OpenCV's name
        return True

    def set(self, what, value):
        self.settings[what] = value

    def get(self, what):
        sizes = {cv2.CAP_PROP_FRAME_WIDTH: WIDTH, cv2.CAP_PROP_FRAME_HEIGHT: HEIGHT}
        return {cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"), **sizes}.get(what, 0.0)

    def grab(self):
        return True

    def retrieve(self):
        return True, self.data

    def release(self):
        pass


def test_the_jpegs_of_a_device_are_decoded_here(tmp_path, monkeypatch):
    node, image = tmp_path / "video0", scene()
    node.touch()
    capture = Capture(np.frombuffer(jpeg(image) + bytes(5000), np.uint8)[None])  # drivers deliver their whole buffer
    monkeypatch.setattr(cv2, "VideoCapture", capture)
    stream = V4l2Device(node, CaptureFormat())
    stream.grab()
    assert capture.settings[cv2.CAP_PROP_CONVERT_RGB] == 0
    assert stream.decode().shape == image.shape and difference(stream.decode(), image) < 1.5
    reduced = stream.decode_reduced(SIDE)
    assert reduced.image.shape == (360, 640, 3) and reduced.size == (WIDTH, HEIGHT)
    assert difference(reduced.full(), image) < 1.5 and stream.decode_reduced(1000) is None
    capture.data = np.zeros((1, 5000), np.uint8)
    assert stream.decode() is None and stream.decode_reduced(SIDE) is None
    capture.data = image  # an OpenCV that decodes although it was told not to
    assert (stream.decode() == image).all() and stream.decode_reduced(SIDE) is None


@pytest.mark.parametrize("by", [2, 4])
def test_raw_video_is_shrunk_before_its_colors_are_computed(by):
    image = scene(1288, 728)
    header = VideoHeader(1288, 728, 15.0, full_range=False)
    small = to_bgr(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).ravel(), header, by)
    assert small.shape == (728 // by, 1288 // by, 3) and difference(small, image) < 2


class FaceIfBright:
    """Instead of the models: a bright picture has one face, which fills it."""

    name = "test"

    def close(self):
        pass


def search(pipeline, image):
    count = int(image.mean() > 128)
    box = np.float32([[0, 0, image.shape[1], image.shape[0]]])
    return Faces(box[:count], np.ones(count, np.float32), np.zeros((count, 5, 2), np.float32))


@pytest.mark.parametrize("bright", [False, True])
def test_a_frame_is_searched_in_full_only_if_somebody_is_there(bundle, bright):
    level, decoded = 200 if bright else 20, []
    small, large = (np.full((*size, 3), level, np.uint8) for size in ((36, 64), (72, 128)))
    frame = Frame(small, 7, source="door", full=lambda: decoded.append(1) or large)
    with Scheduler(read_bundle(bundle).manifest, lambda role, core: FaceIfBright(), 1, search) as scheduler:
        [result] = scheduler.run([frame])
    assert result.frame.number == 7 and result.frame.source == "door" and result.error is None
    assert len(decoded) == int(bright) and result.frame.image is (large if bright else small)
    assert result.faces.boxes.tolist() == ([[0, 0, 128, 72]] if bright else [])
