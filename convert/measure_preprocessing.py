"""Finds out on photos of faces how a recognizer expects its image: the order of its channels, and its normalization.

A recognizer with the wrong normalization gives all faces nearly the same embedding, which is easy to see. The order of
the channels is harder: many recognizers still work when red and blue are swapped, only worse. Three observations each
vote for an order, and it counts as known only if two agree and none disagrees. Each was seen on three recognizers that
were trained on RGB, and on the same ones with swapped weights (docs/convert.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import comb

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.choose import connected_components
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.errors import ModelError
from rkface.runtime.core.manifest import Triple
from rkface.runtime.vision.embed import unit

from .catalog import NORMALIZATION
from .prepared_model import PreparedModel
from .preprocessing import FRACTIONS, INSIDE, Preprocessing, describe_normalization

FACES = 64  # on which the order is measured
FEW = 10  # with fewer faces, nothing is measured
NORMALIZATION_FACES = 24
# How much better than the default another normalization must separate faces. The wrong side of "inside or outside"
# divides the separation by 2 to 5; 127.5 or 255 as the deviation changes it by less than a fifth.
CLEARLY_BETTER = 1.5
APART = 0.1  # by how much a face must be more similar to its mirror image than to other faces (cosine)

CHANCE = 0.01  # probability of a vote that is only chance

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Separation:
    """How similar faces are to their own mirror image, and to other faces (mean cosines); ``distance`` is the
    difference in standard deviations."""

    own: float
    others: float
    distance: float

    @property
    def apart(self) -> bool:
        return self.own > self.others + APART


class _Recognizer:
    """A model under different assumptions about its input."""

    def __init__(self, model: PreparedModel, progress: Progress, total: int) -> None:
        self._model, self._progress, self._total, self._done = model, progress, total, 0

    def embed(self, crops: Images, normalization: tuple[Triple, Triple]) -> Floats:
        """Raw embeddings, N×D, of N×112×112×3 crops in the channel order that the model was trained on."""
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


def measure_preprocessing(
    model: PreparedModel, crops: Images, progress: Progress = lambda done, total: None, *, known: bool = False
) -> Preprocessing:
    """How ``model`` expects its image: what is stated or read from it stays, the rest is measured on ``crops``.

    ``crops``: N×112×112×3 uint8 RGB, aligned faces; with fewer than 10, nothing is measured. ``known``: rkface knows
    the model, so only check that it works.

    Raises ModelError if the model does not tell faces apart with any order and normalization.
    """
    now = model.fixed.preprocessing
    if len(crops) < FEW:
        return replace(now, doubt="" if known else _doubt(now, f"only {len(crops)} faces to measure on"))
    order_open = now.order == "default" and not known
    recognizer = _Recognizer(model, progress, 2 * NORMALIZATION_FACES + (3 * FACES if order_open else 0))
    found, seen = _choose_normalization(recognizer, now, crops[:NORMALIZATION_FACES], model.fixed.name, known=known)
    if not order_open:
        return found
    return _choose_order(recognizer, found, crops[:FACES], (seen.own + seen.others) / 2)


def _choose_normalization(
    recognizer: _Recognizer, now: Preprocessing, crops: Images, name: str, *, known: bool
) -> tuple[Preprocessing, _Separation]:
    """``now``, or the normalization with which faces are clearly better separated; and how well they are."""

    def separation(normalization: tuple[Triple, Triple]) -> _Separation:
        # The model takes RGB here: a BGR model's first layer is already turned.
        left, right = (unit(recognizer.embed(batch, normalization)) for batch in (crops, crops[:, :, ::-1]))
        return _separation(left @ right.T)

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
        return replace(now, mean=best[0], std=best[1], normalization="photos", reasons=(*now.reasons, shown)), measured[best]
    return now, measured[own]


def _explain_useless(name: str, now: Preprocessing, measured: dict[tuple[Triple, Triple], _Separation]) -> str:
    best = measured[max(measured, key=lambda one: measured[one].distance)]
    tried = ", ".join(describe_normalization(*one) for one in measured)
    return (
        f"{name} does not tell faces apart: at best, the mean cosine between a face and its mirror image is "
        f"{best.own:.2f}, and between different faces {best.others:.2f} (tried: {tried}). The photos are not the cause. "
        "It is not a face recognizer, its weights are not trained, or it needs another normalization: state it with "
        "--recognizer-mean and --recognizer-std"
    )


def _explain_wrong(name: str, now: Preprocessing, shown: str) -> str:
    if now.normalization == "stated":
        return f"{name}: --recognizer-mean and --recognizer-std are wrong: {shown}. Leave them out, or correct them"
    return f"{name}: {shown}, although {now.reasons[0] if now.reasons else 'it is known'}: state it with --recognizer-mean and --recognizer-std"


def _choose_order(recognizer: _Recognizer, now: Preprocessing, crops: Images, least: float) -> Preprocessing:
    """``now``, with the order of channels for which the observations vote, and why; or with a doubt."""
    normalization = now.mean, now.std
    gray = np.repeat(np.rint(crops.mean(axis=3, keepdims=True)).astype(np.uint8), 3, axis=3)
    rgb, bgr, plain = (recognizer.embed(batch, normalization) for batch in (crops, crops[..., ::-1], gray))
    votes = _votes(rgb, bgr, plain, least)
    total = sum(vote for vote, _ in votes)
    said = tuple(text for vote, text in votes if vote)
    agreed = abs(total) >= 2 and abs(total) == len(said)
    if not agreed:
        return replace(now, doubt=_doubt(now, "the photos do not decide it" + (f" ({'; '.join(said)})" if said else "")))
    return replace(now, bgr=total < 0, order="photos", reasons=(*now.reasons, *said))


def _doubt(now: Preprocessing, why: str) -> str:
    if now.order != "default":
        return ""
    return (
        f"rkface assumes that it takes RGB: {why}. If its description says BGR, convert again with --recognizer-input "
        "bgr"
    )


def _votes(rgb: Floats, bgr: Floats, gray: Floats, least: float) -> list[tuple[int, str]]:
    """+1 for RGB, −1 for BGR or 0 for neither, each with the observation, from raw N×D embeddings of the same faces.

    Faces with a cosine of ``least`` or more show one person.
    """
    found = [_vote_of_people(rgb, bgr, least)]
    lengths = [np.linalg.norm(one, axis=1) for one in (rgb, bgr)]
    # The length of an embedding grows with how recognizable a face is (MagFace, arXiv 2103.06627).
    found.append(_vote(lengths[0] > lengths[1], "embeddings are longer"))
    # Without the right colors, a face is closer to its gray image: the model uses its colors less.
    distances = [1 - np.sum(unit(one) * unit(gray), axis=1) for one in (rgb, bgr)]
    found.append(_vote(distances[0] > distances[1], "color matters more"))
    return found


def _vote(for_rgb: NDArray[np.bool_], observation: str, what: str = "faces") -> tuple[int, str]:
    """The vote of N faces or people, by a two-sided sign test."""
    count, total = int(for_rgb.sum()), len(for_rgb)
    most = max(count, total - count)
    chance = 2 * sum(comb(total, one) for one in range(most, total + 1)) / 2**total
    if chance > CHANCE:
        return 0, ""
    order = "RGB" if count == most else "BGR"
    return (1 if count == most else -1), f"{observation} with {order} for {most} of {total} {what}"


def _vote_of_people(rgb: Floats, bgr: Floats, least: float) -> tuple[int, str]:
    """The vote of the people who are on several photos, which a cosine of ``least`` or more joins: with which order are
    their photos further from other people, in standard deviations?"""
    tables = [unit(one) @ unit(one).T for one in (rgb, bgr)]
    alike = np.nonzero(np.triu((tables[0] > least) & (tables[1] > least), 1))
    people = np.array(connected_components(len(rgb), zip(*(one.tolist() for one in alike), strict=True)))
    rows, columns = np.triu_indices(len(rgb), 1)
    same = people[rows] == people[columns]
    if not same.any() or same.all():
        return 0, ""
    distances = []
    for table in tables:
        cosines = table[rows, columns]
        distances.append((cosines - cosines[~same].mean()) / max(float(cosines[~same].std()), 1e-6))
    gains, owner = (distances[0] - distances[1])[same], people[rows][same]
    each = np.array([gains[owner == person].mean() for person in np.unique(owner)])
    return _vote(each > 0, "photos of one person are further from other people", "people")


def _separation(cosines: Floats) -> _Separation:
    """``cosines``: N×N, each face with each mirror image."""
    own, others = np.diagonal(cosines), cosines[~np.eye(len(cosines), dtype=bool)]
    spread = np.sqrt(max((own.var() + others.var()) / 2, 1e-6))
    return _Separation(float(own.mean()), float(others.mean()), float((own.mean() - others.mean()) / spread))
