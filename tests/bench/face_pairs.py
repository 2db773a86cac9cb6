"""Photos with labeled pairs of faces, and how well embeddings of them are told apart."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.vision.embed import unit


class PairFigures(NamedTuple):
    """Mean cosines of pairs of one person and of two people, and the area under the ROC curve."""

    same: float
    different: float
    auc: float


def add_pair_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--detector``, ``--photos`` and ``--pairs``."""
    parser.add_argument("--detector", type=Path, required=True, metavar="ONNX", help="face detector with landmarks")
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="photos that the pairs name")
    parser.add_argument("--pairs", type=Path, required=True, metavar="CSV", help="lines of photo,photo,Yes|No")


def separate(raw: NDArray[np.float32], center: NDArray[np.float32], pairs: NDArray[np.int64]) -> PairFigures:
    """How well ``raw`` embeddings (N×D) without ``center`` are told apart. ``pairs``: rows of two indices and 1 for one
    person."""
    units = unit(raw - center)
    cosines = np.sum(units[pairs[:, 0]] * units[pairs[:, 1]], axis=1)
    same, different = cosines[pairs[:, 2] == 1], cosines[pairs[:, 2] == 0]
    above = (same[:, None] > different).mean() + (same[:, None] == different).mean() / 2
    return PairFigures(float(same.mean()), float(different.mean()), float(above))
