"""Photos a second when a folder is embedded: rkface, which reads ahead, beside insightface in a loop.

    make bench-bulk                                         also installs insightface into its own environment
    make bench-bulk OPTIONS='--detector … --recognizer … --photos … --count 5000'

Both sides use the same ONNX files, detector size, threshold and number of threads of ONNX Runtime, and look once at
each photo. insightface reads with ``cv2.imread``, rkface in processes of its own, which survive damaged photos. Without
models and photos, it uses those of $RKFACE_SHARED or ../shared; fewer photos than ``--count`` are used again and again.
The sides alternate. Times are wall time without loading models, because cores that wait are what is measured: run it on
a machine that does nothing else. If the sides find other numbers of faces in a photo, the exit code is 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from itertools import cycle, islice
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIDES = ("rkface", "insightface")


def run_side(side: str, detector: Path, recognizer: Path, threads: int, paths: list[Path]) -> dict[str, object]:
    """Seconds, and the number of faces in each photo. Runs in the environment of the side."""
    if side == "rkface":
        from comparison_rkface import open_pipeline

        from rkface.runtime.vision.read_ahead import ReadAhead

        with open_pipeline(detector, recognizer, threads) as pipeline, ReadAhead(paths) as reader:
            started = time.perf_counter()
            faces = [len(pipeline.recognize(reader.read(path))) for path in paths]
    else:
        import cv2
        from comparison_insightface import open_side

        recognize = open_side([detector], recognizer, threads).recognize
        started = time.perf_counter()
        faces = [len(recognize(cv2.imread(str(path)))) for path in paths]
    return {"seconds": time.perf_counter() - started, "faces": faces}


def main() -> int:
    if sys.argv[1] in SIDES:
        job = json.load(sys.stdin)
        paths = [Path(path) for path in job["photos"]]
        with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
            os.dup2(2, 1)  # insightface prints to stdout
            json.dump(run_side(sys.argv[1], Path(job["detector"]), Path(job["recognizer"]), job["threads"], paths), out)
        return 0
    import numpy as np
    from program import add_model_options, create_parser, format_table, has_own_models, write_results
    from scenes import choose_material

    from rkface.runtime.inference.machine import read_machine
    from rkface.runtime.vision.photo_files import find_images

    parser = create_parser(__doc__, "build/bench/bulk")
    add_model_options(parser)
    parser.add_argument("--peer", required=True, help="the Python that has insightface")
    parser.add_argument("--count", type=int, default=200, help="photos in each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side (%(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of ONNX Runtime (%(default)s)")
    options = parser.parse_args()
    has_own_models(parser, options)
    material = choose_material(options.detector, options.recognizer, options.photos)
    if material.photos is None:
        parser.error("there are no photos: give --detector, --recognizer and --photos")
    photos = [str(path) for path in islice(cycle(find_images(material.photos)), options.count)]
    job = {"detector": str(material.detector), "recognizer": str(material.recognizer), "photos": photos,
           "threads": options.threads}  # fmt: skip
    pythons = {"rkface": sys.executable, "insightface": options.peer}
    results: dict[str, list[dict]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES if number % 2 else SIDES[::-1]:
            done = subprocess.run(
                [pythons[side], __file__, side], input=json.dumps(job), stdout=subprocess.PIPE, text=True, check=True
            )
            results[side].append(json.loads(done.stdout))
    rates = {side: [len(photos) / one["seconds"] for one in results[side]] for side in SIDES}
    different = sum(a != b for a, b in zip(*(results[side][0]["faces"] for side in SIDES), strict=True))
    rows = [
        [side, f"{np.median(rates[side]):.2f}", f"{min(rates[side]):.2f} to {max(rates[side]):.2f}"] for side in SIDES
    ]
    ratio = np.median(rates["rkface"]) / np.median(rates["insightface"])
    text = "\n".join(format_table(["", "photos a second, median", "lowest to highest"], rows))
    machine = read_machine()
    note = (
        f"rkface / insightface: {ratio:.2f}. Photos with another number of faces: {different} of {len(photos)}.\n\n"
        f"{machine.processor}, {os.cpu_count()} cores, {machine.versions}"
    )
    write_results(options.out, f"{text}\n\n{note}\n", results)
    return int(different > 0)


if __name__ == "__main__":
    raise SystemExit(main())
