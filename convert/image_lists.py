"""Images as backends and rknn-toolkit2 take them: RGB batches, and text files that list calibration images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.files import read_text

Image = NDArray[np.uint8]
MAX_LIST_BYTES = 50_000_000


def to_rgb(images: Iterable[Image]) -> Image:
    """Stack BGR images of one size (H×W×3 uint8) into one contiguous N×H×W×3 uint8 RGB array, for a backend."""
    return np.ascontiguousarray(np.stack(list(images))[..., ::-1])


def write_image_list(images: Iterable[Image], folder: Path) -> Path:
    """Write ``images`` (H×W×3 uint8 BGR) as PNG files into the new ``folder``, together with a list of them.

    Returns the path of the list, which the toolkit calibrates on. The folder is readable only by its owner.
    """
    from rkface.calibration.dataset import LIST
    from rkface.calibration.write_set import write_png

    folder.mkdir(mode=0o700)
    names = []
    for index, image in enumerate(images):
        names.append(f"{index:04}.png")
        write_png(folder / names[-1], image)
    dataset = folder / LIST
    dataset.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return dataset


def read_image_list(dataset: Path) -> list[Path]:
    """The paths of the images in a calibration list. Raises InputError if the list is unreadable, larger than 50 MB, or
    empty."""
    lines = read_text(dataset, MAX_LIST_BYTES).split("\n")
    paths = [dataset.parent / line.strip() for line in lines if line.strip()]
    if not paths:
        raise InputError(f"{dataset} lists no calibration image: run `rkface calibrate` again")
    return paths
