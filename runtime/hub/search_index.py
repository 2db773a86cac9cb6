"""The HNSW index over the embeddings of the hub (pgvector), for hubs with many samples.

It holds embeddings as halfvec, which is half of their size, and only those with the identity of the hub. PostgreSQL
keeps it up to date; `make bench-hub` measures what building it costs, and what it loses.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import InputError, WorkError
from .connection import hub_errors, import_psycopg
from .people import IDENTITY

if TYPE_CHECKING:
    from .connection import Hub

PREFIX = "sample_nearest_"  # of the name of the index; the identity of its embeddings follows
LINKS, CONSTRUCTION = 16, 100  # of HNSW: links of a sample (m), and candidates while building (ef_construction)
MEMORY = 2048  # MB that building may use: about 2 KB for each sample
MOST_NUMBERS = 4_000  # in a halfvec that pgvector can index
POLL = 0.2  # seconds between two looks at the progress


@dataclass(frozen=True)
class BuiltIndex:
    """``samples`` in the index, about; ``bytes`` of it on the disk."""

    samples: int
    bytes: int


def build_index(
    hub: Hub, watch: Hub, on_progress: Callable[[int, int], None] = lambda done, total: None, *, memory: int = MEMORY
) -> BuiltIndex:
    """Build the index of the hub's embeddings, or build it again. Boards and searches go on meanwhile.

    ``watch`` is a second connection: ``on_progress`` gets what it says, samples done and about how many there are.
    ``memory``: MB that the server may use. An index of embeddings with another identity is deleted.

    Raises InputError for a hub without embeddings, and WorkError if the server has not enough disk or memory.
    """
    with hub_errors():
        identity, dimensions = _read_model(hub)
        name = f"{PREFIX}{identity}"
        drop_indices(hub)
        hub.execute("SELECT set_config('maintenance_work_mem', %s, false)", [f"{memory}MB"])
        statement = (
            f"CREATE INDEX CONCURRENTLY {name} ON rkface.sample "
            f"USING hnsw ((embedding::halfvec({dimensions})) halfvec_cosine_ops) "
            f"WITH (m = {LINKS}, ef_construction = {CONSTRUCTION}) WHERE identity = '{identity}'"
        )
        _execute_watched(hub, watch, statement, on_progress)
        hub.execute("ANALYZE rkface.sample")
        row = hub.execute(
            "SELECT (SELECT reltuples FROM pg_class WHERE oid = 'rkface.sample'::regclass), pg_relation_size(%s)",
            [f"rkface.{name}"],
        ).fetchone()
    assert row is not None
    return BuiltIndex(int(row[0]), int(row[1]))


def drop_indices(hub: Hub) -> None:
    """Delete the index, also one of another model, or one that was interrupted, which PostgreSQL keeps but does not
    use."""
    rows = hub.execute("SELECT relname FROM pg_class WHERE relnamespace = 'rkface'::regnamespace AND relkind = 'i' "
                       "AND starts_with(relname, %s)", [PREFIX]).fetchall()  # fmt: skip
    for (name,) in rows:
        hub.execute(f'DROP INDEX CONCURRENTLY rkface."{name}"'.encode())


def has_index(hub: Hub, identity: str, dimensions: int) -> bool:
    """Whether there is a complete index of the embeddings with ``identity``."""
    row = hub.execute(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indisvalid AND indexrelid = to_regclass(%s)",
        [f"rkface.{PREFIX}{checked_identity(identity)}"],
    ).fetchone()
    return row is not None and f"halfvec({dimensions})" in row[0]


def vector_version(hub: Hub) -> tuple[int, ...]:
    """The version of pgvector in this database, as in (0, 8)."""
    row = hub.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    return tuple(int(part) for part in row[0].split(".")[:2]) if row else (0,)


def checked_identity(identity: str) -> str:
    """``identity``, to be put into a statement. Raises InputError for another text."""
    if not re.fullmatch("[0-9a-f]{32}", identity):
        raise InputError("the identity of embeddings is 32 hexadecimal digits")
    return identity


def _read_model(hub: Hub) -> tuple[str, int]:
    """The identity of the hub's embeddings, and how many numbers each has."""
    row = hub.execute(
        "SELECT identity, vector_dims(embedding) FROM rkface.sample WHERE identity = (SELECT value FROM rkface.setting "
        "WHERE name = %s) AND embedding IS NOT NULL LIMIT 1",
        [IDENTITY],
    ).fetchone()
    if row is None:
        raise InputError(
            "the hub has no embeddings that it can read: enroll people first; encrypted ones cannot be indexed"
        )
    if row[1] > MOST_NUMBERS:
        raise InputError(f"pgvector cannot index embeddings of {row[1]} numbers, {MOST_NUMBERS} at most")
    return checked_identity(row[0]), int(row[1])


def _execute_watched(hub: Hub, watch: Hub, statement: str, on_progress: Callable[[int, int], None]) -> None:
    """Execute ``statement`` in a thread; tell what ``watch`` says about it. Ctrl-C cancels it at the server."""
    psycopg = import_psycopg()
    failed: list[Exception] = []

    def work() -> None:
        try:
            hub.execute(statement.encode())
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="hub-index")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL)
            row = watch.execute(
                "SELECT tuples_done, greatest(tuples_total, reltuples::bigint) FROM pg_stat_progress_create_index "
                "JOIN pg_class ON pg_class.oid = relid WHERE pid = %s",
                [hub.info.backend_pid],
            ).fetchone()
            if row is not None:
                on_progress(int(row[0]), int(row[1]))
    except BaseException:
        hub.cancel()
        thread.join()
        raise
    for error in failed:
        if isinstance(error, psycopg.errors.DiskFull | psycopg.errors.OutOfMemory):
            raise WorkError(
                "the server has not enough disk or shared memory for the index: make room there, give a container more "
                "shared memory (docker run --shm-size 2g), or use less with --memory"
            ) from error
        raise error
