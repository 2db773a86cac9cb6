"""``rkface enroll NAME --camera``: somebody sits down before a camera, and is told in the terminal what to do."""

from __future__ import annotations

import math
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from logging import NullHandler, getLogger

from ..cameras.camera import Camera
from ..cameras.frame_gate import newest
from ..core.progress import ProgressLine
from ..enrollment.enroll import EnrollOptions, Verdict, compare_with_gallery, enroll_shots
from ..enrollment.guided_capture import POSES, GuidedCapture
from ..gallery.gallery import Gallery, default_path
from ..gallery.match import Match
from ..gallery.people import Sample
from ..inference.pipeline import open_bundle
from ..service.camera_worker import is_recording, open_source
from ..service.settings import named_cameras
from .gallery_options import open_gallery

TIMEOUT = 60.0  # seconds that somebody gets by default: about 20 a pose
YES = ("y", "yes")
READABLE = 0.5  # seconds of the camera's time that what is said stays at least


@dataclass(frozen=True)
class Answer:
    """Under which name to enroll, "" for none, and whether somebody decided it who saw the near match."""

    name: str
    force: bool = False


def enroll_camera(options: Namespace) -> Verdict:
    """The gallery is as it was until there are pictures and all is answered; then all of them are added, or none."""
    getLogger("rkface").addHandler(NullHandler())  # what a camera complains of is said in the line
    ((name, settings),) = named_cameras([options.camera]).items()
    rules, every = EnrollOptions(options.strict, options.force, not options.no_crops), is_recording(settings)
    source = open_source(name, replace(settings, hold=0.0))  # a name that is none is said at once
    with open_bundle(options.bundle, options.backend) as pipeline:
        if (options.gallery or default_path()).exists():
            with open_gallery(options, pipeline) as known:  # what is wrong with it is said before anybody sits down
                known.check_identity()
                known.refresh()
        sitting = GuidedCapture(pipeline, name, rules)
        with source as camera:
            advice = _sit(sitting, camera, every=every, timeout=math.inf if every else options.timeout or TIMEOUT)
        if not sitting.samples:
            return Verdict("refused", options.name, name, f"no good picture came; the last advice was: {advice}")
        with open_gallery(options, pipeline, create=True) as known:
            known.check_identity()
            verdict = _enroll(known, sitting.samples, name, pipeline.thresholds.match, options)
    notes = verdict.notes
    if verdict.status == "enrolled" and sitting.pose is not None:
        notes = (f"{len(sitting.samples)} of {len(POSES)} pictures: the others did not come", *notes)
    if verdict.status == "refused" and verdict.near:
        notes = (f"--same adds the pictures to {verdict.near.name!r}, --force makes a second person", *notes)
    return replace(verdict, notes=notes)


def _sit(sitting: GuidedCapture, camera: Camera, *, every: bool, timeout: float) -> str:
    """Take pictures until there is one of each pose, the camera ends, or ``timeout`` seconds are over; what was said
    last."""
    line, said = ProgressLine(), -math.inf
    advice = "The camera gives no picture yet."
    until = time.monotonic() + timeout
    with closing(newest(camera, every=every)) as frames:
        for frame in frames:
            taken = len(sitting.samples)
            if frame is None:
                advice = camera.state().error or "The camera gives no picture."
            else:
                advice = sitting.process(frame.image).advice
            if frame is None or frame.time - said >= READABLE:
                line.say(f"  {taken + 1} of {len(POSES)}  {advice}")
                said = frame.time if frame else said
            if len(sitting.samples) > taken:  # what comes next is news
                said = -math.inf
            if sitting.pose is None or time.monotonic() >= until:
                break
    line.clear()
    return advice


def _enroll(known: Gallery, shots: Sequence[Sample], source: str, threshold: float, options: Namespace) -> Verdict:
    best_first = sorted(shots, key=lambda shot: -shot.quality)
    answer = _settle(known, best_first, threshold, options)
    if not answer.name:
        return Verdict("refused", options.name, source, "as was answered", quality=best_first[0].quality)
    return enroll_shots(
        known, answer.name, best_first, source, threshold=threshold, force=answer.force, metadata=dict(options.set)
    )


def _settle(known: Gallery, shots: Sequence[Sample], threshold: float, options: Namespace) -> Answer:
    """Who it is, where the gallery has somebody like that: as the options say, or as is answered. Without either,
    ``enroll_shots`` refuses who is somebody else, and notes what is in doubt."""
    comparison = compare_with_gallery(known, options.name, shots, threshold)
    near = comparison.near
    if options.same and near and near.cosine >= threshold:
        return Answer(near.name)
    if options.force or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return Answer(options.name, options.force)
    if near:
        return _choose(options.name, near, threshold)
    agreed = all(_ask(f"{doubt[0].upper()}{doubt[1:]} [y/N] ") in YES for doubt in comparison.doubts)
    return Answer(options.name if agreed else "")


def _choose(name: str, near: Match, threshold: float) -> Answer:
    alike = f"cosine {near.cosine:.3f}, one person from {threshold:.3f} on"
    print(f"This looks like {near.name!r}, who is enrolled: {alike}.", file=sys.stderr)
    reply = _ask(f"Is it {near.name!r}? [y] add to that name, [n] no, enroll {name!r}, [Enter] enroll nothing: ")
    return Answer(near.name if reply in YES else name if reply in ("n", "no") else "", force=True)


def _ask(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower()
