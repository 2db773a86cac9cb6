"""Finds out on photos of faces how a recognizer expects its image: the order of its channels, and its normalization.

A recognizer with the wrong normalization gives all faces nearly the same embedding, which is easy to see. The order of
the channels is harder: many recognizers still work when red and blue are swapped, only worse. Three observations each
vote for an order, and it counts as known only if they are strong together and none disagrees. All three were seen on
three recognizers that were trained on RGB, and on the same ones with swapped weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.center import CONSTANT_COSINE
from rkface.calibration.choose import connected_components
from rkface.calibration.collect import CandidateFace
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.errors import ModelError
from rkface.runtime.core.manifest import Triple
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.embed import unit

from .catalog import NORMALIZATION
from .face_separation import Separation, in_another_light, measure_separation
from .prepared_model import PreparedModel, spread_crops, with_preprocessing
from .preprocessing import FRACTIONS, INSIDE, Preprocessing, describe_normalization

FACES = 96  # on which the order is measured
FEW = 10  # with fewer faces, nothing is measured
NORMALIZATION_FACES = 24
# How much better than the default another normalization must separate faces. The wrong side of "inside or outside"
# divides the separation by 2 to 5; 127.5 or 255 as the deviation changes it by less than a fifth.
CLEARLY_BETTER = 1.5

# Votes are in standard deviations of pure chance. Together (Stouffer's method) they must be as strong as STRONG, two of
# them at least NOTABLE, and none may be AGAINST the others.
STRONG, NOTABLE, AGAINST = 4.0, 2.0, 1.64
CENTERED_SAME = 0.5  # half way between a face's mirror image and other faces, with the common part taken off
NO_DIFFERENCE = 1e-4  # below this, a difference may be rounding

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]
Progress = Callable[[int, int], None]


class _Recognizer:
    """A model under different assumptions about its input."""

    def __init__(self, model: PreparedModel, progress: Progress, total: int) -> None:
        self._model, self._progress, self._total, self._done = model, progress, total, 0

    def embed(self, crops: Images, normalization: tuple[Triple, Triple]) -> Floats:
        """Raw embeddings, N×D, of N×H×W×3 crops in the channel order that the model was trained on."""
        mean, std = normalization
        backend = open_reference(self._model.simplified.path, replace(self._model.input, mean=mean, std=std))
        rows = []
        try:
            for crop in crops:
                rows.append(backend.infer(np.ascontiguousarray(crop)[None])[0])
                self._done += 1
                self._progress(min(self._done, self._total), self._total)
        finally:
            backend.close()
        return np.concatenate(rows)


def settle_recognizer(model: PreparedModel, faces: Sequence[CandidateFace], *, known: bool) -> PreparedModel:
    """``model`` with the preprocessing that ``measure_preprocessing`` finds on ``faces``; raises the same errors."""
    with stage("recognizer: check input") as shown:
        found = measure_preprocessing(model, spread_crops(model, faces, FACES), shown.advance, known=known)
        settled = with_preprocessing(model, found)
        shown.note = f"takes {found}" + (" (assumed)" if found.doubt else "")
    return settled


def measure_preprocessing(
    model: PreparedModel, crops: Images, progress: Progress = lambda done, total: None, *, known: bool = False
) -> Preprocessing:
    """How ``model`` expects its image: what is stated or read from it stays, the rest is measured on ``crops``.

    ``crops``: N×H×W×3 uint8 RGB, aligned faces; with fewer than 10, nothing is measured. ``known``: rkface knows
    the model, so only check that it works.

    Raises ModelError if the model does not tell faces apart with any order and normalization.
    """
    now = model.fixed.preprocessing
    if len(crops) < FEW:
        return replace(now, doubt="" if known else _doubt(now, f"only {len(crops)} faces to measure on"))
    order_open = now.order == "default" and not known
    recognizer = _Recognizer(model, progress, 3 * NORMALIZATION_FACES + (3 * FACES if order_open else 0))
    found, seen = _choose_normalization(recognizer, now, crops[:NORMALIZATION_FACES], model.fixed.name, known=known)
    if not order_open:
        return found
    return _choose_order(recognizer, found, crops[:FACES], seen)


def _choose_normalization(
    recognizer: _Recognizer, now: Preprocessing, crops: Images, name: str, *, known: bool
) -> tuple[Preprocessing, Separation]:
    """``now``, or the normalization with which faces are clearly better separated; and how well they are."""

    def separation(normalization: tuple[Triple, Triple]) -> Separation:
        # The model takes RGB here: a BGR model's first layer is already turned.
        mirrored = crops[:, :, ::-1]
        batches = (crops, mirrored, in_another_light(mirrored))
        return measure_separation(*(recognizer.embed(batch, normalization) for batch in batches))

    own = (now.mean, now.std)
    measured = {own: separation(own)}
    open_question = now.normalization == "default" and not known
    if open_question or not measured[own].apart:
        for other in (INSIDE, NORMALIZATION["recognizer"], FRACTIONS):
            if other not in measured:
                measured[other] = separation(other)
    best = max(measured, key=lambda one: measured[one].distance)
    if not any(one.apart for one in measured.values()):
        raise ModelError(_explain_useless(name, now, measured))
    if not measured[own].apart or measured[best].distance >= CLEARLY_BETTER * measured[own].distance:
        if not measured[best].apart:
            best = max((one for one in measured if measured[one].apart), key=lambda one: measured[one].distance)
        shown = (
            f"faces are told apart with {describe_normalization(*best)} (a face and its mirror image: mean cosine "
            f"{measured[best].own:.2f}, different faces: {measured[best].others:.2f}), but not with "
            f"{describe_normalization(*own)} ({measured[own].own:.2f} and {measured[own].others:.2f})"
        )
        if not open_question:
            raise ModelError(_explain_wrong(name, now, shown))
        return replace(now, mean=best[0], std=best[1], normalization="photos", reasons=(*now.reasons, shown)), measured[
            best
        ]
    return now, measured[own]


def _explain_useless(name: str, now: Preprocessing, measured: dict[tuple[Triple, Triple], Separation]) -> str:
    best = max(measured.values(), key=lambda one: one.distance)
    tried = ", ".join(describe_normalization(*one) for one in measured)
    return (
        f"{name} does not tell faces apart: the mean cosine between a face and its mirror image is {best.own:.2f}, and "
        f"between different faces {best.others:.2f}, at best (tried: {tried}). Photos of different people are not the "
        "cause: it is not a face recognizer, or its weights are not trained, or it needs another normalization: then "
        "state it with --recognizer-mean and --recognizer-std"
    )


def _explain_wrong(name: str, now: Preprocessing, shown: str) -> str:
    if now.normalization == "stated":
        return f"{name}: --recognizer-mean and --recognizer-std are wrong: {shown}. Leave them out, or correct them"
    known = f", although {now.reasons[0]}" if now.reasons else ""
    return f"{name}: {shown}{known}: state the right normalization with --recognizer-mean and --recognizer-std"


def _choose_order(recognizer: _Recognizer, now: Preprocessing, crops: Images, seen: Separation) -> Preprocessing:
    """``now``, with the order of channels for which the observations vote, and why; or with a doubt."""
    normalization = now.mean, now.std
    gray = np.repeat(np.rint(crops.mean(axis=3, keepdims=True)).astype(np.uint8), 3, axis=3)
    rgb, bgr, plain = (recognizer.embed(batch, normalization) for batch in (crops, crops[..., ::-1], gray))
    least = (seen.own + seen.others) / 2
    if seen.others > CONSTANT_COSINE:  # what all embeddings have in common would hide what the order changes
        rgb, bgr, plain = (one - one.mean(axis=0) for one in (rgb, bgr, plain))
        least = CENTERED_SAME
    votes = _votes(rgb, bgr, plain, least)
    total = sum(vote.strength for vote in votes) / np.sqrt(len(votes))
    toward = [np.sign(total) * vote.strength for vote in votes]
    said = tuple(vote.observation for vote in votes if abs(vote.strength) >= NOTABLE)
    if abs(total) < STRONG or sum(one >= NOTABLE for one in toward) < 2 or min(toward) < -AGAINST:
        found = f" ({'; '.join(said)})" if said else ""
        return replace(now, doubt=_doubt(now, f"the photos do not decide it{found}"))
    is_bgr = bool(total < 0)
    turned = replace(now, mean=now.mean[::-1], std=now.std[::-1]) if is_bgr else now  # both are stored in RGB order
    return replace(turned, bgr=is_bgr, order="photos", reasons=(*now.reasons, *said))


def _doubt(now: Preprocessing, why: str) -> str:
    if now.order != "default":
        return ""
    return (
        f"rkface assumes that it takes RGB: {why}. If its description says BGR, convert again with --recognizer-input "
        "bgr"
    )


@dataclass(frozen=True)
class _Vote:
    """An observation, and how strongly it speaks for RGB (above 0) or BGR (below 0), in standard deviations of
    chance."""

    strength: float
    observation: str


def _votes(rgb: Floats, bgr: Floats, gray: Floats, least: float) -> list[_Vote]:
    """The votes of raw N×D embeddings of the same faces; faces with a cosine of ``least`` or more show one person."""
    lengths = [np.linalg.norm(one, axis=1) for one in (rgb, bgr)]
    distances = [1 - np.sum(unit(one) * unit(gray), axis=1) for one in (rgb, bgr)]
    return [
        _vote_of_people(rgb, bgr, least),
        # The length of an embedding grows with how recognizable a face is (MagFace, arXiv 2103.06627).
        _vote((lengths[0] - lengths[1]) / np.mean(lengths), "embeddings are longer", "faces"),
        # Without the right colors, a face is closer to its gray image: the model uses its colors less.
        _vote(distances[0] - distances[1], "color matters more", "faces"),
    ]


def _vote(gains: NDArray[Any], observation: str, what: str) -> _Vote:
    """The vote of faces or people: the normal approximation of a sign test on what each gains with RGB.

    Faces for which the order makes no difference, those on gray photos, do not vote.
    """
    gains = gains[np.abs(gains) > NO_DIFFERENCE]
    if not len(gains):
        return _Vote(0.0, "")
    count, total = int((gains > 0).sum()), len(gains)
    order, most = ("RGB", count) if 2 * count > total else ("BGR", total - count)
    return _Vote((2 * count - total) / np.sqrt(total), f"{observation} with {order} for {most} of {total} {what}")


def _vote_of_people(rgb: Floats, bgr: Floats, least: float) -> _Vote:
    """The vote of the people who are on several photos, which a cosine of ``least`` or more joins: with which order are
    their photos further from other people, in standard deviations?"""
    tables = [unit(one) @ unit(one).T for one in (rgb, bgr)]
    alike = np.nonzero(np.triu((tables[0] > least) & (tables[1] > least), 1))
    people = np.array(connected_components(len(rgb), zip(*(one.tolist() for one in alike), strict=True)))
    rows, columns = np.triu_indices(len(rgb), 1)
    same = people[rows] == people[columns]
    if not same.any() or same.all():
        return _Vote(0.0, "")
    distances = []
    for table in tables:
        cosines = table[rows, columns]
        distances.append((cosines - cosines[~same].mean()) / max(float(cosines[~same].std()), 1e-6))
    gains, owner = (distances[0] - distances[1])[same], people[rows][same]
    each = np.array([gains[owner == person].mean() for person in np.unique(owner)])
    return _vote(each, "photos of one person are further from other people", "people")
