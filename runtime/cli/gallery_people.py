"""The actions of ``rkface gallery`` on people. Imports nothing heavy before one runs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..core.arguments import positive_integer
from ..core.progress import stage
from ..core.text import counted, in_a_line
from .gallery_options import add_gallery, format_time, open_gallery, print_erasure_report
from .options import add_json, add_yes, confirmed, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..gallery.gallery import Gallery
    from ..gallery.people import Person, Sample

NEAREST = 3  # people named as looking most alike


def list_(parser: ArgumentParser) -> None:
    """List the people in the gallery: name, number of samples, last change and id.

    With --json, each person is one object on a line: {"id", "name", "metadata", "created", "changed", "samples"}; times
    are seconds since 1970.

    examples:
      rkface gallery list --gallery gallery.sqlite
      rkface gallery list --json | jq -r .name
    """
    add_gallery(parser)
    add_json(parser, "one object a line for each person")
    parser.set_defaults(run=_list)


def show(parser: ArgumentParser) -> None:
    """Show a person's samples, and the other people who look most like them.

    With --json, prints one object: the person as in `rkface gallery list --json`, but "samples" has each sample, and
    "nearest" the highest cosine to each similar person by name. Embeddings are not printed.

    examples:
      rkface gallery show "Ada Lovelace"
    """
    _add_person(parser)
    add_gallery(parser)
    add_json(parser, "one object")
    parser.set_defaults(run=_show)


def rename(parser: ArgumentParser) -> None:
    """Give a person another name. The id stays the same.

    examples:
      rkface gallery rename Ada "Ada King"
    """
    _add_person(parser)
    parser.add_argument("name", metavar="NAME", help="the new name")
    add_gallery(parser)
    parser.set_defaults(run=_rename)


def merge(parser: ArgumentParser) -> None:
    """Merge two people into one, for a person who was enrolled under two names. It cannot be undone.

    examples:
      rkface gallery merge Augusta Ada            # Ada gets the samples of Augusta, who is removed from the gallery
      rkface gallery merge --yes Augusta Ada      # does not ask
    """
    parser.add_argument("person", metavar="PERSON", help="name or id of the person who is removed")
    parser.add_argument("into", metavar="INTO", help="name or id of the person who gets the samples")
    add_yes(parser)
    add_gallery(parser)
    parser.set_defaults(run=_merge)


def split(parser: ArgumentParser) -> None:
    """Give samples that show somebody else to that person, who is created if needed.

    Backups keep them as samples of the person before, until the other person is forgotten.

    examples:
      rkface gallery show Ada
      rkface gallery split Ada Grace 17 18      # samples 17 and 18 of Ada show Grace
    """
    _add_person(parser)
    parser.add_argument("name", metavar="NAME", help="name of the person who gets the samples")
    parser.add_argument(
        "samples", nargs="+", type=positive_integer, metavar="SAMPLE", help="number, from `rkface gallery show`"
    )
    add_gallery(parser)
    parser.set_defaults(run=_split)


def remove(parser: ArgumentParser) -> None:
    """Delete single samples, such as a photo of somebody else. Backups keep them until they are replaced.

    examples:
      rkface gallery show Ada
      rkface gallery remove Ada 17 18
    """
    _add_person(parser)
    parser.add_argument(
        "samples", nargs="+", type=positive_integer, metavar="SAMPLE", help="number, from `rkface gallery show`"
    )
    add_gallery(parser)
    parser.set_defaults(run=_remove)


def forget(parser: ArgumentParser) -> None:
    """Delete people forever: from the gallery, its backups, the appearance log and events that wait to be sent.

    Afterwards, none of these files contains their embeddings, aligned faces or names. A service removes what its MQTT
    broker retains, and tells the receivers of events to delete the rest: now if it is running, else when it starts.
    Exports, event files, and copies made without rkface are yours to delete. A flash disk may keep old blocks that no
    file shows: encrypt the disk.

    With --json, prints one object: {"forgotten": [{"id", "name", "samples"}], "done", "left"}; done and left are
    sentences about what was erased and where data may remain. Exit code: 1 if data may remain.

    examples:
      rkface gallery forget "Ada Lovelace"
      rkface gallery forget --yes Ada Grace
    """
    parser.add_argument("people", nargs="+", metavar="PERSON", help="name or id")
    add_yes(parser)
    add_gallery(parser)
    add_json(parser, "one object")
    parser.set_defaults(run=_forget)


ACTIONS = (list_, show, rename, merge, split, remove, forget)


def _add_person(parser: ArgumentParser) -> None:
    parser.add_argument("person", metavar="PERSON", help="name or id")


def _list(options: Namespace) -> int:
    with open_gallery(options) as gallery:
        people = gallery.people()
        state = gallery.state()
    for person in people:
        if options.json:
            print_json(asdict(person))
        else:
            samples = counted(person.samples, "sample")
            print(f"{in_a_line(person.name):28} {samples:>12}  {format_time(person.changed)}  {person.id}")
    print(f"{counted(state.people, 'person', 'people')}, {counted(state.samples, 'sample')}", file=sys.stderr)
    if state.ignored:
        print(
            f"rkface: ignored: {counted(state.ignored, 'sample')} of an older model; enroll these people again",
            file=sys.stderr,
        )
    return 0


def _show(options: Namespace) -> int:
    with open_gallery(options) as gallery:
        person = gallery.person(options.person)
        samples = gallery.samples(person)
        nearest = _nearest_people(gallery, person, samples)
    if options.json:
        print_json(asdict(person) | {"samples": [_sample_to_json(sample) for sample in samples], "nearest": nearest})
        return 0
    print(f"{in_a_line(person.name)} ({in_a_line(person.id)}), since {format_time(person.created)}")
    if person.threshold is not None:
        print(f"  threshold of their own: {person.threshold:.3f}")
    for key, value in person.metadata.items():
        print(in_a_line(f"  {key}: {value}"))
    for sample in samples:
        crop = "" if sample.crop else ", no crop"
        start = f"  {sample.id:6}  {format_time(sample.created)}  quality {sample.quality:.2f}{crop}"
        print(f"{start}  {in_a_line(sample.source)}")
    for name, cosine in sorted(nearest.items(), key=lambda item: -item[1])[:NEAREST]:
        print(f"  looks like {in_a_line(name)}: cosine {cosine:.3f}")
    return 0


def _nearest_people(gallery: Gallery, person: Person, samples: Iterable[Sample]) -> dict[str, float]:
    """The people who look most like ``person``, by name, each with the highest cosine of any sample."""
    import numpy as np

    embeddings = [sample.embedding for sample in samples if sample.identity == gallery.identity]
    found = gallery.search(np.stack(embeddings), NEAREST + 1) if embeddings else []
    nearest: dict[str, float] = {}
    for match in (match for matches in found for match in matches if match.person != person.id):
        nearest[match.name] = max(match.cosine, nearest.get(match.name, -1.0))
    return nearest


def _sample_to_json(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "quality": round(sample.quality, 3),
        "source": sample.source,
        "created": sample.created,
        "crop": sample.crop is not None,
        "identity": sample.identity,
    }


def _rename(options: Namespace) -> int:
    with open_gallery(options) as gallery:
        gallery.rename(gallery.person(options.person), options.name)
    return 0


def _merge(options: Namespace) -> int:
    with open_gallery(options) as gallery:
        person, into = gallery.person(options.person), gallery.person(options.into)
        if not confirmed(options, f"merge {_with_samples(person)} into {_with_samples(into)}, which cannot be undone"):
            return 1
        gallery.merge(person, into)
    return 0


def _split(options: Namespace) -> int:
    from ..gallery.split import move_samples

    with open_gallery(options) as gallery:
        move_samples(gallery, gallery.person(options.person), options.samples, options.name)
    return 0


def _remove(options: Namespace) -> int:
    with open_gallery(options) as gallery:
        gallery.remove_samples(gallery.person(options.person), options.samples)
    return 0


def _forget(options: Namespace) -> int:
    from ..service import erasure

    with open_gallery(options) as gallery:
        people = list({person.id: person for person in map(gallery.person, options.people)}.values())
        names = ", ".join(map(_with_samples, people))
        if not confirmed(options, f"delete {names}, here and in all backups, forever"):
            return 1
        with stage("forgetting"):
            report = erasure.forget_by_command(gallery, people)
    if options.json:
        forgotten = [{"id": person.id, "name": person.name, "samples": person.samples} for person in people]
        print_json({"forgotten": forgotten, **asdict(report)})
    return print_erasure_report(report)


def _with_samples(person: Person) -> str:
    return f"{person.name} ({counted(person.samples, 'sample')})"
