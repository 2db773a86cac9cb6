"""Whether people who walk by the rendered camera are one appearance each, and recognized: docs/camera.md.

    make bench-visits       (python tests/bench/visits.py --help)

Synthetic faces, the demo models in FP32: this tests the way from frames to appearances, and says nothing about people.
Half of a round's people are enrolled, from portraits that the camera never shows; the others are strangers.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from rkface.convert.demo.camera import DemoCamera
from rkface.convert.demo.unconverted import THRESHOLDS, open_demo
from rkface.runtime.core.progress import stage
from rkface.runtime.gallery.match import Match
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.tracking.visit import RecognitionRules, fuse
from rkface.runtime.tracking.watcher import Watcher, detecting, watch
from rkface.runtime.vision.embed import unit

RULES = RecognitionRules.of(THRESHOLDS)


def enroll(pipeline: Pipeline, camera: DemoCamera, name: str) -> NDArray[np.float32]:
    found = [pipeline.recognize(photo) for photo in camera.portraits(name, 3)]
    return unit(np.sum([faces.embeddings[faces.largest()] for faces in found if len(faces)], axis=0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of 4 people each (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=8.0, help="frames a second (default: %(default)g)")
    parser.add_argument("--size", default="640x480", metavar="WxH", help="of the picture (default: %(default)s)")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    counts: Counter[str] = Counter()
    shots = []  # of whom, and all that was kept of the visit
    with open_demo(detecting(RULES)) as scheduler, stage("rounds") as shown:
        pipeline = scheduler.pipeline()
        for seed in range(1000, 1000 + options.rounds):
            shown.advance(seed - 1000, options.rounds)
            camera = DemoCamera(width, height, 4, seed)
            names = list(camera.cast)
            known = names[::2]
            gallery = np.stack([enroll(pipeline, camera, name) for name in known])

            def search(vectors: NDArray[np.float32], k: int, known=known, gallery=gallery) -> list[list[Match]]:
                rows = [
                    [Match(name, name, float(c)) for name, c in zip(known, row, strict=True)]
                    for row in vectors @ gallery.T
                ]
                return [sorted(row, key=lambda match: -match.cosine)[:k] for row in rows]

            watcher = Watcher("", pipeline, search, RULES, clock=lambda moment: moment)
            frames = (
                Frame(camera.render(number / options.rate).image, number, number / options.rate)
                for number in range(round(camera.round * options.rate))
            )
            told = list(watch(scheduler.run(frames), {"": watcher}))
            told += watcher.close()
            ends = [one for one in told if one.stage == "end"]
            named = Counter(one.match.name for one in ends if one.match)
            counts["people"] += len(names)
            counts["enrolled and recognized in one appearance"] += sum(named[name] == 1 for name in known)
            counts["strangers in one appearance"] += min(
                sum(one.match is None for one in ends), len(names) - len(known)
            )
            counts["appearances too many"] += max(0, len(ends) - len(names))
            counts["faces detected"] += watcher.state.faces
            counts["faces embedded"] += watcher.state.embeddings
            counts["tracks that slipped"] += watcher.state.slips
            shots += [list(watcher.shots(one.id)) for one in ends]
    for name, count in counts.items():
        print(f"{count:6} {name}")
    shots = [kept for kept in shots if len(kept) > 1]
    same = [float(fuse([*kept[:i], *kept[i + 1 :]]) @ one.embedding) for kept in shots for i, one in enumerate(kept)]
    wholes = np.stack([fuse(kept) for kept in shots])
    apart = wholes @ wholes.T
    np.fill_diagonal(apart, -1)
    low, middle = np.percentile(same, [1, 50])
    print(f"cosine of a shot to the rest of its visit: 1% below {low:.3f}, median {middle:.3f}, of {len(same)}")
    print(f"cosine of two visits by different people: 99% below {np.percentile(apart[apart > -1], 99):.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
