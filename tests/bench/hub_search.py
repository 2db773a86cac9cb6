"""Search over all people of a hub beside faiss on the same vectors: the table of docs/hub.md.

    make bench-hub                                                    10,000 and 100,000 samples, and hub_sync.py
    make bench-hub SEARCH='--sizes 10000'                             a quick look
    make bench-hub SEARCH='--sizes 1000000 --probes 200'              needs 16 GB of memory, 12 GB of disk, and hours

The vectors are synthetic (search_samples.py): "random" is the worst case for any index that wants to skip samples,
"people" is like embeddings of a recognizer: three samples of each person, and a fourth one is the probe, with a cosine
of about 0.55 to each. A random probe has a cosine of 0.6 to the only sample of its person. An embedded PostgreSQL holds
them, with 1 GB of shared buffers, and its defaults otherwise.

rkface, exact and rkface, index are what `rkface hub search` and POST /v1/search do for a face:
all queries, with names and sites, and with a match threshold, below which all samples are compared after the index. The
others are one bare query, or one call of faiss on one core. Sides alternate, so that other load affects all. Times are
on the clock, as a user waits: p50 and p95. recall@1: for how many probes the first person is the one that comparing all
float32 finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

import gallery_search  # noqa: F401 - sets the number of threads before numpy is loaded, and finds faiss
import numpy as np
from hub_database import IDENTITY, Hub, fill, temporary_hub
from program import create_parser, format_table, write_results
from search_samples import KINDS, SAMPLES_OF_EACH, Kind, make_probes, make_samples
from stand_ins import DIMENSIONS

from rkface.runtime.core.progress import stage
from rkface.runtime.hub.connection import connect
from rkface.runtime.hub.search import BREADTH, Method, open_search
from rkface.runtime.hub.search_index import CONSTRUCTION, LINKS, build_index

COSINE = 0.6  # of a random probe and the sample of its person
THRESHOLD = 0.4  # of a match; strangers of these vectors reach 0.3 among a million
RERANKED = 400  # candidates of the binary index whose cosine is computed
SLOW_PROBES = 30  # of an engine that compares everything

Find = Callable[[np.ndarray], int]  # a probe, D float32 → number of a person


@dataclass(frozen=True)
class Engine:
    """``seconds`` to build it, ``megabytes`` that it adds to the disk or memory. ``slow``: it compares everything."""

    name: str
    find: Find
    seconds: float
    megabytes: float
    slow: bool = False


@dataclass(frozen=True)
class Row:
    """Results of one engine; ``p50`` and ``p95`` in milliseconds."""

    kind: Kind
    samples: int
    engine: str
    seconds: float
    megabytes: float
    p50: float
    p95: float
    recall: float
    probes: int
    server: str


def main() -> int:
    parser = create_parser(__doc__, "build/bench/hub-search")
    parser.add_argument("--sizes", type=int, nargs="+", default=(10_000, 100_000), help="samples (%(default)s)")
    parser.add_argument("--probes", type=int, default=1000, help="for each engine with an index (%(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=("people",), help="kinds of samples (%(default)s)")
    options = parser.parse_args()
    import faiss

    faiss.omp_set_num_threads(1)
    rows = [
        row for kind in options.kinds for size in options.sizes for row in measure(kind, size, options.probes)
    ]  # fmt: skip
    text = (
        f"{rows[0].server}, faiss {faiss.__version__}. HNSW of PostgreSQL "
        f"and of faiss: {LINKS} links, {CONSTRUCTION} candidates to build and {BREADTH} to search.\n"
    )
    write_results(options.out, f"{text}\n{format_rows(rows)}", [asdict(row) for row in rows])
    return 0


def measure(kind: Kind, size: int, probes: int) -> list[Row]:
    vectors, asked, each = make_material(kind, size, probes)
    right = np.concatenate([np.argmax(some @ vectors.T, axis=1) for some in np.array_split(asked, 20)]) // each
    with ExitStack() as opened:
        address = opened.enter_context(temporary_hub(buffers="1GB"))
        hub = opened.enter_context(connect(address))
        with stage(f"{kind}, {size:,}: write"):
            fill(hub, vectors, each)
        engines = [*engines_of_postgres(hub, address, size, opened), *engines_of_faiss(vectors, each)]
        server = hub.execute(
            "SELECT format('PostgreSQL %s, pgvector %s', current_setting('server_version'), extversion) "
            "FROM pg_extension WHERE extname = 'vector'"
        ).fetchone()[0]
        with stage(f"{kind}, {size:,}: search") as line:
            return [
                Row(kind, size, engine.name, engine.seconds, engine.megabytes, *times, recall, count, server)
                for engine, (times, recall, count) in zip(
                    engines, alternate(engines, asked, right, line.advance), strict=True
                )
            ]


def make_material(kind: Kind, size: int, probes: int) -> tuple[np.ndarray, np.ndarray, int]:
    """``size`` vectors, or a few less, the probes, and how many vectors each person has."""
    if kind == "random":
        vectors = make_samples(kind, size)
        return vectors, make_probes(kind, vectors, probes, COSINE, seed=1), 1
    each = SAMPLES_OF_EACH[kind]
    samples = make_samples(kind, size // (each - 1) * each).reshape(-1, each, DIMENSIONS)
    chosen = np.random.default_rng(1).choice(len(samples), min(probes, len(samples)), replace=False)
    return samples[:, 1:].reshape(-1, DIMENSIONS), samples[chosen, 0], each - 1


def alternate(
    engines: list[Engine], asked: np.ndarray, right: np.ndarray, advance: Callable[[int, int], None]
) -> Iterator[tuple[tuple[float, float], float, int]]:
    """(p50, p95) in milliseconds, recall and number of probes of each engine."""
    times: list[list[float]] = [[] for _ in engines]
    found = [0] * len(engines)
    for engine in engines:
        engine.find(asked[0])  # into the caches, and plans are made
    for number, probe in enumerate(asked):
        advance(number, len(asked))
        for index, engine in enumerate(engines):
            if engine.slow and number >= SLOW_PROBES:
                continue
            start = time.perf_counter()
            person = engine.find(probe)
            times[index].append((time.perf_counter() - start) * 1e3)
            found[index] += person == right[number]
    for one, hits in zip(times, found, strict=True):
        yield (float(np.percentile(one, 50)), float(np.percentile(one, 95))), hits / len(one), len(one)


def engines_of_postgres(hub: Hub, address: str, size: int, opened: ExitStack) -> list[Engine]:
    def through_rkface(method: Method) -> Find:
        return lambda probe: int(
            open_search(hub, IDENTITY).find(probe, people=1, method=method, certain=THRESHOLD).matches[0].person, 16
        )

    def bare(query: str, breadth: int = BREADTH) -> Find:
        other = opened.enter_context(connect(address))  # its own plans and settings
        other.execute(f"SET hnsw.ef_search = {breadth}".encode())
        return lambda probe: int(other.execute(query.encode(), [text(probe)]).fetchone()[0], 16)

    half = f"%s::halfvec({DIMENSIONS})"
    with connect(address) as watch, timed(f"{size:,}: HNSW of halfvec") as built:
        index = build_index(hub, watch)
    with timed(f"{size:,}: table of halfvec") as copied:
        hub.execute(f"CREATE TABLE half (person text NOT NULL, embedding halfvec({DIMENSIONS}) NOT NULL)".encode())
        hub.execute("INSERT INTO half SELECT person, embedding FROM rkface.sample")
        hub.execute("VACUUM ANALYZE half")
    bits = f"(binary_quantize(embedding)::bit({DIMENSIONS}))"
    with timed(f"{size:,}: HNSW of bits") as quantized:
        hub.execute("SET maintenance_work_mem = '2GB'")
        hub.execute(f"CREATE INDEX bits ON half USING hnsw ({bits} bit_hamming_ops) "
                    f"WITH (m = {LINKS}, ef_construction = {CONSTRUCTION})".encode())  # fmt: skip
    return [
        Engine("rkface, exact", through_rkface("exact"), 0, megabytes(hub, "rkface.sample"), slow=True),
        Engine("rkface, index", through_rkface("index"), built[0], index.bytes / 1e6),
        Engine(
            "halfvec, exact",
            bare(f"SELECT person FROM half ORDER BY embedding <=> {half} LIMIT 1"),
            copied[0],
            megabytes(hub, "half"),
            slow=True,
        ),
        Engine(
            f"halfvec, HNSW, {BREADTH} candidates",
            bare(
                f"SELECT person FROM rkface.sample WHERE identity = '{IDENTITY}' "
                f"ORDER BY (embedding::halfvec({DIMENSIONS})) <=> {half} LIMIT 1"
            ),
            built[0],
            index.bytes / 1e6,
        ),
        Engine(
            f"bits, HNSW, {RERANKED} re-ranked",
            bare(
                f"WITH probe AS MATERIALIZED (SELECT {half} AS value), near AS MATERIALIZED (SELECT person, embedding "
                f"FROM half ORDER BY {bits} <~> (SELECT binary_quantize(value)::bit({DIMENSIONS}) FROM probe) "
                f"LIMIT {RERANKED}) SELECT person FROM near ORDER BY embedding <=> (SELECT value FROM probe) LIMIT 1",
                RERANKED,
            ),
            quantized[0],
            megabytes(hub, "bits"),
        ),
    ]


def engines_of_faiss(vectors: np.ndarray, each: int) -> list[Engine]:
    import faiss

    def find(index: faiss.Index) -> Find:
        return lambda probe: int(index.search(probe[None], 1)[1][0, 0]) // each

    flat = faiss.IndexFlatIP(DIMENSIONS)
    with timed(f"{len(vectors):,}: faiss, flat") as added:
        flat.add(vectors)
    graph = faiss.IndexHNSWFlat(DIMENSIONS, LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = CONSTRUCTION, BREADTH
    with timed(f"{len(vectors):,}: faiss, HNSW") as built:
        graph.add(vectors)
    size = vectors.nbytes / 1e6
    links = len(vectors) * LINKS * 2 * 4 / 1e6  # of the lowest level, 4 bytes each; the others are few
    return [
        Engine("faiss, flat", find(flat), added[0], size, slow=True),
        Engine("faiss, HNSW", find(graph), built[0], size + links),
    ]


@contextmanager
def timed(name: str) -> Iterator[list[float]]:
    """The seconds that the block took, in a list, after it."""
    seconds: list[float] = []
    with stage(name):
        start = time.perf_counter()
        yield seconds
        seconds.append(time.perf_counter() - start)


def megabytes(hub: Hub, relation: str) -> float:
    """A table with what is stored out of line, without its indices; or an index."""
    return hub.execute("SELECT pg_table_size(%s)", [relation]).fetchone()[0] / 1e6


def text(vector: np.ndarray) -> str:
    return str(vector.tolist())


def format_rows(rows: list[Row]) -> str:
    exact = {(row.kind, row.samples): row.p95 for row in rows if row.engine == "halfvec, exact"}
    table = [
        [row.kind, f"{row.samples:,}", row.engine, f"{row.seconds:.0f}", f"{row.megabytes:.0f}", f"{row.p50:.1f}",
         f"{row.p95:.1f}", f"{row.p95 / exact[row.kind, row.samples]:.2f}", f"{row.recall:.4f} of {row.probes}"]
        for row in rows
    ]  # fmt: skip
    headings = ["samples are", "samples", "search", "build, s", "MB", "p50, ms", "p95, ms", "p95 of halfvec, exact",
                "recall@1"]  # fmt: skip
    return "\n".join(format_table(headings, table)) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
