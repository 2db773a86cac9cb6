"""Less work for the same faces: rectangular and smaller detector inputs, and the smallest face SCRFD finds.

    make bench-less        (python tests/bench/detector_size.py --help)

Frames of a 16:9 camera, 1920×1080: each photo as tall as the frame, on a drawn background (one to a few large faces),
and mosaics of these frames (crowds). Each input size is held to 640×640 of the same model, FP32 in ONNX Runtime, beside
its MACs and its predicted time on NPUs. How small may a face be in the input? Once by the faces that 640×640 finds and
smaller inputs lose, once by portraits of many sizes, whose places are known, in 1920×1080 and 3840×2160 frames. Without
photos, the demo pack and rendered people: synthetic.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from npu_limit import bounds
from scenes import SHARED, Material, material, portraits

from rkface.convert.demo.background import background
from rkface.convert.evaluate.parity import compare_faces, match_boxes
from rkface.convert.mosaic import make_mosaics
from rkface.convert.simplify import fix_input, simplify
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.progress import Stage, stage
from rkface.runtime.vision.bare_onnx import open_detector
from rkface.runtime.vision.detect import Detector

CAMERA = (1920, 1080)
WHOLE = (640, 640)
SIZES = (WHOLE, (640, 384), (512, 288), (480, 288), (384, 224), (320, 192), (768, 448), (960, 544))
FACES = (6, 8, 10, 12, 14, 16, 20, 24, 32, 48)  # pixels in the detector's input, root of the box's area
FRAMES = 4  # of each size of face
SMALL = ((WHOLE, 1920), (WHOLE, 3840), ((640, 384), 1920), ((320, 192), 1920))  # inputs and widths of 16:9 frames
CHIPS = ("rk3588", "rk3576", "rk3568", "rk3562")


@dataclass(frozen=True)
class Against:
    """One input size against 640×640 on the same frames: recall, faces that 640×640 does not have, landmark error as a
    share of the distance of the eyes. ``by_size``: (found, there) by the face's pixels in this input, up to the next of
    FACES."""

    frames: int
    faces: int
    recall: float
    extra: int
    landmarks: float
    by_size: dict[int, tuple[int, int]]


@dataclass(frozen=True)
class Row:
    """``milliseconds`` predicted for one core, by chip."""

    model: str
    size: tuple[int, int]
    gmacs: float
    milliseconds: dict[str, float]
    people: Against
    crowds: Against


@dataclass(frozen=True)
class Small:
    """How many portraits there were, and which share was found, by their size in the detector's input."""

    model: str
    size: tuple[int, int]
    camera: int
    shares: dict[int, tuple[int, float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", type=Path, nargs="+", help="SCRFD models (default: those of ../shared)")
    parser.add_argument("--photos", type=Path, help="with faces")
    parser.add_argument("--quick", action="store_true", help="every fourth photo")
    parser.add_argument("--out", type=Path, default=Path("build/bench/less"), help="results, .md and .json")
    options = parser.parse_args()
    if bool(options.detector) != bool(options.photos):
        parser.error("give --detector and --photos, or neither")
    found, models = sources(options)
    with stage("frames"):
        images = list(found.images())[:: 4 if options.quick else 1]
        people = np.stack([framed(image, seed) for seed, image in enumerate(images)])
        crowds = make_mosaics(people)
    rows: list[Row] = []
    small: list[Small] = []
    with tempfile.TemporaryDirectory() as name:
        for path in models:
            detectors = {size: fixed(path, size, Path(name)) for size in SIZES}
            with stage(path.stem) as shown:
                rows += sizes_of(path, detectors, (people, crowds), shown)
            with stage(f"{path.stem}: small faces") as shown:
                small += small_faces(path.stem, detectors, portraits(images, detectors[WHOLE]), shown)
    report = {"synthetic": found.synthetic, "rows": list(map(asdict, rows)), "small": list(map(asdict, small))}
    text = markdown(rows, small, found)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(text)
    print(f"{text}\nwritten: {options.out.with_suffix('.md')}, {options.out.with_suffix('.json')}")
    return 0


def sources(options: argparse.Namespace) -> tuple[Material, Sequence[Path]]:
    if options.detector:
        return Material(options.detector[0], options.detector[0], options.photos), options.detector
    found = material(None, None, None)
    return found, [found.detector] if found.synthetic else sorted((SHARED / "models").glob("scrfd*.onnx"))


def framed(image: np.ndarray, seed: int) -> np.ndarray:
    """``image`` as tall as a CAMERA frame, or as wide, in the middle of a drawn background."""
    width, height = CAMERA
    frame = background(np.random.default_rng([0xF4A3E, seed]), width, height)
    scale = min(width / image.shape[1], height / image.shape[0])
    across, down = int(image.shape[1] * scale), int(image.shape[0] * scale)
    left, top = (width - across) // 2, (height - down) // 2
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    frame[top : top + down, left : left + across] = cv2.resize(image, (across, down), interpolation=how)
    return frame


def fixed(path: Path, size: tuple[int, int], folder: Path) -> Detector:
    model = simplify(fix_input(path, "detector", size), folder / f"{size[0]}x{size[1]}-{path.name}")
    return Detector(*open_detector(model.path))


def sizes_of(
    path: Path, detectors: dict[tuple[int, int], Detector], sets: Sequence[np.ndarray], shown: Stage
) -> Iterator[Row]:
    """Every size held to the first one of ``detectors``, on each of the two ``sets`` of frames."""
    reference = None
    for done, (size, detector) in enumerate(detectors.items()):
        found = [[detector.detect(frame) for frame in frames] for frames in sets]
        reference = reference or found
        with tempfile.TemporaryDirectory() as folder:
            cost = {one.chip: one for one in bounds(path, "detector", Path(folder), size)}
        times = {chip: round(cost[chip].milliseconds, 2) for chip in CHIPS}
        scale = min(small / whole for small, whole in zip(size, CAMERA, strict=True))
        people, crowds = (against(*pair, scale) for pair in zip(reference, found, strict=True))
        yield Row(path.stem, size, round(cost[CHIPS[0]].gmacs, 2), times, people, crowds)
        shown.advance(done + 1, len(detectors))


def against(reference: Sequence[Faces], found: Sequence[Faces], scale: float) -> Against:
    """``scale``: pixels of the input of one pixel of the frame."""
    by_size = {low: [0, 0] for low in FACES}
    for whole, part in zip(reference, found, strict=True):
        kept = {row for row, _, _ in match_boxes(whole.boxes, part.boxes)}
        for row, side in enumerate(np.sqrt(np.prod(whole.boxes[:, 2:] - whole.boxes[:, :2], axis=1)) * scale):
            low = FACES[max(int(np.searchsorted(FACES, side, "right")) - 1, 0)]
            by_size[low][0] += row in kept
            by_size[low][1] += 1
    same = compare_faces(reference, found)
    share = same.matched / max(same.faces, 1)
    counts = {low: (kept, there) for low, (kept, there) in by_size.items()}
    return Against(len(found), same.faces, share, same.extra, same.landmark_error, counts)


def small_faces(
    model: str,
    detectors: dict[tuple[int, int], Detector],
    pictures: Sequence[tuple[np.ndarray, np.ndarray]],
    shown: Stage,
) -> Iterator[Small]:
    for done, (size, camera) in enumerate(SMALL):
        scale = camera / size[0]
        yield Small(
            model, size, camera, {face: recall(detectors[size], pictures, face, camera, scale) for face in FACES}
        )
        shown.advance(done + 1, len(SMALL))


def recall(
    detector: Detector, pictures: Sequence[tuple[np.ndarray, np.ndarray]], face: int, width: int, scale: float
) -> tuple[int, float]:
    """How many faces of ``face`` pixels of the input there were in frames of ``width``, ``scale`` times as wide as it,
    and the share found at IoU 0.5."""
    there = found = 0
    for frame, boxes in crowd(pictures, face * scale, width, 8 * scale):
        there += len(boxes)
        found += len(match_boxes(boxes, detector.detect(frame).boxes))
    return there, round(found / there, 4)


def crowd(
    pictures: Sequence[tuple[np.ndarray, np.ndarray]], face: float, width: int, stride: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """FRAMES 16:9 frames of ``width`` and the N×4 boxes of the faces in them, each about ``face`` pixels large and
    moved by up to ``stride``, so that faces lie differently to the detector's anchors."""
    height = width * 9 // 16
    for seed in range(FRAMES):
        random = np.random.default_rng([0xC120D, seed])
        frame, boxes = background(random, width, height), []
        cells = places(random, face, (width, height), round(stride))[: len(pictures)]
        for index, (x, y) in zip(random.permutation(len(pictures)), cells, strict=False):
            picture, box = pictures[index]
            side = round(face / float(np.sqrt(np.prod(box[2:] - box[:2]))))
            shrink = cv2.INTER_AREA if side < len(picture) else cv2.INTER_LINEAR
            tile = cv2.resize(picture, (side, side), interpolation=shrink)
            mirrored = bool(random.integers(2))
            frame[y : y + side, x : x + side] = tile[:, ::-1] if mirrored else tile
            x1, y1, x2, y2 = box
            across = (1 - x2, 1 - x1) if mirrored else (x1, x2)
            boxes.append(np.array([across[0], y1, across[1], y2]) * side + [x, y, x, y])
        yield frame, np.array(boxes, np.float32)


def places(random: np.random.Generator, face: float, size: tuple[int, int], stride: int) -> np.ndarray:
    """N×2 top left corners of cells without overlap, in random order."""
    cell = int(face * 3.2) + 1 + stride  # portraits are twice as high as the face and the face higher than wide
    columns, rows = (side // cell for side in size)
    order = random.permutation(columns * rows)
    return np.stack([order % columns, order // columns], axis=1) * cell + random.integers(0, stride, (len(order), 2))


def markdown(rows: Sequence[Row], small: Sequence[Small], found: Material) -> str:
    people, crowds = rows[0].people, rows[0].crowds
    said = (
        f"{people.frames} photos with {people.faces} faces, {crowds.frames} mosaics of them with {crowds.faces} "
        f"({rows[0].model} at 640×640). Times are predicted, for one core in INT8."
    )
    lines = ["Synthetic: the demo detector on rendered people.", ""] if found.synthetic else []
    heads = [
        *(f"{chip.upper()} ms" for chip in CHIPS),
        "people: recall",
        "extra",
        "landmarks",
        "crowds: recall",
        "extra",
        "landmarks",
    ]
    lines += [said, "", f"| model | input | GMAC | {' | '.join(heads)} |", "|---" * (3 + len(heads)) + "|"]
    for one in rows:
        cells = [f"{one.milliseconds[chip]:.2f}" for chip in CHIPS]
        for part in (one.people, one.crowds):
            cells += [f"{part.recall:.1%}", str(part.extra), f"{part.landmarks:.1%}"]
        lines.append(f"| {one.model} | {one.size[0]}×{one.size[1]} | {one.gmacs:.2f} | {' | '.join(cells)} |")
    between = [
        f"under {FACES[1]} px",
        *(f"{low} to {high} px" for low, high in pairwise(FACES[1:])),
        f"{FACES[-1]} px and more",
    ]
    lines += [
        "",
        "Faces of both sets that 640×640 finds and inputs narrower than 640 do, by their size there:",
        "",
        f"| model | {' | '.join(between)} |",
        "|---" * (1 + len(FACES)) + "|",
    ]
    for model in dict.fromkeys(one.model for one in rows):
        narrow = [
            part.by_size
            for one in rows
            if one.model == model and one.size[0] < WHOLE[0]
            for part in (one.people, one.crowds)
        ]
        sums = [[sum(counts) for counts in zip(*(part[low] for part in narrow), strict=True)] for low in FACES]
        cells = [f"{kept / there:.1%} of {there}" if there else "" for kept, there in sums]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    lines += [
        "",
        "Portraits found, by their size in the input (root of the box's area), score 0.5, IoU 0.5:",
        "",
        "| model | input | camera | " + " | ".join(f"{face} px" for face in FACES) + " |",
        "|---" * (3 + len(FACES)) + "|",
    ]
    for part in small:
        cells = [f"{share:.0%}" for _, share in part.shares.values()]
        camera = f"{part.camera}×{part.camera * 9 // 16}"
        lines.append(f"| {part.model} | {part.size[0]}×{part.size[1]} | {camera} | {' | '.join(cells)} |")
    counts = sorted(count for part in small for count, _ in part.shares.values())
    return "\n".join([*lines, "", f"{counts[0]} to {counts[-1]} faces a cell."]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
