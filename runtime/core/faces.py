"""What a pipeline says about one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Faces:
    """The faces of one image, best score first, in pixels of that image.

    boxes       N×4 float32: x1, y1, x2, y2
    scores      N float32 in 0..1
    landmarks   N×5×2 float32: left eye, right eye, nose, left and right mouth corner, as seen in the image
    embeddings  N×D float32 of unit length; None where only detection ran
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    embeddings: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: slice | NDArray[Any]) -> Faces:
        """The faces at ``index`` (a slice, a mask or an index array), in that order."""
        embeddings = None if self.embeddings is None else self.embeddings[index]
        return Faces(self.boxes[index], self.scores[index], self.landmarks[index], embeddings)

    def largest(self) -> int:
        """Index of the face with the largest box. ValueError where there is none."""
        if not len(self):
            raise ValueError("no face")
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return int(np.argmax(sides[:, 0] * sides[:, 1]))
