"""Which faces are evaluated, and which of them are unlike those that calibrate."""

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rkface.calibration.appearance_stats import AppearanceStats
from rkface.calibration.collect import CandidateFace, Collection
from rkface.convert.evaluation_set import LEAST_AUGMENTED, CalibratedFaces, build_evaluation_set
from rkface.convert.face_finder import FaceFinder, PhotoOptions
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.align import TEMPLATE
from rkface.runtime.vision.quality import Quality

FACES = Faces(np.float32([[0, 0, 112, 112]]), np.float32([0.9]), np.float32(TEMPLATE)[None])


class Embedder:
    """The person of a face is the green value of its first pixel."""

    crop, dimensions = ARCFACE_112, 256

    def embed(self, crops):
        return np.eye(256, dtype=np.float32)[[int(crop[0, 0, 1]) for crop in crops]]


FINDER = FaceFinder(SimpleNamespace(), SimpleNamespace(width=64, height=64), Embedder(), "0" * 64)


def texture(seed):
    random = np.random.default_rng(seed)
    coarse = cv2.resize(random.integers(40, 210, (12, 12, 3)).astype(np.float32), (112, 112))
    return np.clip(coarse + random.normal(0, 15, (112, 112, 3)), 6, 249).astype(np.uint8)


@pytest.fixture
def shoot(tmp_path):
    """Writes a photo of a face, and returns the face. Faces of one ``seed`` are copies."""

    def shoot(name, seed, person, *, yaw=None, light=60.0, sharpness=0.3):
        crop = texture(seed)
        crop[0, 0] = 0, person, 0
        path = tmp_path / name
        cv2.imwrite(str(path), crop)
        usual = np.random.default_rng(seed).normal(0, 8, 6)
        seen = AppearanceStats(usual[0] if yaw is None else yaw, usual[1], usual[2], light + usual[3], 15, usual[4], 30)
        quality = Quality(50, sharpness * float(np.exp(usual[5] / 30)), 1, 1, 0.9)
        digest = hashlib.sha256(name.encode()).hexdigest()
        return CandidateFace(path, name, digest, FACES, crop, quality, seen)

    return shoot


@pytest.fixture
def calibrated(shoot):
    faces = tuple(shoot(f"cal-{seed}.png", seed, seed) for seed in range(60))
    return CalibratedFaces(frozenset(), faces, faces)


def evaluate(tmp_path, faces, calibrated, **options):
    photos = tuple(dict.fromkeys(face.photo for face in faces))
    return build_evaluation_set(
        PhotoOptions(tmp_path, **options), Collection(tmp_path, tuple(faces), photos, ()), FINDER, calibrated
    )


@pytest.mark.parametrize("new", [{"yaw": 70.0}, {"light": 8.0}, {"sharpness": 0.03}])
def test_other_people_in_a_new_pose_light_or_sharpness_are_unlike(tmp_path, shoot, calibrated, new):
    usual = [shoot(f"usual-{seed}.png", seed, seed) for seed in range(100, 130)]
    strange = [shoot(f"strange-{seed}.png", seed, seed, **new) for seed in range(200, 212)]
    known = [shoot(f"known-{seed}.png", seed, seed - 220, **new) for seed in range(220, 226)]
    found = evaluate(tmp_path, [*usual, *strange, *known], calibrated)
    groups = {face.name: group for face, group in zip(found.faces, found.groups, strict=True)}
    assert {groups[face.name] for face in strange} == {"unlike"}
    assert {groups[face.name] for face in known} == {"in-domain"}, "these people calibrate"
    # A tenth of the calibration faces themselves are as far from each other.
    assert sum(groups[face.name] == "unlike" for face in usual) <= 10
    assert found.notes == ()
    assert found.crop_groups.count("augmented") == len(found.augmented.crops) >= LEAST_AUGMENTED
    assert len(found.images("recognizer")) == len(found.crop_groups) == len(found.faces) + len(found.augmented.crops)


def test_few_unlike_faces_are_a_remark_and_very_few_are_no_group(tmp_path, shoot, calibrated):
    usual = [shoot(f"usual-{seed}.png", 1000 + seed, 70 + seed, yaw=0.0) for seed in range(20)]
    strange = [shoot(f"strange-{seed}.png", 200 + seed, 100 + seed, yaw=70.0) for seed in range(7)]
    for count, group in ((7, "unlike"), (4, "in-domain")):
        found = evaluate(tmp_path, [*usual, *strange[:count]], calibrated)
        groups = {face.name: group for face, group in zip(found.faces, found.groups, strict=True)}
        assert {groups[face.name] for face in strange[:count]} == {group}
        (note,) = found.notes
        assert note.startswith(f"{count} of the {20 + count} evaluation faces are unlike those that calibrate")
        assert "--evaluation" in note and ("fewer than 5 are no group" in note) == (count == 4)
    assert evaluate(tmp_path, usual, None).notes == (), "nothing calibrates"


def test_copies_are_left_out_and_their_labels_are_judged_on_the_kept_face(tmp_path, shoot, calibrated):
    faces = [shoot(f"{seed}.png", seed, seed) for seed in range(100, 120)]
    copies = [shoot("copy.png", 100, 100, sharpness=0.1), shoot("copy-of-calibration.png", 7, 7)]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("a,b,same\ncopy.png,101.png,No\n101.png,102.png,Yes\ncopy-of-calibration.png,101.png,No\n")
    found = evaluate(tmp_path, [*faces, *copies], calibrated, pairs=pairs)
    assert {face.name for face in found.faces} == {face.name for face in faces}
    assert set(found.photos) == {face.photo for face in faces}
    names = [(found.faces[first].name, found.faces[second].name, same) for first, second, same in found.labeled]
    assert names == [("100.png", "101.png", False), ("101.png", "102.png", True)]
    notes = " ".join(found.notes)
    assert "2 faces left out of the evaluation as copies (1 of faces to calibrate on)" in notes
    assert "1 because one of its photos is a copy of one that calibrates" in notes


def test_each_face_of_a_copied_file_is_judged_on_the_same_face(tmp_path, shoot, calibrated):
    faces = [shoot(f"{seed}.png", seed, seed) for seed in range(100, 120)]
    best, labeled = shoot("group.png", 150, 150), shoot("group.png", 151, 151, sharpness=0.1)
    labeled = replace(labeled, faces=replace(FACES, boxes=FACES.boxes + 200), quality=replace(labeled.quality, size=90))
    again = [replace(face, photo=tmp_path / "z-again.png", name="z-again.png") for face in (best, labeled)]
    cv2.imwrite(str(again[0].photo), again[0].crop)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("a,b,same\nz-again.png,101.png,No\n101.png,102.png,Yes\n")
    found = evaluate(tmp_path, [*faces, best, labeled, *again], calibrated, pairs=pairs)
    first, second, same = found.labeled[0]
    assert found.faces[first].crop is labeled.crop and found.faces[second].name == "101.png" and not same


def test_of_many_faces_unlike_ones_are_chosen_first_up_to_one_half(tmp_path, shoot, calibrated):
    usual = [shoot(f"a-{seed}.png", seed, 70 + seed % 20, yaw=0.0) for seed in range(300, 330)]
    strange = [shoot(f"b-{seed}.png", seed, 100 + seed % 20, yaw=70.0) for seed in range(400, 420)]
    found = evaluate(tmp_path, [*usual, *strange], calibrated, evaluation_count=16)
    assert len(found.faces) == 16 and found.groups.count("unlike") == 8
    again = evaluate(tmp_path, [*usual, *strange], calibrated, evaluation_count=16)
    assert [face.name for face in again.faces] == [face.name for face in found.faces]
    every = evaluate(tmp_path, strange, calibrated, evaluation_count=20)
    assert every.groups == ("unlike",) * 20, "where nothing must be left out, every face has its group"


def test_too_few_faces_without_copies_are_refused(tmp_path, shoot, calibrated):
    faces = [shoot(f"{seed}.png", 100 + seed % 5, 100 + seed % 5) for seed in range(15)]
    with pytest.raises(
        InputError, match=r"only 5 usable faces to evaluate on \(and copies of these: 10\), at least 10"
    ):
        evaluate(tmp_path, faces, calibrated)
