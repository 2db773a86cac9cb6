"""Blurred faces cannot be recognized: by what remains of the pixels, and by a recognizer that knows the people."""

import csv

import numpy as np
import pytest

from rkface import open_bundle, read_image
from rkface.runtime.vision.blur import CELLS, MARGIN, blur_faces

BOX = (100, 60, 164, 140)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)


def test_of_a_face_only_sixteen_mean_colors_remain(noise):
    """Pixels that change places within a cell change nothing of what is shown."""
    x1, y1 = (round(BOX[side] - MARGIN * (BOX[side + 2] - BOX[side])) for side in (0, 1))
    width, height = ((BOX[side + 2] - BOX[side]) * (1 + 2 * MARGIN) / CELLS for side in (0, 1))
    assert width == int(width) and height == int(height), "a box of whole cells"
    shuffled, random = noise.copy(), np.random.default_rng(1)
    for row in range(CELLS):
        for column in range(CELLS):
            top, left = y1 + row * int(height), x1 + column * int(width)
            cell = shuffled[top : top + int(height), left : left + int(width)]
            cell[:] = random.permutation(cell.reshape(-1, 3)).reshape(cell.shape)
    assert np.abs(shuffled.astype(int) - noise).mean() > 10
    np.testing.assert_array_equal(blur_faces(shuffled, [BOX]), blur_faces(noise, [BOX]))


def test_everything_else_stays_as_it_is(noise):
    blurred = blur_faces(noise, [BOX])
    changed = (blurred != noise).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (68, 20, 196, 180)
    assert (blur_faces(noise, []) == noise).all()


@pytest.mark.parametrize("box", [(-50, -50, 20, 30), (300, 200, 400, 300), (400, 300, 500, 400), (10, 10, 10, 10)])
def test_faces_may_reach_beyond_the_picture(noise, box):
    assert blur_faces(noise, [box]).shape == noise.shape


def test_a_face_is_kept_beside_another_one_but_not_where_that_covers_it(noise):
    keep, other = (100, 60, 160, 120), (140, 60, 200, 120)
    blurred = blur_faces(noise, [other], keep)
    np.testing.assert_array_equal(blurred[60:120, 100:140], noise[60:120, 100:140])  # although the margin reaches there
    covered = blur_faces(noise, [other])
    np.testing.assert_array_equal(blurred[60:120, 140:160], covered[60:120, 140:160])
    assert (blurred[60:120, 140:160] != noise[60:120, 140:160]).any()


@pytest.mark.slow
def test_a_recognizer_that_knows_the_people_recognizes_no_blurred_face(real_bundle, shared):
    """The strongest case: it gets the landmarks of the sharp picture, and sharp photos of each person."""
    folder, sharp, blurred, who = shared / "data/people", [], [], {}
    with (folder / "master.csv").open() as file:
        pairs = [(row["file_x"], row["file_y"]) for row in csv.DictReader(file) if row["Decision"] == "Yes"]
    for one, other in pairs:  # photos of one person, by the person's first photo
        first = who.setdefault(one, who.get(other, one))
        who[other] = first
    names = sorted(who)[:16]
    with open_bundle(real_bundle, "reference") as models:
        for name in names:
            image = read_image(folder / name)
            faces = models.detect(image)
            face = faces.largest()
            hidden = blur_faces(image, faces.boxes.tolist())
            assert not len(models.detect(hidden)), f"{name}: a face is found in the blurred picture"
            sharp.append(models.align(image, faces.landmarks[face]))
            blurred.append(models.align(hidden, faces.landmarks[face]))
        cosines = models.embed(blurred) @ models.embed(sharp).T
        threshold = models.thresholds.match
    people = np.array([who[name] for name in names])
    same = people[:, None] == people
    assert cosines.max() < threshold - 0.1, "nobody is recognized"
    assert abs(cosines[same].mean() - cosines[~same].mean()) < 0.05, "the same person is no nearer than others"
