"""Smaller and rectangular inputs of the detector: their cost, their recall, and the smallest face that is found.

    make bench-less
    make bench-less OPTIONS=--quick                                       every fourth photo
    make bench-less OPTIONS=--shapes                                      only the shapes that a bundle has
    make bench-less OPTIONS='--detector det.onnx --photos photos/'        your own detector and photos

Frames are those of a 16:9 camera with 1920×1080: each photo as tall as the frame on a drawn background (one to a few
large faces), and mosaics of these frames (crowds). Each input size is compared with 640×640 of the same model, in FP32
with ONNX Runtime, together with its MACs and its predicted time on NPUs.

With --shapes, each shape of a bundle is compared with 640×640 on frames of its own aspect instead: 1920×1080 or
1600×1200, lying or upright.

How small may a face be in the input? Two methods answer that: the share of the faces found by 640×640 that smaller
inputs find too; and portraits of many sizes at known places in 1920×1080 and 3840×2160 frames.

Without photos, it uses those of $RKFACE_SHARED or ../shared, or else the demo pack on rendered people (synthetic).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from npu_limit import predict_bounds
from program import create_parser, format_table, write_results
from scenes import SHARED, Material, Portrait, choose_material, cut_portraits, resize

from rkface.convert.demo.background import background
from rkface.convert.detector_shapes import other_sizes
from rkface.convert.evaluate.parity import compare_faces, match_boxes
from rkface.convert.mosaic import make_mosaics
from rkface.convert.simplify import fix_input, simplify
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.progress import Stage, stage
from rkface.runtime.vision.detect import Detector

Size = tuple[int, int]  # width, height
CAMERA: Size = (1920, 1080)
CAMERAS: tuple[Size, ...] = (CAMERA, (1080, 1920), (1600, 1200), (1200, 1600))  # for which a bundle has shapes
REFERENCE: Size = (640, 640)
SIZES: tuple[Size, ...] = (
    REFERENCE, (640, 384), (512, 288), (480, 288), (384, 224), (320, 192), (768, 448), (960, 544)
)  # fmt: skip
FACES = (6, 8, 10, 12, 14, 16, 20, 24, 32, 48)  # size in the detector's input, in pixels: square root of the box's area
FRAMES = 4  # with portraits of each size
# Detector inputs, and widths of 16:9 frames, for the portraits.
PORTRAIT_CASES = ((REFERENCE, 1920), (REFERENCE, 3840), ((640, 384), 1920), ((320, 192), 1920))
CHIPS = ("rk3588", "rk3576", "rk3568", "rk3562")


@dataclass(frozen=True)
class Recall:
    """One input size compared with 640×640 on the same frames.

    faces      number that 640×640 finds
    recall     share of them that this size finds
    extra      faces that 640×640 does not find
    landmarks  mean distance of landmarks, as a share of the distance between the eyes
    by_size    (found, all) by the size of the face in this input: each of FACES counts up to the next one
    """

    frames: int
    faces: int
    recall: float
    extra: int
    landmarks: float
    by_size: dict[int, tuple[int, int]]


@dataclass(frozen=True)
class SizeResult:
    """``milliseconds``: predicted for one core, by chip; ``people`` and ``crowds``: on photos and on mosaics."""

    model: str
    size: Size
    gmacs: float
    milliseconds: dict[str, float]
    people: Recall
    crowds: Recall


@dataclass(frozen=True)
class PortraitResult:
    """``shares``: number of portraits, and the share that was found, by their size in the detector's input."""

    model: str
    size: Size
    camera: int
    shares: dict[int, tuple[int, float]]


def main() -> int:
    parser = create_parser(__doc__, "build/bench/less")
    parser.add_argument("--detector", type=Path, nargs="+", metavar="ONNX", help="detectors; needs --photos")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos of faces; needs --detector")
    parser.add_argument("--quick", action="store_true", help="use every fourth photo only")
    parser.add_argument("--shapes", action="store_true", help="compare the shapes of a bundle, each on its own frames")
    options = parser.parse_args()
    if bool(options.detector) != bool(options.photos):
        parser.error("--detector and --photos belong together: give both, or neither")
    material, models = choose_models(options)
    images = list(material.images())[:: 4 if options.quick else 1]
    rows: list[SizeResult] = []
    if options.shapes:
        for path in models:
            with stage(path.stem) as progress:
                rows += compare_shapes(path, images, progress)
        text = "\n".join([describe_frames(rows, material.synthetic), "", *_tabulate_sizes(rows)]) + "\n"
        write_results(options.out, text, {"synthetic": material.synthetic, "rows": list(map(asdict, rows))})
        return 0
    with stage("frames"):
        sets = make_frames(images, CAMERA)
    small: list[PortraitResult] = []
    with tempfile.TemporaryDirectory() as name:
        for path in models:
            detectors = {size: open_resized(path, size, Path(name)) for size in SIZES}
            with stage(path.stem) as progress:
                rows += compare_sizes(path, detectors, sets, CAMERA, progress)
            with stage(f"{path.stem}: small faces") as progress:
                small += find_portraits(path.stem, detectors, cut_portraits(images, detectors[REFERENCE]), progress)
    report = {"synthetic": material.synthetic, "rows": list(map(asdict, rows)), "small": list(map(asdict, small))}
    write_results(options.out, to_markdown(rows, small, material.synthetic), report)
    return 0


def choose_models(options: argparse.Namespace) -> tuple[Material, Sequence[Path]]:
    """Photos, and the detectors to compare."""
    if options.detector:
        return Material(options.detector[0], options.detector[0], options.photos), options.detector
    material = choose_material()
    return material, [material.detector] if material.synthetic else sorted((SHARED / "models").glob("scrfd*.onnx"))


def make_frames(images: Sequence[np.ndarray], camera: Size) -> tuple[np.ndarray, np.ndarray]:
    """Each of ``images`` in a frame of ``camera``, and mosaics of these frames."""
    people = np.stack([place_in_frame(image, camera, seed) for seed, image in enumerate(images)])
    return people, make_mosaics(people)


def place_in_frame(image: np.ndarray, camera: Size, seed: int) -> np.ndarray:
    """``image`` in the middle of a frame of ``camera`` with a drawn background, as tall as the frame, or as wide."""
    width, height = camera
    frame = background(np.random.default_rng([0xF4A3E, seed]), width, height)
    scale = min(width / image.shape[1], height / image.shape[0])
    new_width, new_height = int(image.shape[1] * scale), int(image.shape[0] * scale)
    left, top = (width - new_width) // 2, (height - new_height) // 2
    frame[top : top + new_height, left : left + new_width] = resize(image, new_width, new_height)
    return frame


def open_resized(path: Path, size: Size, folder: Path) -> Detector:
    """The detector at ``path`` with an input of ``size``."""
    model = simplify(fix_input(path, "detector", size), folder / f"{size[0]}x{size[1]}-{path.name}")
    return Detector(open_reference(model.path, model.input), model.input, model.outputs)


def compare_shapes(path: Path, images: Sequence[np.ndarray], progress: Stage) -> Iterator[SizeResult]:
    """Compare each shape that a bundle has with the main one, on frames of its aspect."""
    with tempfile.TemporaryDirectory() as name:
        main = open_resized(path, REFERENCE, Path(name))
        for camera, size in zip(CAMERAS, other_sizes(REFERENCE), strict=True):
            detectors = {REFERENCE: main, size: open_resized(path, size, Path(name))}
            yield list(compare_sizes(path, detectors, make_frames(images, camera), camera, progress))[1]


def compare_sizes(
    path: Path, detectors: dict[Size, Detector], sets: Sequence[np.ndarray], camera: Size, progress: Stage
) -> Iterator[SizeResult]:
    """Compare every size with the first one of ``detectors``, on each of the two ``sets`` of frames of ``camera``."""
    reference = None
    for done, (size, detector) in enumerate(detectors.items()):
        found = [[detector.detect(frame) for frame in frames] for frames in sets]
        reference = reference or found
        with tempfile.TemporaryDirectory() as folder:
            bounds = {one.chip: one for one in predict_bounds(path, "detector", Path(folder), size)}
        milliseconds = {chip: round(bounds[chip].milliseconds, 2) for chip in CHIPS}
        scale = min(side / pixels for side, pixels in zip(size, camera, strict=True))
        people, crowds = (measure_recall(*pair, scale) for pair in zip(reference, found, strict=True))
        yield SizeResult(path.stem, size, round(bounds[CHIPS[0]].gmacs, 2), milliseconds, people, crowds)
        progress.advance(done + 1, len(detectors))


def measure_recall(reference: Sequence[Faces], found: Sequence[Faces], scale: float) -> Recall:
    """Compare the faces ``found`` in each frame with ``reference``. ``scale``: input pixels per frame pixel."""
    by_size = {low: [0, 0] for low in FACES}
    for expected, actual in zip(reference, found, strict=True):
        matched = {row for row, _, _ in match_boxes(expected.boxes, actual.boxes)}
        for row, side in enumerate(np.sqrt(np.prod(expected.boxes[:, 2:] - expected.boxes[:, :2], axis=1)) * scale):
            low = FACES[max(int(np.searchsorted(FACES, side, "right")) - 1, 0)]
            by_size[low][0] += row in matched
            by_size[low][1] += 1
    parity = compare_faces(reference, found)
    recall = parity.matched / max(parity.faces, 1)
    counts = {low: (matched, total) for low, (matched, total) in by_size.items()}
    return Recall(len(found), parity.faces, recall, parity.extra, parity.landmark_error, counts)


def find_portraits(
    model: str, detectors: dict[Size, Detector], portraits: Sequence[Portrait], progress: Stage
) -> Iterator[PortraitResult]:
    for done, (size, camera) in enumerate(PORTRAIT_CASES):
        shares = {face: find_portraits_of_size(detectors[size], portraits, face, camera, size[0]) for face in FACES}
        yield PortraitResult(model, size, camera, shares)
        progress.advance(done + 1, len(PORTRAIT_CASES))


def find_portraits_of_size(
    detector: Detector, portraits: Sequence[Portrait], face: int, camera: int, width: int
) -> tuple[int, float]:
    """Number of faces with ``face`` pixels in an input of ``width``, in frames ``camera`` pixels wide, and the share
    that ``detector`` finds at IoU 0.5."""
    scale = camera / width
    total = found = 0
    for frame, boxes in draw_crowds(portraits, face * scale, camera, 8 * scale):
        total += len(boxes)
        found += len(match_boxes(boxes, detector.detect(frame).boxes))
    return total, round(found / total, 4)


def draw_crowds(
    portraits: Sequence[Portrait], face: float, width: int, stride: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """FRAMES 16:9 frames of ``width``, and the N×4 boxes of the faces in each.

    Each face is about ``face`` pixels large and moved by up to ``stride`` pixels, so that faces lie differently to the
    detector's anchors.
    """
    height = width * 9 // 16
    for seed in range(FRAMES):
        random = np.random.default_rng([0xC120D, seed])
        frame, boxes = background(random, width, height), []
        corners = choose_corners(random, face, (width, height), round(stride))[: len(portraits)]
        for index, (x, y) in zip(random.permutation(len(portraits)), corners, strict=False):
            portrait = portraits[index]
            side = round(face / float(np.sqrt(np.prod(portrait.box[2:] - portrait.box[:2]))))
            tile = resize(portrait.image, side, side)
            mirrored = bool(random.integers(2))
            frame[y : y + side, x : x + side] = tile[:, ::-1] if mirrored else tile
            x1, y1, x2, y2 = portrait.box
            left, right = (1 - x2, 1 - x1) if mirrored else (x1, x2)
            boxes.append(np.array([left, y1, right, y2]) * side + [x, y, x, y])
        yield frame, np.array(boxes, np.float32)


def choose_corners(random: np.random.Generator, face: float, size: Size, stride: int) -> np.ndarray:
    """N×2 top left corners of portraits that do not overlap, in random order."""
    cell = int(face * 3.2) + 1 + stride  # a portrait is twice as high as its face, and a face is higher than wide
    columns, rows = (side // cell for side in size)
    order = random.permutation(columns * rows)
    return np.stack([order % columns, order // columns], axis=1) * cell + random.integers(0, stride, (len(order), 2))


def describe_frames(rows: Sequence[SizeResult], synthetic: bool) -> str:
    people, crowds = rows[0].people, rows[0].crowds
    return (
        f"{'Synthetic: the demo detector on rendered people. ' if synthetic else ''}"
        f"{people.frames} photos with {people.faces} faces, {crowds.frames} mosaics of them with {crowds.faces} "
        f"({rows[0].model} at 640×640). Times are predicted, for one core in INT8."
    )


def to_markdown(rows: Sequence[SizeResult], small: Sequence[PortraitResult], synthetic: bool) -> str:
    counts = sorted(count for result in small for count, _ in result.shares.values())
    lines = [
        describe_frames(rows, synthetic),
        "",
        *_tabulate_sizes(rows),
        "",
        "Share of the faces found by 640×640, in photos and mosaics, that inputs narrower than 640 find too, by the "
        "size of the face in that input:",
        "",
        *_tabulate_recall(rows),
        "",
        "Share of the portraits that were found, by their size in the input (square root of the box's area), at score "
        "0.5 and IoU 0.5:",
        "",
        *_tabulate_portraits(small),
        "",
        f"{counts[0]} to {counts[-1]} faces per cell.",
    ]
    return "\n".join(lines) + "\n"


def _tabulate_sizes(rows: Sequence[SizeResult]) -> list[str]:
    table = []
    for row in rows:
        cells = [f"{row.milliseconds[chip]:.2f}" for chip in CHIPS]
        for part in (row.people, row.crowds):
            cells += [f"{part.recall:.1%}", str(part.extra), f"{part.landmarks:.1%}"]
        table.append([row.model, f"{row.size[0]}×{row.size[1]}", f"{row.gmacs:.2f}", *cells])
    times = [f"{chip.upper()} ms" for chip in CHIPS]
    figures = ["people: recall", "extra", "landmarks", "crowds: recall", "extra", "landmarks"]
    return format_table(["model", "input", "GMAC", *times, *figures], table)


def _tabulate_recall(rows: Sequence[SizeResult]) -> list[str]:
    table = []
    for model in dict.fromkeys(row.model for row in rows):
        narrow = [row for row in rows if row.model == model and row.size[0] < REFERENCE[0]]
        counts = [part.by_size for row in narrow for part in (row.people, row.crowds)]
        sums = [[sum(pair) for pair in zip(*(part[low] for part in counts), strict=True)] for low in FACES]
        table.append([model, *(f"{found / total:.1%} of {total}" if total else "" for found, total in sums)])
    between = [f"{low} to {high} px" for low, high in pairwise(FACES[1:])]
    return format_table(["model", f"under {FACES[1]} px", *between, f"{FACES[-1]} px and more"], table)


def _tabulate_portraits(small: Sequence[PortraitResult]) -> list[str]:
    table = [
        [
            result.model,
            f"{result.size[0]}×{result.size[1]}",
            f"{result.camera}×{result.camera * 9 // 16}",
            *(f"{share:.0%}" for _, share in result.shares.values()),
        ]
        for result in small
    ]
    return format_table(["model", "input", "camera", *(f"{face} px" for face in FACES)], table)


if __name__ == "__main__":
    sys.exit(main())
