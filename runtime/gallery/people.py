"""The people and samples of a gallery, and the identity that says which embeddings can be compared."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_number, check_type, describe_type
from ..core.crop_template import ARCFACE_112
from ..core.errors import InputError
from ..core.manifest import Manifest
from ..core.text import find_hidden, in_a_line, name_character, readable
from ..vision.align import ALIGNMENT

MOST_NAME = 200  # characters of a name, as in the web API
MOST_SHOWN = 60  # characters of an invalid name in a message


@dataclass(frozen=True)
class Person:
    """A person of a gallery.

    Attributes:
        id: 32 hexadecimal digits. It never changes.
        name: Unique in the gallery. It may change.
        metadata: Any values that JSON can store, such as ``{"room": 3}``.
        created: When the person was added, in seconds since 1970 (UTC).
        changed: When the person was last changed, in seconds since 1970 (UTC).
        samples: Number of samples, 0 or more.
        threshold: Minimum cosine at which this person is recognized, 0 to 1, for people who look alike. The threshold
            for everybody counts if it is higher. None without one.
        groups: Names of the groups to which the person belongs, sorted.
    """

    id: str
    name: str
    metadata: dict[str, Any]
    created: float
    changed: float
    samples: int
    threshold: float | None = None
    groups: tuple[str, ...] = ()


class PersonName(NamedTuple):
    """What a search needs of a person: a third of the memory of a ``Person``."""

    id: str
    name: str
    threshold: float | None = None


@dataclass(frozen=True)
class Sample:
    """One face of a person.

    Attributes:
        embedding: Embedding of the face, D float32, unit length.
        crop: The aligned face as a PNG file, from which the embedding can be computed again for another model. None if
            it is not stored.
        quality: Quality of the picture, 0 to 1.
        source: Where the face came from: the name of a photo or a camera.
        created: When the sample was made, in seconds since 1970 (UTC). 0: when it is added to a gallery.
        identity: ``embedding_identity`` of the bundle that computed the embedding. "": the gallery's.
        id: Number of the sample in its gallery. 0 before it is added to one.
    """

    embedding: NDArray[np.float32]
    crop: bytes | None
    quality: float
    source: str
    created: float = 0.0
    identity: str = ""
    id: int = 0


@dataclass(frozen=True)
class GalleryState:
    """Figures about a gallery.

    Attributes:
        people: Number of people.
        samples: Number of samples.
        ignored: Number of samples that are never searched, because another model made them.
        precision: Precision of the search index, "float32" or "int8"; "" before the first search.
        searches: Number of probes searched since the gallery was opened.
    """

    people: int
    samples: int
    ignored: int
    precision: str
    searches: int


def clean_name(name: str) -> str:
    """``name`` as galleries store it: Unicode's normal form C, one plain space between words, none at the ends.

    So "é" as one character is equal to "é" as a letter with an accent, as macOS names files. Raises InputError if it is
    not a string, is empty or too long, or contains characters that cannot be seen (``find_hidden``).
    """
    check_type(name, str, "a person's name must be a string", 'pass a name such as "Ada"')
    if readable(name) != name:
        raise InputError(f"invalid name {_shown(name)}: it contains invalid characters")
    cleaned = re.sub(" {2,}", " ", re.sub(r"[^\S\t-\r\x1c-\x1f\x85\u2028\u2029]", " ", name)).strip(" ")
    if not cleaned:
        raise InputError("a person needs a name")
    cleaned = unicodedata.normalize("NFC", cleaned)
    if (hidden := find_hidden(cleaned)) is not None:
        kind = "a control character" if unicodedata.category(hidden) == "Cc" else "a character that cannot be seen"
        raise InputError(f"invalid name {_shown(name)}: it contains {kind}, {name_character(hidden)}")
    if len(cleaned) > MOST_NAME:
        raise InputError(
            f"invalid name {_shown(name)}: it has {len(cleaned)} characters, but at most {MOST_NAME} are allowed"
        )
    return cleaned


def look_alike(name: str, others: Iterable[str]) -> str | None:
    """The first of ``others`` that differs from ``name`` only in case, or in the form of its characters."""
    plain = _plain(name)
    return next((other for other in others if other != name and _plain(other) == plain), None)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _shown(name: str) -> str:
    return f"'{in_a_line(name[:MOST_SHOWN])}{'…' if len(name) > MOST_SHOWN else ''}'"


def check_person(person: Person) -> None:
    """Raise InputError if ``person`` is not a Person, such as a name."""
    check_type(person, Person, "this must be a Person", "find one with gallery.person(name)")


def check_sample(sample: Sample) -> None:
    """Raise InputError if ``sample`` is not a Sample, or one of its attributes has the wrong type."""
    make = 'write Sample(embedding, crop=None, quality=1.0, source="ada.jpg")'
    check_type(sample, Sample, "each sample must be a Sample", make)
    check_type(sample.embedding, np.ndarray, "the embedding of a sample must be a NumPy array", make)
    if sample.embedding.dtype.kind != "f":
        raise InputError(f"the embedding of a sample must be float32, not {sample.embedding.dtype}")
    if sample.crop is not None and not isinstance(sample.crop, bytes):
        raise InputError(
            f"the crop of a sample must be the bytes of a PNG file, or None, not {describe_type(sample.crop)}: encode "
            'an image with cv2.imencode(".png", crop)[1].tobytes()'
        )
    check_number(sample.quality, 0, 1, "the quality of a sample")
    check_type(sample.source, str, "the source of a sample must be a string", "pass the name of the photo or camera")


def check_probes(probes: NDArray[Any], dimensions: int) -> NDArray[np.float32]:
    """``probes`` as B×D float32. Raises InputError if they are not a B×D array of floating-point numbers, contain NaN
    or infinity, or D is not ``dimensions`` (0: any D)."""
    if not isinstance(probes, np.ndarray):
        raise InputError(
            f"probes must be a NumPy array of shape N×D, not {describe_type(probes)}: pass the embeddings that "
            "pipeline.recognize(image) returns; pipeline.detect(image) computes none"
        )
    if probes.ndim != 2:
        raise InputError(f"probes must have the shape N×D, not {probes.shape}; for one embedding pass embedding[None]")
    if probes.dtype.kind != "f":
        raise InputError(f"probes must be float32 embeddings, not {probes.dtype}")
    if dimensions and probes.shape[1] != dimensions:
        raise InputError(
            f"a probe has {probes.shape[1]} numbers, but the gallery's embeddings have {dimensions}: use the bundle "
            "that the gallery was made with"
        )
    if not np.isfinite(probes).all():
        raise InputError("a probe contains NaN or infinity: the recognizer fails on this face")
    return probes.astype(np.float32, copy=False)


def embedding_identity(manifest: Manifest) -> str:
    """Compute the identity of a bundle's embeddings. Only embeddings with the same identity can be compared.

    It is SHA-256 over canonical JSON of the recognizer's source model, the preparation of its input, the face
    alignment, and the center of the embeddings. It does not depend on the quantized file: `rkface convert` writes a
    bundle only if the INT8 and FP32 embeddings of the same face agree (mean cosine 0.995 or more). So one gallery works
    on a workstation and on every chip, with the threshold that `rkface evaluate` finds for INT8 probes.

    Args:
        manifest: The bundle's manifest: ``pipeline.manifest``.

    Returns:
        32 hexadecimal digits.

    Raises:
        InputError: ``manifest`` is not a Manifest.
    """
    check_type(manifest, Manifest, "embedding_identity takes a bundle's manifest", "pass pipeline.manifest")
    model = manifest.recognizer
    contract: dict[str, Any] = {
        "model": model.source.sha256,
        "alignment": ALIGNMENT,
        "colour": model.input.source_order,
        "dtype": "uint8",
        "height": model.input.height,
        "width": model.input.width,
        "mean": model.input.mean,
        "std": model.input.std,
        "dimensions": model.outputs[0].shape[-1],
    }
    # Only what differs from the crop that every bundle had at first: so the identities of older galleries stay valid.
    if not model.crop.same_crop(ARCFACE_112):
        contract["crop"] = model.crop.points
    if model.center:
        contract["center"] = model.center
    text = json.dumps(contract, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
