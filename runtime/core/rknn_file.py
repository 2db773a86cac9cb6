"""The head of a ``.rknn`` file, as far as rkface reads it."""

from __future__ import annotations

import struct
from pathlib import Path

from .errors import ModelError

MAGIC = b"RKNN"
HEAD = struct.Struct("<8sQ")  # the magic, padded with zeros, and the version of the file format


def read_model_format(path: Path) -> int:
    """The version of the file format of the ``.rknn`` file at ``path``, which librknnrt logs as "RKNN Model
    Information, version: 6". Raises ModelError if it is not such a file or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD.size)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}: copy the bundle again") from error
    if len(head) < HEAD.size or head[: len(MAGIC)] != MAGIC:
        raise ModelError(f"{path} is not an RKNN model: `rkface convert` makes one")
    version: int = HEAD.unpack(head)[1]
    return version
