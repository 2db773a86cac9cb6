"""From a thousand to a million samples: the gallery's search beside faiss' flat and HNSW indices, on one core.

    make bench-million                                           needs 8 GB of memory
    make bench-million OPTIONS='--sizes 1000 100000 --rounds 3'  a quick look
    make bench-million OPTIONS='--hnsw 1000000'                  also HNSW of a million samples: 20 minutes a kind

All sides search the same vectors (search_samples.py): "random" is the worst case for an index that wants to skip
samples, "people" is like embeddings of a recognizer. Probes are known people (a cosine of 0.5 with one sample) and
strangers. One probe at a time; the sides alternate, so that other load affects all; times are CPU time of the process,
the median with its 95 % interval (percentile bootstrap). Recall is the share of probes whose first sample is the one
that faiss' flat index finds, which compares all. rkface reads the samples that int8 leaves undecided from an array;
`make bench-search` also measures a gallery's file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import gallery_search  # noqa: F401 - sets the number of threads before numpy is loaded, and finds faiss
import numpy as np
from growth_plot import draw_growth
from program import create_parser, format_table, write_results
from search_samples import KINDS, SAMPLES_OF_EACH, Kind, make_probes, make_samples

from rkface.runtime.core.progress import stage
from rkface.runtime.gallery.search import build_index

SIZES = (1_000, 10_000, 50_000, 100_000, 300_000, 1_000_000)
NAMES = {"flat": "faiss flat", "rkface": "rkface", "HNSW": "faiss HNSW"}  # in the plots
PROBES = {"known": 0.5, "stranger": 0.0}
M, CONSTRUCTION, SEARCH = 32, 40, 128  # of HNSW: links of a sample, and candidates while building and searching


@dataclass(frozen=True)
class Row:
    """One engine on one kind of samples and probes. ``times``: median, low and high in milliseconds. ``built``: seconds
    of CPU time to build the index."""

    kind: Kind
    samples: int
    probes: str
    engine: str
    megabytes: float
    built: float
    times: tuple[float, float, float]
    recall: float
    probes_of_recall: int


def main() -> int:
    parser = create_parser(__doc__, "build/bench/million")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of samples (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="probes timed on each side (%(default)s)")
    parser.add_argument("--recall", type=int, default=500, help="probes for the recall (%(default)s)")
    parser.add_argument("--hnsw", type=int, default=100_000, help="largest number of samples for HNSW (%(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of samples (%(default)s)")
    options = parser.parse_args()
    import cv2
    import faiss

    faiss.omp_set_num_threads(1)
    cv2.setNumThreads(1)
    rows: list[Row] = []
    for kind in options.kinds:
        for size in options.sizes:
            with stage(f"{kind}, {size:,} samples"):
                rows += measure(kind, size, options.rounds, options.recall, with_hnsw=size <= options.hnsw)
    text = f"faiss {faiss.__version__}, one thread.\n"
    write_results(options.out, f"{text}\n{format_rows(rows)}", [asdict(row) for row in rows])
    plots = options.out.with_suffix(".svg")
    plots.write_text(draw_growth(curves_of(rows)), encoding="utf-8")
    print(f"plots: {plots}")
    return 0


def measure(kind: Kind, size: int, rounds: int, recalled: int, *, with_hnsw: bool) -> list[Row]:
    import faiss

    vectors = make_samples(kind, size)
    built = {}
    with timed(built, "flat"):
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
    with timed(built, "rkface"):
        index = build_index(vectors, range(size), np.arange(size) // SAMPLES_OF_EACH[kind])
    memory = {"rkface": (index.nbytes + index.samples.nbytes + index.owners.nbytes) / 1e6, "flat": vectors.nbytes / 1e6}
    if index.scales is not None:
        memory["rkface"] += index.scales.nbytes / 1e6
    engines: dict[str, Callable[[np.ndarray], list[int]]] = {
        "flat": lambda probe: flat.search(probe, 1)[1][:, 0].tolist(),
        "rkface": lambda probe: [hits[0].sample for hits in index.search(probe, 1, lambda ids: (ids, vectors[ids]))],
    }
    if with_hnsw:
        with timed(built, "HNSW"):
            graph = build_hnsw(vectors)
        memory["HNSW"] = (vectors.nbytes + size * 2 * M * 4) / 1e6
        engines["HNSW"] = lambda probe: graph.search(probe, 1)[1][:, 0].tolist()
    rows = []
    for name, cosine in PROBES.items():
        probes = make_probes(kind, vectors, max(rounds, recalled) if size >= recalled else min(size, rounds), cosine)
        times = measure_alternating(engines, probes[:rounds])
        expected = flat.search(probes, 1)[1][:, 0].tolist()
        for engine, search in engines.items():
            found = [search(probe[None])[0] for probe in probes] if engine != "flat" else expected
            recall = float(np.mean(np.array(found) == expected))
            interval = median_interval(times[engine])
            rows.append(Row(kind, size, name, engine, memory[engine], built[engine], interval, recall, len(probes)))
    return rows


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Write the seconds of CPU time that the block takes to ``seconds[name]``."""
    started = time.process_time()
    yield
    seconds[name] = time.process_time() - started


def build_hnsw(vectors: np.ndarray) -> object:
    import faiss

    graph = faiss.IndexHNSWFlat(vectors.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = CONSTRUCTION, SEARCH
    graph.add(vectors)
    return graph


def measure_alternating(
    engines: dict[str, Callable[[np.ndarray], list[int]]], probes: np.ndarray
) -> dict[str, list[float]]:
    """Milliseconds of CPU time of each engine for each probe. Each call is timed after one that warms its caches."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for probe in probes:
        for name, search in engines.items():
            search(probe[None])
            started = time.process_time()
            search(probe[None])
            times[name].append((time.process_time() - started) * 1e3)
    return times


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """The median, and its 95 % interval by the percentile bootstrap (Efron, 1979)."""
    drawn = np.random.default_rng(0).choice(values, (2000, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return float(np.median(values)), float(low), float(high)


def format_rows(rows: list[Row]) -> str:
    table = []
    for row in rows:
        flat = next(one for one in rows if one.engine == "flat" and same_case(one, row))
        middle, low, high = row.times
        table.append(
            [row.kind, f"{row.samples:,}", row.probes, row.engine, f"{row.megabytes:,.0f}",
             f"{row.built:,.1f}", f"{middle:.2f} ({low:.2f} to {high:.2f})", f"{middle / flat.times[0]:.2f}",
             f"{row.recall:.4f} of {row.probes_of_recall}"]
        )  # fmt: skip
    headings = ["samples are", "samples", "probes", "index", "MB", "built, s", "ms of CPU time", "of flat", "recall@1"]
    return "\n".join(format_table(headings, table)) + "\n"


def curves_of(rows: list[Row]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """A plot for each kind of samples and probes, with a curve for each index: samples and median time."""
    plots: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        curves = plots.setdefault(f"{row.kind}, {row.probes}", {})
        curves.setdefault(NAMES[row.engine], []).append((row.samples, row.times[0]))
    return plots


def same_case(one: Row, other: Row) -> bool:
    return (one.kind, one.samples, one.probes) == (other.kind, other.samples, other.probes)


if __name__ == "__main__":
    raise SystemExit(main())
