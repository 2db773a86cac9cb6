"""``rkface hub search`` and ``rkface hub index``. Imports nothing heavy before it runs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.arguments import fraction, integer_from
from ..core.messages import show_message
from ..core.text import counted, in_a_line
from .hub_options import add_hub, open_hub
from .options import add_backend, add_bundle, add_json, print_json

if TYPE_CHECKING:
    from ..service.photo_search import FoundPerson, SearchedPhoto


def search(parser: ArgumentParser) -> None:
    """Say who is in a photo, of all people of the hub, or of those of some sites.

    For each face, the most similar people are listed with their cosine (1 = identical, around 0 = unrelated), whether
    that reaches the threshold, and the sites where the person is known now. The bundle must have the recognizer of the
    boards. Nothing of the photo is kept.

    The search compares all samples, or, if there are many, those that an index finds: `rkface hub index` builds it.
    The exit code is 0, whether somebody was recognized or not.

    examples:
      rkface hub search visitor.jpg
      rkface hub search visitor.jpg --site headquarters --site warehouse --top 10
      rkface hub search visitor.jpg --exact --json
    """
    parser.add_argument("photo", type=Path, metavar="PHOTO", help="a photo, with one or more faces")
    parser.add_argument("--site", action="append", default=[], metavar="SITE", help="only people who are known there")
    parser.add_argument(
        "--top", type=integer_from(1, 100), default=5, metavar="K", help="people for each face (default: %(default)s)"
    )
    parser.add_argument("--exact", action="store_true", help="compare all samples, however many there are")
    parser.add_argument(
        "--threshold", type=fraction, metavar="T", help="minimum cosine of a match, 0 to 1 (default: the bundle's)"
    )
    add_bundle(parser)
    add_backend(parser)
    add_hub(parser)
    add_json(parser, "one object")
    parser.set_defaults(run=_search)


def index(parser: ArgumentParser) -> None:
    """Build the index that makes searches over many people fast; or build it again, for embeddings of another model.

    PostgreSQL keeps it up to date from then on. Searches compare all samples up to 50,000, which takes less than a
    tenth of a second on a workstation; with more, the index finds candidates, and only their cosines are computed.
    Boards and searches go on while it is built. The user must own the hub's tables.

    examples:
      rkface hub index
      rkface hub index --memory 8192
    """
    parser.add_argument(
        "--memory",
        type=integer_from(64, 1_000_000),
        default=2048,
        metavar="MB",
        help="what the server may use; 2 KB for each sample are fast (default: %(default)s)",
    )
    add_hub(parser)
    parser.set_defaults(run=_index)


def _search(options: Namespace) -> int:
    from ..inference.open_bundle import open_bundle
    from ..service.photo_search import search_photo
    from ..vision.image import read_image

    image = read_image(options.photo)
    with open_hub(options) as hub, open_bundle(options.bundle, options.backend) as pipeline:
        found = search_photo(
            pipeline,
            hub,
            image,
            people=options.top,
            sites=options.site,
            threshold=options.threshold,
            method="exact" if options.exact else None,
        )
    if options.json:
        print_json({"photo": str(options.photo), **asdict(found)})
    else:
        _print(options.photo, found)
    if found.lacks_index:
        print("rkface: all samples were compared, which is slow: `rkface hub index` builds an index", file=sys.stderr)
    if found.reason:
        show_message(f"{options.photo}: {found.reason}")
    return 0


def _print(photo: Path, found: SearchedPhoto) -> None:
    for face in found.faces:
        x1, y1, x2, y2 = face.box
        flaw = f": {face.flaw}" if face.flaw else ""
        print(in_a_line(f"{photo}: face {face.number} at {x1},{y1} to {x2},{y2}, quality {face.quality:.2f}{flaw}"))
        for person in face.matches:
            print(in_a_line(f"  {_sentence(person)}"))
    print(f"threshold {found.threshold:.4f}")


def _sentence(person: FoundPerson) -> str:
    verdict = "same person" if person.same else "not certain"
    return f"{person.cosine:.4f}  {verdict}: {person.name}; known at {', '.join(person.sites) or 'no site now'}"


def _index(options: Namespace) -> int:
    from ..core.progress import stage
    from ..hub.search_index import build_index

    with open_hub(options) as hub, open_hub(options) as watch, stage("index") as line:
        built = build_index(hub, watch, line.advance, memory=options.memory)
        line.note = f"{counted(built.samples, 'sample')}, {built.bytes / 1e6:.0f} MB"
    print("the index is ready: searches of more than 50,000 samples use it")
    return 0
