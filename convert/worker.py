"""The process in which rknn-toolkit2 runs, started by ``quantize``: the one file that imports it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rkface.runtime.backends import stack_runs

from .children import die_with
from .quantize import ANALYSIS, ANSWERED, listed

TELL = 20  # images between two words on how many the simulator has answered to


class _Failed(Exception):
    pass


def work(job_file: Path, channel: int, parent: int) -> int:
    die_with(parent)
    raw = json.loads(job_file.read_text(encoding="utf-8"))
    try:
        from rknn.api import RKNN
    except ImportError as error:
        print(error)
        return 3
    seconds: dict[str, float] = {}

    def stage(name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        if isinstance(result, int) and result != 0:
            raise _Failed(f"{name} returned {result}")
        seconds[name] = seconds.get(name, 0) + time.perf_counter() - start
        return result

    def report(name: str) -> None:
        os.write(channel, f"{name} {seconds.get(name, 0):.3f}\n".encode())

    report("start")
    rknn = RKNN(verbose=False)
    size = raw["input"]
    rknn.config(
        mean_values=[list(size["mean"])], std_values=[list(size["std"])], target_platform=raw["target"],
        quantized_dtype="w8a8", quantized_algorithm=raw["algorithm"], custom_string=raw["custom_string"],
    )  # fmt: skip
    shape = [[1, 3, size["height"], size["width"]]]
    stage("load", lambda: rknn.load_onnx(raw["onnx"], inputs=[size["name"]], input_size_list=shape))
    report("load")
    if raw["fp16"] or raw["ranges"] or raw["shrinks"]:
        stage("build", lambda: rknn.hybrid_quantization_step1(dataset=raw["dataset"]))
        rknn.release()  # the second step wants a fresh object
        rknn = RKNN(verbose=False)
        files = _configured(Path(raw["onnx"]).stem, raw["fp16"], raw["ranges"], raw["shrinks"])
        stage("build", lambda: rknn.hybrid_quantization_step2(*files))
    else:
        quantized = raw["dataset"] is not None
        stage("build", lambda: rknn.build(do_quantization=quantized, dataset=raw["dataset"]))
    report("build")
    stage("export", lambda: rknn.export_rknn(raw["output"]))
    report("export")
    outputs = stage("simulate", lambda: _simulate(rknn, raw["evaluate"], channel)) if raw["evaluate"] else []
    report("simulate")
    if raw["analyse"]:
        image = str(listed(Path(raw["dataset"]))[0])
        stage("analyse", lambda: rknn.accuracy_analysis(inputs=[image], output_dir=ANALYSIS))
        report("analyse")
    np.savez("outputs.npz", **{f"{index}": array for index, array in enumerate(outputs)})
    _write_result(seconds)
    return 0


def _configured(
    stem: str, fp16: Sequence[str], ranges: Mapping[str, Sequence[float]], shrinks: Mapping[str, float]
) -> tuple[str, str, str]:
    """What step 1 of the toolkit's hybrid quantisation left here, its configuration changed for step 2."""
    from ruamel.yaml import YAML

    path = Path(f"{stem}.quantization.cfg")
    yaml = YAML(typ="safe", pure=True)
    configuration = yaml.load(path)
    tensors = configuration["quantize_parameters"]
    configuration["custom_quantize_layers"] = {name: "float16" for name in fp16 if name in tensors}
    if fp16 and not configuration["custom_quantize_layers"]:
        raise _Failed(f"{path} knows none of the layers that should stay in FP16")
    for name, factor in shrinks.items():
        for tensor in (name, f"{name}_int8"):
            for end in ("min", "max"):
                if tensor in tensors:
                    tensors[tensor][end] = [value * factor for value in tensors[tensor][end]]
    for name, (low, high) in ranges.items():
        # The toolkit computes a Sigmoid before it moves data, and calls what it then moves NAME_sw: probabilities.
        for tensor, most in ((name, high), (f"{name}_int8", high), (f"{name}_sw", 1.0)):
            if tensor in tensors:
                tensors[tensor]["min"] = [min(value, low) for value in tensors[tensor]["min"]]
                tensors[tensor]["max"] = [max(value, most) for value in tensors[tensor]["max"]]
    yaml.dump(configuration, path)
    return f"{stem}.model", f"{stem}.data", str(path)


def _simulate(rknn: Any, evaluate: str, channel: int) -> list[NDArray[np.float32]]:
    if rknn.init_runtime() != 0:
        raise _Failed("the simulator did not start")
    runs = []
    for image in np.load(evaluate, mmap_mode="r"):
        # uint8 NHWC: the toolkit applies mean and std itself, exactly as the board will.
        outputs = rknn.inference(inputs=[np.asarray(image)[None]], data_format=["nhwc"])
        if outputs is None:
            raise _Failed("the simulator returned nothing")
        runs.append([np.asarray(array, np.float32) for array in outputs])
        if len(runs) % TELL == 0:
            os.write(channel, f"{ANSWERED} {len(runs)}\n".encode())
    return stack_runs(runs)


def _write_result(seconds: dict[str, float]) -> None:
    import resource
    from importlib.metadata import version

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    result = {"seconds": seconds, "peak_rss_mb": peak, "toolkit": version("rknn-toolkit2")}
    Path("result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
