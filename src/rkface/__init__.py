"""rkface: face detection and recognition on Rockchip NPUs, and on ONNX Runtime with the same code.

Example:
    >>> from rkface import open_bundle, read_image
    >>> with open_bundle("build/rk3588") as pipeline:
    ...     faces = pipeline.recognize(read_image("party.jpg"))
    >>> faces.boxes.shape, faces.embeddings.shape
    ((3, 4), (3, 512))

Images are H×W×3 uint8 BGR, as OpenCV reads them; rkface normalizes them itself. Every error that a user can cause is an
``RkfaceError`` whose message says what is wrong and what to do. The names below are the public interface; everything
else in the package may change without notice.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # the ``typing`` module is imported where Ctrl-C is handled
if TYPE_CHECKING:
    from typing import Any

    from .runtime.cameras.camera import Camera
    from .runtime.cameras.open_camera import open_camera
    from .runtime.core.errors import BundleError, DeviceError, InputError, ModelError, RkfaceError, WorkError
    from .runtime.core.faces import Faces
    from .runtime.enrollment.enroll import Verdict
    from .runtime.gallery.gallery import Gallery
    from .runtime.gallery.match import Match
    from .runtime.gallery.people import Person, Sample, embedding_identity
    from .runtime.inference.frames import Frame, Result
    from .runtime.inference.open_bundle import open_bundle, open_scheduler
    from .runtime.inference.pipeline import Pipeline
    from .runtime.inference.scheduler import Scheduler
    from .runtime.tracking.appearance import Appearance
    from .runtime.tracking.watch import watch_camera
    from .runtime.vision.draw import draw_faces, write_image
    from .runtime.vision.image import read_image
    from .runtime.vision.photo import PhotoFaces
    from .shortcuts import enroll_photo, identify, open_gallery

    __version__: str

_MODULES = {
    "runtime.cameras.camera": ("Camera",),
    "runtime.cameras.open_camera": ("open_camera",),
    "runtime.core.errors": ("BundleError", "DeviceError", "InputError", "ModelError", "RkfaceError", "WorkError"),
    "runtime.core.faces": ("Faces",),
    "runtime.enrollment.enroll": ("Verdict",),
    "runtime.gallery.gallery": ("Gallery",),
    "runtime.gallery.match": ("Match",),
    "runtime.gallery.people": ("Person", "Sample", "embedding_identity"),
    "runtime.inference.open_bundle": ("open_bundle", "open_scheduler"),
    "runtime.inference.pipeline": ("Pipeline",),
    "runtime.inference.frames": ("Frame", "Result"),
    "runtime.inference.scheduler": ("Scheduler",),
    "runtime.tracking.appearance": ("Appearance",),
    "runtime.tracking.watch": ("watch_camera",),
    "runtime.vision.draw": ("draw_faces", "write_image"),
    "runtime.vision.image": ("read_image",),
    "runtime.vision.photo": ("PhotoFaces",),
    "shortcuts": ("enroll_photo", "identify", "open_gallery"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Appearance",
    "BundleError",
    "Camera",
    "DeviceError",
    "Faces",
    "Frame",
    "Gallery",
    "InputError",
    "Match",
    "ModelError",
    "Person",
    "PhotoFaces",
    "Pipeline",
    "Result",
    "RkfaceError",
    "Sample",
    "Scheduler",
    "Verdict",
    "WorkError",
    "__version__",
    "draw_faces",
    "embedding_identity",
    "enroll_photo",
    "identify",
    "open_bundle",
    "open_camera",
    "open_gallery",
    "open_scheduler",
    "read_image",
    "watch_camera",
    "write_image",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use (PEP 562): `rkface --help` must not wait for NumPy and OpenCV.
    if name == "__version__":
        from importlib.metadata import version

        return version("rkface")
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    from difflib import get_close_matches

    near = get_close_matches(name, __all__, n=1)
    hint = f"; did you mean rkface.{near[0]}?" if near else f"; it has {', '.join(__all__)}"
    raise AttributeError(f"rkface has no public name {name!r}{hint}")


def __dir__() -> list[str]:
    return __all__
