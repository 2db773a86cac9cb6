"""Enrollment in front of a camera, with rendered people who follow the instructions, or do not."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
from functools import cache

import cv2
import numpy as np
import pytest

from rkface.convert.demo.background import background, develop
from rkface.convert.demo.camera import DemoCamera
from rkface.convert.demo.face import draw_face, view_of
from rkface.convert.demo.identity import EVALUATE, identity
from rkface.convert.demo.look import FaceLook
from rkface.runtime.cameras.camera import Camera
from rkface.runtime.cameras.frame_gate import read_newest_frames
from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError
from rkface.runtime.enrollment.enroll import EnrollOptions
from rkface.runtime.enrollment.guidance import assess_face, give_advice
from rkface.runtime.enrollment.guided_capture import HOLD, POSES, GuidedCapture
from rkface.runtime.enrollment.stored_crop import decode_crop
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.inference.open_bundle import open_bundle
from rkface.runtime.vision.align import TEMPLATE
from rkface.runtime.vision.quality import Quality

from ..conftest import write_demo_bundle

pytestmark = pytest.mark.slow

TURN = {"straight": 0, "left": 42, "right": -42}  # degrees of yaw; the demo detector sees less than half of it
PEOPLE = (2, 10)  # the synthetic people whom the demo recognizer knows best from the side
RKFACE = [sys.executable, "-m", "rkface.runtime.cli.main"]
WAIT = 60  # seconds until a test gives up


@cache
def picture_of(person=0, degrees=0.0, tall=80.0, seed=0):
    """A picture, 640×480, of a synthetic person whose head is turned to their own left by ``degrees``."""
    random = np.random.default_rng([5, seed])
    image = background(random, 640, 480)
    look = FaceLook(
        yaw=float(np.radians(degrees)), pitch=0.0, roll=0.0, smile=0.2, mouth_open=0.0, eyes=0.9, gaze=0.0, brows=0.3,
        light=(0.1, -0.3, 0.95), contrast=0.35, cloth=(90.0, 80.0, 70.0), cover="none", cover_color=(0.0, 0.0, 0.0),
    )  # fmt: skip
    draw_face(image, identity(EVALUATE[PEOPLE[person]]), look, view_of(look, tall, 320.0, 240.0))
    picture = develop(image, random, (92, 96))
    picture.setflags(write=False)  # others get the same one
    return picture


def empty_picture():
    return background(np.random.default_rng(9), 640, 480)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A bundle of the demo models, for the reference backend."""
    folder = tmp_path_factory.mktemp("bundles") / "demo"
    write_demo_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def models(demo):
    with open_bundle(demo, "reference", threads=1) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def poses():
    """Pictures of two people in each pose."""
    return [[picture_of(person, degrees) for degrees in TURN.values()] for person in (0, 1)]


def landmarks(aside):
    """ArcFace's template with the nose moved to the right by ``aside`` eye distances."""
    moved = TEMPLATE.copy()
    moved[2, 0] += aside * np.linalg.norm(TEMPLATE[1] - TEMPLATE[0])
    return moved


@pytest.mark.parametrize(
    ("wanted", "aside", "advice"),
    [
        ("straight", 0.0, ""),
        ("straight", 0.2, "to your right"),
        ("straight", -0.2, "to your left"),
        ("left", 0.0, "to your left"),
        ("left", 0.2, ""),
        ("left", 0.4, "to your right"),
        ("right", 0.0, "to your right"),
        ("right", -0.2, ""),
        ("right", -0.4, "to your left"),
    ],
)
def test_the_advice_says_where_to_turn_until_the_pose_is_right(wanted, aside, advice):
    quality = Quality(size=60.0, sharpness=0.3, exposure=1.0, pose=0.8, detection=0.9)
    given = give_advice(landmarks(aside), wanted, quality)
    assert given.endswith(f"a little {advice}." if advice else "") and bool(given) == bool(advice)


@pytest.mark.parametrize("pose", POSES)
def test_a_person_in_the_right_pose_is_ready(models, poses, pose):
    face = assess_face(models, poses[0][POSES.index(pose)], pose)
    assert face.guidance.ready and face.crop.shape == (112, 112, 3), face.guidance


def capture(models, *pictures, **rules):
    guided = GuidedCapture(models, "door", EnrollOptions(**rules))
    advice = [guided.process(picture).advice for picture in pictures if guided.pose]
    return guided, advice


def test_one_picture_of_each_pose_becomes_a_sample(models, poses):
    guided, _ = capture(models, *(picture for picture in poses[0] for _ in range(HOLD)))
    assert guided.pose is None and len(guided.samples) == len(POSES)
    first, *others = guided.samples
    assert all(float(first.embedding @ other.embedding) > models.thresholds.match for other in others)
    assert all(sample.source == "door" and sample.quality >= 0.6 for sample in guided.samples)
    np.testing.assert_allclose(models.embed([decode_crop(first.crop, models.crop)])[0], first.embedding, atol=1e-5)


def test_no_crops_are_kept_without_crops(models, poses):
    guided, _ = capture(models, *[poses[0][0]] * HOLD, crops=False)
    assert [sample.crop for sample in guided.samples] == [None]


def test_a_person_who_only_passes_by_is_not_taken(models, poses):
    good = poses[0][0]
    guided, advice = capture(models, good, good, empty_picture(), good, good, empty_picture())
    assert not guided.samples and advice[2].startswith("No face found")


def test_a_second_person_who_steps_in_is_not_enrolled(models, poses):
    (straight, left, _), (_, other_left, _) = poses
    guided, advice = capture(models, *[straight] * HOLD, *[other_left] * 2 * HOLD)
    assert len(guided.samples) == 1 and advice[-1] == "This is a different face than in the first picture."
    for _ in range(HOLD):
        guided.process(left)
    assert len(guided.samples) == 2, "the first person can continue"


def test_strict_refuses_a_second_person_in_the_picture(models, poses):
    both = np.hstack([poses[0][0], poses[1][0]])
    guided, advice = capture(models, *[both] * HOLD, strict=True)
    assert not guided.samples and advice[-1].startswith("Only one person")


class Pictures:
    """A stream of these, and then the end or an error."""

    format, rate, decoder = "TEST", 15.0, ""

    def __init__(self, count, error=None):
        self.numbers, self.error = iter(range(count)), error or EOFError()

    def grab(self):
        self.number = next(self.numbers, None)
        if self.number is None:
            raise self.error
        return self.number / 15

    def decode(self):
        return np.full((48, 64, 3), self.number, np.uint8)

    def close(self):
        pass


def numbers(frames):
    return [int(frame.image[0, 0, 0]) for frame in frames if frame]


def test_every_frame_of_a_recording_and_the_newest_of_a_camera():
    with Camera("x", lambda _: Pictures(50), live=False) as camera:
        assert numbers(read_newest_frames(camera, every=True)) == list(range(50))
    with Camera("x", lambda _: Pictures(50), live=False) as camera:
        found = numbers(read_newest_frames(camera))
        assert found == sorted(set(found)) and found[-1] == 49


def test_silence_and_failure_reach_the_reader_of_the_frames():
    opened = threading.Event()
    with Camera("x", lambda _: opened.wait() and Pictures(1), live=False) as camera:
        frames = read_newest_frames(camera, patience=0.01)
        assert next(frames) is None
        opened.set()
        assert numbers(frames) == [0]
    with Camera("x", lambda _: Pictures(2, InputError("spoiled")), live=False) as camera:
        frames = read_newest_frames(camera, every=True)
        assert next(frames) and next(frames)
        with pytest.raises(InputError, match="spoiled"):
            next(frames)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(here):
    """Writes pictures into a folder, each ``times`` times, enough to be taken; returns the folder."""

    return lambda name, pictures, times=HOLD + 1: write_pictures(here / name, pictures, times)


def write_pictures(folder, pictures, times=HOLD + 1):
    folder.mkdir()
    for number, picture in enumerate(picture for picture in pictures for _ in range(times)):
        cv2.imwrite(str(folder / f"{number:03}.bmp"), picture)  # compressing noise would take longer than finding faces
    return folder


@pytest.fixture(scope="module")
def enrolled(demo, poses, tmp_path_factory):
    """A gallery in which Ada is enrolled from a camera."""
    folder = tmp_path_factory.mktemp("enrolled")
    camera, gallery = write_pictures(folder / "camera", poses[0]), folder / "gallery.sqlite"
    arguments = ["--bundle", demo, "--backend", "reference", "--gallery", gallery, "Ada", "--camera", camera]
    assert main(["enroll", *map(str, arguments)]) == 0
    return gallery


@pytest.fixture
def ada(enrolled, here):
    """The gallery here is a copy of it."""
    shutil.copy(enrolled, here)


@pytest.fixture
def enroll(demo, here, capsys):
    """Runs the command on the gallery here: exit code, stdout, stderr."""

    def run(*arguments):
        try:
            code = main(["enroll", "--bundle", str(demo), "--backend", "reference", *map(str, arguments)])
        except SystemExit as exit:  # argparse
            code = exit.code
        return code, *capsys.readouterr()

    return run


def known(here):
    path = here / "gallery.sqlite"
    if not path.exists():
        return {}
    with Gallery(path) as gallery:
        return {person.name: person.samples for person in gallery.people()}


def film(path, pictures):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (640, 480))
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


@pytest.mark.parametrize("kind", ["folder", "film"])
def test_a_recording_is_read_to_its_end_and_enrolled(enroll, folder, here, poses, kind):
    source = folder("door", poses[0]) if kind == "folder" else film(here / "door.avi", np.repeat(poses[0], HOLD + 1, 0))
    code, out, err = enroll("Ada", "--set", "badge=7", "--camera", source)
    assert code == 0 and re.fullmatch(r"door: enrolled as Ada, quality 0\.\d\d\n", out), err
    assert known(here) == {"Ada": 3}
    with Gallery(here / "gallery.sqlite") as gallery:
        assert gallery.person("Ada").metadata == {"badge": "7"}
    assert "\r" not in err and "  1 of 3  Good. Hold still.\n" in err and "  2 of 3  Turn your head" in err


def test_a_person_walking_past_the_rendered_camera_is_enrolled_with_the_poses_seen(enroll, folder, here, models):
    camera = DemoCamera(960, 540, people=1, seed=2)
    code, out, err = enroll(
        "Ada",
        "--json",
        "--camera",
        folder("walk", [camera.render(number / 5).image for number in range(round(camera.round * 5))], times=1),
    )
    verdict = json.loads(out)
    assert (code, verdict["status"]) == (0, "enrolled") and known(here)["Ada"] >= 1, err
    portrait = camera.portraits("Ada", 1)[0]
    faces = models.recognize(portrait)
    with Gallery(here / "gallery.sqlite") as gallery:
        (match,) = gallery.search(faces.embeddings[faces.largest()][None])[0]
    assert match.cosine >= models.thresholds.match, "it is the person who walked past"


def test_a_recording_of_an_empty_room_enrolls_nobody(enroll, folder, here):
    code, out, _ = enroll("Ada", "--camera", folder("empty", [empty_picture()]))
    assert code == 1 and "refused for Ada; no good picture was taken" in out and "No face found" in out
    assert not (here / "gallery.sqlite").exists()


def test_a_missing_camera_is_waited_for_and_named(enroll, here):
    code, out, _ = enroll("Ada", "--camera", "/dev/video63", "--timeout", "0.1")
    assert code == 1 and "/dev/video63 does not exist" in out and not known(here)


def test_wrong_use_is_reported_before_any_work(enroll, here):
    for wrong in (
        ["--camera", "0"],
        ["Ada", "a.jpg", "--camera", "0"],
        ["--camera", "0", "--folder", "."],
        ["Ada", "a.jpg", "--same"],
        ["Ada", "--camera", "0", "--same", "--force"],
        ["Ada", "--camera", "nowhere"],
        ["Ada", "--camera", "0", "--timeout", "0"],
    ):
        code, _, err = enroll(*wrong)
        assert code == 2 and err, wrong
    assert not (here / "gallery.sqlite").exists()


@pytest.fixture
def again(ada, folder):
    """Ada is known; a camera that sees her again."""
    return folder("again", [picture_of(0, degrees, seed=1) for degrees in TURN.values()])


def test_a_second_name_is_never_given_silently(enroll, again, here):
    code, out, _ = enroll("Augusta", "--camera", again)
    refusal = r"already enrolled as 'Ada' \(cosine 0\.\d\d\d, threshold 0\.411\).+--same adds"
    assert code == 1 and re.search(refusal, out)
    assert known(here) == {"Ada": 3}
    assert enroll("Augusta", "--camera", again, "--same")[0] == 0
    assert known(here) == {"Ada": 6}
    assert enroll("Augusta", "--camera", again, "--force")[0] == 0
    assert known(here) == {"Ada": 6, "Augusta": 3}


def test_another_face_under_a_known_name_is_refused_unless_forced(enroll, ada, folder, here, poses):
    second = folder("second", poses[1])
    code, out, _ = enroll("Ada", "--camera", second)
    assert code == 1 and "unlike the other samples of 'Ada'" in out and known(here) == {"Ada": 3}
    code, out, _ = enroll("Ada", "--camera", second, "--force")
    assert code == 0 and "unlike the other samples of 'Ada'" in out and known(here) == {"Ada": 6}


class Terminal:
    """The command on a terminal of its own: reads what it shows, and types."""

    def __init__(self, arguments):
        self.shown, self._new = "", threading.Condition()
        self._end, inner = pty.openpty()
        self.process = subprocess.Popen(
            [*RKFACE, *map(str, arguments)], stdin=inner, stdout=subprocess.PIPE, stderr=inner, start_new_session=True
        )
        os.close(inner)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while more := os.read(self._end, 4096):
                with self._new:
                    self.shown += more.decode(errors="replace")
                    self._new.notify_all()
        except OSError:  # the other end is closed
            pass

    def wait(self, text):
        with self._new:
            assert self._new.wait_for(lambda: text in self.shown, WAIT), self.shown

    def type(self, text):
        os.write(self._end, text.encode())

    def end(self):
        out, _ = self.process.communicate(timeout=WAIT)
        os.close(self._end)
        return self.process.returncode, out.decode()


@pytest.mark.parametrize(
    ("typed", "after"),
    [("y\n", {"Ada": 6}), ("n\n", {"Ada": 3, "Augusta": 3}), ("\n", {"Ada": 3}), ("\x04", {"Ada": 3})],
)
def test_a_similar_person_is_asked_about_on_a_terminal(demo, again, here, typed, after):
    terminal = Terminal(["enroll", "--bundle", demo, "--backend", "reference", "Augusta", "--camera", again])
    terminal.wait("enroll nothing: ")
    assert re.search(
        r"looks like 'Ada', who is enrolled: cosine 0\.\d\d\d, and 0\.411 or more means the same person", terminal.shown
    )
    assert "\r\x1b[K  2 of 3  Turn your head" in terminal.shown, "one line, rewritten in place"
    assert known(here) == {"Ada": 3}, "nothing before the answer"
    terminal.type(typed)
    assert terminal.end()[0] == (after == {"Ada": 3}) and known(here) == after


@pytest.mark.parametrize(("typed", "after"), [("n\n", 3), ("y\n", 6)])
def test_another_face_under_a_known_name_is_asked_about_on_a_terminal(  # noqa: PLR0917
    ada, demo, folder, here, poses, typed, after
):
    terminal = Terminal(
        ["enroll", "--bundle", demo, "--backend", "reference", "Ada", "--camera", folder("second", poses[1])]
    )
    terminal.wait("is it the same person? [y/N] ")
    terminal.type(typed)
    assert terminal.end()[0] == (after == 3) and known(here) == {"Ada": after}


@pytest.fixture
def piped(demo, here):
    """The command with these pictures on its standard input, again and again."""
    started = []

    def start(pictures, *arguments):
        process = subprocess.Popen(
            [*RKFACE, "enroll", "--bundle", demo, "--backend", "reference", "Ada", "--camera", "-", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A shell that runs the tests in the background makes its children ignore SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        started.append(process)
        coded = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]
        threading.Thread(target=show, args=(process.stdin, coded), daemon=True).start()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def show(pipe, pictures):
    try:
        while True:
            for picture in pictures:
                pipe.write(picture)
                pipe.flush()
    except (OSError, ValueError):
        pass


def test_a_live_camera_is_watched_until_all_poses_are_taken(piped, here, poses):
    process = piped([picture for picture in poses[0] for _ in range(60)])
    assert process.wait(WAIT) == 0, process.stderr.read()
    assert known(here) == {"Ada": 3}


def test_ctrl_c_leaves_no_trace(piped, here, poses):
    process = piped([poses[0][0]])  # the head never turns
    while b"2 of 3" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT) == 130 and b"no incomplete files" in process.stderr.read()
    assert not list(here.glob("gallery*"))


def test_a_camera_that_shows_nobody_ends_with_the_timeout(piped, here):
    process = piped([empty_picture()], "--timeout", "0.5")
    assert process.wait(WAIT) == 1 and not known(here)
    assert b"refused for Ada; no good picture was taken" in process.stdout.read()


def test_a_head_that_does_not_turn_is_enrolled_with_one_picture(enroll, folder, here, poses):
    code, out, _ = enroll("Ada", "--no-crops", "--camera", folder("still", poses[0][:1]))
    assert code == 0 and "1 of 3 pictures: no good picture of the other poses" in out and known(here) == {"Ada": 1}


def test_a_service_on_the_same_gallery_knows_a_person_that_another_process_enrolled(demo, enroll, folder, here, poses):
    service = subprocess.Popen(
        [*RKFACE, "run", "--bundle", demo, "--backend", "reference", "--gallery", "gallery.sqlite", "--camera",
         "door=-", "--no-web"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        coded = [cv2.imencode(".jpg", poses[0][0])[1].tobytes()]
        threading.Thread(target=show, args=(service.stdin, coded), daemon=True).start()
        assert json.loads(service.stdout.readline())["match"] is None
        assert enroll("Ada", "--camera", folder("first", poses[0]))[0] == 0
        event = json.loads(service.stdout.readline())
        while event["match"] is None:
            event = json.loads(service.stdout.readline())
        assert event["match"]["name"] == "Ada"
    finally:
        service.kill()
        service.communicate()
