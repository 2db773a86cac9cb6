import numpy as np
import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.faces import Faces

FACES = Faces(
    boxes=np.array([[0, 0, 10, 10], [5, 5, 35, 25], [0, 0, 24, 24]], np.float32),
    scores=np.array([0.9, 0.8, 0.7], np.float32),
    landmarks=np.arange(30, dtype=np.float32).reshape(3, 5, 2),
    embeddings=np.eye(3, dtype=np.float32),
)


def test_the_largest_face_has_the_largest_area():
    assert FACES.largest() == 1
    assert FACES[::2].largest() == 1
    with pytest.raises(InputError, match="no face"):
        FACES[:0].largest()


def test_an_index_selects_rows_of_all_arrays():
    some = FACES[np.array([2, 0])]
    assert len(some) == 2 and some.scores.tolist() == FACES.scores[[2, 0]].tolist()
    assert (some.landmarks == FACES.landmarks[[2, 0]]).all() and (some.embeddings == FACES.embeddings[[2, 0]]).all()
