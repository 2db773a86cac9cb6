"""What conversion costs at full size: rkface beside the bare calls of onnxsim and rknn-toolkit2, in one run.

    make bench-convert        (python tests/bench/conversion_time.py --help)

The model is IResNet-50 of w600k_r50's architecture and size with generated weights: right for time and memory, useless
for faces. Both sides simplify the same ONNX, build it INT8 for rk3588 from the same calibration images and simulate the
same faces, each in a process of its own, one after the other. Overhead is rkface's whole time over the bare calls'.
Finding faces, writing the calibration set and tuning the model have no counterpart in the bare calls; they are shown
apart, and so is what `--recipe auto` takes for this model, and for a --recognizer of your own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil

SIMULATED = 10  # faces run through the simulator
STAGES = ("simplify", "build", "simulate")
MEAN = 127.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench/convert"), help="results, .md and .json")
    parser.add_argument("--counts", type=int, nargs="+", default=[20, 100], help="calibration images (20 100)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each side, interleaved; the median is shown (3)"
    )
    parser.add_argument("--recognizer", type=Path, help="time the recipe search for this model too")
    parser.add_argument("--side", choices=("rkface", "bare", "auto"), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side == "auto":
        print(json.dumps(auto(options.work, options.counts[0], options.recognizer)))
        return 0
    if options.side:
        print(json.dumps(SIDES[options.side](options.work, options.counts[0])))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        calibrate = prepare(work, max(options.counts))
        rows = []
        for count in options.counts:
            runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
            for turn in range(options.repeats):
                for side, found in sorted(runs.items(), reverse=bool(turn % 2)):
                    print(f"  {side}, {count} images …", file=sys.stderr, flush=True)
                    found.append(measure(side, work, count))
            rows.append({"images": count} | {side: median(found) for side, found in runs.items()})
        searches = []
        for model in filter(None, (work / "r50.onnx", options.recognizer)):
            print(f"  recipe auto on {model.name} …", file=sys.stderr, flush=True)
            options_of = ["--recognizer", str(model.resolve())]
            searches.append({"model": model.name} | measure("auto", work, max(options.counts), options_of))
    report = {"machine": machine(), "calibrate": calibrate, "rows": rows, "searches": searches}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    table = markdown(report)
    options.out.with_suffix(".md").write_text(table)
    print(table)
    return 0


def prepare(work: Path, count: int) -> dict[str, float]:
    """Export the model, render photos, make the calibration set; seconds of the latter two steps."""
    from rkface.calibration.choose import choose_faces, choose_frames
    from rkface.calibration.collect import collect_faces
    from rkface.calibration.dataset import Provenance, write_set
    from rkface.convert.catalog import DEMO
    from rkface.convert.demo.models import export_iresnet50
    from rkface.convert.demo.render import CALIBRATE, write_photos
    from rkface.convert.tuning.tune import tune
    from rkface.runtime.core.bundle import Input
    from rkface.runtime.vision.bare_onnx import open_detector
    from rkface.runtime.vision.detect import Detector

    print("  exporting IResNet-50, rendering photos …", file=sys.stderr, flush=True)
    # The first to load the libraries from the disk would pay for both.
    subprocess.run([sys.executable, "-c", "import onnxruntime, onnxsim, rknn.api"], check=True, capture_output=True)
    export_iresnet50(work / "r50.onnx", seed=0)
    write_photos(work / "photos", CALIBRATE[: count + count // 5], 1, seed=1)
    start = time.perf_counter()
    backend, input, outputs = open_detector(DEMO / "detector.onnx")
    found = collect_faces(work / "photos", Detector(backend, input, outputs))
    faces = choose_faces(found.candidates, count).faces
    if len(faces) < count:
        raise SystemExit(f"only {len(faces)} of {count} faces were found in the rendered photos")
    middle = time.perf_counter()
    frames = choose_frames(faces, found, count)
    provenance = Provenance(work / "photos", "", 0.5)
    write_set(work / "set", faces, frames, input.width, input.height, provenance=provenance)
    end = time.perf_counter()
    images = np.stack([face.crop[..., ::-1] for face in faces[:SIMULATED]])
    np.save(work / "images.npy", images)
    model = Input("input.1", 112, 112, (MEAN,) * 3, (MEAN,) * 3)
    tune(work / "r50.onnx", model, dataset(work, count), work / "tuned.onnx")
    return {
        "photos": len(found.photos),
        "collect": middle - start,
        "write": end - middle,
        "tune": time.perf_counter() - end,
    }


def dataset(work: Path, count: int) -> Path:
    path = work / f"set/recognizer/first-{count}.txt"
    path.write_text("".join(f"{index:04}.png\n" for index in range(count)))
    return path


def bare(work: Path, count: int) -> dict[str, float]:
    """What the toolkit's examples do, and nothing else."""
    import onnx
    import onnxsim
    from rknn.api import RKNN

    seconds = {}
    start = time.perf_counter()
    model, _ = onnxsim.simplify(onnx.load(str(work / "r50.onnx")), check_n=0)
    onnx.save(model, str(work / "bare.onnx"))
    del model
    seconds["simplify"], start = time.perf_counter() - start, time.perf_counter()
    rknn = RKNN(verbose=False)
    rknn.config(mean_values=[[MEAN] * 3], std_values=[[MEAN] * 3], target_platform="rk3588")
    assert rknn.load_onnx(str(work / "bare.onnx")) == 0
    assert rknn.build(do_quantization=True, dataset=str(dataset(work, count))) == 0
    assert rknn.export_rknn(str(work / "bare.rknn")) == 0
    seconds["build"], start = time.perf_counter() - start, time.perf_counter()
    assert rknn.init_runtime() == 0
    for image in np.load(work / "images.npy"):
        assert rknn.inference(inputs=[image[None]], data_format=["nhwc"]) is not None
    seconds["simulate"] = time.perf_counter() - start
    return seconds


def rkface(work: Path, count: int) -> dict[str, float]:
    """The stages of `rkface convert` for one recognizer."""
    from rkface.convert.compare_models import SIMPLIFICATION_IMAGES
    from rkface.convert.simplify import check_same_outputs, fix_input, simplify
    from rkface.convert.toolkit.quantize import QuantizeJob, quantize
    from rkface.runtime.core.bundle import contract

    start = time.perf_counter()
    model = fix_input(work / "r50.onnx", "recognizer")
    simplified = simplify(model, work / "simplified.onnx")
    check_same_outputs(model, simplified, np.load(work / "images.npy")[:SIMPLIFICATION_IMAGES])
    seconds = {"simplify": time.perf_counter() - start}
    job = QuantizeJob(
        onnx=simplified.path,
        output=work / "rkface.rknn",
        target="rk3588",
        input=simplified.input,
        custom_string=contract("recognizer", simplified.input, "0" * 64),
        dataset=dataset(work, count),
        evaluate=work / "images.npy",
    )
    done = quantize(job, work / "toolkit.log")
    seconds["build"] = sum(done.seconds[name] for name in ("load", "build", "export"))
    return seconds | {"simulate": done.seconds["simulate"]}


def auto(work: Path, count: int, model: Path) -> dict[str, float]:
    """The whole search of `rkface convert` for one recognizer, judged on as many rendered faces as calibrate."""

    from rkface.convert.acquire import own_sources
    from rkface.convert.catalog import DEMO
    from rkface.convert.demo.render import EVALUATE, render_crop
    from rkface.convert.evaluate.parity import compare_embeddings, grade_embeddings
    from rkface.convert.prepared_model import prepare_model
    from rkface.convert.recipe import PLANS, AccuracyBar
    from rkface.convert.recipe_cost import predict_cost
    from rkface.convert.recipe_search import chosen_result, search_recipes
    from rkface.convert.run_recipe import RecipeRunner
    from rkface.convert.targets import find_target

    crops = np.stack([render_crop(2, EVALUATE[index])[..., ::-1] for index in range(count)])
    start = time.perf_counter()
    prepared = prepare_model(model, "recognizer", work)
    reference = np.concatenate([prepared.backend.infer(crop[None])[0] for crop in crops])
    prepared.backend.close()
    plan = PLANS["auto"]
    sources = own_sources(DEMO / "detector.onnx", model, "not stated")
    target = find_target("rk3588")
    run = RecipeRunner({"recognizer": prepared}, sources, work, work, analyze=plan.analyze).for_target(target)
    _, tries = search_recipes(
        plan,
        lambda recipe: run("recognizer", recipe, dataset(work, count), crops),
        lambda done: grade_embeddings(compare_embeddings(reference, done.outputs[0]), AccuracyBar()),
        lambda recipe: predict_cost(prepared.graph, target, recipe),
    )
    chosen = chosen_result(tries)
    return {
        "search": time.perf_counter() - start,
        "tries": len(tries),
        "recipe": chosen.recipe.name,
        "said": chosen.grade.said,
    }


SIDES = {"rkface": rkface, "bare": bare}


def measure(side: str, work: Path, count: int, more: Sequence[str] = ()) -> dict[str, float]:
    """One side in a process of its own: its stages, wall seconds in all, and peak memory in MB."""
    command = [sys.executable, __file__, "--side", side, "--work", str(work), "--counts", str(count), *more]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=work, text=True) as process:
        with ThreadPoolExecutor(1) as watching:
            peak = watching.submit(peak_of, psutil.Process(process.pid))
            output = process.stdout.read()
        process.wait()
    if process.returncode:
        raise SystemExit(f"{side} failed with {process.returncode}")
    return json.loads(output.splitlines()[-1]) | {"total": time.perf_counter() - start, "peak_mb": peak.result()}


def peak_of(process: psutil.Process) -> float:
    """The most MB that a process and all it started held at a time until it ended; what they share counts once."""
    peak = 0.0
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        held = 0
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):  # it has just ended
                held += one.memory_full_info().pss
        peak = max(peak, held / 2**20)
        time.sleep(0.5)  # looking costs both sides: the kernel walks all their pages
    return peak


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.median([run[name] for run in runs])) for name in runs[0]}


def machine() -> dict[str, str]:
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    names = ("rknn-toolkit2", "onnx", "onnxsim", "onnxruntime", "torch", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return {"cpu": cpu, "cores": str(os.cpu_count()), "versions": versions, "python": platform.python_version()}


def markdown(report: dict) -> str:
    lines = [
        f"{report['machine']['cores']} cores of {report['machine']['cpu']}; Python {report['machine']['python']}, "
        f"{report['machine']['versions']}. IResNet-50 with generated weights, INT8 for rk3588, {SIMULATED} faces "
        "simulated.",
        "",
        "| images | side | simplify s | build s | simulate s | all s | overhead | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        over = row["rkface"]["total"] / row["bare"]["total"] - 1
        for side in ("bare", "rkface"):
            found = row[side]
            cells = [f"{found[name]:.1f}" for name in (*STAGES, "total")]
            extra = f"{over:+.0%}" if side == "rkface" else ""
            lines.append(f"| {row['images']} | {side} | {' | '.join(cells)} | {extra} | {found['peak_mb']:.0f} |")
    found = report["calibrate"]
    lines += [
        "",
        f"Calibration set from {found['photos']} rendered photos: faces found in {found['collect']:.1f} s, "
        f"set written in {found['write']:.1f} s. Tuning (recipe tuned): {found['tune']:.1f} s.",
    ]
    for found in report["searches"]:
        lines += [
            "",
            f"`--recipe auto` on {found['model']}: {found['search']:.0f} s with 100 calibration and 100 "
            f"evaluation faces, {found['tries']} recipe(s), took {found['recipe']} ({found['said']}); peak "
            f"{found['peak_mb']:.0f} MB.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
