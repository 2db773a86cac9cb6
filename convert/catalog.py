"""The known models: where each comes from, how it is verified, under what license, and how it wants to be fed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rkface.runtime.core.bundle import ROLES, Role, Triple
from rkface.runtime.core.errors import InputError
from rkface.runtime.vision import detect, embed
from rkface.runtime.vision.bare_onnx import DYNAMIC_SIDE

RESEARCH = (
    "InsightFace's pretrained models: non-commercial research purposes only "
    "(https://github.com/deepinsight/insightface#license); commercial use needs a license from InsightFace"
)
RELEASE = "https://github.com/deepinsight/insightface/releases/download/v0.7"
DEMO = Path(__file__).parent / "demo"

# InsightFace's own preprocessing, by role: (mean, std) of an input that is RGB in 0..255.
NORMALIZATION: dict[Role, tuple[Triple, Triple]] = {
    "detector": (detect.MEAN, detect.STD),
    "recognizer": (embed.MEAN, embed.STD),
}
DETECTOR_SIZE = (DYNAMIC_SIDE, DYNAMIC_SIDE)  # width, height where neither model nor user says

# A cosine from which two faces are the same person, for models of which we know no better. Not measured: a user's
# own pairs decide (docs/accuracy.md).
MATCH = 0.40
UNMEASURED = "rkface's default, not measured on this model"


@dataclass(frozen=True)
class KnownModel:
    file: str
    sha256: str


@dataclass(frozen=True)
class Pack:
    """A detector and a recognizer that belong together.

    url           the archive; None: the models are part of rkface
    sha256        of the archive
    bytes         of the archive, 0 where not known
    match         cosine from which two faces are the same person, and ``evidence`` where that comes from
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
        "buffalo_sc", DET_500M, W600K_MBF, RESEARCH, MATCH, UNMEASURED, f"{RELEASE}/buffalo_sc.zip",
        "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Spoofing:
    """How a liveness model (anti-spoofing: is it a face, or a picture of one?) was trained to be asked.

    name       and ``size`` (width, height) and number of ``classes``, by which a model is known
    scale      times the face's box that it is shown
    live       the class that is a live face
    bgr        its channels are blue, green, red
    mean, std  of values 0..255, in its own order of channels
    logits     it gives logits, not probabilities
    threshold  probability from which a face counts as live
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
    threshold: float = 0.5  # the likelier of two answers; not measured

    @property
    def normalization(self) -> tuple[Triple, Triple]:
        """Mean and std of an input that is RGB."""
        turn = -1 if self.bgr else 1
        (r, g, b), (x, y, z) = self.mean[::turn], self.std[::turn]
        return (r, g, b), (x, y, z)


# github.com/minivision-ai/Silent-Face-Anti-Spoofing (Apache-2.0): scale of the crop and size of the input stand in its
# files' names (src/utility.py); images are BGR as OpenCV reads them, 0..255 as they are ("return img.float()",
# src/data_io/functional.py); a softmax follows (src/anti_spoof_predict.py), and class 1 is a live face (test.py).
SPOOFING = (
    Spoofing("MiniFASNetV2", (80, 80), 3, 2.7, 1, True),
    Spoofing("MiniFASNetV1SE", (80, 80), 3, 4.0, 1, True),
)


def demo_pack() -> Pack:
    """The models that rkface's own training script makes from rendered faces; their figures are kept beside them."""
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
    """The pack called ``name``. InputError where there is none such."""
    packs = {pack.name: pack for pack in INSIGHTFACE}
    if name == "demo":
        return demo_pack()
    if name not in packs:
        raise InputError(
            f"unknown pack {name!r}: rkface knows demo, {', '.join(packs)}; own models: --detector and --recognizer"
        )
    return packs[name]


def known(sha256: str) -> tuple[KnownModel, Pack] | None:
    """The model, and the first pack that has it, of a file that we know by its content; None for any other."""
    return next(
        ((pack.model(role), pack) for pack in INSIGHTFACE for role in ROLES if pack.model(role).sha256 == sha256), None
    )
