"""The renderer of synthetic faces: repeatable, with correct ground truth, and with people that can be told apart."""

import csv
import hashlib
import subprocess
import sys
from itertools import combinations

import cv2
import numpy as np
import pytest

from rkface.convert.demo import features
from rkface.convert.demo.canvas import HeadView, PaintLayer, ellipse
from rkface.convert.demo.face import draw_face, truth, view_of
from rkface.convert.demo.identity import BYSTANDERS, CALIBRATE, EVALUATE, TRAIN, identity
from rkface.convert.demo.look import FaceLook
from rkface.convert.demo.render import render_crop, render_scene, write_photos
from rkface.runtime.vision.align import TEMPLATE, align

PLAIN = FaceLook(
    yaw=0, pitch=0, roll=0, smile=0, mouth_open=0, eyes=1, gaze=0, brows=0, light=(0, 0, 1), contrast=0.3,
    cloth=(120, 90, 60), cover="none", cover_color=(0, 0, 0),
)  # fmt: skip
TURNED = FaceLook(
    yaw=0.35, pitch=-0.15, roll=0.4, smile=0.8, mouth_open=0.5, eyes=1, gaze=0.5, brows=0.5, light=(0.4, -0.3, 0.866),
    contrast=0.5, cloth=(120, 90, 60), cover="none", cover_color=(0, 0, 0),
)  # fmt: skip


def test_the_same_arguments_give_the_same_bytes_and_others_do_not():
    first, again = render_scene(5, [1, 2, 3]), render_scene(5, [1, 2, 3])
    for name in ("image", "boxes", "landmarks", "identities"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (render_scene(6, [1, 2, 3]).image != first.image).any()
    other = render_scene(5, [1, 2, 4])
    assert (other.image != first.image).any() and 4 in other.identities and 4 not in first.identities
    np.testing.assert_array_equal(render_crop(1, 7), render_crop(1, 7))
    assert (render_crop(1, 7) != render_crop(1, 8)).any() and (render_crop(1, 7) != render_crop(2, 7)).any()


def test_scenes_have_the_documented_arrays():
    for seed, people in ((0, []), (1, [TRAIN[0]]), (2, list(EVALUATE[:6]))):
        scene = render_scene(seed, people, width=512, height=384)
        count = len(scene.identities)
        assert scene.image.shape == (384, 512, 3) and scene.image.dtype == np.uint8
        assert scene.boxes.shape == (count, 4) and scene.boxes.dtype == np.float32
        assert scene.landmarks.shape == (count, 5, 2) and scene.landmarks.dtype == np.float32
        assert set(scene.identities.tolist()) <= set(people) and len(set(scene.identities.tolist())) == count


def test_ranges_of_identities_do_not_overlap():
    for first, second in combinations((TRAIN, CALIBRATE, EVALUATE, BYSTANDERS), 2):
        assert not set(first) & set(second)
    assert len(EVALUATE) >= 200


@pytest.mark.parametrize("seed", range(12))
def test_faces_and_landmarks_are_inside_the_image_and_do_not_overlap(seed):
    scene = render_scene(seed, list(range(10 * seed, 10 * seed + 5)))
    boxes, points = scene.boxes, scene.landmarks
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= 640).all() and (boxes[:, 3] <= 480).all()
    heights = boxes[:, 3] - boxes[:, 1]
    # The box of a tilted face is up to a fifth lower or higher than the face.
    assert (heights >= 40 * 0.8).all() and (heights <= 260 * 1.25).all()
    assert (points >= boxes[:, None, :2]).all() and (points <= boxes[:, None, 2:]).all()
    assert (points[:, 0, 0] < points[:, 1, 0]).all(), "the eye on the left of the image is first"
    assert (points[:, 3, 0] < points[:, 4, 0]).all()
    for a, b in combinations(boxes, 2):
        shared = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
        assert shared < 0.1 * min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod())


@pytest.mark.parametrize("look", [PLAIN, TURNED], ids=["plain", "turned"])
def test_eye_landmarks_are_on_the_pupils(look):
    for number in (2, 4, 5):
        view = view_of(look, 70.0, 160.0, 150.0)
        image = np.full((320, 320, 3), 200, np.uint8)
        found = draw_face(image, identity(number), look, view)
        for x, y in found.landmarks[:2]:
            # The pupil moves with the gaze: the darkest pixel is within 5 % of a face unit of the eye's landmark.
            around = image[int(y) - 8 : int(y) + 9, int(x) - 10 : int(x) + 11].max(axis=2)
            assert around.min() < 60, f"no pupil of {number} at {x:.0f}, {y:.0f}"


def test_the_eye_landmark_is_the_center_of_the_pupil_to_half_a_pixel():
    who = identity(5)
    view = view_of(PLAIN, 80.0, 160.3, 150.6)
    image = np.full((320, 320, 3), 200, np.uint8)
    found = draw_face(image, who, PLAIN, view)
    for x, y in found.landmarks[:2]:
        left, top = int(x) - 12, int(y) - 4
        dark = image[top : top + 9, left : left + 25].max(axis=2) < 40
        columns = np.flatnonzero(dark.any(axis=0))
        assert abs(left + columns.mean() - x) < 0.75, "the gaze is straight, so the pupil is centered horizontally"


def test_the_box_is_where_a_face_changes_the_image():
    view = view_of(PLAIN, 60.0, 160.0, 150.0)
    who = identity(2)  # bald: only skin up to the crown
    assert who.hair_style == "bald"
    image = np.zeros((320, 320, 3), np.uint8)
    found = draw_face(image, who, PLAIN, view)
    row = int(found.landmarks[2, 1] - 0.8 * 60)  # above the ears
    drawn = np.flatnonzero(image[row].any(axis=1))
    assert abs(drawn.min() - found.box[0]) < 60 * 0.2 and abs(drawn.max() - found.box[2]) < 60 * 0.2


def test_yaw_moves_the_nose_more_than_the_eyes():
    who = identity(3)
    straight, turned = (truth(who, PLAIN, HeadView(yaw, 0, 0, 100, 0, 0)).landmarks for yaw in (0.0, 0.3))
    moved = turned[:, 0] - straight[:, 0]
    assert (moved > 0).all() and moved[2] > moved[0] and moved[2] > moved[1]


def test_eyes_in_aligned_crops_are_at_the_template():
    errors = []
    for seed in range(20):
        scene = render_scene(seed, [seed])
        for points in scene.landmarks:
            crop = align(scene.image, points)
            assert crop.shape == (112, 112, 3)
            source = np.concatenate([points, np.ones((5, 1))], axis=1)
            matrix = np.linalg.lstsq(source, TEMPLATE, rcond=None)[0]
            errors.append(np.abs((source @ matrix)[:2] - TEMPLATE[:2]).max())
    # People differ and turn their heads, but an eye stays within a tenth of the crop.
    assert np.mean(errors) < 5 and np.max(errors) < 11


def test_expressions_move_the_mouth_landmarks():
    who = identity(8)
    neutral = features.mouth_corners(who, PLAIN)
    smile = features.mouth_corners(who, TURNED)
    assert smile[1, 1] < neutral[1, 1]


def test_premultiplied_edges_have_no_dark_fringe():
    layer = PaintLayer(40, 40)
    layer.polygon(ellipse(20, 20, 12.3, 9.7), (200, 200, 200))
    image = np.full((40, 40, 3), 200, np.uint8)
    layer.onto(image, 0, 0)
    assert np.abs(image.astype(int) - 200).max() <= 2


def test_photos_are_repeatable_and_pairs_are_correct(tmp_path):
    people = EVALUATE[:4]
    told = []
    write_photos(tmp_path / "a", people, 3, 9, lambda done, total: told.append((done, total)))
    write_photos(tmp_path / "b", people, 3, 9)
    assert told == [(index, 12) for index in range(1, 13)]
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b") and len(hashes(tmp_path / "a")) == 13
    image = cv2.imread(str(tmp_path / "a/person-0003-02.jpg"))
    assert image.shape == (480, 640, 3)
    with (tmp_path / "a/pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file_x", "file_y", "Decision"]
    same = {(row["file_x"], row["file_y"]) for row in rows if row["Decision"] == "Yes"}
    names = sorted(path.name for path in (tmp_path / "a").glob("*.jpg"))
    assert same == {(a, b) for a, b in combinations(names, 2) if a[:11] == b[:11]}
    different = [(row["file_x"], row["file_y"]) for row in rows if row["Decision"] == "No"]
    assert len(different) == len(set(different)) >= len(same)
    assert all(a[:11] != b[:11] for a, b in different)


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_rendering_needs_no_torch():
    script = "import sys, rkface.convert.demo.render; sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
