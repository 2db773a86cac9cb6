"""What runs on the board: image → faces → embeddings."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import BundleError, DeviceError, InputError, ModelError, RkfaceError, WorkError
    from .faces import Faces
    from .pipeline import Pipeline, open_bundle
    from .scheduler import Frame, Result, Scheduler, open_scheduler

__all__ = [
    "BundleError", "DeviceError", "Faces", "Frame", "InputError", "ModelError", "Pipeline", "Result", "RkfaceError",
    "Scheduler", "WorkError", "open_bundle", "open_scheduler",
]  # fmt: skip

_HOME = {
    "Faces": "faces",
    "Pipeline": "pipeline",
    "open_bundle": "pipeline",
    "Frame": "scheduler",
    "Result": "scheduler",
    "Scheduler": "scheduler",
    "open_scheduler": "scheduler",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use (PEP 562): `rkface --help` should not wait for NumPy and OpenCV.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME.get(name, 'errors')}", __name__), name)
