"""Photos that were turned: what a liveness model is shown of them, and what is compared end to end."""

from types import SimpleNamespace

import cv2
import numpy as np

from rkface.convert.compare_models import crop_at_own_landmarks
from rkface.convert.liveness_model import add_surroundings
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.faces import Faces
from rkface.runtime.vision.align import TEMPLATE
from rkface.runtime.vision.photo import turn_image

FACES = Faces(np.float32([(100, 80, 212, 192)]), np.float32([0.9]), np.float32([TEMPLATE + np.array((100, 80))]))


def write(path, image, turned):
    """Write ``image`` so that it must be turned clockwise by ``turned``; the evaluation face in it."""
    cv2.imwrite(str(path), turn_image(image, -turned % 360))
    return SimpleNamespace(photo=path, faces=FACES, turned=turned)


def test_the_surroundings_of_a_face_are_cut_from_the_photo_after_it_was_turned(tmp_path):
    from rkface.convert.datasets import Datasets
    from rkface.convert.evaluate.augment import AugmentedFaces
    from rkface.convert.evaluation_set import EvaluationSet

    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    faces = tuple(write(tmp_path / f"{turned}.png", image, turned) for turned in (0, 90, 180, 270))
    nothing = np.zeros((0, 1, 1, 3), np.uint8)
    evaluation = EvaluationSet((), nothing, (), faces, (), nothing, AugmentedFaces(nothing), (), nothing)
    input = SimpleNamespace(width=80, height=80)
    around = add_surroundings(Datasets(None, evaluation), input, 1.5, tmp_path).evaluation.surroundings
    for one in around[1:]:
        np.testing.assert_array_equal(one, around[0])


def test_turned_faces_are_not_compared_end_to_end(tmp_path):
    """One look at the photo as it is misplaces their landmarks, in FP32 and in INT8."""
    image = np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8)
    faces = tuple(write(tmp_path / f"{turned}.png", image, turned) for turned in (0, 180))
    evaluation = SimpleNamespace(
        photos=tuple(face.photo for face in faces), faces=faces, crops=np.zeros((2, 112, 112, 3), np.uint8)
    )
    upside_down = Faces(FACES.boxes, FACES.scores, FACES.landmarks[:, ::-1])
    found, crops = crop_at_own_landmarks(evaluation, [FACES, upside_down], [FACES, FACES], ARCFACE_112)
    assert found == [0] and crops.shape == (1, 112, 112, 3)
