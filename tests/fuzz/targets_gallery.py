"""Galleries, backups, keys and lines to import, as somebody may hand them in."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path

import numpy as np
from fuzz_target import Target

from rkface.runtime.core.errors import InputError, RkfaceError
from rkface.runtime.enrollment.enroll import EnrollOptions
from rkface.runtime.enrollment.import_export import export_people, import_record, read_records
from rkface.runtime.gallery.backup import back_up, forget
from rkface.runtime.gallery.encryption import read_key
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.ignored import ignore_face, list_ignored, read_ignored_picture, stop_ignoring
from rkface.runtime.gallery.integrity import find_problems
from rkface.runtime.gallery.leave_one_out import check_quality
from rkface.runtime.gallery.people import Sample
from rkface.runtime.gallery.restore import restore
from rkface.runtime.gallery.reviews import Review, add_review, list_reviews, read_review_embeddings, set_threshold

MODEL, NUMBERS = "1" * 32, 8


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder, in memory if possible."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sample(seed: int, crop: bytes | None = b"no picture") -> Sample:
    vector = np.random.default_rng(seed).standard_normal(NUMBERS)
    return Sample((vector / np.linalg.norm(vector)).astype(np.float32), crop, 0.9, f"{seed}.jpg")


def galleries() -> list[bytes]:
    with folder() as there:
        path = there / "gallery.sqlite"
        with Gallery(path, MODEL, create=True) as gallery:
            empty = back_up(gallery).read_bytes()
            for seed, name in enumerate(("Ada", "Grace", "Hedy")):
                gallery.add(name, [sample(seed)], {"room": seed})
            forget(gallery, gallery.person("Hedy"))
            ada, grace = gallery.people()
            set_threshold(gallery, ada, 0.6)
            add_review(gallery, Review("a", "door", 1.8e9, grace.id, ada.id, 0.5, 0.4, 0.8), sample(3).embedding, MODEL)
            stop_ignoring(gallery, ignore_face(gallery, [sample(5)]))
            ignore_face(gallery, [sample(6), sample(7)], "the postman")
            backup = back_up(gallery).read_bytes()
        return [path.read_bytes(), backup, empty]


def read_gallery(data: bytes) -> None:
    """Open the file and call every reader; each must fail with an error for users or not at all."""
    with folder() as there:
        (path := there / "gallery.sqlite").write_bytes(data)
        with Gallery(path) as gallery:
            people = gallery.people()
            for use in (
                lambda: gallery.search(sample(1).embedding[None], 3),
                lambda: [gallery.samples(person) for person in people],
                lambda: export_people(gallery, people, StringIO(), table=False, embeddings=True, crops=there),
                lambda: export_people(gallery, people, StringIO(), table=True, embeddings=True, crops=None),
                gallery.state,
                lambda: gallery.person("Adda"),
                lambda: find_problems(gallery),
                lambda: back_up(gallery),
                lambda: check_quality(gallery, 0.4),
                lambda: list_reviews(gallery),
                lambda: read_review_embeddings(gallery, MODEL, ["a"]),
                lambda: [read_ignored_picture(gallery, one.id) for one in list_ignored(gallery)],
                lambda: gallery.anchor_cosines(sample(1).embedding[None]),
                lambda: ignore_face(gallery, [sample(8)]),
                lambda: [stop_ignoring(gallery, one) for one in list_ignored(gallery)],
                lambda: gallery.rename(people[0], "Eve"),
                lambda: gallery.merge(people[0], people[-1]),
                lambda: forget(gallery, people[0]),
                lambda: gallery.add("Ida", [sample(4)]),
            ):
                with suppress(RkfaceError, IndexError if not people else RkfaceError):
                    use()


def read_backup(data: bytes) -> None:
    with folder() as there:
        (path := there / "backup.sqlite").write_bytes(data)
        restore(there / "gallery.sqlite", path)
        with Gallery(there / "gallery.sqlite") as gallery:
            gallery.search(sample(1).embedding[None])


def lines() -> list[bytes]:
    with folder() as there, Gallery(there / "gallery.sqlite", MODEL, create=True) as gallery:
        for seed, name in enumerate(("Ada", "Grace")):
            gallery.add(name, [sample(seed, None), sample(seed + 10, None)], {"room": seed})
        out = StringIO()
        export_people(gallery, gallery.people(), out, table=False, embeddings=True, crops=None)
        whole = out.getvalue().encode()
        fields = json.loads(whole.splitlines()[0])
        fields["samples"][0]["crop"] = "a.png"
        return [whole, json.dumps(fields).encode()]


def read_lines(data: bytes) -> None:
    """Import what can be read; a person without samples must never be there afterwards."""
    with folder() as there:
        (path := there / "people.jsonl").write_bytes(data)
        with Gallery(there / "gallery.sqlite", MODEL, create=True) as gallery:
            for record in read_records(path, there):
                if not isinstance(record, InputError):
                    with suppress(InputError):
                        import_record(gallery, record, None, EnrollOptions())
            assert all(person.samples for person in gallery.people())
            gallery.search(sample(1).embedding[None])


def read_key_file(data: bytes) -> None:
    with folder() as there:
        (path := there / "key").write_bytes(data)
        path.chmod(0o600)
        read_key(path)


TARGETS = (
    Target("gallery", read_gallery, galleries, mutations=100),
    Target("backup", read_backup, galleries, mutations=100),
    Target("import-lines", read_lines, lines, mutations=200),
    Target("gallery-key", read_key_file, lambda: [b"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n"]),
)
