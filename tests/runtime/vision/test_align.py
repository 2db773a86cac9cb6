import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.core.crop_template import TEMPLATES, CropTemplate
from rkface.runtime.core.errors import InputError
from rkface.runtime.vision.align import TEMPLATE, align, similarity


def umeyama(source, target):
    """Umeyama (TPAMI 1991), equations 40-43, by SVD, as scikit-image and so InsightFace compute it."""
    mean_source, mean_target = source.mean(0), target.mean(0)
    source, target = source - mean_source, target - mean_target
    u, scale, v = np.linalg.svd(target.T @ source / len(source))
    sign = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(v))])
    rotation = u @ sign @ v
    factor = (scale * np.diag(sign)).sum() / source.var(0).sum()
    return np.hstack([factor * rotation, (mean_target - factor * rotation @ mean_source)[:, None]])


def test_the_similarity_transform_equals_umeyamas():
    random = np.random.default_rng(1)
    for _ in range(100):
        points = TEMPLATE * random.uniform(0.3, 9) + random.normal(0, 6, (5, 2)) + random.uniform(0, 900, 2)
        # Both are float64, so they differ only by rounding.
        np.testing.assert_allclose(similarity(points, TEMPLATE), umeyama(points, TEMPLATE), atol=1e-9)


def test_aligned_landmarks_are_at_those_of_the_template():
    image = np.zeros((400, 400, 3), np.uint8)
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * 1.7
    landmarks = TEMPLATE @ turn.T + [150, 60]
    for x, y in landmarks:
        cv2.circle(image, (round(x), round(y)), 4, (255, 255, 255), -1)
    crop = align(image, landmarks.astype(np.float32))
    assert crop.shape == (112, 112, 3) and crop.dtype == np.uint8
    for x, y in TEMPLATE:
        assert crop[round(y), round(x)].min() > 200


def test_colors_keep_their_order_and_the_outside_is_black():
    image = np.zeros((112, 112, 3), np.uint8)
    image[:] = (10, 100, 200)
    assert (align(image, TEMPLATE)[60, 60] == (10, 100, 200)).all()
    assert not align(image, TEMPLATE + 300).any()


@pytest.mark.parametrize("times", [1, 3, 5])
def test_a_face_at_the_edge_is_black_outside_the_image(times):
    image = np.full((112 * times, 112 * times, 3), 200, np.uint8)
    crop = align(image, (TEMPLATE + np.array([40, -30])) * times)
    # The image ends 40 crop pixels before the right edge and begins 30 below the top; the seam is two pixels wide.
    assert not crop[:28].any() and not crop[:, 74:].any()
    assert (crop[32:, :70] == 200).all()


def test_landmarks_that_coincide_are_refused():
    with pytest.raises(InputError, match="coincide"):
        align(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), 7, np.float32))


def test_landmarks_of_a_damaged_detector_take_no_memory():
    """The further apart they are, and the nearer to no order of a face, the smaller is the scale."""
    image = np.full((300, 400, 3), 200, np.uint8)
    face = (TEMPLATE - TEMPLATE.mean(0)) @ [1, 1j]
    nonsense = np.array([1, 2j, -3, 1 + 1j, 2 - 1j])
    nonsense -= nonsense.mean()
    nonsense -= face * np.vdot(face, nonsense) / np.vdot(face, face)
    for share in (0, 1e-12, 1e-6, 1e-3):
        points = (nonsense + share * face) * 20
        assert align(image, np.stack([points.real, points.imag], axis=1) + 150).shape == (112, 112, 3)
    for side in (1e8, 1e18, 1e30):
        assert align(image, (TEMPLATE - TEMPLATE.mean(0)) * side + 150).shape == (112, 112, 3)
    with pytest.raises(InputError, match="order"):
        similarity(np.array([[1, 0], [-1, 0], [0, 0]]), [(1, 0), (1, 0), (-2, 0)])


def test_a_large_face_does_not_depend_on_fractions_of_a_pixel():
    # Fine stripes are gray at crop size. A warp that skips pixels shows the stripe that it happens to read.
    image = np.zeros((900, 900, 3), np.uint8)
    image[::2] = 255
    landmarks = TEMPLATE * 7 + 60
    first, second = (align(image, landmarks + shift).astype(int) for shift in (0.0, 0.5))
    assert np.abs(first[5:-5, 5:-5] - second[5:-5, 5:-5]).max() < 30
    assert 100 < first[5:-5, 5:-5].mean() < 155


@pytest.mark.parametrize("factor", [1.6, 2.4, 3.0, 5.7])
def test_halving_the_image_does_not_shift_the_face(factor):
    # A smooth image, for which averaging and interpolation must agree. An error of half a crop pixel would be 20 steps.
    y, x = np.mgrid[0:1000, 0:1000]
    wave = 127 + 60 * np.sin(x / (4 * factor)) + 60 * np.cos(y / (4 * factor))
    image = np.repeat(wave[..., None], 3, axis=2).astype(np.uint8)
    landmarks = TEMPLATE * factor + [120.3, 77.8]
    plain = cv2.warpAffine(image, similarity(landmarks, TEMPLATE), (112, 112), flags=cv2.INTER_LINEAR)
    # Averaging over one crop pixel takes 2 of the wave's 120 steps.
    assert np.abs(align(image, landmarks).astype(int) - plain).max() <= 4


def test_a_large_face_at_the_edge_is_black_outside():
    image = np.full((500, 500, 3), 200, np.uint8)
    crop = align(image, TEMPLATE * 4 + [-200, -200])
    assert not crop[:45, :45].any() and (crop[60:, 60:] == 200).all()
    assert not align(image, TEMPLATE * 4 + 5000).any()


@st.composite
def crops(draw):
    """A crop of any size, with the points of an upright face in it."""
    width, height = draw(st.integers(40, 260)), draw(st.integers(40, 260))
    shares = [(0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.8), (0.65, 0.8)]
    move = st.floats(-0.08, 0.08)
    points = tuple(((x + draw(move)) * width, (y + draw(move)) * height) for x, y in shares)
    return CropTemplate("custom", width, height, points)


def draw_marks(landmarks, side=700, radius=9.0):
    """A black picture with a soft white spot at each landmark."""
    at = np.arange(side)
    spots = [
        np.outer(np.exp(-((at - v) ** 2) / (2 * radius**2)), np.exp(-((at - u) ** 2) / (2 * radius**2)))
        for u, v in landmarks
    ]
    return cv2.cvtColor(np.rint(255 * np.clip(sum(spots), 0, 1)).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def find_mark(crop, point, reach):
    """The center of brightness around ``point``, as far as ``reach`` pixels."""
    left, top = (max(0, round(value) - reach) for value in point)
    part = crop[top : round(point[1]) + reach + 1, left : round(point[0]) + reach + 1, 0].astype(float)
    y, x = np.mgrid[0 : part.shape[0], 0 : part.shape[1]]
    return np.array([left + (x * part).sum() / part.sum(), top + (y * part).sum() / part.sum()])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.sampled_from(list(TEMPLATES.values())), crops()),
    st.floats(0.6, 4),
    st.floats(-180, 180),
    st.booleans(),
)
def test_the_landmarks_of_any_face_come_to_the_points_of_any_template(template, scale, angle, single):
    """Scaled, turned, and with the halving of large faces: within half a pixel of the crop."""
    goals = np.array(template.points)
    scale = min(scale, 420 / max(template.width, template.height))
    turn = scale * np.array([[np.cos(a := np.deg2rad(angle)), -np.sin(a)], [np.sin(a), np.cos(a)]])
    landmarks = (goals - goals.mean(axis=0)) @ turn.T + 350
    if single:  # as detectors give them
        landmarks = landmarks.astype(np.float32)
    for index, goal in enumerate(goals):  # one spot at a time, so that they do not overlap
        radius = 2.5 * scale
        crop = align(draw_marks(landmarks[[index]], radius=radius), landmarks, template)
        assert crop.shape == (template.height, template.width, 3)
        margin = min(*goal, template.width - 1 - goal[0], template.height - 1 - goal[1])
        if margin > 9:  # a spot that the border of the crop cuts has its center elsewhere
            assert np.abs(find_mark(crop, goal, 8) - goal).max() < 0.5


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_turned_or_scaled_picture_gives_the_same_crop(template):
    """And a mirrored one, with its landmarks mirrored, the crop at the mirrored template."""
    y, x = np.mgrid[0:600, 0:600]
    waves = [127 + 60 * np.sin(x / 17 + k) + 60 * np.cos(y / 23 - k) for k in range(3)]
    image = np.dstack(waves).astype(np.uint8)
    landmarks = np.array(template.points) * (200 / template.width) + 190
    first = align(image, landmarks, template).astype(int)
    turned = align(
        np.ascontiguousarray(np.rot90(image)), np.column_stack([landmarks[:, 1], 599 - landmarks[:, 0]]), template
    )
    assert np.abs(turned - first).max() <= 2
    larger = cv2.resize(image, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    assert np.abs(align(larger, (landmarks + 0.5) * 1.5 - 0.5, template) - first).max() <= 6
    order = [1, 0, 2, 4, 3]  # left and right exchange
    mirrored_points = tuple((template.width - 1 - template.points[at][0], template.points[at][1]) for at in order)
    other = CropTemplate("custom", template.width, template.height, mirrored_points)
    flipped = align(
        np.ascontiguousarray(image[:, ::-1]), np.column_stack([599 - landmarks[order, 0], landmarks[order, 1]]), other
    )
    assert np.abs(flipped[:, ::-1] - first).max() <= 2
