"""A hub in an embedded PostgreSQL with many people, for the benchmarks of the hub."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.embedded import start_embedded
from rkface.runtime.hub.migrations import migrate

IDENTITY = "1" * 32  # of the model that no embedding here is of
SITE = "headquarters"
Hub = psycopg.Connection[Any]


@contextmanager
def temporary_hub(buffers: str = "128MB") -> Iterator[str]:
    """The address of an empty hub, which is deleted at the end. PostgreSQL has its default settings, but for its shared
    ``buffers``: its documentation recommends a quarter of the memory of a server."""
    with tempfile.TemporaryDirectory(prefix="rkface-bench-") as folder:  # a short path: the name of a socket is limited
        server, address = start_embedded(Path(folder) / "pg")
        with connect(address) as hub:
            hub.execute(f"ALTER SYSTEM SET shared_buffers = '{buffers}'".encode())
        server.cleanup()
        server, address = start_embedded(Path(folder) / "pg")
        try:
            with connect(address) as hub:
                migrate(hub)
            yield address
        finally:
            server.cleanup()


def person_id(number: int) -> str:
    return f"{number:032x}"


def fill(hub: Hub, vectors: np.ndarray, samples_of_each: int = 1, *, triggers: bool = False) -> None:
    """Write people with the unit ``vectors`` (N×D float32), known at ``SITE``. Without ``triggers``, no board hears of
    them, which is faster."""
    people = -(-len(vectors) // samples_of_each)
    header = np.array([vectors.shape[1], 0], ">u2").tobytes()  # of pgvector's binary format
    with hub.transaction(), hub.cursor() as cursor:
        if not triggers:
            cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("INSERT INTO rkface.setting VALUES ('identity', %s) ON CONFLICT DO NOTHING", [IDENTITY])
        cursor.execute("INSERT INTO rkface.site VALUES (%s) ON CONFLICT DO NOTHING", [SITE])
        with cursor.copy("COPY rkface.person (id, name) FROM STDIN") as copy:
            for number in range(people):
                copy.write_row((person_id(number), f"Person {number}"))
        with cursor.copy("COPY rkface.stay (person, site) FROM STDIN") as copy:
            for number in range(people):
                copy.write_row((person_id(number), SITE))
        columns = "person, identity, embedding, quality, source"
        with cursor.copy(f"COPY rkface.sample ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "text", "bytea", "float4", "text"])  # a vector is sent as its bytes
            for number, vector in enumerate(vectors):
                data = header + vector.astype(">f4").tobytes()
                copy.write_row((person_id(number // samples_of_each), IDENTITY, data, 0.75, "synthetic"))
    hub.execute("VACUUM ANALYZE rkface.sample")
