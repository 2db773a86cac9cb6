"""The process in which rknn-toolkit2 runs, started by ``quantize``. No other file imports the toolkit.

It loads the toolkit and runs each job in a fork of itself: whatever a job leaves in memory, or breaks, ends with the
fork.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..image_lists import read_image_list
from .forks import start_fork
from .quantize import ANALYSIS, ENDED, REQUEST_BYTES
from .simulate import ToolkitError, infer, simulate
from .simulator_socket import SimulatorSocket

# The files that step 1 of the toolkit's hybrid quantization writes; it puts the name of the model instead of "step1".
CALIBRATED = MODEL, DATA, CONFIGURATION = "step1.model", "step1.data", "step1.quantization.cfg"
SAME_BIAS = 1e-3  # largest difference between equal biases, as a share of a layer's largest bias


def serve(channel: int) -> None:
    """Run the jobs that arrive at the socket ``channel``, each as soon as it comes, until the other end is closed. A
    job is a message of JSON, with the pipe for the job's messages."""
    import rknn.api  # noqa: F401

    signal.signal(signal.SIGCHLD, _collect_ended)
    with socket.socket(fileno=channel) as jobs:
        while True:
            text, pipes, _, _ = socket.recv_fds(jobs, REQUEST_BYTES, 1)
            if not text:
                return
            (messages,) = pipes
            start_fork(partial(_run_and_report, json.loads(text), messages))
            os.close(messages)


def _collect_ended(*_: object) -> None:
    """Collect the forks that have ended, with the CPU time that they took."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run_and_report(request: Mapping[str, str], messages: int) -> None:
    """Run the job of ``request`` in a fork, and write its exit status to the pipe ``messages``."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    job = start_fork(lambda: _run_job_in(Path(request["work"]), Path(request["log"]), messages))
    status = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
    with suppress(BrokenPipeError):  # after a job that answered images
        os.write(messages, f"{ENDED} {status}\n".encode())


def _run_job_in(folder: Path, log: Path, messages: int) -> None:
    """Run the job in ``folder`` with all output in ``log``.

    With QuantizeJob.serve, it writes that the job has ended, and then answers images without end.
    """
    os.chdir(folder)
    with log.open("ab") as sink:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(sink.fileno(), stream.fileno())
    job = json.loads(Path("job.json").read_text(encoding="utf-8"))
    rknn = run_job(job, messages)
    if job["serve"]:
        size = job["input"]
        listening = SimulatorSocket(Path(job["serve"]), size["height"], size["width"], lambda one: infer(rknn, one))
        os.write(messages, f"{ENDED} 0\n".encode())
        listening.serve_forever()


def run_job(raw: dict[str, Any], messages: int) -> Any:
    """Convert and simulate as the QuantizeJob ``raw`` says; results are written to the current folder.

    Returns the toolkit's object, whose simulator has started if the job has images for it.
    """
    from rknn.api import RKNN

    seconds: dict[str, float] = {}

    def stage(name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        if isinstance(result, int) and result != 0:
            raise ToolkitError(f"{name} returned {result}")
        seconds[name] = seconds.get(name, 0) + time.perf_counter() - start
        return result

    def report(name: str) -> None:
        os.write(messages, f"{name} {seconds.get(name, 0):.3f}\n".encode())

    report("start")
    rknn = RKNN(verbose=False)
    size = raw["input"]
    rknn.config(
        mean_values=[list(size["mean"])],
        std_values=[list(size["std"])],
        target_platform=raw["target"],
        quantized_dtype="w8a8",
        quantized_algorithm=raw["algorithm"],
        custom_string=raw["custom_string"],
    )
    shape = [[1, 3, size["height"], size["width"]]]
    in_steps = any(raw[name] for name in ("fp16", "observed", "factors", "exact", "ranges", "calibrated"))
    calibrated = Path(raw["calibrated"] or "calibrated")
    if not (in_steps and calibrated.is_dir()):
        stage("load", lambda: rknn.load_onnx(raw["onnx"], inputs=[size["name"]], input_size_list=shape))
    report("load")
    if in_steps:
        if not calibrated.is_dir():
            stage("build", lambda: rknn.hybrid_quantization_step1(dataset=raw["dataset"]))
            _keep_calibration(Path(raw["onnx"]).stem, calibrated)
        rknn.release()  # the second step needs a new object
        rknn = RKNN(verbose=False)
        files = stage("build", lambda: _configure_step2(calibrated, raw))
        stage("build", lambda: rknn.hybrid_quantization_step2(*files))
    else:
        quantized = raw["dataset"] is not None
        stage("build", lambda: rknn.build(do_quantization=quantized, dataset=raw["dataset"]))
    report("build")
    stage("export", lambda: rknn.export_rknn(raw["output"]))
    report("export")
    outputs = stage("simulate", lambda: simulate(rknn, raw["evaluate"], messages)) if raw["evaluate"] else []
    report("simulate")
    if raw["analyze"]:
        image = str(read_image_list(Path(raw["dataset"]))[0])
        stage("analyze", lambda: rknn.accuracy_analysis(inputs=[image], output_dir=ANALYSIS))
        report("analyze")
    np.savez("outputs.npz", **{f"{index}": array for index, array in enumerate(outputs)})
    _write_result(seconds)
    return rknn


def _keep_calibration(stem: str, folder: Path) -> None:
    """Move the files that step 1 of the toolkit's hybrid quantization wrote to ``folder``."""
    new = Path("step1")
    new.mkdir()
    for name in CALIBRATED:
        Path(name.replace("step1", stem)).rename(new / name)
    shutil.move(new, folder)


def _configure_step2(calibrated: Path, raw: dict[str, Any]) -> tuple[str, str, str]:
    """The paths of step 1's files in ``calibrated``, changed for step 2 as the job ``raw`` says: model, data and
    configuration."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    configuration = yaml.load(calibrated / CONFIGURATION)
    tensors, fp16 = configuration["quantize_parameters"], raw["fp16"]
    configuration["custom_quantize_layers"] = {name: "float16" for name in fp16 if name in tensors}
    if fp16 and not configuration["custom_quantize_layers"]:
        raise ToolkitError("the toolkit does not know any of the layers that should stay in FP16")
    for name, (low, high) in raw["observed"].items():
        for tensor in (name, f"{name}_int8"):
            _widen(tensors, tensor, low, high)
    for name, factor in raw["factors"].items():
        for tensor in (name, f"{name}_int8"):
            for end in ("min", "max"):
                if tensor in tensors:
                    tensors[tensor][end] = [value * factor for value in tensors[tensor][end]]
    for name, (low, high) in raw["exact"].items():
        for tensor in (name, f"{name}_int8"):
            if tensor in tensors:
                tensors[tensor]["min"], tensors[tensor]["max"] = [low], [high]
    for name, (low, high) in raw["ranges"].items():
        # The toolkit swaps a Sigmoid with a move of data before it. The swapped tensor, NAME_sw, contains
        # probabilities.
        for tensor, most in ((name, high), (f"{name}_int8", high), (f"{name}_sw", 1.0)):
            _widen(tensors, tensor, low, most)
    yaml.dump(configuration, Path(CONFIGURATION))
    model = calibrated / MODEL
    return str(_with_biases(model, raw["biases"]) if raw["biases"] else model), str(calibrated / DATA), CONFIGURATION


def _widen(tensors: dict[str, Any], name: str, low: float, high: float) -> None:
    """Make the range of the tensor ``name`` contain ``low`` and ``high``, if the toolkit has a range for it."""
    if name in tensors:
        tensors[name]["min"] = [min(value, low) for value in tensors[name]["min"]]
        tensors[name]["max"] = [max(value, high) for value in tensors[name]["max"]]


def _with_biases(model: Path, biases: Mapping[str, Sequence[Sequence[float]]]) -> Path:
    """Step 1's ``model``, an ONNX file, with other ``biases``: name → (the values now, the values to write).

    A bias that the toolkit has changed in another way is left unchanged, and the log says so.
    """
    proto = onnx.load(str(model))
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    for name, (before, after) in biases.items():
        now = onnx.numpy_helper.to_array(tensors[name]) if name in tensors else None
        new = (
            None if now is None else _replaced_bias(now, np.asarray(before, np.float32), np.asarray(after, np.float32))
        )
        if new is None:
            print(f"{name}: the toolkit has changed this bias: it stays as tuned for INT8")
        else:
            tensors[name].CopyFrom(onnx.numpy_helper.from_array(new, name))
    onnx.save(proto, MODEL)
    return Path(MODEL)


def _replaced_bias(
    now: NDArray[np.float32], before: NDArray[np.float32], after: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """The bias ``now``, which was ``before``, with the change from ``before`` to ``after`` applied.

    The toolkit removes channels that are nearly constant, and adds their value to the biases of the next layer. Returns
    None if it changed the bias in any other way.
    """
    if now.size != before.size:
        return None
    flat = now.reshape(-1)
    same = np.abs(flat - before) <= SAME_BIAS * np.abs(before).max()
    if not np.all(same | (flat == 0)):
        return None
    moved: NDArray[np.float32] = now + np.where(same, after - before, np.float32(0)).reshape(now.shape)
    return moved


def _write_result(seconds: dict[str, float]) -> None:
    import resource
    from importlib.metadata import version

    used = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    peak = max(used) / 1024  # Linux counts KiB
    result = {"seconds": seconds, "peak_rss_mb": peak, "toolkit": version("rknn-toolkit2")}
    Path("result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    serve(int(sys.argv[1]))
