"""``rkface enroll NAME --camera``: guide a person in front of a camera through three pictures, then enroll them."""

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
from ..cameras.frame_gate import read_newest_frames
from ..core.progress import ProgressLine
from ..enrollment.enroll import Verdict, enroll_shots
from ..enrollment.gallery_comparison import compare_with_gallery
from ..enrollment.guided_capture import POSES, GuidedCapture
from ..gallery.gallery import Gallery
from ..gallery.match import Match
from ..gallery.people import Sample
from ..inference.open_bundle import open_bundle
from ..service.camera_worker import open_configured_camera
from ..service.settings import named_cameras
from .gallery_options import enroll_rules, gallery_path, open_gallery
from .options import YES, ask

TIMEOUT = 60.0  # default, in seconds: about 20 for each pose
READABLE = 0.5  # seconds of the camera's time that an instruction stays on the screen at least


@dataclass(frozen=True)
class NameDecision:
    """The name to enroll under, or "" to enroll nobody. ``force`` is true if a person saw the similar face and decided
    that it is somebody else."""

    name: str
    force: bool = False


def enroll_camera(options: Namespace) -> Verdict:
    """Take pictures and add them to the gallery: all of them or none, after every question is answered."""
    if not getLogger("rkface").handlers:  # errors of the camera are shown in the line of instructions
        getLogger("rkface").addHandler(NullHandler())
    ((name, settings),) = named_cameras([options.camera], options.rotate, near=options.near).items()
    source = open_configured_camera(name, replace(settings, hold=0.0))  # an invalid source is reported at once
    with open_bundle(options.bundle, options.backend) as pipeline:
        if gallery_path(options).exists():
            with open_gallery(options, pipeline) as gallery:  # problems are reported before anybody poses
                gallery.check_identity()
                gallery.refresh()
        capture = GuidedCapture(pipeline.near() if options.near else pipeline, name, enroll_rules(options))
        timeout = math.inf if source.recording else options.timeout or TIMEOUT
        with source as camera:
            advice = _take_pictures(capture, camera, every=source.recording, timeout=timeout)
        if not capture.samples:
            return Verdict("refused", options.name, name, f"no good picture was taken; the last advice was: {advice}")
        with open_gallery(options, pipeline, create=True) as gallery:
            gallery.check_identity()
            verdict = _add_to_gallery(gallery, capture.samples, name, pipeline.thresholds.match, options)
    notes = verdict.notes
    if verdict.status == "enrolled" and capture.pose is not None:
        notes = (f"{len(capture.samples)} of {len(POSES)} pictures: no good picture of the other poses", *notes)
    if verdict.status == "refused" and verdict.near and verdict.near.counts(pipeline.thresholds.match):
        notes = (f"--same adds the pictures to {verdict.near.name!r}, --force makes a second person", *notes)
    return replace(verdict, notes=notes)


def _take_pictures(capture: GuidedCapture, camera: Camera, *, every: bool, timeout: float) -> str:
    """Take pictures until there is one of each pose, the camera ends, or ``timeout`` seconds have passed.

    ``every`` says whether to look at every frame or only at the newest. Returns the last advice that was shown.
    """
    line, shown = ProgressLine(), -math.inf
    advice = "The camera has not sent a picture yet."
    until = time.monotonic() + timeout
    with closing(read_newest_frames(camera, every=every)) as frames:
        for frame in frames:
            taken = len(capture.samples)
            if frame is None:
                advice = camera.state().error or "The camera sends no pictures."
            else:
                advice = capture.process(frame.image).advice
            if frame is None or frame.time - shown >= READABLE:
                line.say(f"  {taken + 1} of {len(POSES)}  {advice}")
                shown = frame.time if frame else shown
            if len(capture.samples) > taken:  # show the next pose at once
                shown = -math.inf
            if capture.pose is None or time.monotonic() >= until:
                break
    line.clear()
    return advice


def _add_to_gallery(
    gallery: Gallery, samples: Sequence[Sample], source: str, threshold: float, options: Namespace
) -> Verdict:
    best_first = sorted(samples, key=lambda sample: -sample.quality)
    decision = _decide_name(gallery, best_first, threshold, options)
    if not decision.name:
        return Verdict("refused", options.name, source, "you chose to enroll nothing", quality=best_first[0].quality)
    metadata = dict(options.set)
    return enroll_shots(
        gallery, decision.name, best_first, source, threshold=threshold, force=decision.force, metadata=metadata
    )


def _decide_name(gallery: Gallery, samples: Sequence[Sample], threshold: float, options: Namespace) -> NameDecision:
    """The name for ``samples``, if the gallery has a similar person: from the options, or from the user's answers.

    Without either, ``enroll_shots`` refuses a person who is enrolled under another name, or is unlike the own
    samples.
    """
    comparison = compare_with_gallery(gallery, options.name, samples, threshold)
    near = comparison.near
    if options.same and near and near.counts(threshold):
        return NameDecision(near.name)
    if options.force or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return NameDecision(options.name, options.force)
    decision = _ask_who(options.name, near, threshold) if near else NameDecision(options.name)
    if decision.name != options.name or not comparison.doubts:
        return decision
    agreed = all(ask(f"{doubt[0].upper()}{doubt[1:]} [y/N] ") in YES for doubt in comparison.doubts)
    return NameDecision(options.name if agreed else "", force=True)


def _ask_who(name: str, near: Match, threshold: float) -> NameDecision:
    similarity = f"cosine {near.cosine:.3f}, and {threshold:.3f} or more means the same person"
    print(f"This looks like {near.name!r}, who is enrolled: {similarity}.", file=sys.stderr)
    reply = ask(f"Is it {near.name!r}? [y] add to that name, [n] no, enroll {name!r}, [Enter] enroll nothing: ")
    return NameDecision(near.name if reply in YES else name if reply in ("n", "no") else "", force=True)
