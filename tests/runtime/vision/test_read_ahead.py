"""Reading ahead gives the photos and the errors of ``read_image``, in order, and starts in advance."""

import cv2
import numpy as np
import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.vision import read_ahead
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.read_ahead import ReadAhead


@pytest.fixture
def photos(tmp_path):
    """Nine photos; the fourth is damaged and the sixth is missing."""
    paths = [tmp_path / f"{number}.jpg" for number in range(9)]
    random = np.random.default_rng(0)
    for path in paths:
        cv2.imwrite(str(path), random.integers(0, 256, (60, 80, 3), np.uint8))
    paths[3].write_bytes(paths[3].read_bytes()[:200])
    paths[5].unlink()
    return paths


@pytest.fixture
def opened(monkeypatch):
    """The photos whose files were read, in order."""
    paths = []

    def counting(path, original=read_ahead.open_photo):
        paths.append(path)
        return original(path)

    monkeypatch.setattr(read_ahead, "open_photo", counting)
    return paths


def outcome(read, path):
    try:
        return read(path).tobytes()
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("most_pixels", [1, 64_000_000])
def test_photos_and_errors_are_those_of_read_image_in_order(photos, monkeypatch, processes, most_pixels):
    monkeypatch.setattr(read_ahead, "PROCESSES", processes)
    monkeypatch.setattr(read_ahead, "MOST_PIXELS", most_pixels)
    with ReadAhead(photos) as reader:
        assert [outcome(reader.read, path) for path in photos] == [outcome(read_image, path) for path in photos]


def test_the_next_photos_are_read_in_advance(photos, opened, monkeypatch):
    monkeypatch.setattr(read_ahead, "PROCESSES", 2)
    with ReadAhead(photos) as reader:
        reader.read(photos[0])
        assert opened == photos[:3]


def test_photos_that_wait_have_a_limit_together(photos, opened, monkeypatch):
    monkeypatch.setattr(read_ahead, "PROCESSES", 4)
    monkeypatch.setattr(read_ahead, "MOST_PIXELS", 80 * 60 + 1)  # one photo, and not two
    with ReadAhead(photos) as reader:
        reader.read(photos[0])
        assert opened == photos[:3]  # the second is decoded; the third is read and has to wait
        assert outcome(reader.read, photos[1]) == outcome(read_image, photos[1])
    assert opened.count(photos[2]) == 1  # a pipe could not be read again


def test_some_photos_may_be_left_out_but_not_read_later(photos):
    with ReadAhead(photos) as reader:
        assert outcome(reader.read, photos[4]) == outcome(read_image, photos[4])
        with pytest.raises(ValueError, match="not among the photos"):
            reader.read(photos[1])


def test_a_photo_that_is_named_twice_is_read_twice(photos):
    with ReadAhead([photos[0], photos[0], photos[1]]) as reader:
        assert reader.read(photos[0]).tobytes() == reader.read(photos[0]).tobytes()
        assert reader.read(photos[1]).shape == (60, 80, 3)
