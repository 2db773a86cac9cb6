import json

import cv2
import numpy as np
import pytest

from rkface.calibration.collect import collect_faces
from rkface.calibration.dataset import RECORD
from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import InputError
from rkface.runtime.vision import image
from rkface.runtime.vision.align import TEMPLATE
from rkface.runtime.vision.decoder import decode
from rkface.runtime.vision.quality import measure, pose_of, sharpness_of


def facts(candidate):
    boxes = candidate.faces.boxes.tobytes()
    return candidate.name, candidate.sha256, candidate.crop.tobytes(), boxes, candidate.quality


def test_bad_photos_are_skipped_with_the_reason_and_do_not_affect_others(tmp_path, shoot, finder):
    for seed in range(4):
        shoot(tmp_path / f"alone/day {seed}/ä{seed}.png", seed)
        shoot(tmp_path / f"mixed/day {seed}/ä{seed}.png", seed)
    bad = tmp_path / "mixed/bad"
    shoot(bad / "nobody.png", eyes=0)
    shoot(bad / "tiny.png", eyes=10)
    shoot(bad / "blurred.png", blur=9)
    shoot(bad / "dark.png", gain=0.02)
    whole = shoot(bad / "cut.png", 7).read_bytes()
    (bad / "cut.png").write_bytes(whole[: len(whole) // 2])
    (bad / "page.jpg").write_bytes(b"<html>404</html>")
    (bad / "empty.jpg").touch()
    (bad / "folder.jpg").mkdir()

    heard = []
    mixed = collect_faces(
        tmp_path / "mixed", finder, ARCFACE_112, progress=lambda done, total: heard.append((done, total))
    )
    alone = collect_faces(tmp_path / "alone", finder, ARCFACE_112)
    assert {skip.name: skip.reason for skip in mixed.skipped} == {
        "bad/blurred.png": "face too blurred",
        "bad/cut.png": "unreadable",
        "bad/dark.png": "face too dark or burnt out",
        "bad/empty.jpg": "unreadable",
        "bad/nobody.png": "no face",
        "bad/page.jpg": "unreadable",
        "bad/tiny.png": "face too small",
    }
    assert not any(str(tmp_path) in skip.detail for skip in mixed.skipped), "a record must not name this machine"
    assert len(alone.candidates) == 4 and not alone.skipped
    assert [facts(one) for one in mixed.candidates] == [facts(one) for one in alone.candidates]
    assert {path.name for path in mixed.photos} >= {"nobody.png", "tiny.png"}, "still frames for the detector"
    assert heard[0] == (0, 11) and heard[-1] == (11, 11)


def test_a_folder_without_photos_is_refused(tmp_path, finder):
    (tmp_path / "a.gif").touch()
    with pytest.raises(InputError, match="no JPEG, PNG, WebP, BMP or HEIC photo"):
        collect_faces(tmp_path, finder, ARCFACE_112)
    with pytest.raises(InputError, match="no such folder"):
        collect_faces(tmp_path / "absent", finder, ARCFACE_112)


def head(yaw=0.0, pitch=0.0, roll=0.0):
    """ArcFace's template as a head, with its nose 0.45 and its mouth 0.1 eye distances in front; angles in degrees."""
    centered = (TEMPLATE - TEMPLATE.mean(axis=0)) / 35.2
    points = np.column_stack([centered, [0, 0, 0.45, 0.1, 0.1]])
    y, p, r = np.deg2rad([yaw, pitch, roll])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    flat = (points @ turn.T @ nod.T)[:, :2]
    return flat @ np.array([[np.cos(r), -np.sin(r)], [np.sin(r), np.cos(r)]]).T * 90 + 400


def test_pose_falls_with_yaw_and_pitch_but_not_with_roll():
    for kind in ("yaw", "pitch"):
        scores = [pose_of(head(**{kind: angle})) for angle in (0, 15, 30, 45, 60, 75)]
        assert scores == sorted(scores, reverse=True) and scores[0] > 0.99
        # The docstring's figures: about 0.8 at 30°, 0.4 at 60°.
        assert scores[2] == pytest.approx(0.8, abs=0.05) and scores[4] == pytest.approx(0.43, abs=0.05)
    assert pose_of(head(yaw=30, roll=70)) == pytest.approx(pose_of(head(yaw=30)), abs=1e-9)


def test_sharpness_depends_on_blur_and_not_on_contrast_or_brightness(make_face):
    gray = cv2.cvtColor(make_face(3).crop, cv2.COLOR_BGR2GRAY)
    blurred = [sharpness_of(cv2.GaussianBlur(gray, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert blurred == sorted(blurred, reverse=True) and blurred[0] > 20 * blurred[-1]
    # Half the contrast is rounded to whole gray values again, hence the tolerance.
    assert sharpness_of((gray // 2 + 10).astype(np.uint8)) == pytest.approx(sharpness_of(gray), rel=0.02)
    assert sharpness_of(np.full((20, 20), 7, np.uint8)) == 0


def test_a_single_bad_measure_lowers_the_score(make_face):
    crop = make_face(1).crop
    good = measure(crop, head(), 0.9)
    assert 0.9 < good.score <= 1 and good.flaw() is None
    worse = [
        measure(crop, head(yaw=60), 0.9),
        measure(crop, head(), 0.3),
        measure(crop, head() / 5, 0.9),
        measure(cv2.GaussianBlur(crop, (0, 0), 3), head(), 0.9),
        measure(np.maximum(crop, 245), head(), 0.9),
    ]
    assert all(0 <= quality.score < good.score - 0.05 for quality in worse)


@pytest.fixture
def replaced(monkeypatch):
    """``replaced(photo, by)``: the file of ``photo`` is replaced when it was read and decoded."""

    def replace(photo, by):
        def decode_and_replace(header):
            decoded = decode(header)
            photo.write_bytes(by)
            return decoded

        monkeypatch.setattr(image, "decode", decode_and_replace)

    return replace


def test_a_photo_that_is_replaced_meanwhile_has_the_digest_of_what_was_read(tmp_path, shoot, finder, replaced):
    photo, other = shoot(tmp_path / "photos/a.png", 0), shoot(tmp_path / "b.png", 1).read_bytes()
    digest = sha256(photo)
    replaced(photo, other)
    found = collect_faces(photo.parent, finder, ARCFACE_112)
    assert [one.sha256 for one in found.candidates] == [digest] and found.digests == {photo: digest}
    assert sha256(photo) != digest


def test_a_frame_that_is_replaced_meanwhile_has_the_digest_of_what_was_written(written, shoot, tmp_path, replaced):
    _, write = written
    photo, other = shoot(tmp_path / "photos/a.png", 0), shoot(tmp_path / "b.png", 1).read_bytes()
    digest = sha256(photo)
    replaced(photo, other)
    write(frames=[photo])
    (frame,) = json.loads((tmp_path / "set" / RECORD).read_text())["detector"]["images"]
    assert frame["source_sha256"] == digest != sha256(photo)
