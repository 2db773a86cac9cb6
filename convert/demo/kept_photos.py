"""The rendered photos of the demo pack. They stay in the work folder, so that they are rendered once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from rkface.runtime.core.atomic import write_atomically
from rkface.runtime.core.bundle import sha256

from .render import CALIBRATE, EVALUATE, write_photos

RECORD = "rendered.json"  # the renderer's digest, and the SHA-256 of each file
# Folder → the rendered people, and photos of each.
FOLDERS = {"calibration": (CALIBRATE[:50], 2), "evaluation": (EVALUATE[:50], 3)}


def keep_photos(folder: Path, progress: Callable[[int, int], None]) -> bool:
    """Render the photos of FOLDERS into ``folder``, and return True; False if they are already there, unchanged and
    from the same renderer. ``progress`` gets the number of finished photos of a folder, and of all of them."""
    renderer = _renderer()
    if _read_record(folder) == {"renderer": renderer, "files": _digests(folder)}:
        return False
    (folder / RECORD).unlink(missing_ok=True)
    for name, (people, shots) in FOLDERS.items():
        shutil.rmtree(folder / name, ignore_errors=True)
        write_photos(folder / name, people, shots, seed=0, progress=progress)
    write_atomically(folder / RECORD, json.dumps({"renderer": renderer, "files": _digests(folder)}).encode())
    return True


def _renderer() -> str:
    """A digest of what decides how the photos look: the code of this package, and the libraries that draw."""
    digest = hashlib.sha256(f"{np.__version__} {cv2.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for name in FOLDERS
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    }


def _read_record(folder: Path) -> object:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # never rendered, interrupted, or damaged: render again
        return None
