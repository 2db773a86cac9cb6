"""Work on many photos at once gives the results and the errors of one after the other, in order."""

import threading

import cv2
import numpy as np
import pytest

from rkface.runtime.core.errors import DeviceError, InputError
from rkface.runtime.vision import read_ahead
from rkface.runtime.vision.image import read_photo
from rkface.runtime.vision.read_ahead import ReadAhead

PATIENCE = 30  # seconds, after which a test has failed


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


def content(photo):
    return photo.path.name, photo.image.tobytes(), photo.sha256


def outcome(read, path):
    try:
        return read(path)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("most_pixels", [1, 64_000_000])
def test_photos_and_errors_are_those_of_read_photo_in_order(photos, monkeypatch, processes, most_pixels):
    monkeypatch.setattr(read_ahead, "PROCESSES", processes)
    monkeypatch.setattr(read_ahead, "MOST_PIXELS", most_pixels)
    expected = [outcome(lambda path: content(read_photo(path)), path) for path in photos]
    with ReadAhead(photos, content) as reader:
        assert [outcome(reader.take, path) for path in photos] == expected


def test_photos_are_worked_on_at_once(photos, monkeypatch):
    monkeypatch.setattr(read_ahead, "PROCESSES", 2)
    together = threading.Barrier(2)
    with ReadAhead(photos[:2], lambda photo: together.wait(PATIENCE)) as reader:
        assert {reader.take(photos[0]), reader.take(photos[1])} == {0, 1}


def test_large_photos_are_worked_on_alone_and_small_ones_within_the_limit(photos, monkeypatch):
    monkeypatch.setattr(read_ahead, "PROCESSES", 4)
    for most, limit in ((1, 1), (3 * 80 * 60 - 1, 2)):
        monkeypatch.setattr(read_ahead, "MOST_PIXELS", most)
        lock, begun, most_begun = threading.Lock(), set(), []

        def work(photo, lock=lock, begun=begun, most_begun=most_begun):
            with lock:
                begun.add(photo.path)
                most_begun.append(len(begun))
            cv2.blur(np.zeros((1000, 1000), np.uint8), (9, 9))
            with lock:
                begun.remove(photo.path)

        with ReadAhead(photos, work) as reader:
            for path in photos:
                outcome(reader.take, path)
        assert len(most_begun) == 7 and max(most_begun) <= limit


def test_few_photos_are_begun_before_the_first_is_taken(photos, monkeypatch):
    monkeypatch.setattr(read_ahead, "PROCESSES", 1)
    monkeypatch.setattr(read_ahead, "AHEAD", 3)
    asked = []
    with ReadAhead((asked.append(path) or path for path in photos), content) as reader:
        assert asked == []
        reader.take(photos[0])
        assert asked == photos[:4]


def test_some_photos_may_be_left_out_but_not_taken_later(photos):
    with ReadAhead(photos, content) as reader:
        assert outcome(reader.take, photos[4]) == content(read_photo(photos[4]))
        with pytest.raises(ValueError, match="not among the photos"):
            reader.take(photos[1])


def test_a_photo_that_is_named_twice_is_read_twice(photos):
    with ReadAhead([photos[0], photos[0], photos[1]], content) as reader:
        assert reader.take(photos[0]) == reader.take(photos[0])
        assert reader.take(photos[1])[0] == photos[1].name


def test_an_error_of_the_work_is_raised_for_its_photo_and_the_end_waits_for_nothing(photos):
    def work(photo):
        if photo.path == photos[0]:
            raise DeviceError("the NPU hangs")
        return photo.path

    with pytest.raises(DeviceError, match="hangs"), ReadAhead(photos, work) as reader:
        reader.take(photos[0])
    with ReadAhead(photos, work) as reader:
        assert reader.take(photos[1]) == photos[1]
