"""The photos of the demo pack are rendered once for a work folder, and again if they or the renderer have changed."""

import pytest

from rkface.convert.demo import kept_photos
from rkface.convert.demo.kept_photos import RECORD, keep_photos
from rkface.convert.demo.render import CALIBRATE, EVALUATE


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with rendered photos of two people."""
    monkeypatch.setattr(kept_photos, "FOLDERS", {"calibration": (CALIBRATE[:1], 1), "evaluation": (EVALUATE[:1], 2)})
    assert keep_photos(tmp_path, lambda done, total: None)
    return tmp_path


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rendered(folder):
    """Whether photos are rendered now."""
    told = []
    assert keep_photos(folder, lambda *progress: told.append(progress)) == bool(told)
    return bool(told)


def test_unchanged_photos_are_kept(photos):
    before = content(photos)
    assert len(before) == 3 + 2 + 1, "photos, their pairs, and the record"
    assert not rendered(photos) and content(photos) == before


@pytest.mark.parametrize("what", ["changed", "missing", "added", "record missing", "record damaged"])
def test_photos_that_are_not_as_rendered_are_rendered_again(photos, what):
    before = content(photos)
    photo = photos / "evaluation/person-0000-01.jpg"
    if what == "changed":
        photo.write_bytes(photo.read_bytes()[:-1] + b"?")
    elif what == "missing":
        photo.unlink()
    elif what == "added":
        (photos / "calibration/holiday.jpg").write_bytes(photo.read_bytes())
    elif what == "record missing":
        (photos / RECORD).unlink()
    else:
        (photos / RECORD).write_bytes((photos / RECORD).read_bytes()[:-9])
    assert rendered(photos) and content(photos) == before


def test_another_renderer_renders_again(photos, monkeypatch):
    monkeypatch.setattr(kept_photos.cv2, "__version__", "0")
    assert rendered(photos) and not rendered(photos)


def test_an_interrupted_run_does_not_count(photos):
    (photos / "evaluation/pairs.csv").unlink()

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_photos(photos, interrupt)
    assert not (photos / RECORD).exists() and rendered(photos)
