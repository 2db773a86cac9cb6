"""The known models: source, checksum, license and preprocessing of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import ROLES, UNMEASURED, Role, Triple
from rkface.runtime.vision import embed
from rkface.runtime.vision.bare_onnx import DYNAMIC_SIDE
from rkface.runtime.vision.detectors.scrfd import SCRFD

RESEARCH = (
    "InsightFace's pretrained models: non-commercial research purposes only "
    "(https://github.com/deepinsight/insightface#license); commercial use needs a license from InsightFace"
)
RELEASE = "https://github.com/deepinsight/insightface/releases/download/v0.7"
DEMO = Path(__file__).parent / "demo"

# InsightFace's own preprocessing, by role: (mean, std) of an RGB input in 0..255.
NORMALIZATION: dict[Role, tuple[Triple, Triple]] = {
    "detector": (SCRFD.mean, SCRFD.std),
    "recognizer": (embed.MEAN, embed.STD),
}
DETECTOR_SIZE = (DYNAMIC_SIDE, DYNAMIC_SIDE)  # width, height if neither the model nor the user fixes it

# The minimum cosine for a match, for models without a better value. Not measured: users should measure their own with
# `rkface evaluate` (docs/accuracy.md).
DEFAULT_MATCH = 0.40


@dataclass(frozen=True)
class KnownModel:
    """A model file that is recognized by its SHA-256."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Pack:
    """A detector and a recognizer that belong together.

    match      minimum cosine for a match
    evidence   where ``match`` comes from
    url        of the archive; None if the models are part of rkface
    sha256     of the archive
    bytes      size of the archive; 0 if not known
    synthetic  trained on rendered faces
    center     whether a constant must be taken off the recognizer's embeddings (convert/center.py); None: measured
    """

    name: str
    detector: KnownModel
    recognizer: KnownModel
    license: str
    match: float
    evidence: str
    url: str | None = None
    sha256: str = ""
    bytes: int = 0
    synthetic: bool = False
    center: bool | None = False

    def model(self, role: Role) -> KnownModel:
        return self.detector if role == "detector" else self.recognizer


W600K_R50 = KnownModel("w600k_r50.onnx", "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43")
W600K_MBF = KnownModel("w600k_mbf.onnx", "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f")
DET_10G = KnownModel("det_10g.onnx", "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91")
DET_2_5G = KnownModel("det_2.5g.onnx", "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9")
DET_500M = KnownModel("det_500m.onnx", "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a")

_R50_EVIDENCE = "InsightFace Server's published threshold of w600k_r50 at FAR 1e-6 on MR-ALL (FP32)"

# Archive and model digests: InsightFace's own server, models/packages.py.
INSIGHTFACE = (
    Pack(
        "buffalo_l", DET_10G, W600K_R50, RESEARCH, 0.4078, _R50_EVIDENCE, f"{RELEASE}/buffalo_l.zip",
        "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f", 288_621_354,
    ),
    Pack(
        "buffalo_m", DET_2_5G, W600K_R50, RESEARCH, 0.4078, _R50_EVIDENCE, f"{RELEASE}/buffalo_m.zip",
        "d98264bd8f2dc75cbc2ddce2a14e636e02bb857b3051c234b737bf3b614edca9",
    ),
    Pack(
        "buffalo_sc", DET_500M, W600K_MBF, RESEARCH, DEFAULT_MATCH, UNMEASURED, f"{RELEASE}/buffalo_sc.zip",
        "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class LivenessProfile:
    """How a liveness model (anti-spoofing: a live face, or a picture of a face?) was trained.

    name       of the model
    size       (width, height) of its input; with ``classes``, this identifies a model
    classes    number of its classes
    scale      size of the crop it gets, in sizes of the face's box
    live       index of the class of live faces
    bgr        its input channels are blue, green, red
    mean, std  of values 0..255, in its own channel order
    logits     its outputs are logits, not probabilities
    threshold  minimum probability of a live face
    """

    name: str
    size: tuple[int, int]
    classes: int
    scale: float
    live: int
    bgr: bool
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    logits: bool = True
    threshold: float = 0.5  # the more likely of two answers; not measured

    @property
    def normalization(self) -> tuple[Triple, Triple]:
        """(mean, std) for an RGB input."""
        turn = -1 if self.bgr else 1
        (r, g, b), (x, y, z) = self.mean[::turn], self.std[::turn]
        return (r, g, b), (x, y, z)


# github.com/minivision-ai/Silent-Face-Anti-Spoofing (Apache-2.0): the names of its files contain the scale of the crop
# and the size of the input (src/utility.py); images are BGR, as OpenCV reads them, with values of 0..255 ("return
# img.float()", src/data_io/functional.py); a softmax follows (src/anti_spoof_predict.py), and class 1 is a live face
# (test.py).
LIVENESS_PROFILES = (
    LivenessProfile("MiniFASNetV2", (80, 80), 3, 2.7, 1, True),
    LivenessProfile("MiniFASNetV1SE", (80, 80), 3, 4.0, 1, True),
)


def demo_pack() -> Pack:
    """The models that rkface's own training script trains on rendered faces. Their figures are in the same folder."""
    figures = json.loads((DEMO / "figures.json").read_text(encoding="utf-8"))
    detector, recognizer = (KnownModel(name, facts["sha256"]) for name, facts in sorted(figures["files"].items()))
    return Pack(
        "demo",
        detector,
        recognizer,
        "Apache-2.0 (trained by rkface on rendered faces; says nothing about people)",
        figures["match_threshold"],
        "convert/demo/figures.json: FP32 on rendered faces never trained on",
        synthetic=True,
    )


def find_pack(name: str) -> Pack:
    """The pack called ``name``. Raises InputError if there is no such pack."""
    packs = {pack.name: pack for pack in INSIGHTFACE}
    if name == "demo":
        return demo_pack()
    if name not in packs:
        raise InputError(
            f"unknown pack {name!r}: rkface knows demo, {', '.join(packs)}; for your own models, use --detector and "
            "--recognizer"
        )
    return packs[name]


def find_known_model(sha256: str) -> tuple[KnownModel, Pack] | None:
    """The known model with this SHA-256, and the first pack that contains it; None for any other file."""
    return next(
        ((pack.model(role), pack) for pack in INSIGHTFACE for role in ROLES if pack.model(role).sha256 == sha256), None
    )
