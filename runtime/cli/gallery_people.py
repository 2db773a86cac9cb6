"""The actions of ``rkface gallery`` on people. Imports nothing heavy before one runs."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..core.errors import InputError
from ..core.progress import stage
from .gallery_options import date, open_gallery, print_erasure_report

if TYPE_CHECKING:
    pass


def list_(parser: ArgumentParser) -> None:
    """Who is in the gallery: name, samples, last change and id."""
    parser.add_argument("--json", action="store_true", help="a line for each person, for programs")
    parser.set_defaults(run=_list)


def show(parser: ArgumentParser) -> None:
    """One person's samples, and who else of the gallery looks most like them."""
    parser.add_argument("person", metavar="PERSON", help="name or id")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_show)


def rename(parser: ArgumentParser) -> None:
    """Give a person another name; the id stays."""
    parser.add_argument("person", metavar="PERSON", help="name or id")
    parser.add_argument("name", metavar="NAME", help="the new one")
    parser.set_defaults(run=_rename)


def merge(parser: ArgumentParser) -> None:
    """Make one person of two who were enrolled under two names."""
    parser.add_argument("person", metavar="PERSON", help="who goes, name or id")
    parser.add_argument("into", metavar="INTO", help="who gets the samples and keeps name and id")
    parser.set_defaults(run=_merge)


def remove(parser: ArgumentParser) -> None:
    """Delete single samples, such as a photo of somebody else; backups keep them until they grow old."""
    parser.add_argument("person", metavar="PERSON", help="name or id")
    parser.add_argument("samples", nargs="+", type=int, metavar="SAMPLE", help="number, from `rkface gallery show`")
    parser.set_defaults(run=_remove)


def forget(parser: ArgumentParser) -> None:
    """Delete people for good: here, in every backup that rkface made, and in what a service keeps and has yet to tell.

    Afterwards none of these files holds a byte of their embeddings and crops, or their names; a service takes back what
    its broker keeps, and tells receivers of events to delete the rest, now if it runs, else when it starts. Exports,
    event files, and copies that were made without rkface, are yours to delete. A flash disk may keep old blocks that no
    file shows: encrypt it.
    """
    parser.add_argument("people", nargs="+", metavar="PERSON", help="name or id")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=_forget)


ACTIONS = (list_, show, rename, merge, remove, forget)


def _list(options: Namespace) -> int:
    with open_gallery(options) as known:
        people = known.people()
        state = known.state()
    for person in people:
        if options.json:
            print(json.dumps(asdict(person), ensure_ascii=False))
        else:
            print(f"{person.name:28} {person.samples:4} samples  {date(person.changed)}  {person.id}")
    print(f"{state.people} people, {state.samples} samples", file=sys.stderr)
    if state.ignored:
        print(f"rkface: {state.ignored} samples of an older model are ignored: enroll them again", file=sys.stderr)
    return 0


def _show(options: Namespace) -> int:
    import numpy as np

    with open_gallery(options) as known:
        person = known.person(options.person)
        samples = known.samples(person)
        own = [sample.embedding for sample in samples if sample.identity == known.identity]
        found = known.search(np.stack(own), 4) if own else []
    nearest: dict[str, float] = {}
    for match in (match for matches in found for match in matches if match.person != person.id):
        nearest[match.name] = max(match.cosine, nearest.get(match.name, -1.0))
    said = [
        {
            "id": sample.id,
            "quality": round(sample.quality, 3),
            "source": sample.source,
            "created": sample.created,
            "crop": sample.crop is not None,
            "identity": sample.identity,
        }
        for sample in samples
    ]
    if options.json:
        print(json.dumps(asdict(person) | {"samples": said, "nearest": nearest}, ensure_ascii=False))
        return 0
    print(f"{person.name} ({person.id}), since {date(person.created)}")
    for key, value in person.metadata.items():
        print(f"  {key}: {value}")
    for sample in samples:
        crop = "" if sample.crop else ", no crop"
        print(f"  {sample.id:6}  {date(sample.created)}  quality {sample.quality:.2f}{crop}  {sample.source}")
    for name, cosine in sorted(nearest.items(), key=lambda item: -item[1])[:3]:
        print(f"  looks like {name}: cosine {cosine:.3f}")
    return 0


def _rename(options: Namespace) -> int:
    with open_gallery(options) as known:
        known.rename(known.person(options.person), options.name)
    return 0


def _merge(options: Namespace) -> int:
    with open_gallery(options) as known:
        known.merge(known.person(options.person), known.person(options.into))
    return 0


def _remove(options: Namespace) -> int:
    with open_gallery(options) as known:
        known.remove_samples(known.person(options.person), options.samples)
    return 0


def _forget(options: Namespace) -> int:
    from ..service import erasure

    with open_gallery(options) as known:
        people = list({person.id: person for person in map(known.person, options.people)}.values())
        names = ", ".join(f"{person.name} ({person.samples} samples)" for person in people)
        if not options.yes:
            if not sys.stdin.isatty():
                raise InputError(f"this would delete {names} for good: say --yes")
            if input(f"Delete {names}, here and in all backups, for good? [y/N] ").strip().lower() not in ("y", "yes"):
                print("nothing was deleted", file=sys.stderr)
                return 0
        with stage("forgetting"):
            report = erasure.forget_by_command(known, people)
    return print_erasure_report(report)
