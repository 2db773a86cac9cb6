"""Exact search beside faiss-cpu's flat index (IndexFlatIP), on one core: the table of docs/gallery.md.

    make bench-search        (python tests/bench/gallery_search.py --help)

Random unit vectors of 512 numbers, one sample a person; probes are samples with noise. Each answer is five people with
their cosines, and must be faiss's. Both sides are timed in turns of a few calls, so that what else the machine does
hits both alike, and each finds its matrix in the caches as it would alone. CPU time; best and median of the turns.

A second table is about the file: reading it into memory, adding a sample (on the disk when it returns), forgetting a
person (every page written anew).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAISS = ROOT / "build/faiss"  # where `make bench-search` installs it: rkface itself never needs it
SIZES, PROBES, K, DIMENSIONS = (1_000, 10_000, 100_000), (1, 4, 16), 5, 512
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before numpy is loaded
    os.environ[name] = "1"
if "avx512f" in Path("/proc/cpuinfo").read_text(encoding="ascii"):
    # numpy 1.26's OpenBLAS takes x86 CPUs that are newer than itself for one of 2004 and computes with SSE3.
    os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
sys.path.append(str(FAISS))

import faiss
import numpy as np

from rkface.runtime.gallery.backup import forget
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample
from rkface.runtime.gallery.search import build


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def turns(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, tuple[float, float]]:
    """Best and median milliseconds of a call of each, of CPU time: all is one thread that never waits."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(taken["faiss"]) < 5:
        for name, call in calls.items():
            call()  # finds its own matrix in the caches again
            for _ in range(3):
                start = time.process_time()
                call()
                taken[name].append((time.process_time() - start) * 1e3)
    return {name: (min(times), float(np.median(times))) for name, times in taken.items()}


def measure(size: int, seconds: float) -> list[dict[str, object]]:
    random = np.random.default_rng(size)
    vectors = unit(random.standard_normal((size, DIMENSIONS), dtype=np.float32))
    flat = faiss.IndexFlatIP(DIMENSIONS)
    flat.add(vectors)
    indices = {precision: build(vectors, range(size), range(size), precision) for precision in ("float32", "int8")}
    rows = []
    for count in PROBES:
        noise = random.standard_normal((count, DIMENSIONS), dtype=np.float32) / DIMENSIONS**0.5
        probes = unit(vectors[random.choice(size, count, replace=False)] + noise)

        def exact(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return ids, vectors[ids]

        for name, index in indices.items():
            check(index.search(probes, K, exact), *flat.search(probes, K), name)
            calls = {
                "faiss": lambda probes=probes: flat.search(probes, K),
                name: lambda index=index, probes=probes: index.search(probes, K, exact),
            }
            found = turns(calls, seconds * (1 + size / 20_000))
            rows.append({"samples": size, "probes": count, "precision": name, "megabytes": index.nbytes / 1e6,
                         "rkface": found[name], "faiss": found["faiss"]})  # fmt: skip
    return rows


def measure_file(size: int) -> dict[str, object]:
    """Milliseconds of what a gallery of ``size`` people, one sample each and no crops, does beside searching."""
    random = np.random.default_rng(size)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        path = Path(folder) / "gallery.sqlite"
        with Gallery(path, "0" * 32, create=True) as gallery:
            fill(gallery, size, random)
        with Gallery(path, "0" * 32) as gallery:
            taken = {"read": clock(lambda: gallery.search(np.ones((1, DIMENSIONS), np.float32)))}
            fresh = unit(random.standard_normal((9, DIMENSIONS), dtype=np.float32))
            adds = [clock(lambda one=one: gallery.add("0", [Sample(one, None, 1, "bench")])) for one in fresh]
            taken["forget"] = clock(lambda: forget(gallery, gallery.person("1")))
        return {"people": size, "megabytes": path.stat().st_size / 1e6, "add": float(np.median(adds)), **taken}


def fill(gallery: Gallery, size: int, random: np.random.Generator) -> None:
    vectors = unit(random.standard_normal((size, DIMENSIONS), dtype=np.float32))
    gallery.add("0", [Sample(vectors[0], None, 1, "bench")])
    with gallery.writing() as database:  # as add() does, but not with a commit each
        for number in range(1, size):
            database.execute("INSERT INTO person VALUES (?, ?, '{}', 0, 0)", [f"{number:032x}", str(number)])
            database.execute(
                "INSERT INTO sample (person, identity, embedding, quality, source, created) VALUES (?, ?, ?, 1, '', 0)",
                [f"{number:032x}", "0" * 32, vectors[number].tobytes()],
            )


def clock(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def check(found: list, cosines: np.ndarray, numbers: np.ndarray, name: str) -> None:
    """The same people in the same order with the same cosines, to 2e-6 (float32 sums in another order)."""
    for hits, expected, ids in zip(found, cosines, numbers, strict=True):
        ours = np.array([hit.cosine for hit in hits])
        same = [hit.owner for hit in hits] == ids.tolist()
        assert same and np.allclose(ours, expected, atol=2e-6), f"{name} found other people than faiss"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench/search"), help="results, .md and .json")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each line of the table, more for large ones")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    rows = [row for size in SIZES for row in measure(size, options.seconds)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    files = [measure_file(size) for size in SIZES]
    options.out.with_suffix(".json").write_text(json.dumps({"search": rows, "file": files}, indent=2) + "\n")
    text = markdown(rows) + "\n" + markdown_of_files(files)
    options.out.with_suffix(".md").write_text(text)
    print(text)
    return 0


def markdown(rows: list[dict[str, object]]) -> str:
    build_of_faiss = faiss.get_compile_options().split()[-1]
    lines = [
        f"faiss {faiss.__version__} ({build_of_faiss}), numpy {np.__version__}, one thread; milliseconds of CPU time a "
        "call, best (median).",
        "",
        "| samples | probes | precision | MB | rkface | faiss | faiss / rkface, median |",
        "|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        ours, theirs = row["rkface"], row["faiss"]
        lines.append(
            f"| {row['samples']:,} | {row['probes']} | {row['precision']} | {row['megabytes']:.0f} | "
            f"{ours[0]:.3f} ({ours[1]:.3f}) | {theirs[0]:.3f} ({theirs[1]:.3f}) | {theirs[1] / ours[1]:.2f}× |"
        )
    return "\n".join(lines) + "\n"


def markdown_of_files(files: list[dict[str, object]]) -> str:
    lines = [
        "| people | file, MB | read into memory, ms | add a sample, ms | forget a person, ms |",
        "|---:|---:|---:|---:|---:|",
    ]
    for row in files:
        lines.append(
            f"| {row['people']:,} | {row['megabytes']:.0f} | {row['read']:.0f} | {row['add']:.1f} | "
            f"{row['forget']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
