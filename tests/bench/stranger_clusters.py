"""How well strangers are found over their visits: purity and completeness of clusters of photos, beside HDBSCAN.

    make bench-strangers OPTIONS='--detector detector.onnx --recognizer recognizer.onnx
        --photos photos/ --pairs pairs.csv'

Purity: the share of appearances whose cluster has mostly their person. Completeness: the share that is in the largest
cluster of their person. Each photo becomes ``--visits`` appearances: the face in other light, turned a little, and
smaller. Then the cost for a log of ``--faces`` appearances is measured with made-up embeddings. HDBSCAN is that of
scikit-learn, if it is installed: python -m pip install scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from face_pairs import add_pair_options
from numpy.typing import NDArray
from program import create_parser, format_table, write_results

from rkface.calibration.choose import connected_components
from rkface.convert.label_files import find_people, read_pairs
from rkface.runtime.gallery.cluster import EMPTY, cluster
from rkface.runtime.vision.align import align
from rkface.runtime.vision.bare_onnx import open_detector, open_recognizer
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import unit
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.photo import find_faces

Floats, Labels = NDArray[np.float32], NDArray[np.int64]


def measure(labels: Labels, people: Labels) -> tuple[float, float, int]:
    """Purity, completeness, and the number of clusters."""
    pure = sum(max(Counter(people[labels == label].tolist()).values()) for label in np.unique(labels))
    whole = sum(max(Counter(labels[people == person].tolist()).values()) for person in np.unique(people))
    return pure / len(people), whole / len(people), len(np.unique(labels))


def vary(crop: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The face in another light, turned by up to 8°, moved by up to 4%, and of a half to the whole resolution."""
    height, width = crop.shape[:2]
    turned = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-8, 8)), float(rng.uniform(0.94, 1.06)))
    turned[:, 2] += rng.uniform(-0.04, 0.04, 2) * (width, height)
    image = cv2.warpAffine(crop, turned, (width, height), borderMode=cv2.BORDER_REPLICATE)
    share = float(rng.uniform(0.5, 1.0))
    image = cv2.resize(cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), (width, height))
    light = image.astype(np.float32) * rng.uniform(0.6, 1.3) + rng.normal(0, 6, image.shape)
    return np.clip(light, 0, 255).astype(np.uint8)


def read_appearances(options: argparse.Namespace) -> tuple[Floats, Labels]:
    """The embeddings of all appearances, N×D of unit length, and the person of each."""
    detector, recognizer = Detector(*open_detector(options.detector)), open_recognizer(options.recognizer)
    rng, faces, people = np.random.default_rng(0), [], []
    for name, person in sorted(find_people(options.pairs, read_pairs(options.pairs)).items()):
        look = find_faces(detector, read_image(options.photos / name), detector.threshold)
        if len(look.faces):
            crop = align(look.image, look.faces.landmarks[look.faces.largest()], recognizer.crop)
            faces += [crop, *(vary(crop, rng) for _ in range(options.visits - 1))]
            people += [person] * options.visits
    embedder = recognizer.embedder()
    vectors = np.concatenate([embedder.embed([face]) for face in faces])
    return vectors, np.unique(people, return_inverse=True)[1].astype(np.int64)


def joined(vectors: Floats, threshold: float) -> Labels:
    """Connected components of the edges: what rkface would do without Chinese Whispers."""
    graph = EMPTY.updated(tuple(map(str, range(len(vectors)))), vectors, threshold)
    return np.array(connected_components(len(vectors), graph.edges.tolist()), np.int64)


def whispers(vectors: Floats, threshold: float) -> Labels:
    return cluster(EMPTY.updated(tuple(map(str, range(len(vectors)))), vectors, threshold), threshold)


def density(vectors: Floats) -> Labels:
    """HDBSCAN of scikit-learn with clusters of two or more; each face that it calls noise is alone."""
    from sklearn.cluster import HDBSCAN

    labels = HDBSCAN(min_cluster_size=2, copy=True).fit_predict(vectors).astype(np.int64)
    noise = labels < 0
    labels[noise] = labels.max() + 1 + np.arange(noise.sum())
    return labels


def measure_cost(faces: int, dimensions: int, threshold: float) -> list[tuple[str, str]]:
    """Seconds for a log of ``faces`` appearances of made-up people, at once and for ten new ones."""
    rng = np.random.default_rng(1)
    centers = unit(rng.normal(size=(max(1, faces // 12), dimensions)).astype(np.float32))
    noise = unit(rng.normal(size=(faces, dimensions)).astype(np.float32))
    vectors = unit(0.8 * centers[rng.integers(0, len(centers), faces)] + 0.6 * noise)
    ids = tuple(map(str, range(faces)))
    rows, graph = [], EMPTY
    for name, count in (("at once", faces - 10), ("ten more", faces)):
        begun = time.perf_counter()
        graph = graph.updated(ids[:count], vectors[:count], threshold)
        compared = time.perf_counter() - begun
        begun = time.perf_counter()
        cluster(graph, threshold)
        grouped = time.perf_counter() - begun
        new = count if name == "at once" else 10
        operations = 2 * new * count * dimensions / 1e9
        rows.append((f"{count:,} faces, {name}", f"{operations:.1f} · 10⁹", f"{compared:.2f}", f"{grouped:.2f}"))
    return rows


def main(options: argparse.Namespace) -> None:
    vectors, people = read_appearances(options)
    rows = []
    for threshold in options.thresholds:
        rows.append((f"Chinese Whispers, {threshold}", *measure(whispers(vectors, threshold), people)))
        rows.append((f"connected components, {threshold}", *measure(joined(vectors, threshold), people)))
    if find_spec("sklearn"):
        rows.append(("HDBSCAN", *measure(density(vectors), people)))
    shown = [(name, f"{pure:.3f}", f"{whole:.3f}", count) for name, pure, whole, count in rows]
    costs = measure_cost(options.faces, vectors.shape[1], options.thresholds[0])
    lines = [f"{len(vectors)} appearances of {people.max() + 1} people", ""]
    lines += format_table(("clusters by", "purity", "completeness", "clusters"), shown)
    lines += ["", *format_table(("log", "operations", "compare (s)", "group (s)"), costs)]
    write_results(options.out, "\n".join(lines), {"clusters": rows, "cost": costs})


if __name__ == "__main__":
    parser = create_parser(__doc__, out="build/bench/strangers")
    add_pair_options(parser)
    parser.add_argument("--recognizer", type=Path, required=True, metavar="ONNX", help="face recognition model")
    parser.add_argument("--visits", type=int, default=5, metavar="N", help="appearances of a photo (%(default)s)")
    parser.add_argument("--faces", type=int, default=10_000, metavar="N", help="appearances of the log (%(default)s)")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.4, 0.35, 0.45], metavar="C", help="cosines")
    main(parser.parse_args())
