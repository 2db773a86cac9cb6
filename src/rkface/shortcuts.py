"""Functions for common tasks. Each one only combines parts of ``rkface.runtime``."""

from __future__ import annotations

from pathlib import Path

from .runtime.core.checks import check_count, check_number, check_type
from .runtime.core.errors import InputError, RkfaceError
from .runtime.core.faces import Faces
from .runtime.core.paths import as_path
from .runtime.enrollment import enroll
from .runtime.gallery.gallery import Gallery
from .runtime.gallery.match import Match
from .runtime.gallery.people import embedding_identity
from .runtime.inference.pipeline import Pipeline


def open_gallery(path: str | Path, pipeline: Pipeline | None = None, *, create: bool = False) -> Gallery:
    """Open the gallery at ``path``; use it in a ``with`` block.

    Args:
        path: The SQLite file of the gallery.
        pipeline: The pipeline whose embeddings are added and searched. Without it, the model of the embeddings is not
            checked: use this only to list and to change people.
        create: Make an empty gallery if the file does not exist.

    Raises:
        InputError: The file is missing, is not a gallery, or holds embeddings of another model, which cannot be
            compared with those of ``pipeline``.
    """
    if pipeline is not None:
        _check_pipeline(pipeline)
    identity = embedding_identity(pipeline.manifest) if pipeline is not None else None
    gallery = Gallery(path, identity, create=create)
    try:
        gallery.check_identity()
    except RkfaceError:
        gallery.close()
        raise
    return gallery


def identify(faces: Faces, gallery: Gallery, threshold: float) -> list[Match | None]:
    """Find out who each face is.

    Args:
        faces: N faces with embeddings, from ``Pipeline.recognize``.
        gallery: The gallery to search.
        threshold: Minimum cosine for a match, -1 to 1; usually the bundle's, ``pipeline.thresholds.match``.

    Returns:
        For each face the most similar person of ``gallery``, or None if the cosine is below ``threshold``.

    Raises:
        InputError: The faces have no embeddings, because they come from ``Pipeline.detect``; or an argument has the
            wrong type or is out of its range.
    """
    check_type(faces, Faces, "identify takes the faces of one image", "pass what pipeline.recognize(image) returned")
    _check_gallery(gallery)
    check_number(threshold, -1, 1, "the match threshold")
    if faces.embeddings is None:
        raise InputError("these faces have no embeddings: use pipeline.recognize(image), not pipeline.detect(image)")
    found = gallery.search(faces.embeddings) if len(faces) else []
    return [matches[0] if matches and matches[0].cosine >= threshold else None for matches in found]


def enroll_photo(
    gallery: Gallery,
    pipeline: Pipeline,
    name: str,
    photo: str | Path,
    *,
    strict: bool = False,
    force: bool = False,
    face: int | None = None,
) -> enroll.Verdict:
    """Add the face in a photo to a person of the gallery.

    Of several faces, the one is added that matches the person's other samples. If it is not clear which one that is,
    the photo is refused, and the verdict's ``faces`` lists them. Faces in the background do not count.

    Args:
        gallery: The gallery to change.
        pipeline: The pipeline that computes the embedding.
        name: The person's name; a new person if nobody has this name.
        photo: A JPEG, PNG, WebP, BMP or HEIC file.
        strict: Refuse every photo with several faces.
        force: Enroll a face even if it looks like another person of the gallery, or unlike the person's other samples.
        face: The number of the face to add, as in ``Verdict.faces``: 1 is the one with the best detection score.

    Returns:
        A verdict: ``status`` is "enrolled", "known" (the gallery has this sample already) or "refused", with a reason.
        A photo that cannot be read is refused too.

    Raises:
        InputError: The gallery holds embeddings of another model, or an argument has the wrong type.
    """
    _check_gallery(gallery)
    _check_pipeline(pipeline)
    check_type(name, str, "a person's name must be a string", 'pass a name such as "Ada"')
    gallery.check_identity(embedding_identity(pipeline.manifest))
    if face is not None:
        check_count(face, "the number of a face")
    rules = enroll.EnrollOptions(strict, force, face=face)
    return enroll.enroll_photo(gallery, pipeline, name, as_path(photo, "a photo's path"), rules=rules)


def _check_pipeline(pipeline: object) -> None:
    check_type(pipeline, Pipeline, "a Pipeline is needed here", "open a bundle with open_bundle")


def _check_gallery(gallery: object) -> None:
    check_type(gallery, Gallery, "a Gallery is needed here", "open one with open_gallery")
