"""The constant in a recognizer's embeddings: how well faces are told apart with constants from different sources.

    make bench-center OPTIONS='--detector yunet.onnx --recognizer dlib_face_recognition_resnet_model_v1.dat
        --photos photos/ --pairs pairs.csv'

The model is FP32 in ONNX Runtime. Cosines are those of the labeled pairs: the largest face of each photo. "same" and
"different" are their means, "worst" is the lowest AUC of 200 random draws. With --distance, each cosine is compared
with that Euclidean distance between raw embeddings: which of them decides the most pairs of all faces alike?
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from face_pairs import PairFigures, add_pair_options, separate
from numpy.typing import NDArray
from program import create_parser, format_table, write_results

from rkface.calibration.center import measure_center
from rkface.calibration.choose import connected_components
from rkface.convert.acquire import own_sources
from rkface.convert.demo.render import CALIBRATE, render_crop
from rkface.convert.face_separation import in_another_light
from rkface.convert.label_files import read_pairs
from rkface.convert.prepared_model import PreparedModel, prepare_model
from rkface.runtime.vision.align import align
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import unit
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.photo import find_faces
from rkface.runtime.vision.photo_files import find_images

DRAWS = 200
Images, Floats, Indices = NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]


@dataclass(frozen=True)
class LabeledEmbeddings:
    """Raw embeddings of N faces, N×D, and of their mirror images in another light; P labeled pairs of them (P×3: two
    indices, 1 for one person); and N numbers of people, as far as the pairs say who is on the photos."""

    raw: Floats
    relit: Floats
    pairs: Indices
    people: Indices

    def compare(self, center: Floats, pairs: Indices | None = None) -> PairFigures:
        """How well the faces of ``pairs`` are told apart without ``center``; None takes all pairs."""
        return separate(self.raw, center.astype(np.float32), self.pairs if pairs is None else pairs)

    def measure(self, faces: Indices) -> Floats:
        """The constant that ``rkface convert`` measures on ``faces``."""
        return np.asarray(measure_center(self.raw[faces], self.relit[faces]).values, np.float32)


def main(options: argparse.Namespace) -> None:
    sources = own_sources(options.detector, options.recognizer, "not stated")
    with tempfile.TemporaryDirectory() as scratch:
        model = prepare_model(
            sources.paths["recognizer"], "recognizer", Path(scratch), stated=sources.stated, crop=sources.crop
        )
        faces = embed_photos(model, options)
        rendered = [
            render_crop(0, person, template=model.fixed.known_crop())[..., ::-1]
            for person in CALIBRATE[: options.rendered]
        ]
        constants = {f"{options.rendered} rendered faces of the demo": embed(model, np.stack(rendered)).mean(axis=0)}
        noise = np.random.default_rng(0).normal(128, 60, (20, *rendered[0].shape)).clip(0, 255).astype(np.uint8)
        constants["20 pictures of noise"] = embed(model, noise).mean(axis=0)
    results = dict(list_results(faces, constants))
    rows = [
        (name, *(format(value, ".3f" if at < 2 else ".4f") for at, value in enumerate(one)))
        for name, one in results.items()
    ]
    lines = [
        f"{len(faces.raw)} faces, {len(faces.pairs)} pairs, {int(faces.pairs[:, 2].sum())} of one person", "",
        *format_table(("constant from", "same", "different", "AUC", "worst"), [(*row, "")[:5] for row in rows]),
    ]  # fmt: skip
    lines += ["", f"One face under the constants of two halves of the people: mean cosine {compare_halves(faces):.3f}"]
    if options.distance:
        lines += ["", compare_with_distance(faces, options.distance, sources.match)]
    write_results(options.out, "\n".join(lines), results)


def list_results(faces: LabeledEmbeddings, constants: dict[str, Floats]) -> Iterator[tuple[str, tuple[float, ...]]]:
    """By source of the constant: same, different, AUC, and the lowest AUC if it was drawn."""
    everyone = np.arange(len(faces.raw))
    yield "nothing subtracted", faces.compare(np.zeros(faces.raw.shape[1], np.float32))
    yield "all faces, each person counted once", faces.compare(faces.measure(everyone))
    yield "all faces, plain mean", faces.compare(faces.raw.mean(axis=0))
    yield "faces of other people than those compared", draw(partial(compare_others, faces))
    for count in (10, 30, 50):
        if count < len(everyone):
            yield (
                f"{count} random faces",
                draw(lambda random, count=count: faces.compare(faces.measure(random.permutation(everyone)[:count]))),
            )
    often = np.bincount(faces.people).argmax()
    one, others = np.flatnonzero(faces.people == often), np.flatnonzero(faces.people != often)[:24]
    crowd = np.concatenate([np.repeat(one, 8), others])
    named = f"{len(crowd)} faces, {len(crowd) - len(others)} of one person"
    yield f"{named}: each person once", faces.compare(faces.measure(crowd))
    yield f"{named}: plain mean", faces.compare(faces.raw[crowd].mean(axis=0))
    yield from ((name, faces.compare(center)) for name, center in constants.items())


def compare_others(faces: LabeledEmbeddings, random: np.random.Generator) -> PairFigures | None:
    """Pairs of one half of the people, with the constant of the other half; None if one kind of pairs is missing."""
    measured = random.permutation(faces.people.max() + 1)[: (faces.people.max() + 1) // 2]
    inside = np.isin(faces.people, measured)
    left = faces.pairs[~inside[faces.pairs[:, 0]] & ~inside[faces.pairs[:, 1]]]
    if len(np.unique(left[:, 2])) < 2:
        return None
    return faces.compare(faces.measure(np.flatnonzero(inside)), left)


def compare_halves(faces: LabeledEmbeddings) -> float:
    """The mean cosine between each face under the constant of one half of the people, and under that of the other."""
    random, cosines = np.random.default_rng(0), []
    for _ in range(DRAWS):
        half = np.isin(faces.people, random.permutation(faces.people.max() + 1)[: (faces.people.max() + 1) // 2])
        left, right = (unit(faces.raw - faces.measure(np.flatnonzero(one))) for one in (half, ~half))
        cosines.append(np.sum(left * right, axis=1).mean())
    return float(np.mean(cosines))


def draw(once: Callable[[np.random.Generator], PairFigures | None]) -> tuple[float, ...]:
    """The means of ``DRAWS`` results, and the lowest AUC."""
    random = np.random.default_rng(0)
    found = np.array([one for one in (once(random) for _ in range(DRAWS)) if one is not None])
    return (*found.mean(axis=0).tolist(), float(found[:, 2].min()))


def compare_with_distance(faces: LabeledEmbeddings, distance: float, match: float) -> str:
    """Which cosine decides the most pairs of all faces like ``distance``, and how many ``match`` does, in words."""
    first, second = np.triu_indices(len(faces.raw), 1)
    units = unit(faces.raw - faces.measure(np.arange(len(faces.raw))))
    cosines = np.sum(units[first] * units[second], axis=1)
    near = np.linalg.norm(faces.raw[first] - faces.raw[second], axis=1) < distance
    thresholds = np.arange(20, 81) / 100
    alike = np.array([int(((cosines >= one) == near).sum()) for one in thresholds])
    best = thresholds[alike == alike.max()]
    return (
        f"Of {len(near)} pairs, {near.sum()} are nearer than {distance:g}. A cosine of {best[0]:.2f} to {best[-1]:.2f} "
        f"decides {alike.max()} of them alike, the match threshold {match:g} decides "
        f"{int(((cosines >= match) == near).sum())}."
    )


def embed_photos(model: PreparedModel, options: argparse.Namespace) -> LabeledEmbeddings:
    """All faces of the photos, and the pairs of their largest faces."""
    detector, largest, crops = Detector(*open_detector(options.detector)), {}, []
    for photo in find_images(options.photos):
        look = find_faces(detector, read_image(photo), detector.threshold)
        if len(look.faces):
            largest[photo.relative_to(options.photos).as_posix()] = len(crops) + look.faces.largest()
        crops += [align(look.image, points, model.fixed.known_crop())[..., ::-1] for points in look.faces.landmarks]
    images = np.stack(crops)
    pairs = np.array(
        [
            (largest[left], largest[right], same)
            for left, right, same in read_pairs(options.pairs)
            if left in largest and right in largest
        ]
    )
    groups = connected_components(len(crops), pairs[pairs[:, 2] == 1, :2].tolist())
    people = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return LabeledEmbeddings(embed(model, images), embed(model, in_another_light(images[:, :, ::-1])), pairs, people)


def embed(model: PreparedModel, crops: Images) -> Floats:
    """Raw embeddings, N×D, of ``crops`` (N×H×W×3 RGB)."""
    return np.concatenate([model.backend.infer(np.ascontiguousarray(one)[None])[0] for one in crops])


if __name__ == "__main__":
    parser = create_parser(__doc__, out="build/bench/center")
    add_pair_options(parser)
    parser.add_argument("--recognizer", type=Path, required=True, metavar="MODEL", help="recognizer, or dlib's .dat")
    parser.add_argument(
        "--distance", type=float, default=0.6, metavar="D", help="of raw embeddings (default: %(default)s)"
    )
    parser.add_argument("--rendered", type=int, default=150, metavar="N", help="rendered faces (default: %(default)s)")
    main(parser.parse_args())
