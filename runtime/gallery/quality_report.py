"""What ``check_quality`` finds in a gallery, and the sentences that say it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..core.text import in_a_line

# What a suggested threshold is above the cosine of two people who look alike. The INT8 and FP32 embeddings of one face,
# whose mean cosine is 0.995 or more, change a cosine by about as much.
ABOVE = 0.02

SampleProblem = Literal["contradictory", "unlike"]


@dataclass(frozen=True)
class CheckedSample:
    """A sample, and where its picture is: ``crop`` says whether the gallery has its aligned face."""

    person: str
    name: str
    sample: int
    source: str
    quality: float
    crop: bool


@dataclass(frozen=True)
class SampleFinding:
    """A sample that is probably wrong.

    Attributes:
        problem: "contradictory": it looks more like somebody else's sample than like all others of its own person.
            "unlike": it would not be recognized by the other samples of its own person.
        sample: This sample.
        own: The highest cosine with another sample of the same person.
        near: The most similar sample to look at beside it: somebody else's if it is contradictory, else its person's.
        cosine: The cosine of the two.
    """

    problem: SampleProblem
    sample: CheckedSample
    own: float
    near: CheckedSample
    cosine: float


@dataclass(frozen=True)
class SimilarPeople:
    """Two people who look alike, by their two most similar samples.

    Attributes:
        first: The sample of one of them.
        second: The sample of the other.
        cosine: The cosine of the two samples.
        confused: Whether one may be taken for the other: the cosine reaches the threshold of one of them, and it is not
            that of a single contradictory sample among others.
        maybe_same: Whether the two are as alike as the samples of one of them: perhaps one person was enrolled twice.
        suggested: A threshold for both, above the cosine.
    """

    first: CheckedSample
    second: CheckedSample
    cosine: float
    confused: bool
    maybe_same: bool
    suggested: float


@dataclass(frozen=True)
class PersonQuality:
    """Leave-one-out of one person.

    Attributes:
        person: Id of the person.
        name: Name of the person.
        samples: Number of samples.
        recognized: How many of them the other samples recognize; 0 if there is only one.
        lowest: Of the samples, the lowest of their highest cosines with the person's other samples; None with one.
        impostor: The highest cosine with anybody else; None if there is nobody else.
        impostor_person: Id of that other person.
        threshold: The person's own threshold.
    """

    person: str
    name: str
    samples: int
    recognized: int
    lowest: float | None
    impostor: float | None
    impostor_person: str | None
    threshold: float | None


@dataclass(frozen=True)
class PersonLikeIgnored:
    """``cosine``: the highest one of this person's samples with a face on the ignore list."""

    person: str
    name: str
    cosine: float


@dataclass(frozen=True)
class GalleryQuality:
    """The result of ``check_quality``.

    Attributes:
        threshold: Minimum cosine for a match that it was checked with.
        samples: Number of samples that were compared; those of an older model are left out.
        checked: How many of them have another sample of the same person.
        recognized: How many of these the other samples recognize.
        single: Number of people with one sample, which nothing can be compared with.
        impostor: The highest cosine of samples of two people; None with fewer than two people.
        findings: Samples that are probably wrong, the worst first, at most 200.
        similar: People who look alike, the most similar first.
        people: Each person, the one with the smallest distance from the others first.
        like_ignored: People with a sample that reaches ``threshold`` with a face on the ignore list, so that cameras
            may report nothing about them; at most 200.
    """

    threshold: float
    samples: int
    checked: int
    recognized: int
    single: int
    impostor: float | None
    findings: tuple[SampleFinding, ...]
    similar: tuple[SimilarPeople, ...]
    people: tuple[PersonQuality, ...]
    like_ignored: tuple[PersonLikeIgnored, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each finding, for each two people who may be taken for each other, and for each person who
        looks like an ignored face."""
        alike = (describe_similar(pair) for pair in self.similar if pair.confused)
        return (*map(describe_finding, self.findings), *alike, *map(describe_like_ignored, self.like_ignored))


def suggest_threshold(cosine: float) -> float:
    """A threshold for people whose samples have this ``cosine``: a little above, with two digits, at most 1."""
    return min(1.0, math.ceil((cosine + ABOVE) * 100) / 100)


def describe_like_ignored(one: PersonLikeIgnored) -> str:
    """One sentence: who looks like a face on the ignore list, and what to do."""
    return (
        f"{in_a_line(one.name)} looks like a face on the ignore list (cosine {one.cosine:.3f}), so cameras may report "
        "nothing about this person: `rkface strangers ignored` lists it, `rkface strangers restore ID` removes an entry"
    )


def describe_finding(finding: SampleFinding) -> str:
    """One sentence: what is wrong with the sample, and what to do."""
    sample, near = finding.sample, finding.near
    name, command = in_a_line(sample.name), f"`rkface gallery remove {sample.person} {sample.sample}`"
    if finding.problem == "contradictory":
        return (
            f"sample {sample.sample} of {name} looks more like sample {near.sample} of {in_a_line(near.name)} (cosine "
            f"{finding.cosine:.3f}) than like the other samples of {name} ({finding.own:.3f}): look at both; if it "
            f"shows somebody else, {command}"
        )
    return (
        f"sample {sample.sample} of {name} is unlike the other samples (highest cosine {finding.cosine:.3f}, with "
        f"sample {near.sample}): look at both; if it shows somebody else or is a bad picture, {command}"
    )


def describe_similar(pair: SimilarPeople) -> str:
    """One sentence: who may be taken for whom, and what to do."""
    first, second = pair.first, pair.second
    same = f"if they are one person, `rkface gallery merge {first.person} {second.person}`; " if pair.maybe_same else ""
    return (
        f"{in_a_line(first.name)} and {in_a_line(second.name)} look alike (samples {first.sample} and {second.sample}, "
        f"cosine {pair.cosine:.3f}): {same}if they are two, give both a threshold of their own: "
        f"`rkface gallery threshold {pair.suggested:.2f} {first.person} {second.person}`"
    )
