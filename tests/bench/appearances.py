"""Check that each person who walks by the rendered camera is one appearance, and is recognized: docs/camera.md.

    make bench-visits
    make bench-visits OPTIONS='--rounds 2'        a quick look
    make bench-visits OPTIONS='--rate 5'          with 5 frames per second

Faces are rendered, and the demo models run in FP32. This tests the path from frames to appearances; it says nothing
about recognition of real people. Half of the people in each round are enrolled, from portraits that the camera never
shows. The others are strangers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from program import create_parser

from rkface.convert.demo.camera import DemoCamera
from rkface.convert.demo.unconverted import THRESHOLDS, open_demo
from rkface.runtime.core.progress import stage
from rkface.runtime.gallery.match import Match
from rkface.runtime.inference.frames import Frame
from rkface.runtime.inference.pipeline import Pipeline
from rkface.runtime.inference.scheduler import Scheduler
from rkface.runtime.tracking.rules import RecognitionRules, detect_for_tracking
from rkface.runtime.tracking.visit import Shot, fuse
from rkface.runtime.tracking.watch import watch_results
from rkface.runtime.tracking.watcher import Watcher
from rkface.runtime.vision.embed import unit

RULES = RecognitionRules.of(THRESHOLDS)
PEOPLE = 4  # per round
FIRST_SEED = 1000  # other people than those of `make demo`


@dataclass
class Totals:
    """``counts`` by what was counted; ``visits``: the shots kept of each visit."""

    counts: Counter[str] = field(default_factory=Counter)
    visits: list[list[Shot]] = field(default_factory=list)


class PortraitGallery:
    """People of one camera, each with the fused embedding of three portraits."""

    def __init__(self, pipeline: Pipeline, camera: DemoCamera, names: Sequence[str]) -> None:
        self.names = names
        self.embeddings = np.stack([_embed_portraits(pipeline, camera, name) for name in names])

    def search(self, probes: NDArray[np.float32], k: int) -> list[list[Match]]:
        rows = [
            [Match(name, name, float(cosine)) for name, cosine in zip(self.names, row, strict=True)]
            for row in probes @ self.embeddings.T
        ]
        return [sorted(row, key=lambda match: -match.cosine)[:k] for row in rows]


def _embed_portraits(pipeline: Pipeline, camera: DemoCamera, name: str) -> NDArray[np.float32]:
    found = [pipeline.recognize(photo) for photo in camera.portraits(name, 3)]
    return unit(np.sum([faces.embeddings[faces.largest()] for faces in found if len(faces)], axis=0))


def run_round(scheduler: Scheduler, camera: DemoCamera, rate: float, totals: Totals) -> None:
    """Let all people of ``camera`` walk by once, at ``rate`` frames per second, and add what was seen to ``totals``."""
    pipeline = scheduler.pipeline()
    names = list(camera.cast)
    known = names[::2]
    gallery = PortraitGallery(pipeline, camera, known)
    watcher = Watcher("", pipeline, gallery.search, RULES, to_utc=lambda moment: moment)
    frames = (
        Frame(camera.render(number / rate).image, number, number / rate) for number in range(round(camera.round * rate))
    )
    appearances = list(watch_results(scheduler.run(frames), {"": watcher}))
    appearances += watcher.close()
    ends = [one for one in appearances if one.stage == "end"]
    recognized = Counter(one.match.name for one in ends if one.match)
    strangers = sum(one.match is None for one in ends)
    counts = totals.counts
    counts["people"] += len(names)
    counts["enrolled and recognized in one appearance"] += sum(recognized[name] == 1 for name in known)
    counts["strangers in one appearance"] += min(strangers, len(names) - len(known))
    counts["appearances too many"] += max(0, len(ends) - len(names))
    counts["faces detected"] += watcher.state.faces
    counts["faces embedded"] += watcher.state.embeddings
    counts["tracks that switched to another person"] += watcher.state.slips
    totals.visits += [list(watcher.shots(one.id)) for one in ends]


def print_cosines(visits: list[list[Shot]]) -> None:
    """Compare shots within each visit, and visits with each other."""
    visits = [shots for shots in visits if len(shots) > 1]
    within = [
        float(fuse([*shots[:index], *shots[index + 1 :]]) @ shot.embedding)
        for shots in visits
        for index, shot in enumerate(shots)
    ]
    embeddings = np.stack([fuse(shots) for shots in visits])
    between = embeddings @ embeddings.T
    np.fill_diagonal(between, -1)
    low, median = np.percentile(within, [1, 50])
    high = np.percentile(between[between > -1], 99)
    print(f"cosine of a shot to the rest of its visit: 1% below {low:.3f}, median {median:.3f}, of {len(within)}")
    print(f"cosine of two visits by different people: 99% below {high:.3f}")


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=20, help=f"rounds of {PEOPLE} people (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=8.0, help="frames per second (default: %(default)g)")
    parser.add_argument("--size", default="640x480", metavar="WxH", help="size of the picture (default: %(default)s)")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    totals = Totals()
    with open_demo(detect_for_tracking) as scheduler, stage("rounds") as progress:
        for number in range(options.rounds):
            progress.advance(number, options.rounds)
            run_round(scheduler, DemoCamera(width, height, PEOPLE, FIRST_SEED + number), options.rate, totals)
    for name, count in totals.counts.items():
        print(f"{count:6} {name}")
    print_cosines(totals.visits)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
