"""Enrollment before a camera, with rendered people who do, or do not do, what they are told."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from rkface.convert.demo import unconverted
from rkface.convert.demo.background import background, develop
from rkface.convert.demo.camera import DemoCamera
from rkface.convert.demo.face import draw_face, view_of
from rkface.convert.demo.identity import EVALUATE, identity
from rkface.convert.demo.look import FaceLook
from rkface.convert.demo.measure import outputs
from rkface.runtime.cameras.camera import Camera
from rkface.runtime.cameras.frame_gate import newest
from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError
from rkface.runtime.enrollment.enroll import EnrollOptions, decode_crop
from rkface.runtime.enrollment.guidance import assess_face, give_advice
from rkface.runtime.enrollment.guided_capture import HOLD, POSES, GuidedCapture
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.inference.pipeline import open_bundle
from rkface.runtime.vision.align import TEMPLATE
from rkface.runtime.vision.quality import Quality

from ..conftest import write_bundle

TURN = {"straight": 0, "left": 42, "right": -42}  # degrees of yaw; the demo detector takes them for less than half
PEOPLE = (2, 10)  # of the synthetic ones: those whom the demo recognizer knows from the side best
RKFACE = [sys.executable, "-m", "rkface.runtime.cli.main"]
PATIENCE = 60  # seconds until a test gives up


def sitter(person=0, degrees=0.0, tall=80.0, seed=0):
    """A picture, 640×480, of somebody synthetic whose head is turned to the own left by ``degrees``."""
    random = np.random.default_rng([5, seed])
    image = background(random, 640, 480)
    look = FaceLook(
        yaw=float(np.radians(degrees)), pitch=0.0, roll=0.0, smile=0.2, mouth_open=0.0, eyes=0.9, gaze=0.0, brows=0.3,
        light=(0.1, -0.3, 0.95), contrast=0.35, cloth=(90.0, 80.0, 70.0), cover="none", cover_color=(0.0, 0.0, 0.0),
    )  # fmt: skip
    draw_face(image, identity(EVALUATE[PEOPLE[person]]), look, view_of(look, tall, 320.0, 240.0))
    return develop(image, random, (92, 96))


def away():
    return background(np.random.default_rng(9), 640, 480)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A bundle of the demo models, for the reference backend."""
    folder = tmp_path_factory.mktemp("bundles") / "demo"
    (folder / "reference").mkdir(parents=True)
    models = []
    for role, (file, input) in unconverted.MODELS.items():
        (folder / f"reference/{role}.onnx").write_bytes((unconverted.FOLDER / file).read_bytes())
        models.append((input, outputs(unconverted.FOLDER / file)))
    write_bundle(folder, *models, threshold=unconverted.THRESHOLDS.match)
    return folder


@pytest.fixture(scope="module")
def models(demo):
    with open_bundle(demo, "reference", threads=1) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def poses():
    """What a camera sees of two people who do as they are told."""
    return [[sitter(person, degrees) for degrees in TURN.values()] for person in (0, 1)]


def landmarks(aside):
    """ArcFace's template with the nose so far right of the middle, in eye distances."""
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
def test_a_head_is_told_where_to_turn_until_it_is_there(wanted, aside, advice):
    said = give_advice(
        landmarks(aside), wanted, Quality(size=60.0, sharpness=0.3, exposure=1.0, pose=0.8, detection=0.9)
    )
    assert said.endswith(f"a little {advice}." if advice else "") and bool(said) == bool(advice)


@pytest.mark.parametrize("pose", POSES)
def test_who_turns_as_told_is_ready(models, poses, pose):
    face = assess_face(models, poses[0][POSES.index(pose)], pose)
    assert face.guidance.ready and face.crop.shape == (112, 112, 3), face.guidance


def sit(models, *pictures, **rules):
    sitting = GuidedCapture(models, "door", EnrollOptions(**rules))
    said = [sitting.process(picture).advice for picture in pictures if sitting.pose]
    return sitting, said


def test_one_picture_of_each_pose_becomes_a_sample(models, poses):
    sitting, _ = sit(models, *(picture for picture in poses[0] for _ in range(HOLD)))
    assert sitting.pose is None and len(sitting.samples) == len(POSES)
    first, *others = sitting.samples
    assert all(float(first.embedding @ other.embedding) > models.thresholds.match for other in others)
    assert all(sample.source == "door" and sample.quality >= 0.6 for sample in sitting.samples)
    np.testing.assert_allclose(models.embed([decode_crop(first.crop)])[0], first.embedding, atol=1e-5)


def test_no_crops_where_none_are_wanted(models, poses):
    sitting, _ = sit(models, *[poses[0][0]] * HOLD, crops=False)
    assert [sample.crop for sample in sitting.samples] == [None]


def test_nobody_is_taken_in_passing(models, poses):
    good = poses[0][0]
    sitting, said = sit(models, good, good, away(), good, good, away())
    assert not sitting.samples and said[2].startswith("No face found")


def test_whoever_steps_in_between_is_not_enrolled_along(models, poses):
    (straight, left, _), (_, other_left, _) = poses
    sitting, said = sit(models, *[straight] * HOLD, *[other_left] * 2 * HOLD)
    assert len(sitting.samples) == 1 and said[-1] == "This is a different face than in the first picture."
    for _ in range(HOLD):
        sitting.process(left)
    assert len(sitting.samples) == 2, "who was first goes on"


def test_strict_wants_nobody_else_in_the_picture(models, poses):
    both = np.hstack([poses[0][0], poses[1][0]])
    sitting, said = sit(models, *[both] * HOLD, strict=True)
    assert not sitting.samples and said[-1].startswith("Only one person")


class Pictures:
    """A stream of these, and then the end or an error."""

    format, rate = "TEST", 15.0

    def __init__(self, count, error=None):
        self.numbers, self.error = iter(range(count)), error or EOFError()

    def read(self):
        for number in self.numbers:
            return np.full((48, 64, 3), number, np.uint8), number / 15
        raise self.error

    def close(self):
        pass


def numbers(frames):
    return [int(frame.image[0, 0, 0]) for frame in frames if frame]


def test_of_a_recording_each_frame_and_of_a_camera_the_newest():
    with Camera("x", lambda _: Pictures(50), live=False) as camera:
        assert numbers(newest(camera, every=True)) == list(range(50))
    with Camera("x", lambda _: Pictures(50), live=False) as camera:
        found = numbers(newest(camera))
        assert found == sorted(set(found)) and found[-1] == 49


def test_silence_and_failure_reach_whoever_takes_the_frames():
    opened = threading.Event()
    with Camera("x", lambda _: opened.wait() and Pictures(1), live=False) as camera:
        frames = newest(camera, patience=0.01)
        assert next(frames) is None
        opened.set()
        assert numbers(frames) == [0]
    with Camera("x", lambda _: Pictures(2, InputError("spoiled")), live=False) as camera:
        frames = newest(camera, every=True)
        assert next(frames) and next(frames)
        with pytest.raises(InputError, match="spoiled"):
            next(frames)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(here):
    """Writes pictures into a folder, each as often as it takes to be taken and told what comes next; says where."""

    def write(name, pictures, times=HOLD + 1):
        (here / name).mkdir()
        for number, picture in enumerate(picture for picture in pictures for _ in range(times)):
            cv2.imwrite(str(here / name / f"{number:03}.png"), picture)
        return here / name

    return write


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
def test_a_recording_is_seen_whole_and_enrolled(enroll, folder, here, poses, kind):
    source = folder("door", poses[0]) if kind == "folder" else film(here / "door.avi", np.repeat(poses[0], HOLD + 1, 0))
    code, out, err = enroll("Ada", "--set", "badge=7", "--camera", source)
    assert code == 0 and re.fullmatch(r"door: enrolled as Ada, quality 0\.\d\d\n", out), err
    assert known(here) == {"Ada": 3}
    with Gallery(here / "gallery.sqlite") as gallery:
        assert gallery.person("Ada").metadata == {"badge": "7"}
    assert "\r" not in err and "  1 of 3  Good. Hold still.\n" in err and "  2 of 3  Turn your head" in err


def test_the_rendered_camera_s_passer_by_is_enrolled_with_what_there_is(enroll, folder, here, models):
    camera = DemoCamera(960, 540, people=1, seed=2)
    code, out, err = enroll(
        "Ada",
        "--json",
        "--camera",
        folder("walk", [camera.render(number / 5).image for number in range(round(camera.round * 5))], times=1),
    )
    said = json.loads(out)
    assert (code, said["status"]) == (0, "enrolled") and known(here)["Ada"] >= 1, err
    portrait = camera.portraits("Ada", 1)[0]
    faces = models.recognize(portrait)
    with Gallery(here / "gallery.sqlite") as gallery:
        (match,) = gallery.search(faces.embeddings[faces.largest()][None])[0]
    assert match.cosine >= models.thresholds.match, "it is the one who walked by"


def test_a_recording_without_anybody_enrolls_nobody(enroll, folder, here):
    code, out, _ = enroll("Ada", "--camera", folder("empty", [away()]))
    assert code == 1 and "refused for Ada; no good picture came" in out and "No face found" in out
    assert not (here / "gallery.sqlite").exists()


def test_a_camera_that_is_not_there_is_waited_for_and_named(enroll, here):
    code, out, _ = enroll("Ada", "--camera", "/dev/video63", "--timeout", "0.1")
    assert code == 1 and "/dev/video63 is not there" in out and not known(here)


def test_wrong_use_is_said_before_any_work(enroll, here):
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
def again(enroll, folder, poses):
    """Ada is known; a camera that sees her again."""
    assert enroll("Ada", "--camera", folder("first", poses[0]))[0] == 0
    return folder("again", [sitter(0, degrees, seed=1) for degrees in TURN.values()])


def test_a_second_name_is_never_given_silently(enroll, again, here):
    code, out, _ = enroll("Augusta", "--camera", again)
    said = r"already enrolled as 'Ada' \(cosine 0\.\d\d\d, threshold 0\.411\).+--same adds"
    assert code == 1 and re.search(said, out)
    assert known(here) == {"Ada": 3}
    assert enroll("Augusta", "--camera", again, "--same")[0] == 0
    assert known(here) == {"Ada": 6}
    assert enroll("Augusta", "--camera", again, "--force")[0] == 0
    assert known(here) == {"Ada": 6, "Augusta": 3}


def test_somebody_else_under_a_name_that_is_taken_is_pointed_out(enroll, folder, poses):
    enroll("Ada", "--camera", folder("first", poses[0]))
    code, out, _ = enroll("Ada", "--camera", folder("second", poses[1]))
    assert code == 0 and "unlike the other samples of 'Ada'" in out


class Terminal:
    """The command below a terminal of its own: what it shows, and what is typed."""

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
            assert self._new.wait_for(lambda: text in self.shown, PATIENCE), self.shown

    def type(self, text):
        os.write(self._end, text.encode())

    def end(self):
        out, _ = self.process.communicate(timeout=PATIENCE)
        os.close(self._end)
        return self.process.returncode, out.decode()


@pytest.mark.parametrize(
    ("typed", "after"),
    [("y\n", {"Ada": 6}), ("n\n", {"Ada": 3, "Augusta": 3}), ("\n", {"Ada": 3}), ("\x04", {"Ada": 3})],
)
def test_a_terminal_is_asked_about_who_looks_alike(demo, again, here, typed, after):
    terminal = Terminal(["enroll", "--bundle", demo, "--backend", "reference", "Augusta", "--camera", again])
    terminal.wait("enroll nothing: ")
    assert re.search(r"looks like 'Ada', who is enrolled: cosine 0\.\d\d\d, one person from 0\.411 on", terminal.shown)
    assert "\r\x1b[K  2 of 3  Turn your head" in terminal.shown, "one line, written anew"
    assert known(here) == {"Ada": 3}, "nothing before the answer"
    terminal.type(typed)
    assert terminal.end()[0] == (after == {"Ada": 3}) and known(here) == after


def test_a_terminal_is_asked_about_another_face_under_a_name(enroll, demo, folder, here, poses):
    enroll("Ada", "--camera", folder("first", poses[0]))
    terminal = Terminal(
        ["enroll", "--bundle", demo, "--backend", "reference", "Ada", "--camera", folder("second", poses[1])]
    )
    terminal.wait("is it the same person? [y/N] ")
    terminal.type("n\n")
    assert terminal.end()[0] == 1 and known(here) == {"Ada": 3}


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


def test_a_live_camera_is_watched_until_all_is_taken(piped, here, poses):
    process = piped([picture for picture in poses[0] for _ in range(60)])
    assert process.wait(PATIENCE) == 0, process.stderr.read()
    assert known(here) == {"Ada": 3}


def test_ctrl_c_leaves_no_trace(piped, here, poses):
    process = piped([poses[0][0]])  # nobody turns
    while b"2 of 3" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130 and b"nothing half-done" in process.stderr.read()
    assert not list(here.glob("gallery*"))


def test_a_camera_that_shows_nobody_is_given_up(piped, here):
    process = piped([away()], "--timeout", "0.5")
    assert process.wait(PATIENCE) == 1 and not known(here)
    assert b"refused for Ada; no good picture came" in process.stdout.read()


def test_a_head_that_does_not_turn_is_enrolled_as_it_is(enroll, folder, here, poses):
    code, out, _ = enroll("Ada", "--no-crops", "--camera", folder("still", poses[0][:1]))
    assert code == 0 and "1 of 3 pictures: the others did not come" in out and known(here) == {"Ada": 1}


def test_a_service_on_the_same_gallery_knows_whom_another_process_enrolled(demo, enroll, folder, here, poses):
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
