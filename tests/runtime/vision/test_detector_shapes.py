"""A detector in several shapes: each picture is looked at in the one that fits it."""

from dataclasses import replace

import numpy as np
import pytest

from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import DeviceError, ModelError
from rkface.runtime.inference import open_bundle as opening_module
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.open_bundle import open_bundle, open_scheduler
from rkface.runtime.vision.detector_shapes import Detectors, find_fitting_size

from ..conftest import make_bundle

SQUARE, WIDE, TALL, LYING, UPRIGHT = SHAPES = ((640, 640), (640, 384), (384, 640), (640, 480), (480, 640))


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((1920, 1080), WIDE),
        ((3840, 2160), WIDE),
        ((1280, 720), WIDE),
        ((1366, 768), WIDE),  # not exactly 16:9
        ((1280, 768), WIDE),  # exactly as wide as the shape
        ((1280, 800), LYING),  # 16:10 would be smaller in the wide one
        ((3000, 2000), LYING),
        ((640, 480), LYING),
        ((480, 640), UPRIGHT),
        ((1280, 1024), SQUARE),  # 5:4
        ((1080, 1920), TALL),
        ((3000, 200), WIDE),
        ((1, 1), SQUARE),
    ],
)
def test_a_picture_gets_the_smallest_shape_in_which_it_is_as_large_as_in_any(picture, size):
    assert SHAPES[find_fitting_size(SHAPES, *picture)] == size
    assert SHAPES[-1 - find_fitting_size(SHAPES[::-1], *picture)] == size, "the order does not matter"


@pytest.mark.parametrize("picture", [(width, height) for width in (97, 640, 1919) for height in (50, 577, 2000)])
def test_no_face_is_smaller_than_in_the_main_shape(picture):
    width, height = SHAPES[find_fitting_size(SHAPES, *picture)]
    scale = min(width / picture[0], height / picture[1])
    assert scale == max(min(w / picture[0], h / picture[1]) for w, h in SHAPES)
    if (width, height) == SQUARE:  # a smaller shape shrinks this picture
        assert all(min(w / picture[0], h / picture[1]) < scale for w, h in SHAPES[1:])


def white(height, width, *faces):
    """A white picture with red squares of 64 pixels at the cells (column, row) of a grid."""
    image = np.full((height, width, 3), 255, np.uint8)
    for column, row in faces:
        image[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64] = (0, 0, 255)
    return image


@pytest.fixture
def opened(monkeypatch):
    """The names of the models that are opened, in this order."""
    names, real = [], opening_module.open_model

    def opening(bundle, name, *arguments, **options):
        names.append(name)
        return real(bundle, name, *arguments, **options)

    monkeypatch.setattr(opening_module, "open_model", opening)
    return names


@pytest.mark.parametrize(
    ("sides", "name"),
    [((384, 640), "detector-320x192"), ((640, 384), "detector-192x320"), ((640, 640), "detector")],
)
def test_faces_are_found_at_the_same_place_in_every_shape(shapes_bundle, tmp_path, opened, sides, name):
    plain = make_bundle(tmp_path / "plain", size=(320, 320))
    image = white(*sides, (1, 2), (4, 5))
    with open_bundle(shapes_bundle, "reference") as several, open_bundle(plain, "reference") as one:
        found, expected = several.detect(image), one.detect(image)
        several.detect(image)
    assert len(found) == 2
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.01)
    np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=0.01)
    others = [one for one in opened if one not in ("detector", "recognizer")]
    assert others == ([] if name == "detector" else [name]), "loaded once, when it is needed, and no other one"


def test_a_turned_photo_is_looked_at_in_the_shape_of_its_turn(shapes_bundle, opened):
    with open_bundle(shapes_bundle, "reference") as pipeline:
        pipeline.detect_photo(white(384, 640))  # no face: all four turns are tried
    assert opened == ["detector", "recognizer", "detector-320x192", "detector-192x320"]


def test_frames_of_all_cameras_are_found_by_one_scheduler(shapes_bundle, monkeypatch):
    names, real = [], opening_module.open_model

    def opening(bundle, name, *arguments, **options):
        names.append(name)
        return real(bundle, name, *arguments, **options)

    monkeypatch.setattr(opening_module, "open_model", opening)
    pictures = [white(384, 640, (1, 2)), white(640, 384, (4, 5), (1, 1)), white(640, 640)] * 3
    with open_scheduler(shapes_bundle, "reference", threads=1) as scheduler:
        results = list(scheduler.run(Frame(one, source=str(at)) for at, one in enumerate(pictures)))
    assert [len(one.faces) for one in results] == [1, 2, 0] * 3 and not any(one.error for one in results)
    assert sorted(names) == ["detector", "detector-192x320", "detector-320x192", "recognizer"]
    assert sorted(names[:2]) == ["detector", "recognizer"], "the others are opened by the first frame that needs them"


def test_a_closed_pipeline_has_closed_every_shape(shapes_bundle, monkeypatch):
    closed, real = [], opening_module.open_model

    def opening(bundle, name, *arguments, **options):
        backend = real(bundle, name, *arguments, **options)
        monkeypatch.setattr(backend, "close", lambda: closed.append(name))
        return backend

    monkeypatch.setattr(opening_module, "open_model", opening)
    with open_bundle(shapes_bundle, "reference") as pipeline:
        pipeline.detect(white(384, 640))
    assert sorted(closed) == ["detector", "detector-320x192", "recognizer"]


@pytest.mark.parametrize("scheduled", [False, True])
def test_the_main_shape_replaces_one_that_does_not_open(shapes_bundle, monkeypatch, caplog, scheduled):
    tries, real = [], opening_module.open_model

    def opening(bundle, name, *arguments, **options):
        if name == "detector-320x192":
            tries.append(name)
            raise DeviceError("the NPU has no memory left")
        return real(bundle, name, *arguments, **options)

    monkeypatch.setattr(opening_module, "open_model", opening)
    pictures = [white(384, 640, (1, 2)), white(640, 384, (4, 5))] * 3
    if scheduled:
        with open_scheduler(shapes_bundle, "reference", threads=1) as scheduler:
            results = list(scheduler.run(Frame(one, source=str(at)) for at, one in enumerate(pictures)))
        assert not any(one.error for one in results)
        found = [one.faces for one in results]
    else:
        with open_bundle(shapes_bundle, "reference") as pipeline:
            found = [pipeline.detect(one) for one in pictures]
        assert tries == ["detector-320x192"], "it is tried once"
    assert [len(one) for one in found] == [1] * 6
    assert "detector-320x192 is not used" in caplog.text and "no memory left" in caplog.text


def test_a_shape_with_outputs_of_no_detector_is_refused_at_once(shapes_bundle):
    manifest = read_bundle(shapes_bundle).manifest
    wrong = replace(manifest.shapes[0], outputs=manifest.detector.outputs)  # those of the square
    with pytest.raises(ModelError, match="at 320×192"):
        Detectors(replace(manifest, shapes=(wrong,)), object(), lambda name: object())
