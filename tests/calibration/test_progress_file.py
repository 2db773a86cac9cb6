"""An interrupted `rkface calibrate --resume` goes on: the same faces, and no photo is searched twice."""

import stat

import pytest

from rkface.calibration.collect import collect_faces
from rkface.calibration.progress_file import open_progress
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.vision.decoder import close_decoder

from .test_collect import facts

SEARCH = {"detector": "0" * 64, "threshold": 0.5}


class Killed(BaseException):
    """Not an error that anything handles."""


@pytest.fixture
def photos(tmp_path, shoot):
    for seed in range(5):
        shoot(tmp_path / f"photos/{seed}.png", seed)
    shoot(tmp_path / "photos/nobody.png", eyes=0)
    yield tmp_path / "photos"
    close_decoder()


def collect(photos, finder, search=SEARCH, stop_at=None):
    """The faces of ``photos``, and how often the detector looked at one. ``stop_at``: the run is killed there."""
    looks = []

    class Counting(type(finder)):
        def detect(self, image, threshold):
            looks.append(image.shape)
            return super().detect(image, threshold)

    def stop(done, total):
        if done == stop_at:
            raise Killed

    with open_progress(photos.parent / "set", search) as earlier:
        found = collect_faces(photos, Counting(), ARCFACE_112, one_look=True, earlier=earlier, progress=stop)
    return found, len(looks)


def test_a_killed_run_goes_on_and_finds_the_same(photos, finder):
    whole, looks = collect(photos, finder)
    file = photos.parent / ".set.progress"
    assert looks == 6 and not file.exists()
    with pytest.raises(Killed):
        collect(photos, finder, stop_at=6)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:4]) + lines[4][:30])  # the kill came in the middle of a line
    again, looks = collect(photos, finder)
    assert looks == 3 and not file.exists()
    assert list(map(facts, again.candidates)) == list(map(facts, whole.candidates))
    assert (again.photos, again.skipped) == (whole.photos, whole.skipped)


@pytest.mark.parametrize(
    ("number", "line", "looks"),
    [
        (0, b"{}\n", 6),  # of another search
        (1, b"[1, 2]\n", 6),
        (3, b'["a", [[1, 2, 3, 4]], [NaN], [], 0, true, true]\n', 4),
        (3, b'["a", [[1, 2, 3, 4]], [1], [], 0, true, true]\n', 4),
        (3, b'["a", [], [], [], 45, true, true]\n', 4),
        (3, b"[" * 9000 + b"\n", 4),
    ],
)
def test_damaged_lines_are_searched_again(photos, finder, number, line, looks):
    whole, _ = collect(photos, finder)
    with pytest.raises(Killed):
        collect(photos, finder, stop_at=6)
    file = photos.parent / ".set.progress"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[number] = line
    file.write_bytes(b"".join(lines))
    again, searched = collect(photos, finder)
    assert searched == looks and list(map(facts, again.candidates)) == list(map(facts, whole.candidates))
