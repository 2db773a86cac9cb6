"""Advice in front of a camera that is on its side, or with two people in the picture."""

import numpy as np
import pytest

from rkface import Faces, open_bundle
from rkface.runtime.enrollment.guidance import assess_face

from ..conftest import scene


@pytest.fixture
def pipeline(bundle):
    with open_bundle(bundle, "reference") as opened:
        yield opened


def advice(pipeline, image, **options):
    return assess_face(pipeline, image, **options).guidance.advice


def test_two_people_are_not_enrolled_by_the_size_of_their_faces(pipeline):
    assert "Only one person" not in advice(pipeline, scene((0, 2)))
    assert advice(pipeline, scene((0, 2), (1, 6))) == "Only one person at a time, please."


def test_faces_in_the_background_matter_only_if_nobody_else_may_be_seen(pipeline, monkeypatch):
    found = pipeline.detect(scene((0, 2), (1, 6)))
    small = found.boxes[1].copy()
    small[2:] = small[:2] + 10
    faces = Faces(np.stack([found.boxes[0], small]), found.scores, found.landmarks)
    monkeypatch.setattr(pipeline, "detect", lambda image: faces)
    assert "Only one person" not in advice(pipeline, scene((0, 2), (1, 6)))
    assert "Only one person" in advice(pipeline, scene((0, 2), (1, 6)), alone=True)


@pytest.mark.parametrize("quarter", [1, 3])
def test_a_camera_on_its_side_is_named(pipeline, monkeypatch, quarter):
    image = scene((0, 2))
    found = pipeline.detect(image)
    middle = found.landmarks.mean(axis=1, keepdims=True)
    angle = np.pi / 2 * quarter
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    faces = Faces(found.boxes, found.scores, (found.landmarks - middle) @ turn.T + middle)
    monkeypatch.setattr(pipeline, "detect", lambda image: faces)
    assessed = assess_face(pipeline, image)
    assert assessed.guidance.advice == "The picture is on its side: set rotate for this camera."
    assert not assessed.guidance.ready
