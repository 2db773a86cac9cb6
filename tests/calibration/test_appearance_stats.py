import numpy as np
import pytest

from rkface.calibration.appearance_stats import HEAD_MODEL, head_angles, measure_appearance
from rkface.runtime.vision.align import TEMPLATE


def turned(yaw, pitch, roll, scale=50.0, shift=(300, 200)):
    """Landmarks of the head model, turned about its own axis, then nodded, then tilted in the image (degrees)."""
    y, p, r = np.radians([yaw, pitch, roll])
    about = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (HEAD_MODEL @ (tilt @ nod @ about).T)[:, :2] * scale + shift


@pytest.mark.parametrize(
    "pose", [(0, 0, 0), (30, 0, 0), (-50, 20, 10), (0, 25, -30), (60, -20, 5), (90, 0, 0), (10, 5, 170)]
)
def test_angles_of_a_turned_head(pose):
    for scale in (5.0, 400.0):
        np.testing.assert_allclose(head_angles(turned(*pose, scale)), pose, atol=1e-6)


def test_the_template_looks_straight_ahead():
    np.testing.assert_allclose(head_angles(TEMPLATE), 0, atol=1e-6)


def test_yaw_and_pitch_follow_the_nose():
    landmarks = TEMPLATE.copy()
    landmarks[2] += (6, -5)  # right and up in the image
    yaw, pitch, _ = head_angles(landmarks)
    assert yaw > 10 and pitch > 10


def flat(color):
    return np.full((112, 112, 3), color, np.uint8)


def test_light_contrast_and_side():
    ramp = flat(0) + np.linspace(40, 200, 112).astype(np.uint8)[None, :, None]
    look = measure_appearance(ramp, TEMPLATE)
    assert look.side > 10 and look.contrast > 5
    assert measure_appearance(np.ascontiguousarray(ramp[:, ::-1]), TEMPLATE).side == pytest.approx(-look.side, abs=0.5)
    even = measure_appearance(flat(119), TEMPLATE)
    # sRGB 119 is 18.4 % of white: L* = 116 · 0.184^(1/3) − 16 = 50.
    assert even.light == pytest.approx(50, abs=0.3) and even.contrast < 0.01 and even.side == pytest.approx(0, abs=0.01)


def test_skin_is_the_typology_angle_of_the_cheeks_only():
    # The lightest and darkest patch of skin in the ColorChecker chart: L*a*b* 66, 18, 18 and 37.5, 14, 14 (D50 and D65
    # differ by less than the tolerance), so the angle is atan2(16, 18) and atan2(−12.5, 14).
    for bgr, expected in (((130, 150, 194), 41.6), ((68, 82, 115), -41.8)):
        crop = flat((0, 255, 0))
        crop[64:84, 34:80] = bgr
        assert measure_appearance(crop, TEMPLATE).skin == pytest.approx(expected, abs=4)
