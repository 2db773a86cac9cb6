"""Time and memory of converting IResNet-50: rkface compared with the bare calls of onnxsim and rknn-toolkit2.

    make bench-convert
    make bench-convert OPTIONS='--counts 20 --repeats 1'                     a quick look
    make bench-convert OPTIONS='--recognizer mobilefacenet_128.onnx'         also the recipe search for your model

The model has the architecture and size of w600k_r50, an IResNet-50. It is the one of `make trained-iresnet` if the
cache has it. Otherwise its weights are generated: right for time and memory, useless for faces. Both sides simplify the
same ONNX model, build it in INT8 for rk3588 from the same calibration images and simulate the same faces, each in its
own process, one after the other. Overhead is the total time of rkface compared with that of the bare calls.

The bare calls do not find faces, write a calibration set or tune the model. These steps are shown separately, and so is
the search of `--recipe auto`.
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
from program import create_parser, format_table, write_results

SIMULATED = 10  # faces in the simulator
STAGES = ("simplify", "build", "simulate")
MEAN = 127.5


def main() -> int:
    parser = create_parser(__doc__, "build/bench/convert")
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[20, 100], help="numbers of calibration images (default: 20 100)"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each side, alternating; the median counts (default: 3)"
    )
    parser.add_argument("--recognizer", type=Path, metavar="ONNX", help="also measure the recipe search for this model")
    parser.add_argument("--side", choices=(*SIDES, "auto"), help=argparse.SUPPRESS)  # this process is one side
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side == "auto":
        print(json.dumps(search_recipe(options.work, options.counts[0], options.recognizer)))
    elif options.side:
        print(json.dumps(SIDES[options.side](options.work, options.counts[0])))
    else:
        report = compare_sides(options)
        write_results(options.out, to_markdown(report), report)
    return 0


def compare_sides(options: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        calibration = prepare(work, max(options.counts))
        rows = []
        for count in options.counts:
            runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
            for number in range(options.repeats):
                for side, results in sorted(runs.items(), reverse=bool(number % 2)):
                    print(f"  {side}, {count} images …", file=sys.stderr, flush=True)
                    results.append(measure_side(side, work, count))
            rows.append({"images": count} | {side: median_of(results) for side, results in runs.items()})
        searches = []
        for model in filter(None, (work / "r50.onnx", options.recognizer)):
            print(f"  recipe auto on {model.name} …", file=sys.stderr, flush=True)
            arguments = ["--recognizer", str(model.resolve())]
            searches.append({"model": model.name} | measure_side("auto", work, max(options.counts), arguments))
    return {"machine": describe_machine(), "calibrate": calibration, "rows": rows, "searches": searches}


def prepare(work: Path, count: int) -> dict[str, float]:
    """Export the model, render photos, make the calibration set and tune the model. Returns the seconds of each step
    except the export, the number of photos, and whether the weights are trained."""
    from rkface.calibration.choose import choose_faces, choose_frames
    from rkface.calibration.collect import collect_faces
    from rkface.calibration.write_set import Provenance, write_set
    from rkface.convert.demo.iresnet50.export import provide_iresnet50
    from rkface.convert.demo.render import CALIBRATE, write_photos
    from rkface.convert.image_lists import to_rgb
    from rkface.convert.packs.pack import DEMO
    from rkface.convert.tuning.tune import tune
    from rkface.runtime.core.crop_template import ARCFACE_112
    from rkface.runtime.core.manifest import Input
    from rkface.runtime.vision.bare_onnx import open_detector
    from rkface.runtime.vision.detect import Detector

    print("  exporting IResNet-50, rendering photos …", file=sys.stderr, flush=True)
    # Load the libraries from disk once, so that the first side does not have to wait for that.
    subprocess.run([sys.executable, "-c", "import onnxruntime, onnxsim, rknn.api"], check=True, capture_output=True)
    trained = provide_iresnet50(work / "r50.onnx", seed=0)
    write_photos(work / "photos", CALIBRATE[: count + count // 5], 1, seed=1)
    start = time.perf_counter()
    backend, input, outputs = open_detector(DEMO / "detector.onnx")
    found = collect_faces(work / "photos", Detector(backend, input, outputs), ARCFACE_112)
    faces = choose_faces(found.candidates, count).faces
    if len(faces) < count:
        raise SystemExit(f"only {len(faces)} of {count} faces were found in the rendered photos")
    collected = time.perf_counter()
    frames = choose_frames(faces, found, count)
    provenance = Provenance(work / "photos", "", 0.5, ARCFACE_112)
    write_set(work / "set", faces, frames, input.width, input.height, provenance=provenance)
    written = time.perf_counter()
    np.save(work / "images.npy", to_rgb(face.crop for face in faces[:SIMULATED]))
    model = Input("input.1", 112, 112, (MEAN,) * 3, (MEAN,) * 3)
    tune(work / "r50.onnx", model, write_image_list(work, count), work / "tuned.onnx")
    return {
        "trained": trained,
        "photos": len(found.photos),
        "collect": collected - start,
        "write": written - collected,
        "tune": time.perf_counter() - written,
    }


def write_image_list(work: Path, count: int) -> Path:
    """The first ``count`` images of the calibration set."""
    path = work / f"set/recognizer/first-{count}.txt"
    path.write_text("".join(f"{index:04}.png\n" for index in range(count)))
    return path


def convert_bare(work: Path, count: int) -> dict[str, float]:
    """Seconds of each stage with the calls of the toolkit's examples and nothing else."""
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
    assert rknn.build(do_quantization=True, dataset=str(write_image_list(work, count))) == 0
    assert rknn.export_rknn(str(work / "bare.rknn")) == 0
    seconds["build"], start = time.perf_counter() - start, time.perf_counter()
    assert rknn.init_runtime() == 0
    for image in np.load(work / "images.npy"):
        assert rknn.inference(inputs=[image[None]], data_format=["nhwc"]) is not None
    seconds["simulate"] = time.perf_counter() - start
    return seconds


def convert_with_rkface(work: Path, count: int) -> dict[str, float]:
    """Seconds of each stage of `rkface convert` for one recognizer."""
    from rkface.convert.compare_models import SIMPLIFICATION_IMAGES
    from rkface.convert.same_outputs import check_same_outputs
    from rkface.convert.simplify import fix_input, simplify
    from rkface.convert.toolkit.quantize import QuantizeJob, quantize
    from rkface.runtime.core.manifest import contract

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
        dataset=write_image_list(work, count),
        evaluate=work / "images.npy",
    )
    done = quantize(job, work / "toolkit.log")
    seconds["build"] = sum(done.seconds[name] for name in ("load", "build", "export"))
    return seconds | {"simulate": done.seconds["simulate"]}


def search_recipe(work: Path, count: int, model: Path) -> dict[str, float]:
    """The recipe search of `rkface convert` for one recognizer, with ``count`` calibration and ``count`` evaluation
    faces."""
    from rkface.convert.acquire import own_sources
    from rkface.convert.demo.render import EVALUATE, render_crop
    from rkface.convert.evaluate.grades import grade_embeddings
    from rkface.convert.evaluate.parity import compare_embeddings
    from rkface.convert.packs.pack import DEMO
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
        lambda recipe: run("recognizer", recipe, write_image_list(work, count), crops),
        lambda done: grade_embeddings({"in-domain": compare_embeddings(reference, done.outputs[0])}, AccuracyBar()),
        lambda recipe: predict_cost(prepared.graph, target, recipe),
    )
    chosen = chosen_result(tries)
    return {
        "search": time.perf_counter() - start,
        "tries": len(tries),
        "recipe": chosen.recipe.name,
        "said": chosen.grade.summary,
    }


SIDES = {"rkface": convert_with_rkface, "bare": convert_bare}


def measure_side(side: str, work: Path, count: int, arguments: Sequence[str] = ()) -> dict[str, float]:
    """Run one side in its own process: its results, its wall time in seconds, and its peak memory in MB."""
    command = [sys.executable, __file__, "--side", side, "--work", str(work), "--counts", str(count), *arguments]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=work, text=True) as process:
        with ThreadPoolExecutor(1) as thread:
            peak = thread.submit(measure_peak_memory, psutil.Process(process.pid))
            output = process.stdout.read()
        process.wait()
    if process.returncode:
        raise SystemExit(f"{side} failed with exit code {process.returncode}")
    return json.loads(output.splitlines()[-1]) | {"total": time.perf_counter() - start, "peak_mb": peak.result()}


def measure_peak_memory(process: psutil.Process) -> float:
    """The highest MB of a process and its children at one time until the process ends; shared pages count once."""
    peak = 0.0
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        memory = 0
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):  # it has just ended
                memory += one.memory_full_info().pss
        peak = max(peak, memory / 2**20)
        time.sleep(0.5)  # sampling slows both sides down, because the kernel walks all their pages
    return peak


def median_of(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.median([run[name] for run in runs])) for name in runs[0]}


def describe_machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    packages = ("rknn-toolkit2", "onnx", "onnxsim", "onnxruntime", "torch", "numpy")
    return {
        "cpu": next(names, platform.machine()),
        "cores": str(os.cpu_count()),
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
        "python": platform.python_version(),
    }


def to_markdown(report: dict) -> str:
    machine, calibration = report["machine"], report["calibrate"]
    table = []
    for row in report["rows"]:
        overhead = row["rkface"]["total"] / row["bare"]["total"] - 1
        for side in ("bare", "rkface"):
            seconds = [f"{row[side][name]:.1f}" for name in (*STAGES, "total")]
            table.append(
                [row["images"], side, *seconds, f"{overhead:+.0%}" if side == "rkface" else "",
                 f"{row[side]['peak_mb']:.0f}"]
            )  # fmt: skip
    stages = [f"{name} s" for name in (*STAGES, "all")]
    weights = "trained (synthetic)" if calibration["trained"] else "generated"
    lines = [
        f"{machine['cores']} cores of {machine['cpu']}; Python {machine['python']}, {machine['versions']}. "
        f"IResNet-50 with {weights} weights, INT8 for rk3588, {SIMULATED} faces simulated.",
        "",
        *format_table(["images", "side", *stages, "overhead", "peak MB"], table),
        "",
        f"Calibration set from {calibration['photos']} rendered photos: finding the faces took "
        f"{calibration['collect']:.1f} s, writing the set {calibration['write']:.1f} s. Tuning (recipe tuned) took "
        f"{calibration['tune']:.1f} s.",
    ]
    faces = max(row["images"] for row in report["rows"])
    for search in report["searches"]:
        lines += [
            "",
            f"`--recipe auto` on {search['model']}: {search['search']:.0f} s with {faces} "
            f"calibration and {faces} evaluation faces; {search['tries']} recipe(s) tried, {search['recipe']} chosen "
            f"({search['said']}); peak {search['peak_mb']:.0f} MB.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
