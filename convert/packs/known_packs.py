"""The packs by name, with the facts about their models. Imports nothing heavy.

Every figure and license is as published; its source is named. None of the weights except those of the demo were made by
rkface. What was checked of the packs that may be sold:

* YuNet: its SHA-256 and size are those of the Git LFS pointer in opencv_zoo (tag 4.10.0). The file of the second
  address, in the repository of its authors, has the same bytes.
* dlib's network: the source package was downloaded, read and compared with dlib.
* SFace: its SHA-256 and size are those of the LFS pointer of opencv_zoo's tag 4.10.0. The weights themselves were never
  run here. Other versions: 2021sep, which the repository deleted (a9279be0…, 38,696,080 bytes), and INT8 versions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.text import nearest

from .pack import DEMO, Download, KnownModel, KnownRecognizer, License, Pack

_INSIGHTFACE = "https://github.com/deepinsight/insightface"
_ZOO = "https://github.com/opencv/opencv_zoo"
_YUNET = "https://github.com/ShiqiYu/libfacedetection.train"
_DLIB = "https://github.com/davisking/dlib-models"

# InsightFace. Digests: its own server, models/packages.py. Sizes: its releases. Accuracy: the tables of its Python
# package and of its model zoo.
RESEARCH = License(
    "non-commercial research",
    f"{_INSIGHTFACE}#license",
    commercial=False,
    note="InsightFace sells licenses for other use",
)
_PACKAGE = f"{_INSIGHTFACE}/blob/master/python-package/README.md"
_R50_EVIDENCE = "InsightFace Server's published threshold of w600k_r50 at FAR 1e-6 on MR-ALL (FP32)"
_WEBFACE = "WebFace600K: photos collected from the web"
_WIDER = "WIDER FACE: photos collected from the web"

W600K_R50 = KnownRecognizer(
    "w600k_r50.onnx", "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43", 174_383_860, RESEARCH,
    published="LFW 99.83 %, IJB-C 97.25 % at FAR 1e-4, MR-ALL 91.25 %", source=_PACKAGE, trained_on=_WEBFACE,
    match=0.4078, evidence=_R50_EVIDENCE,
)  # fmt: skip
W600K_MBF = KnownRecognizer(
    "w600k_mbf.onnx", "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f", 13_616_099, RESEARCH,
    published="LFW 99.70 %, IJB-C 95.02 % at FAR 1e-4, MR-ALL 71.87 %", source=_PACKAGE, trained_on=_WEBFACE,
)  # fmt: skip


def _scrfd(file: str, sha256: str, size: int, published: str) -> KnownModel:
    source = f"{_INSIGHTFACE}/blob/master/model_zoo/README.md"
    return KnownModel(
        file, sha256, size, RESEARCH, published=f"WIDER FACE {published}", source=source, trained_on=_WIDER
    )


DET_10G = _scrfd(
    "det_10g.onnx", "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91", 16_923_827,
    "easy 95.40, medium 94.01, hard 82.80 (as SCRFD_10G_KPS)",
)  # fmt: skip
DET_2_5G = _scrfd(
    "det_2.5g.onnx", "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9", 3_292_009,
    "easy 93.80, medium 92.02, hard 77.13 (as SCRFD_2.5G_KPS)",
)  # fmt: skip
DET_500M = _scrfd(
    "det_500m.onnx", "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a", 2_524_817,
    "easy 90.97, medium 88.44, hard 69.49 (as SCRFD_500M_KPS)",
)  # fmt: skip


def _zip(name: str, sha256: str, size: int) -> Download:
    return Download(name, sha256, size, (f"{_INSIGHTFACE}/releases/download/v0.7/{name}",))


def _insightface(summary: str, archive: Download, detector: KnownModel, recognizer: KnownRecognizer) -> Pack:
    name = archive.file.removesuffix(".zip")
    return Pack(name, summary, replace(detector, download=archive), replace(recognizer, download=archive))


_L = _zip("buffalo_l.zip", "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f", 288_621_354)
_M = _zip("buffalo_m.zip", "d98264bd8f2dc75cbc2ddce2a14e636e02bb857b3051c234b737bf3b614edca9", 275_951_529)
_SC = _zip("buffalo_sc.zip", "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72", 14_969_382)
BUFFALO = (
    _insightface("the most accurate", _L, DET_10G, W600K_R50),
    _insightface("buffalo_l with a smaller detector", _M, DET_2_5G, W600K_R50),
    _insightface("small and fast", _SC, DET_500M, W600K_MBF),
)

# YuNet. The figures are opencv_zoo's for the file itself, and the authors' for yunet_n.
_YUNET_FILE, _YUNET_SHA256 = (
    "face_detection_yunet_2023mar.onnx", "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
)  # fmt: skip
YUNET = KnownModel(
    _YUNET_FILE, _YUNET_SHA256, 232_589,
    License("MIT", f"{_ZOO}/blob/4.10.0/models/face_detection_yunet/LICENSE", commercial=True),
    download=Download(
        _YUNET_FILE, _YUNET_SHA256, 232_589, (
            f"{_ZOO}/raw/4.10.0/models/face_detection_yunet/{_YUNET_FILE}",
            f"{_YUNET}/raw/master/onnx/yunet_s_640_640.onnx",
        ),
    ),
    published="WIDER FACE easy 88.44, medium 86.56, hard 75.03",
    source=f"{_ZOO}/blob/4.10.0/models/face_detection_yunet/README.md", trained_on=_WIDER,
)  # fmt: skip
YUNET_N = KnownModel(
    "yunet_n_dynamic.onnx", "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12", 322_906,
    License("Apache-2.0", f"{_YUNET}/blob/master/LICENSE", commercial=True, note="the README says BSD"),
    published="WIDER FACE easy 89.2, medium 88.3, hard 81.1", source=f"{_YUNET}/blob/master/README.md",
    trained_on=_WIDER,
)  # fmt: skip

# dlib's ResNet-29, read by dlib_resnet.py. The ONNX model has the same bytes on every machine.
DLIB_RESNET = KnownRecognizer(
    "dlib_face_recognition_resnet_model_v1.dat", "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    22_466_066,
    License("CC0-1.0", f"{_DLIB}/blob/master/LICENSE", commercial=True, note="dedicated to the public domain"),
    download=Download(
        "face_recognition_models-0.3.0.tar.gz", "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
        100_149_358, requirement="face-recognition-models==0.3.0",
    ),
    published="LFW 99.38 %", source=f"{_DLIB}/blob/master/README.md",
    trained_on="about 3 million faces of 7,485 people: FaceScrub, VGG Face, and photos that the author collected from "
    "the web",
    onnx_sha256="ff8a2200b8f98be3142df4db155c9940fb78c454dfd882e367cba8e9a6956599",
    crop="dlib-150", normalization=((122.782, 117.001, 104.298), (256.0, 256.0, 256.0)),
    match=0.48, evidence="the distance 0.6 that dlib's author publishes (LFW 99.38 %, FP32), as a cosine: both decide "
    "2,977 of 3,003 pairs of faces on photos alike (docs/accuracy.md)",
    center=True,
)  # fmt: skip

# SFace. It normalizes by itself: OpenCV's FaceRecognizerSF gives it RGB of 0..255 (modules/objdetect/src/
# face_recognize.cpp: blobFromImage with scale 1, mean 0 and swapRB), aligned to ArcFace's points.
_SFACE_FILE, _SFACE_SHA256 = (
    "face_recognition_sface_2021dec.onnx", "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79"
)  # fmt: skip
SFACE = KnownRecognizer(
    _SFACE_FILE, _SFACE_SHA256, 38_696_353,
    License("Apache-2.0", f"{_ZOO}/blob/4.10.0/models/face_recognition_sface/LICENSE", commercial=True),
    download=Download(
        _SFACE_FILE, _SFACE_SHA256, 38_696_353, (f"{_ZOO}/raw/4.10.0/models/face_recognition_sface/{_SFACE_FILE}",)
    ),
    published="LFW 99.60 %, CALFW 93.95 %, CPLFW 91.05 %, AgeDB-30 94.90 %, CFP-FP 94.80 %",
    source="https://docs.opencv.org/4.x/d0/dd4/tutorial_dnn_face.html",
    trained_on="not stated for this file; its paper uses CASIA-WebFace, VGGFace2 and MS-Celeb-1M: photos collected "
    "from the web",
    normalization=((0.0,) * 3, (1.0,) * 3),
    match=0.363, evidence="OpenCV's tutorial of FaceRecognizerSF: its threshold on LFW (FP32)",
)  # fmt: skip

OPEN = (
    Pack("open", "real faces, may be sold", YUNET, DLIB_RESNET, others=(YUNET_N,)),
    Pack("open-sface", "likewise, with another recognizer", YUNET, SFACE, others=(YUNET_N,)),
)
DEMO_LICENSE = License(
    "Apache-2.0",
    "https://www.apache.org/licenses/LICENSE-2.0",
    commercial=True,
    note="trained by rkface on rendered faces; says nothing about people",
)


def demo_pack() -> Pack:
    """The models that rkface's own training script trains on rendered faces. Their figures are in the same folder."""
    figures = json.loads((DEMO / "figures.json").read_text(encoding="utf-8"))
    (_, detector), (_, recognizer) = sorted(figures["files"].items())
    return Pack(
        "demo",
        "rendered faces, part of rkface",
        KnownModel("detector.onnx", detector["sha256"], detector["bytes"], DEMO_LICENSE, trained_on="rendered faces"),
        KnownRecognizer(
            "recognizer.onnx",
            recognizer["sha256"],
            recognizer["bytes"],
            DEMO_LICENSE,
            trained_on="rendered faces",
            match=figures["match_threshold"],
            evidence="convert/demo/figures.json: FP32 on rendered faces never trained on",
        ),
        synthetic=True,
    )


def list_packs() -> tuple[Pack, ...]:
    """All packs, in the order in which they are shown."""
    return (demo_pack(), *OPEN, *BUFFALO)


def find_pack(name: str) -> Pack:
    """The pack called ``name``. Raises InputError if there is no such pack."""
    packs = {pack.name: pack for pack in list_packs()}
    if name not in packs:
        hint = f" (did you mean {near}?)" if (near := nearest(name, packs)) else ""
        raise InputError(
            f"unknown pack {name!r}{hint}: rkface knows {', '.join(packs)} (see `rkface packs`); for your own models, "
            "use --detector and --recognizer"
        )
    return packs[name]


def find_known_model(sha256: str) -> KnownModel | None:
    """The known model with this SHA-256, as published or as ONNX; None for any other file."""
    return next((model for model in _known_models() if sha256 in model.digests), None)


def _known_models() -> Iterator[KnownModel]:
    for pack in (*OPEN, *BUFFALO):
        yield from (pack.detector, pack.recognizer, *pack.others)
