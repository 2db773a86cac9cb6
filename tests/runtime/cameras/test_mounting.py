"""Cameras and films that are not upright, and cameras that people come close to."""

import struct

import cv2
import numpy as np
import pytest

from rkface import Frame, InputError, open_bundle, open_camera, open_scheduler
from rkface.runtime.cameras.camera import Camera
from rkface.runtime.cameras.frame_gate import FrameGate, feed_frames
from rkface.runtime.cli.main import main
from rkface.runtime.service.camera_worker import open_configured_camera
from rkface.runtime.service.settings import CameraSettings, named_cameras
from rkface.runtime.vision.detect import Detector

WIDTH, HEIGHT = 64, 48
# Where the top left corner of a picture is after it was turned clockwise, and whether the sides change places.
CORNERS = {0: ((0, 0), False), 90: ((0, -1), True), 180: ((-1, -1), False), 270: ((-1, 0), True)}


def marked():
    """A black picture that is white at the top left."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:12, :16] = 255
    return image


def assert_turned(image, turn):
    (row, column), swapped = CORNERS[turn]
    assert image.shape == ((WIDTH, HEIGHT, 3) if swapped else (HEIGHT, WIDTH, 3))
    assert [(y, x) for y in (0, -1) for x in (0, -1) if image[y, x].mean() > 128] == [(row, column)]


class Source:
    format, rate, decoder = "TEST", 10.0, ""

    def __init__(self, count):
        self.count = count

    def grab(self):
        self.count -= 1
        if self.count < 0:
            raise EOFError
        return -self.count / 10

    def decode(self):
        return marked()

    def close(self):
        pass


@pytest.mark.parametrize("turn", CORNERS)
def test_the_frames_of_a_turned_camera_are_upright(tmp_path, turn):
    cv2.imwrite(str(tmp_path / "a.png"), marked())
    with open_camera(tmp_path, rotate=turn) as camera:
        assert_turned(camera.read().image, turn)
        assert camera.state().size == ((HEIGHT, WIDTH) if turn % 180 else (WIDTH, HEIGHT))
    settings = CameraSettings(str(tmp_path), hold=0.0, rotate=turn, near=True)
    with open_configured_camera("door", settings) as camera:
        frame = camera.read()
        assert_turned(frame.image, turn)
        assert frame.near


def test_only_frames_that_are_wanted_are_turned(monkeypatch):
    turned, fed = [], []
    monkeypatch.setattr("rkface.runtime.cameras.camera.turn_image", lambda image, turn: turned.append(turn) or image)
    camera = Camera("x", lambda _: Source(30), live=False, rotate=180)
    feed_frames(camera, lambda frame: fed.append(frame) or True, FrameGate(2.0, 2.0))
    assert 0 < len(fed) == len(turned) < 10


@pytest.mark.parametrize("turn", [45, -90, "90", None])
def test_a_camera_cannot_be_turned_by_another_angle(tmp_path, turn):
    cv2.imwrite(str(tmp_path / "a.png"), marked())
    with pytest.raises(InputError, match="0, 90, 180 or 270 degrees"):
        open_camera(tmp_path, rotate=turn)


def test_the_options_of_the_command_line_are_for_its_cameras(bundle, tmp_path, capsys):
    cameras = named_cameras(["0", "yard=1"], 90, near=True)
    assert [(one.rotate, one.near) for one in cameras.values()] == [(90, True)] * 2
    config = tmp_path / "rkface.toml"
    config.write_text('[camera.door]\nsource = "0"\nrotate = 270\n')
    assert main(["run", "--config", str(config), "--bundle", str(bundle), "--rotate", "90"]) == 2
    assert "--rotate and --near are for --camera" in capsys.readouterr().err


@pytest.fixture
def film(tmp_path):
    """Writes a film whose header says by how many degrees players must turn it clockwise, as phones do."""

    def write(turn):
        path = tmp_path / "film.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (WIDTH, HEIGHT))
        for _ in range(3):
            writer.write(marked())
        writer.release()
        if not path.exists() or not path.stat().st_size:
            pytest.skip("this OpenCV writes no MP4")
        data = bytearray(path.read_bytes())
        header = data.index(b"tkhd") + 4
        matrix = header + 4 + (32 if data[header] else 20) + 16  # ISO/IEC 14496-12, 8.3.2
        sine, cosine = {0: (0, 1), 90: (1, 0), 180: (0, -1), 270: (-1, 0)}[turn]
        one = 1 << 16
        data[matrix : matrix + 36] = struct.pack(
            ">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30
        )
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("turn", CORNERS)
def test_a_film_is_turned_as_its_header_says(film, turn):
    with open_camera(film(turn)) as camera:
        assert_turned(camera.read().image, turn)


def test_the_setting_turns_a_film_further(film):
    with open_camera(film(90), rotate=90) as camera:
        assert_turned(camera.read().image, 180)


def test_a_near_camera_is_looked_at_twice_only_while_no_whole_face_is_found(bundle, monkeypatch):
    looks = []
    find = Detector.detect_with_margin
    monkeypatch.setattr(Detector, "detect_with_margin", lambda self, *rest: looks.append("margin") or find(self, *rest))
    white = np.full((512, 640, 3), 255, np.uint8)
    inside, cut_off = white.copy(), white.copy()
    inside[64:128, 64:128] = cut_off[:64, 64:128] = (0, 0, 255)
    with open_bundle(bundle, "reference") as pipeline:
        assert not len(pipeline.detect(white)) and not looks, "other cameras are looked at once"
        near = pipeline.near()
        for image, faces, twice in ((white, 0, True), (inside, 1, False), (cut_off, 1, True)):
            looks.clear()
            assert len(near.detect(image)) >= faces and bool(looks) == twice
    with pytest.raises(InputError, match="closed"):
        near.detect(white)
    looks.clear()
    with open_scheduler(bundle, "reference") as scheduler:
        results = scheduler.results()
        for is_near in (False, True):
            scheduler.submit(Frame(white, source="door", near=is_near))
            assert next(results).error is None
            assert bool(looks) == is_near
