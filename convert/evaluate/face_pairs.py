"""From labeled faces to the cosine of each pair: what a recognizer gets, and what becomes of its embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.vision.embed import unit

from .labeled_faces import LabeledFaces

BATCH = 50_000  # pairs at once, because their embeddings need much memory

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


def recognizer_inputs(labeled: LabeledFaces, golden: Images | None = None) -> Images:
    """All inputs for the recognizer, N×H×W×3 uint8 RGB: ``golden`` inputs, the crops and, if the protocol needs them,
    the mirrored crops."""
    parts = [labeled.crops] if golden is None else [golden, labeled.crops]
    return np.concatenate([*parts, labeled.crops[:, :, ::-1]] if labeled.mirrored else parts)


def face_embeddings(raw: Floats, labeled: LabeledFaces) -> Floats:
    """One unit embedding for each face, N×D.

    ``raw`` has the embeddings of the crops, followed by those of the mirrored crops if the protocol needs them.
    """
    count = len(labeled.crops)
    return unit(raw[:count] + raw[count:] if labeled.mirrored else raw)


def pair_cosines(embeddings: Floats, labeled: LabeledFaces) -> Floats:
    """The cosine of each pair, P float32; ``embeddings`` is N×D of unit length."""
    cosines = np.zeros(len(labeled.first), np.float32)
    for start in range(0, len(cosines), BATCH):
        part = slice(start, start + BATCH)
        pair = embeddings[labeled.first[part]], embeddings[labeled.second[part]]
        cosines[part] = np.einsum("nd,nd->n", *pair)
    return cosines
