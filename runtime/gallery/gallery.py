"""The gallery: the people who are known, and search among their samples.

The SQLite file has the data; the search index in memory is built from it. Both contain biometric data: the file has
mode 0600, and no log message contains any of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count, check_type
from ..core.errors import InputError
from ..core.text import readable, shell_quoted
from .anchors import NO_ANCHOR, nearer_than_anchors
from .blocks import Precision
from .current_snapshot import CurrentSnapshot
from .database import GalleryDatabase
from .encryption import Key
from .lease import Lease
from .match import Match
from .people import GalleryState, Person, PersonName, Sample, check_person, check_probes, check_sample
from .person_changes import delete_samples, merge_people, rename_person
from .rows import (
    embedding_opener,
    embedding_to_bytes,
    find_spelling,
    insert_person,
    insert_sample,
    read_embeddings,
    select_people,
    select_samples,
)
from .snapshot import Snapshot, read_snapshot
from .stored_values import SELECT_EMBEDDINGS


class Gallery(GalleryDatabase):
    """People and their samples in an SQLite file, with search in memory.

    All methods can be called from any thread. A gallery is a context manager: the end of the block closes it.

    The first sample decides the identity of a gallery (see ``embedding_identity``): embeddings of another model are
    refused. ``rkface gallery reembed`` changes it. An encrypted gallery needs its key for everything that touches
    embeddings and crops; without the key, people can still be listed, backed up and deleted.

    Args:
        path: The file, such as "gallery.sqlite". It gets mode 0600.
        identity: ``embedding_identity`` of the bundle that makes the probes. None: the gallery's own identity.
        create: Create the file if it does not exist.
        precision: Precision of the search index: "float32", "int8" (nine bits for a number), or "auto": int8 with
            50,000 samples or more. Cosines are the same; see docs/gallery.md for what int8 may miss.
        key: Key of an encrypted gallery, from ``read_key``.

    Raises:
        InputError: The file does not exist (without ``create``), is not a gallery, or was made by a newer rkface.
        WorkError: The file is damaged, or another program has it locked.

    Example:
        >>> import numpy as np
        >>> from rkface import Gallery, Sample
        >>> face = np.zeros(512, np.float32)
        >>> face[0] = 1.0  # in practice: pipeline.recognize(image).embeddings[0]
        >>> with Gallery("people.sqlite", identity="example", create=True) as gallery:
        ...     ada = gallery.add("Ada", [Sample(face, crop=None, quality=1.0, source="ada.jpg")])
        ...     for match in gallery.search(face[None])[0]:
        ...         print(match.name, match.cosine)
        Ada 1.0
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        identity: str | None = None,
        *,
        create: bool = False,
        precision: Precision = "auto",
        key: Key | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            raise InputError(f"there is no precision {precision!r}: choose one of {', '.join(get_args(Precision))}")
        super().__init__(path, identity, create=create, key=key)
        self.searches = 0
        self.lease = Lease(self)
        self._precision = precision
        self._snapshot = CurrentSnapshot(self, self._read)

    def people(self) -> list[Person]:
        """All people, sorted by name."""
        return select_people(self, "ORDER BY name")

    def person(self, key: str) -> Person:
        """Find a person by id or by name.

        Raises:
            InputError: There is no such person. The message suggests similar names.
        """
        check_type(key, str, "a person's id or name must be a string", 'pass a name such as "Ada"')
        key = readable(key)
        found = select_people(self, "WHERE person.id = ?1 OR name = ?1 ORDER BY person.id = ?1 DESC", [key])
        found = found or select_people(self, "WHERE name = ?", [find_spelling(self, key)])
        if found:
            return found[0]
        import difflib  # not at the start of the service

        similar = difflib.get_close_matches(key, [person.name for person in self.people()], n=3)
        see = f"see `rkface gallery list --gallery {shell_quoted(self.path)}`"
        hint = f"did you mean {' or '.join(similar)}?" if similar else see
        raise InputError(f"{self.path}: nobody is called {key!r}: {hint}")

    def samples(self, person: Person) -> list[Sample]:
        """All samples of ``person``, oldest first.

        Raises:
            InputError: The gallery is encrypted and was opened without its key.
        """
        check_person(person)
        return select_samples(self, person.id)

    def has_sample(self, name: str, sample: Sample) -> bool:
        """Whether the person ``name`` already has a sample with exactly this embedding."""
        check_sample(sample)
        stored = embedding_to_bytes(sample.embedding)
        rows = self.read(
            f"{SELECT_EMBEDDINGS} WHERE person = (SELECT id FROM person WHERE name = ?)", [find_spelling(self, name)]
        )
        return stored in map(embedding_opener(self), rows)

    def has_person(self, name: str) -> bool:
        """Whether there is a person with this name, in any of its spellings."""
        return bool(self.read("SELECT 1 FROM person WHERE name = ?", [find_spelling(self, name)]))

    def add(self, name: str, samples: Iterable[Sample], metadata: Mapping[str, Any] | None = None) -> Person:
        """Add samples to the person ``name``, who is created if there is no such person.

        Args:
            name: Name of the person, at most 200 characters, all of them visible. Spaces at the ends are removed, and
                accents are stored in one form (Unicode's NFC).
            samples: The new samples; may be empty.
            metadata: Values to add to the person's metadata. They replace values with the same keys.

        Returns:
            The person with the new samples. They are on the disk.

        Raises:
            InputError: The name is invalid, or an embedding is of another model, has the wrong shape, or contains NaN
                or infinity. Nothing was added then.
        """
        check_type(samples, Iterable, "samples must be a list", "write [sample]")
        new, now = list(samples), time.time()
        with self.lock:  # held until the index is up to date, so that no other thread changes the person in between
            with self.transaction():
                id = insert_person(self, name, metadata or {}, now)
                ids = [insert_sample(self, id, sample, now) for sample in new]
            person = self.person(id)
            self.update_index(
                lambda snapshot: snapshot.with_samples(PersonName(person.id, person.name, person.threshold), new, ids)
            )
            return person

    def remove_samples(self, person: Person, samples: Collection[int]) -> None:
        """Delete some samples of ``person``. Backups keep them.

        Args:
            person: The person.
            samples: Numbers of the samples (``Sample.id``).

        Raises:
            InputError: A sample does not belong to this person. Nothing was deleted then.
        """
        with self.transaction():
            delete_samples(self, person, samples)
        self.update_index()

    def rename(self, person: Person, name: str) -> None:
        """Change the name of ``person``; the id stays.

        Raises:
            InputError: The name is invalid, or another person has it; or the gallery is encrypted and was opened
                without its key, because encrypted values are bound to the name.
        """
        with self.transaction():
            rename_person(self, person, name)
        self.update_index()

    def merge(self, person: Person, into: Person) -> None:
        """Give all samples of ``person`` to ``into`` and remove ``person``.

        ``into`` keeps its name, its id and its metadata, and gets the metadata of ``person`` for keys that it lacks. It
        belongs to the groups of both.

        Raises:
            InputError: Both are the same person; or the gallery is encrypted and was opened without its key.
        """
        with self.transaction():
            merge_people(self, person, into)
        self.update_index()

    def search(self, probes: NDArray[np.float32], k: int = 1) -> list[list[Match]]:
        """Find the people who are most similar to each probe.

        Samples of another model (``state().ignored``) are left out, and so are people who are less similar to the probe
        than a face on the ignore list is: such a probe is nobody. A replica of a hub names nobody after the end of its
        lease.

        Args:
            probes: N×D float32, embeddings of unit length.
            k: Number of people to return for each probe, 1 or more.

        Returns:
            For each probe, up to ``k`` different people, most similar first. Compare ``Match.cosine`` with the match
            threshold (``Match.counts``): people below it are returned too.

        Raises:
            InputError: The probes have the wrong shape or type, or contain NaN or infinity; ``k`` is less than 1; the
                gallery is closed; or it is encrypted and was opened without its key.
        """
        check_count(k, "k, the number of people,")
        snapshot = self._snapshot.get()
        probes = check_probes(probes, snapshot.dimensions)
        self.searches += len(probes)
        found = snapshot.index.search(probes, k, lambda ids: read_embeddings(self, ids))
        matches = [self._named(_to_match(snapshot.people[hit.owner], hit.cosine) for hit in hits) for hits in found]
        return nearer_than_anchors(matches, snapshot.anchor_cosines(probes)) if len(snapshot.anchors) else matches

    def anchor_cosines(self, probes: NDArray[np.float32]) -> NDArray[np.float32]:
        """How similar each probe is to the nearest face on the ignore list (``rkface strangers ignored``).

        Args:
            probes: N×D float32, embeddings of unit length.

        Returns:
            N float32 cosines; -2 if the list is empty. ``search`` returns only people who are as near as this.

        Raises:
            InputError: As ``search``.
        """
        snapshot = self._snapshot.get()
        if not len(snapshot.anchors):
            return np.full(len(probes), NO_ANCHOR, np.float32)
        return snapshot.anchor_cosines(check_probes(probes, snapshot.dimensions))

    def refresh(self) -> bool:
        """Load the changes that other processes made; takes microseconds without changes. Call it once a second.

        Searches in other threads continue with the old state in the meantime.

        Returns:
            True if another process changed something.
        """
        with self.lock:
            changed = self._snapshot.refresh()
            self.lease.save_clock()
            return changed

    def state(self) -> GalleryState:
        """Numbers of people, samples and searches."""
        own = self.identity
        people, total, searched = self.read(
            "SELECT (SELECT count(*) FROM person), count(*), count(CASE identity WHEN ? THEN 1 END) FROM sample",
            [own if self.expected_identity in (None, own) else None],
        )[0]
        return GalleryState(people, total, total - searched, self._snapshot.precision, self.searches)

    def use_key(self, key: Key) -> None:
        """Use ``key`` from now on, for example after the gallery was encrypted."""
        self._key, self._cipher = key, None
        self.update_index()

    def update_index(self, change: Callable[[Snapshot], Snapshot] | None = None) -> None:
        """Update the search index after a transaction: see ``CurrentSnapshot.update``."""
        self._snapshot.update(change)

    def _named(self, matches: Iterable[Match]) -> list[Match]:
        """Those who may be named. If the most similar person may not be, the probe is nobody, and not the next one."""
        found = list(matches)
        if found and not self.lease.may_name(found[0].person):
            return []
        return [match for match in found if self.lease.may_name(match.person)]

    def _read(self) -> Snapshot:
        version = self.version()
        with self.consistent_read():
            self.lease.read()
            return read_snapshot(self, version, self._precision)


def _to_match(person: PersonName, cosine: float) -> Match:
    return Match(person.id, person.name, cosine, person.threshold)
