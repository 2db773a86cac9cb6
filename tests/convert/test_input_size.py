"""--min-face: the size of the detector's input, from the smallest face that must be found."""

import numpy as np
import pytest

from rkface.convert.input_size import SMALLEST_INPUT, choose_input_size, explain_input_size
from rkface.runtime.cli.main import main
from rkface.runtime.core.errors import InputError
from rkface.runtime.vision.detectors.retinaface import RETINAFACE
from rkface.runtime.vision.detectors.scrfd import SCRFD
from rkface.runtime.vision.letterbox import letterbox

SMALLEST_FACE = SCRFD.smallest_face

CAMERAS = [(1920, 1080), (1280, 720), (640, 480), (3840, 2160), (1080, 1920), (2592, 1944)]


def in_input(min_face, camera, size):
    """Pixels of the face after the real letterbox of the detector."""
    return min_face * letterbox(np.zeros((camera[1], camera[0], 3), np.uint8), *size).scale


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("min_face", [SMALLEST_FACE, 23, 40, 61, 90, 200])
def test_the_input_is_the_smallest_that_keeps_the_face_large_enough(camera, min_face):
    size = choose_input_size(SCRFD, min_face, camera)
    assert all(side % 32 == 0 for side in size)
    # The letterbox rounds the image down to whole pixels: the loss is less than one row of the frame.
    assert in_input(min_face, camera, size) > SMALLEST_FACE * (1 - 1 / min(size))
    if max(size) > SMALLEST_INPUT:
        for smaller in ((size[0] - 32, size[1]), (size[0], size[1] - 32)):
            assert in_input(min_face, camera, smaller) < SMALLEST_FACE


def test_large_faces_give_the_smallest_input_that_was_measured():
    assert choose_input_size(SCRFD, 10_000, (1920, 1080)) == (320, 192)


def test_the_input_is_never_larger_than_the_frame():
    width, height = choose_input_size(SCRFD, SMALLEST_FACE, (1920, 1080))
    assert (width, height) == (1920, 1088)


def test_a_face_that_is_too_small_for_the_camera_is_refused():
    with pytest.raises(InputError, match="camera with more pixels"):
        choose_input_size(SCRFD, SMALLEST_FACE - 1, (1920, 1080))


def test_a_family_for_which_nothing_was_measured_is_refused():
    with pytest.raises(InputError, match="not measured for detectors of the family RetinaFace: use --size"):
        choose_input_size(RETINAFACE, 60, (1920, 1080))


def test_it_says_what_it_chose():
    width, height = choose_input_size(SCRFD, 60, (1920, 1080))
    said = explain_input_size(60, (1920, 1080), (width, height))
    assert said.startswith(f"detector input {width}x{height}: a face of 60 px in 1920x1080")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--min-face", "60", "--size", "640x384"], "leave one out"),
        (["--camera", "1920x1080"], "--min-face"),
        (["--min-face", "60"], "demo pack"),
    ],
)
def test_wrong_use_is_refused_before_any_work(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *arguments]) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_zero_pixels_are_no_face(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["convert", "--min-face", "0"])
    assert "must be a whole number, 1 or greater" in capsys.readouterr().err


def test_the_chosen_size_is_told(shared, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    detector, recognizer = shared / "models/scrfd_500m_kps.onnx", shared / "models/mobilefacenet_128.onnx"
    models = ["--detector", str(detector), "--recognizer", str(recognizer)]
    assert main(["convert", *models, "--min-face", "60", "--camera", "1280x720"]) == 2
    width, height = choose_input_size(SCRFD, 60, (1280, 720))
    said = capsys.readouterr().err
    assert f"detector input {width}x{height}" in said and "--calibration is needed" in said
