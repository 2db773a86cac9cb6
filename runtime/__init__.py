"""What runs on the board: image → faces → embeddings."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import BundleError, InputError, ModelError, RkfaceError, WorkError
    from .faces import Faces
    from .pipeline import Pipeline, open_bundle

__all__ = ["BundleError", "Faces", "InputError", "ModelError", "Pipeline", "RkfaceError", "WorkError", "open_bundle"]

_HOME = {"Faces": "faces", "Pipeline": "pipeline", "open_bundle": "pipeline"}


def __getattr__(name: str) -> Any:
    # Loaded on first use (PEP 562): `rkface --help` should not wait for NumPy and OpenCV.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME.get(name, 'errors')}", __name__), name)
