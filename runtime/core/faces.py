"""The faces that were found in one image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError


@dataclass(frozen=True)
class Faces:
    """The faces of one image as parallel arrays, best score first. All coordinates are pixels of that image.

    ``len(faces)`` is the number of faces, N. Index with a slice, a mask or an index array to get fewer faces.

    Example:
        ```python
        from rkface import open_bundle, read_image

        image = read_image("party.jpg")
        with open_bundle("build/rk3588") as pipeline:
            faces = pipeline.recognize(image)
            sure = faces[faces.scores > 0.8]
            if len(sure):
                crop = pipeline.align(image, sure.landmarks[sure.largest()])
        ```

    Attributes:
        boxes: N×4 float32: x1, y1, x2, y2 of two corners. A box may reach beyond the image.
        scores: N float32, 0 to 1.
        landmarks: N×5×2 float32: x, y of the left eye, right eye, nose, left and right corner of the mouth. Left and
            right are those of the image.
        embeddings: N×D float32 of unit length. None after detection without recognition.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    embeddings: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: slice | NDArray[Any]) -> Faces:
        """Return the faces at ``index``, in that order: a slice, a mask of N bool, or an array of indices.

        Raises:
            InputError: ``index`` is a single number.
        """
        if isinstance(index, int | np.integer):
            raise _not_a_list()
        embeddings = None if self.embeddings is None else self.embeddings[index]
        return Faces(self.boxes[index], self.scores[index], self.landmarks[index], embeddings)

    def __iter__(self) -> Iterator[Any]:
        raise _not_a_list()

    def largest(self) -> int:
        """Return the index of the face with the largest box.

        Raises:
            InputError: There is no face.
        """
        if not len(self):
            raise InputError("there is no face in this image: check len(faces) first")
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return int(np.argmax(sides[:, 0] * sides[:, 1]))


def _not_a_list() -> InputError:
    return InputError(
        "Faces holds arrays with one row per face, not a list: use faces.boxes[0], or faces[0:1] for the first face, "
        "and zip(faces.boxes, faces.scores) for a loop"
    )
