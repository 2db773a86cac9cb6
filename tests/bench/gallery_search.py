"""rkface's exact search compared with faiss-cpu's flat index (IndexFlatIP) on one core: the tables of docs/gallery.md.

    make bench-search                                           also installs faiss-cpu into build/faiss
    make bench-search OPTIONS='--seconds 0.2 --sizes 1000'      a quick look

The gallery holds random unit vectors of 512 numbers, one sample per person. Probes are samples with noise. Each search
returns five people with their cosines, and must return the same as faiss. The two sides alternate after a few calls, so
that other load on the machine affects both, and so that each finds its own matrix in the CPU caches. Times are CPU
time: best and median.

A second table is about the gallery's file: time to read it into memory, to add a sample (it is on disk when the call
returns) and to forget a person (which rewrites every page).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAISS = ROOT / "build/faiss"  # `make bench-search` installs faiss here, because rkface itself never needs it
SIZES, PROBES, K = (1_000, 10_000, 100_000), (1, 4, 16), 5
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # has to be set before numpy is loaded
    os.environ[name] = "1"
if "avx512f" in Path("/proc/cpuinfo").read_text(encoding="ascii"):
    # The OpenBLAS in numpy 1.26 does not know newer x86 CPUs, takes them for one of 2004 and computes with SSE3.
    os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
sys.path.append(str(FAISS))

import numpy as np
from program import create_parser, format_table, write_results
from stand_ins import DIMENSIONS

from rkface.runtime.gallery.backup import forget
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample
from rkface.runtime.gallery.search import build_index
from rkface.runtime.vision.embed import unit


def measure_alternating(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, tuple[float, float]]:
    """Best and median milliseconds of CPU time of each of ``calls``. All work is in one thread that never waits."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["faiss"]) < 5:
        for name, call in calls.items():
            call()  # brings its own matrix back into the caches
            for _ in range(3):
                start = time.process_time()
                call()
                times[name].append((time.process_time() - start) * 1e3)
    return {name: (min(values), float(np.median(values))) for name, values in times.items()}


def measure_search(size: int, seconds: float) -> list[dict[str, object]]:
    """A row of the first table for each precision and number of probes."""
    import faiss

    random = np.random.default_rng(size)
    vectors = unit(random.standard_normal((size, DIMENSIONS), dtype=np.float32))
    flat = faiss.IndexFlatIP(DIMENSIONS)
    flat.add(vectors)
    indices = {
        precision: build_index(vectors, range(size), range(size), precision) for precision in ("float32", "int8")
    }
    rows = []
    for count in PROBES:
        noise = random.standard_normal((count, DIMENSIONS), dtype=np.float32) / DIMENSIONS**0.5
        probes = unit(vectors[random.choice(size, count, replace=False)] + noise)

        def read_samples(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return ids, vectors[ids]

        for precision, index in indices.items():
            check_same(index.search(probes, K, read_samples), *flat.search(probes, K), precision)
            calls = {
                "faiss": lambda probes=probes: flat.search(probes, K),
                precision: lambda index=index, probes=probes: index.search(probes, K, read_samples),
            }
            found = measure_alternating(calls, seconds * (1 + size / 20_000))
            rows.append({"samples": size, "probes": count, "precision": precision, "megabytes": index.nbytes / 1e6,
                         "rkface": found[precision], "faiss": found["faiss"]})  # fmt: skip
    return rows


def check_same(found: list, cosines: np.ndarray, numbers: np.ndarray, precision: str) -> None:
    """Fail unless both found the same people in the same order, with cosines that differ by 2e-6 at most (float32 sums
    in another order)."""
    for hits, expected, ids in zip(found, cosines, numbers, strict=True):
        ours = np.array([hit.cosine for hit in hits])
        same = [hit.owner for hit in hits] == ids.tolist()
        assert same and np.allclose(ours, expected, atol=2e-6), f"{precision} found other people than faiss"


def measure_file(size: int) -> dict[str, object]:
    """Milliseconds of the operations on the file of a gallery of ``size`` people, one sample each, without crops."""
    random = np.random.default_rng(size)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        path = Path(folder) / "gallery.sqlite"
        with Gallery(path, "0" * 32, create=True) as gallery:
            fill_gallery(gallery, size, random)
        with Gallery(path, "0" * 32) as gallery:
            read = measure_wall_time(lambda: gallery.search(np.ones((1, DIMENSIONS), np.float32)))
            vectors = unit(random.standard_normal((9, DIMENSIONS), dtype=np.float32))
            samples = [Sample(vector, None, 1, "bench") for vector in vectors]
            adds = [measure_wall_time(lambda sample=sample: gallery.add("0", [sample])) for sample in samples]
            deletion = measure_wall_time(lambda: forget(gallery, gallery.person("1")))
        return {"people": size, "megabytes": path.stat().st_size / 1e6, "add": float(np.median(adds)), "read": read,
                "forget": deletion}  # fmt: skip


def fill_gallery(gallery: Gallery, size: int, random: np.random.Generator) -> None:
    """Add ``size`` people in one transaction, because ``gallery.add`` waits for the disk each time."""
    vectors = unit(random.standard_normal((size, DIMENSIONS), dtype=np.float32))
    gallery.add("0", [Sample(vectors[0], None, 1, "bench")])
    with gallery.transaction() as database:
        for number in range(1, size):
            database.execute("INSERT INTO person VALUES (?, ?, '{}', 0, 0)", [f"{number:032x}", str(number)])
            database.execute(
                "INSERT INTO sample (person, identity, embedding, quality, source, created) VALUES (?, ?, ?, 1, '', 0)",
                [f"{number:032x}", "0" * 32, vectors[number].tobytes()],
            )


def measure_wall_time(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def main() -> int:
    parser = create_parser(__doc__, "build/bench/search")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="time for each row; large galleries take longer (%(default)g)"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help=f"samples ({' '.join(map(str, SIZES))})", metavar="N"
    )
    options = parser.parse_args()
    try:
        import faiss
    except ImportError:
        parser.error(f"faiss-cpu is not in {FAISS}: run `make bench-search`, which installs it")
    faiss.omp_set_num_threads(1)
    rows = [row for size in options.sizes for row in measure_search(size, options.seconds)]
    files = [measure_file(size) for size in options.sizes]
    markdown = format_search(rows, f"faiss {faiss.__version__} ({faiss.get_compile_options().split()[-1]})")
    write_results(options.out, f"{markdown}\n{format_files(files)}", {"search": rows, "file": files})
    return 0


def format_search(rows: list[dict[str, object]], faiss: str) -> str:
    table = []
    for row in rows:
        ours, theirs = row["rkface"], row["faiss"]
        times = [f"{best:.3f} ({median:.3f})" for best, median in (ours, theirs)]
        start = [f"{row['samples']:,}", row["probes"], row["precision"], f"{row['megabytes']:.0f}"]
        table.append([*start, *times, f"{theirs[1] / ours[1]:.2f}×"])
    headings = ["samples", "probes", "precision", "MB", "rkface", "faiss", "faiss / rkface, median"]
    text = f"{faiss}, numpy {np.__version__}, one thread. Milliseconds of CPU time per call, best (median)."
    return "\n".join([text, "", *format_table(headings, table)]) + "\n"


def format_files(files: list[dict[str, object]]) -> str:
    headings = ["people", "file, MB", "read into memory, ms", "add a sample, ms", "forget a person, ms"]
    table = [
        [f"{row['people']:,}", f"{row['megabytes']:.0f}", f"{row['read']:.0f}", f"{row['add']:.1f}",
         f"{row['forget']:.0f}"]
        for row in files
    ]  # fmt: skip
    return "\n".join(format_table(headings, table)) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
