"""dlib's recognizer at its own 150×150 chip: how well it tells people apart, and how close the chip is to dlib's.

    make bench-dlib OPTIONS='--model dlib_face_recognition_resnet_model_v1.dat --detector det.onnx --photos photos/
        --pairs pairs.csv'

The largest face of each photo of the pairs is aligned to the template dlib-150, and to variants of it that read dlib's
68 points in another way. Cosines are those of the embeddings minus their mean over the photos. With --resampled, the
same for an export that takes ArcFace's 112×112 crop. With dlib's Python package and --predictor, also for dlib's own
chips, and the cosine between our embedding and that of dlib's chip of the same face.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from face_pairs import add_pair_options, separate
from numpy.typing import NDArray
from program import create_parser, format_table, write_results

from rkface.convert.label_files import read_pairs
from rkface.convert.packs.dlib_resnet import CHIP_SCALE, export_dlib_resnet, read_dlib_resnet
from rkface.runtime.core.crop_template import (
    ARCFACE_112,
    CUSTOM,
    DLIB_EYES,
    DLIB_MOUTH,
    DLIB_NOSE,
    DLIB_PADDING,
    DLIB_SIDE,
    TEMPLATES,
    CropTemplate,
)
from rkface.runtime.vision.align import align
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import unit
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.photo import PhotoFaces, find_faces

NOSE_BASE = (0.490127, 0.628106)  # point 33 of dlib's average face
Image, Floats = NDArray[np.uint8], NDArray[np.float32]


def in_chip(eyes: Sequence[Any], nose: Any) -> CropTemplate:
    square = np.array([*eyes, nose, *DLIB_MOUTH])
    points = (square + DLIB_PADDING) / (1 + 2 * DLIB_PADDING) * (DLIB_SIDE - 1)
    return CropTemplate(CUSTOM, DLIB_SIDE, DLIB_SIDE, tuple((x, y) for x, y in points.tolist()))  # type: ignore[arg-type]


def variants() -> dict[str, CropTemplate]:
    six = [np.mean(eye, axis=0) for eye in DLIB_EYES]
    corners = [np.mean([eye[0], eye[3]], axis=0) for eye in DLIB_EYES]
    return {
        "dlib-150": TEMPLATES["dlib-150"],
        "eyes: middle of the corners": in_chip(corners, DLIB_NOSE),
        "nose: its base (33), not its tip": in_chip(six, NOSE_BASE),
    }


class DlibModel:
    """dlib's network in ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        network = read_dlib_resnet(path)
        self._mean = np.array(network.mean, np.float32)
        self._session = onnxruntime.InferenceSession(export_dlib_resnet(network).SerializeToString())

    def embed(self, crops: Sequence[Image]) -> Floats:
        """Raw embeddings, N×128, of 150×150×3 BGR crops."""
        planes = [((crop[..., ::-1] - self._mean) / np.float32(CHIP_SCALE)).transpose(2, 0, 1)[None] for crop in crops]
        return np.concatenate([self._session.run(None, {"input": one})[0] for one in planes])


def told_apart(embeddings: Floats, pairs: NDArray[np.int64]) -> dict[str, float]:
    return separate(embeddings, embeddings.mean(axis=0), pairs)._asdict()


def dlib_chips(looks: Sequence[PhotoFaces], predictor: Path) -> list[Image]:
    """dlib's chip of the largest face, at the landmarks of dlib's predictor in the box of dlib's detector."""
    import dlib

    find, predict = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(predictor))
    chips = []
    for look in looks:
        rgb = np.ascontiguousarray(look.image[..., ::-1])
        x, y = look.faces.landmarks[look.faces.largest()].mean(axis=0)
        box = next(one for one in find(rgb, int(max(rgb.shape) < 1500)) if one.contains(dlib.point(int(x), int(y))))
        chips.append(
            np.ascontiguousarray(dlib.get_face_chip(rgb, predict(rgb, box), DLIB_SIDE, DLIB_PADDING)[..., ::-1])
        )
    return chips


def main(options: argparse.Namespace) -> None:
    labels = read_pairs(options.pairs)
    names = sorted({name for left, right, _ in labels for name in (left, right)})
    pairs = np.array([(names.index(left), names.index(right), same) for left, right, same in labels])
    detector, model = Detector(*open_detector(options.detector)), DlibModel(options.model)
    looks = [find_faces(detector, read_image(options.photos / name), detector.threshold) for name in names]

    def cut(template: CropTemplate) -> list[Image]:
        return [align(one.image, one.faces.landmarks[one.faces.largest()], template) for one in looks]

    embeddings = {name: model.embed(cut(template)) for name, template in variants().items()}
    own = model.embed(dlib_chips(looks, options.predictor)) if options.predictor else None
    rows, results = [], {}
    for name, one in embeddings.items():
        results[name] = told_apart(one, pairs)
        if own is not None:
            results[name]["with_dlib"] = float(
                np.mean(np.sum(unit(one - own.mean(0)) * unit(own - own.mean(0)), axis=1))
            )
    if own is not None:
        results["dlib's own chips"] = told_apart(own, pairs)
    if options.resampled is not None:
        embed = open_recognizer(options.resampled).backend.infer
        rgb = np.ascontiguousarray(np.stack(cut(ARCFACE_112))[..., ::-1])
        results["arcface-112, resampled in the model"] = told_apart(embed(rgb)[0], pairs)
    for name, found in results.items():
        agreement = f"{found['with_dlib']:.3f}" if "with_dlib" in found else ""
        rows.append((name, f"{found['auc']:.4f}", f"{found['same']:.3f}", f"{found['different']:.3f}", agreement))
    head = ("crop", "AUC", "same person", "different people", "cosine with dlib's chip")
    count = f"{len(pairs)} pairs of {len(names)} photos, {pairs[:, 2].sum()} of one person"
    write_results(options.out, "\n".join([count, "", *format_table(head, rows)]), results)


if __name__ == "__main__":
    parser = create_parser(__doc__, out="build/dlib-crop")
    add_pair_options(parser)
    parser.add_argument("--model", type=Path, required=True, metavar="DAT", help="dlib's recognizer in its own format")
    parser.add_argument("--resampled", type=Path, metavar="ONNX", help="an export of the model for 112×112 crops")
    parser.add_argument("--predictor", type=Path, metavar="DAT", help="dlib's predictor of 68 landmarks")
    main(parser.parse_args())
