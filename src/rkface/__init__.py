"""rkface: face detection and recognition on Rockchip NPUs, from ONNX models to a camera service.

from rkface import open_bundle, read_image

with open_bundle("build/rk3588") as pipeline:
    faces = pipeline.recognize(read_image("photo.jpg"))
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .runtime.cameras.camera import Camera, open_camera
    from .runtime.core.errors import InputError, RkfaceError
    from .runtime.core.faces import Faces
    from .runtime.enrollment.enroll import Verdict
    from .runtime.gallery.gallery import Gallery
    from .runtime.gallery.match import Match
    from .runtime.gallery.people import Person
    from .runtime.inference.pipeline import Pipeline, open_bundle
    from .runtime.inference.scheduler import Frame, Result, Scheduler, open_scheduler
    from .runtime.tracking.appearance import Appearance
    from .runtime.vision.draw import draw_faces

_HOME = {
    "Appearance": "tracking.appearance",
    "Camera": "cameras.camera",
    "Faces": "core.faces",
    "Frame": "inference.scheduler",
    "Gallery": "gallery.gallery",
    "InputError": "core.errors",
    "Match": "gallery.match",
    "Person": "gallery.people",
    "Pipeline": "inference.pipeline",
    "Result": "inference.scheduler",
    "RkfaceError": "core.errors",
    "Scheduler": "inference.scheduler",
    "Verdict": "enrollment.enroll",
    "draw_faces": "vision.draw",
    "open_bundle": "inference.pipeline",
    "open_camera": "cameras.camera",
    "open_scheduler": "inference.scheduler",
}

__all__ = [
    "Appearance", "Camera", "Faces", "Frame", "Gallery", "InputError", "Match", "Person", "Pipeline", "Result",
    "RkfaceError", "Scheduler", "Verdict", "draw_faces", "enroll_photo", "identify", "open_bundle", "open_camera",
    "open_gallery", "open_scheduler", "read_image", "watch_camera", "write_image",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".runtime.{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """As ``runtime.image.read_image``, for a str too."""
    return import_module(".runtime.vision.image", __name__).read_image(Path(path))  # type: ignore[no-any-return]


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """As ``runtime.draw.write_image``, for a str too."""
    import_module(".runtime.vision.draw", __name__).write_image(Path(path), image)


def open_gallery(path: str | Path, pipeline: Pipeline | None = None, *, create: bool = False) -> Gallery:
    """The gallery at ``path``; a context manager.

    With ``pipeline``, the gallery must hold embeddings of the same model, or none yet. Without it, people can be listed
    but nobody can be added or searched. ``create`` makes an empty gallery if there is none. Raises InputError if the
    file is missing, is not a gallery, or holds embeddings of another model.
    """
    from .runtime.gallery.gallery import Gallery
    from .runtime.gallery.people import embedding_identity

    identity = embedding_identity(pipeline.manifest) if pipeline else None
    gallery = Gallery(Path(path), identity, create=create)
    if identity and gallery.identity not in (None, identity) and gallery.state().samples:
        gallery.close()
        raise __getattr__("InputError")(
            f"{path} holds embeddings of another model than this bundle's, which cannot be compared: use that bundle, "
            f"or run: rkface gallery reembed --gallery {path} --bundle DIR"
        )
    return gallery


def identify(faces: Faces, gallery: Gallery, threshold: float) -> list[Match | None]:
    """Who each of ``faces`` is: the nearest person of ``gallery``, or None if the cosine is below ``threshold``.

    ``threshold`` is usually the bundle's, ``pipeline.thresholds.match``. Raises InputError if ``faces`` have no
    embeddings, because they come from ``detect`` and not from ``recognize``.
    """
    if faces.embeddings is None:
        raise __getattr__("InputError")("these faces have no embeddings: use pipeline.recognize, not pipeline.detect")
    found = gallery.search(faces.embeddings) if len(faces) else []
    return [matches[0] if matches and matches[0].cosine >= threshold else None for matches in found]


def enroll_photo(
    gallery: Gallery, pipeline: Pipeline, name: str, photo: str | Path, *, strict: bool = False, force: bool = False
) -> Verdict:
    """Add the largest face in ``photo`` to the person ``name``, or say in the verdict why it was refused.

    ``strict`` refuses a photo with several faces. ``force`` enrolls a face that looks like another person.
    """
    from .runtime.enrollment import enroll

    return enroll.enroll_photo(gallery, pipeline, name, Path(photo), rules=enroll.EnrollOptions(strict, force))


def watch_camera(camera: Camera, pipeline: Pipeline, gallery: Gallery) -> Iterator[Appearance]:
    """The appearances of people before ``camera``, as they start, change and end, until the camera ends.

    A live camera never ends, and only its newest frame is looked at; of a file, every frame is. For several cameras on
    one NPU use ``rkface run``, or a ``Scheduler`` as docs/camera.md shows.
    """
    from .runtime.cameras.frame_gate import newest
    from .runtime.tracking.visit import RecognitionRules
    from .runtime.tracking.watcher import Watcher

    rules = RecognitionRules.of(pipeline.thresholds)
    watcher = Watcher(camera.name, pipeline, gallery.search, rules)
    for frame in newest(camera, every=not camera._live):
        gallery.refresh()
        if frame is None:
            yield from watcher.tick()
        else:
            yield from watcher.step(frame, pipeline.detect(frame.image, rules.doubtful))
    yield from watcher.close()
