"""Time and memory of `rkface gallery check --quality`: each sample compared with all others.

    make bench-quality                               10,000 people with five samples
    make bench-quality OPTIONS='--people 1000'

People are random unit vectors of 512 numbers; the samples of one have a cosine of 0.6 on average. The figures are those
of a process of its own, with the file of the gallery.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from program import create_parser, format_table, write_results
from stand_ins import DIMENSIONS

from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.leave_one_out import check_quality
from rkface.runtime.gallery.people import Sample

MODEL, NOISE, BATCH = "0" * 32, 0.8, 500


def fill(path: Path, people: int, samples: int) -> None:
    random = np.random.default_rng(people)
    with Gallery(path, MODEL, create=True) as gallery:
        gallery.add("0", [Sample(np.eye(1, DIMENSIONS, dtype=np.float32)[0], None, 1, "bench")])
        for start in range(1, people, BATCH):
            with gallery.transaction() as database:  # `add` waits for the disk each time
                for number in range(start, min(people, start + BATCH)):
                    centers = random.standard_normal((1, DIMENSIONS), dtype=np.float32)
                    vectors = centers + NOISE * random.standard_normal((samples, DIMENSIONS), dtype=np.float32)
                    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                    id = f"{number:032x}"
                    database.execute("INSERT INTO person VALUES (?, ?, '{}', 0.0, 0.0)", [id, str(number)])
                    database.executemany(
                        "INSERT INTO sample (person, identity, embedding, quality, source, created) "
                        "VALUES (?, ?, ?, 1.0, '', 0.0)",
                        [(id, MODEL, vector.tobytes()) for vector in vectors],
                    )


def measure(path: Path) -> None:
    """Print the figures of this process as JSON."""
    with Gallery(path, MODEL) as gallery:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, cpu = time.perf_counter(), time.process_time()
        quality = check_quality(gallery, 0.4)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"samples": quality.samples, "recognized": quality.recognized, "wall": wall, "cpu": cpu,
                      "more": (after - before) / 1024, "process": after / 1024}))  # fmt: skip


def main() -> int:
    parser = create_parser(__doc__, "build/bench/quality")
    parser.add_argument("--people", type=int, nargs="+", default=[1_000, 10_000], help="sizes (%(default)s)")
    parser.add_argument("--samples", type=int, default=5, help="of each person (%(default)s)")
    parser.add_argument("--measure", type=Path, help="measure this gallery, in this process")
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return 0
    rows = []
    for people in options.people:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "gallery.sqlite"
            fill(path, people, options.samples)
            command = [sys.executable, __file__, "--measure", str(path)]
            rows.append({"people": people, **json.loads(subprocess.check_output(command))})
    heads = ["people", "samples", "CPU s", "wall s", "more memory, MiB", "process, MiB"]
    lines = [[f"{row['people']:,}", f"{row['samples']:,}", f"{row['cpu']:.1f}", f"{row['wall']:.1f}",
              f"{row['more']:.0f}", f"{row['process']:.0f}"] for row in rows]  # fmt: skip
    write_results(options.out, "\n".join(format_table(heads, lines)) + "\n", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
