"""How good the samples of a gallery are: each sample is compared with all others, as if it were a new face.

That is leave-one-out cross-validation of a nearest-neighbor classifier (Hastie, Tibshirani, Friedman: The Elements of
Statistical Learning, 2nd edition, chapters 7.10 and 13.3) with the threshold and the rule of ``Match.counts``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .gallery import Gallery
from .neighbors import NOTHING, Neighbors, find_neighbors
from .people import Person
from .quality_report import (
    CheckedSample,
    GalleryQuality,
    PersonLikeIgnored,
    PersonQuality,
    SampleFinding,
    SampleProblem,
    SimilarPeople,
    suggest_threshold,
)
from .rows import embedding_opener
from .stored_values import BATCH, embeddings_from_bytes

NEAR = 0.1  # below the threshold: people who are this alike are listed, as enrollment lists them
MOST_FINDINGS = 200


@dataclass(frozen=True)
class _ReadSamples:
    """All samples that are searched, by person: N×D ``vectors``, N ``owners`` (places in ``people``), N ``ids``."""

    vectors: NDArray[np.float32]
    owners: NDArray[np.int64]
    ids: NDArray[np.int64]
    people: tuple[str, ...]


@dataclass(frozen=True)
class _Compared:
    """Samples, their nearest neighbors, and the people of the gallery a moment later, by id.

    ``needed``: the minimum cosine of each of ``samples.people``, float32."""

    gallery: Gallery
    samples: _ReadSamples
    neighbors: Neighbors
    threshold: float
    people: Mapping[str, Person]
    needed: NDArray[np.float32]

    def describe(self, number: int) -> CheckedSample | None:
        """The sample with this number; None if it was deleted in the meantime."""
        rows = self.gallery.read(
            "SELECT person.id, person.name, sample.id, source, quality, EXISTS (SELECT 1 FROM crop WHERE sample = "
            "sample.id) FROM sample JOIN person ON person.id = sample.person WHERE sample.id = ?",
            [int(self.samples.ids[number])],
        )
        for person, name, sample, source, quality, crop in rows:
            return CheckedSample(person, name, sample, source, quality, bool(crop))
        return None


def check_quality(gallery: Gallery, threshold: float) -> GalleryQuality:
    """Compare each sample of ``gallery`` with all others, if ``threshold`` is the minimum cosine for a match.

    10,000 people with five samples need 6·10^11 multiplications, and 4·N·D bytes for the embeddings (102 MB). Raises
    InputError if the gallery is encrypted and was opened without its key.
    """
    samples = _read_samples(gallery)
    neighbors = find_neighbors(samples.vectors, samples.owners, threshold - NEAR)
    people = {person.id: person for person in gallery.people()}
    own = [people[id].threshold or 0.0 if id in people else 0.0 for id in samples.people]
    needed = np.maximum(np.array(own, np.float32), np.float32(threshold))
    compared = _Compared(gallery, samples, neighbors, threshold, people, needed)
    recognized = (neighbors.own >= needed[samples.owners]) & (neighbors.own > neighbors.other)
    counts = np.bincount(samples.owners, minlength=len(samples.people))
    findings = tuple(_find_problems(compared))
    summaries = tuple(sorted(_summarize_people(compared, recognized), key=_distance))
    return GalleryQuality(
        threshold=threshold,
        samples=len(samples.ids),
        checked=int(counts[counts > 1].sum()),
        recognized=int(recognized.sum()),
        single=int((counts == 1).sum()),
        impostor=_cosine(neighbors.other.max(initial=NOTHING)),
        findings=findings,
        similar=tuple(_find_similar_people(compared, summaries, findings)),
        people=summaries,
        like_ignored=_find_people_like_ignored(compared),
    )


def _find_people_like_ignored(compared: _Compared) -> tuple[PersonLikeIgnored, ...]:
    gallery, samples = compared.gallery, compared.samples
    if not len(samples.ids) or not gallery.read("SELECT 1 FROM anchor LIMIT 1"):
        return ()
    cosines = gallery.anchor_cosines(samples.vectors)
    highest: dict[str, float] = {}
    for owner, cosine in zip(samples.owners.tolist(), cosines.tolist(), strict=True):
        person = samples.people[owner]
        if cosine >= compared.threshold and person in compared.people:
            highest[person] = max(cosine, highest.get(person, cosine))
    return tuple(
        PersonLikeIgnored(person, compared.people[person].name, cosine)
        for person, cosine in list(highest.items())[:MOST_FINDINGS]
    )


def _read_samples(gallery: Gallery) -> _ReadSamples:
    """All samples of the gallery's model, in the order of people. No more than the embeddings are in memory."""
    identity = gallery.identity
    if identity is None:
        return _ReadSamples(np.zeros((0, 1), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64), ())
    open_embedding = embedding_opener(gallery)
    vectors, ids, owners = np.zeros((0, 1), np.float32), list[int](), list[int]()
    people: dict[str, int] = {}
    with gallery.consistent_read():
        ((count,),) = gallery.database.execute("SELECT count(*) FROM sample WHERE identity = ?", [identity])
        rows = gallery.database.execute(
            "SELECT sample.id, sample.person, person.name, sample.identity, sample.embedding FROM sample "
            "JOIN person ON person.id = sample.person WHERE sample.identity = ? ORDER BY sample.person, sample.id",
            [identity],
        )
        while some := rows.fetchmany(BATCH):
            dimensions = vectors.shape[1] if ids else 0
            batch = embeddings_from_bytes([row[0] for row in some], map(open_embedding, some), dimensions)
            if not ids:
                vectors = np.empty((count, batch.shape[1]), np.float32)
            vectors[len(ids) : len(ids) + len(batch)] = batch
            ids += [row[0] for row in some]
            owners += [people.setdefault(row[1], len(people)) for row in some]
    return _ReadSamples(vectors[: len(ids)], np.array(owners, np.int64), np.array(ids, np.int64), tuple(people))


def _find_problems(compared: _Compared) -> Iterator[SampleFinding]:
    """The samples that are probably wrong, the worst first."""
    own, other, threshold = compared.neighbors.own, compared.neighbors.other, compared.threshold
    several = own > NOTHING
    # Of two samples that clash, the one that its own person supports less is wrong.
    nearest_other = compared.neighbors.other_sample
    support = np.where(several, own, np.float32(threshold))[nearest_other]
    contradictory = several & (other >= threshold) & (other > own) & (own <= support)
    unlike = several & (own < threshold) & ~contradictory
    # Contradictory samples come before those that are only unlike: no difference of two cosines is below -2.
    order = np.argsort(np.where(contradictory, own - other - 4, own), kind="stable")
    for number in order[(contradictory | unlike)[order]][:MOST_FINDINGS].tolist():
        clash = bool(contradictory[number])
        nearest = nearest_other if clash else compared.neighbors.own_sample
        sample, near = compared.describe(number), compared.describe(int(nearest[number]))
        if sample and near:
            problem: SampleProblem = "contradictory" if clash else "unlike"
            cosine = other[number] if clash else own[number]
            yield SampleFinding(problem, sample, _round(own[number]), near, _round(cosine))


def _find_similar_people(
    compared: _Compared, people: Sequence[PersonQuality], findings: Sequence[SampleFinding]
) -> Iterator[SimilarPeople]:
    """People who look alike, the most similar first."""
    known = {person.person: person for person in people}
    contradictory = [one.sample for one in findings if one.problem == "contradictory"]
    clashes = Counter(sample.person for sample in contradictory)
    wrong = {one.sample for one in contradictory if 2 * clashes[one.person] < known[one.person].samples}
    neighbors, owners = compared.neighbors, compared.samples.owners
    for (one, other), cosine in zip(neighbors.pairs.tolist(), neighbors.cosines.tolist(), strict=True):
        first, second = compared.describe(one), compared.describe(other)
        if first is None or second is None or not {first.person, second.person} <= known.keys():
            continue
        limit = float(compared.needed[owners[[one, other]]].min())
        least = [low for id in (first.person, second.person) if (low := known[id].lowest) is not None]
        yield SimilarPeople(
            first,
            second,
            _round(cosine),
            confused=cosine >= limit and not {first.sample, second.sample} & wrong,
            maybe_same=bool(least) and cosine >= min(least),
            suggested=suggest_threshold(cosine),
        )


def _summarize_people(compared: _Compared, recognized: NDArray[np.bool_]) -> Iterator[PersonQuality]:
    samples, neighbors = compared.samples, compared.neighbors
    if not len(samples.ids):
        return
    starts = np.flatnonzero(np.diff(samples.owners, prepend=-1))
    ends = np.append(starts[1:], len(samples.ids))
    lowest = np.minimum.reduceat(neighbors.own, starts)
    good = np.add.reduceat(recognized.astype(np.int64), starts)
    for place, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        person = compared.people.get(samples.people[place])
        if person is None:  # deleted in the meantime
            continue
        nearest = start + int(neighbors.other[start:end].argmax())
        impostor = _cosine(neighbors.other[nearest])
        other = samples.owners[neighbors.other_sample[nearest]]
        yield PersonQuality(
            person=person.id,
            name=person.name,
            samples=end - start,
            recognized=int(good[place]),
            lowest=_cosine(lowest[place]),
            impostor=impostor,
            impostor_person=None if impostor is None else samples.people[int(other)],
            threshold=person.threshold,
        )


def _distance(person: PersonQuality) -> tuple[float, str]:
    """How far a person's own samples are from those of others; people with one sample come after those with several."""
    impostor = -1.0 if person.impostor is None else person.impostor
    return (4.0 if person.lowest is None else person.lowest) - impostor, person.person


def _cosine(value: np.float32) -> float | None:
    """The cosine ``value``; None for a sample that was compared with nothing."""
    return None if value <= NOTHING else _round(value)


def _round(cosine: float | np.float32) -> float:
    return round(float(cosine), 4)
