"""Converts ONNX to RKNN with rknn-toolkit2, each time in a separate process (convert/toolkit/worker.py).

The compiler can abort or crash its process, the toolkit writes into the current folder and prints to the terminal, and
only the process that built a model can simulate it. Loading the toolkit takes longer than converting a small model, so
one process loads it, and each conversion runs in a fork of that process. Conversions can run at the same time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.child_process import kill_process, start_process
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.manifest import Input

from ..image_lists import read_image_list

TOOLKIT_SCRATCH = "toolkit-"  # start of the names of the toolkit's working folders
STAGES = ("start", "load", "build", "export", "simulate", "analyze")
FOLLOWING = dict(zip(STAGES, (*STAGES[1:], STAGES[-1]), strict=True))
ENDED = "ended"  # not a stage: followed by the exit status of the job
ANSWERED = "answered"  # not a stage: followed by the number of simulated images
ANALYSIS = "analysis"  # the worker's folder for the error of each layer
REQUEST_BYTES = 65536  # of a job's two paths, at most
CUSTOM_STRING_BYTES = 1024  # the buffer of RKNN_QUERY_CUSTOM_STRING, including the final zero byte
COLOR_CODES = re.compile(r"\x1b\[[0-9;]*m")
LAYER = re.compile(r"\[(\w+)\] (\S+) +([\d.]+) \| [\d.]+ +([\d.]+) \| [\d.]+")
OUTLIERS = re.compile(r"found outlier value, this may affect quantization accuracy")


@dataclass(frozen=True)
class QuantizeJob:
    """One conversion.

    onnx           a simplified model with static shapes, batch 1
    output         path of the ``.rknn``
    target         chip, under rknn-toolkit2's name
    input          of the model
    custom_string  stored in the ``.rknn`` as readable text, under 1024 bytes
    dataset        list of calibration images, each exactly of the input's size; None builds FP16
    algorithm      rknn-toolkit2's ``quantized_algorithm``
    evaluate       N×H×W×3 uint8 RGB, saved by numpy.save, to run in the simulator; None runs nothing
    fp16           names of tensors whose layers stay in FP16, in a model that is otherwise quantized
    observed       more ranges of some tensors, by name: each is widened until it contains this one
    factors        for the widened ranges of some tensors, by name
    exact          ranges of some tensors, by name, instead of those that the images show
    ranges         minimum ranges of some tensors, by name, whatever the images show
    biases         changed biases, by name: the values in ``onnx``, and the values for the ``.rknn``
    calibrated     folder for the calibration of ``onnx`` on ``target``: read if it exists, otherwise written.
                   Calibration is most of the time of a conversion
    analyze        measure every layer's error on the first calibration image
    serve          Unix socket at which the simulator then answers any image, until this process ends
                   (simulator_socket.py); None for no socket
    source         name of the user's file, for messages; "" if ``onnx`` is that file
    """

    onnx: Path
    output: Path
    target: str
    input: Input
    custom_string: str
    dataset: Path | None = None
    algorithm: str = "normal"
    evaluate: Path | None = None
    fp16: tuple[str, ...] = ()
    observed: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    exact: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    biases: Mapping[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    calibrated: Path | None = None
    analyze: bool = False
    serve: Path | None = None
    source: str = ""


@dataclass(frozen=True)
class LayerError:
    """Cosine between one layer's output and FP32's, on one image.

    ``cumulative`` has every layer up to this one quantized, ``single`` only this layer. Layers that the NPU computes as
    one have the name of the last of them.
    """

    name: str
    kind: str
    cumulative: float
    single: float


@dataclass(frozen=True)
class QuantizedModel:
    """A converted model.

    rknn         its file
    outputs      of the simulator for ``QuantizeJob.evaluate``: float32, N first, in the model's order
    seconds      by stage of the toolkit
    peak_rss_mb  of the process with the largest
    toolkit      version of rknn-toolkit2
    warnings     of the toolkit, for people
    layers       the error of each layer, in order of execution, if ``QuantizeJob.analyze``
    """

    rknn: Path
    outputs: tuple[NDArray[np.float32], ...]
    seconds: dict[str, float]
    peak_rss_mb: float
    toolkit: str
    warnings: tuple[str, ...]
    layers: tuple[LayerError, ...] = ()


def require_toolkit() -> None:
    """Raise InputError if rknn-toolkit2 is not installed. Call this before minutes of work, not after."""
    if find_spec("rknn") is None:
        raise InputError(
            "rknn-toolkit2 is not installed: run `make venv` (it needs x86-64 Linux and Python 3.10 to 3.12)"
        )


def quantize(
    job: QuantizeJob, log: Path, progress: Callable[[str, float], None] = lambda stage, seconds: None
) -> QuantizedModel:
    """Run ``job``; everything that the toolkit prints is written to ``log``.

    Several threads may call it, each with a ``log`` of its own. ``progress`` is called with each finished stage and its
    seconds, and during simulation with ``ANSWERED`` and the number of finished images. An interrupted or failed run
    leaves neither a process nor an output file.

    Raises InputError if the calibration images do not fit the model, and WorkError, with the stage and the log, if the
    toolkit fails.
    """
    if len(job.custom_string.encode()) >= CUSTOM_STRING_BYTES:
        raise ValueError(f"custom_string must be shorter than {CUSTOM_STRING_BYTES} bytes")
    if job.dataset is not None:
        _check_dataset(job.dataset, job.input)
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=log.parent, prefix=TOOLKIT_SCRATCH) as scratch:
        work = Path(scratch).resolve()  # the worker runs inside it
        partial = replace(_absolute(job), output=work / "model.rknn")
        (work / "job.json").write_text(json.dumps(asdict(partial), default=str), encoding="utf-8")
        stage, code = _run(work, log, progress)
        if code != 0:
            raise WorkError(_explain_failure(job, stage, code, log))
        result = json.loads((work / "result.json").read_text(encoding="utf-8"))
        with np.load(work / "outputs.npz") as arrays:
            outputs = tuple(arrays[f"{index}"] for index in range(len(arrays.files)))
        layers = tuple(_layer_errors(work / ANALYSIS / "error_analysis.txt")) if job.analyze else ()
        job.output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(partial.output, job.output)
    return QuantizedModel(
        job.output, outputs, result["seconds"], result["peak_rss_mb"], result["toolkit"], tuple(_warnings(log)), layers
    )


def _absolute(job: QuantizeJob) -> QuantizeJob:
    return replace(
        job,
        onnx=job.onnx.resolve(),
        dataset=job.dataset.resolve() if job.dataset else None,
        evaluate=job.evaluate.resolve() if job.evaluate else None,
        calibrated=job.calibrated.resolve() if job.calibrated else None,
        serve=job.serve.resolve() if job.serve else None,
    )


def _check_dataset(dataset: Path, input: Input) -> None:
    # The toolkit silently stretches an image of another size, and a distorted face gives a wrong calibration.
    from rkface.runtime.vision.image import read_image

    for path in read_image_list(dataset):
        height, width = read_image(path).shape[:2]
        if (width, height) != (input.width, input.height):
            raise InputError(
                f"{path} is {width}×{height}, but the model takes {input.width}×{input.height}: make the calibration "
                "set "
                "again with `rkface calibrate`"
            )


@dataclass(frozen=True)
class _Toolkit:
    """The process that has loaded the toolkit, and the socket for its jobs. It ends when the socket is closed."""

    process: subprocess.Popen[bytes]
    jobs: socket.socket

    def start_job(self, work: Path, log: Path) -> TextIO:
        """Start the job in ``work``; returns its messages, which end if the toolkit dies."""
        reader, writer = os.pipe()
        request = json.dumps({"work": str(work), "log": str(log.resolve())})
        with suppress(OSError):  # it has died, or another thread has ended it: then the messages end at once
            socket.send_fds(self.jobs, [request.encode()], [writer])
        os.close(writer)
        return os.fdopen(reader, encoding="utf-8")

    def end(self) -> None:
        kill_process(self.process)
        self.jobs.close()


_toolkits: list[_Toolkit] = []  # at most one; it ends with this process
_starting = threading.Lock()


def _toolkit(log: Path) -> _Toolkit:
    """The running toolkit process, or a new one, which writes to ``log`` if it cannot start."""
    with _starting:
        if not _toolkits or _toolkits[0].process.poll() is not None:
            end_toolkit()
            _toolkits.append(_start_toolkit(log))
        return _toolkits[0]


def _start_toolkit(log: Path) -> _Toolkit:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "rkface.convert.toolkit.worker", str(theirs.fileno())]
    with theirs, log.open("ab") as sink:
        process = start_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            cwd=log.parent,  # -m imports modules from the current folder, such as a file onnx.py of the user
        )
    return _Toolkit(process, ours)


def end_toolkit() -> None:
    """End the toolkit's process, if it runs, and with it its jobs and the simulators of ``QuantizeJob.serve``."""
    while _toolkits:
        _toolkits.pop().end()


def _run(work: Path, log: Path, progress: Callable[[str, float], None]) -> tuple[str, int]:
    """Run the job in ``work``; returns the stage in which it ended, and its exit status."""
    log.write_bytes(b"")
    toolkit = _toolkit(log)
    stage = STAGES[0]
    with toolkit.start_job(work, log) as messages:
        try:
            for line in messages:
                name, value = line.split()
                if name == ENDED:
                    return stage, int(value)
                if name != STAGES[0]:
                    progress(name, float(value))
                if name != ANSWERED:
                    stage = FOLLOWING[name]
        except BaseException:
            toolkit.end()
            messages.read()  # until the fork that ran the job is gone, too
            raise
    toolkit.end()
    return stage, toolkit.process.returncode


def _explain_failure(job: QuantizeJob, stage: str, code: int, log: Path) -> str:
    text = COLOR_CODES.sub("", log.read_text(encoding="utf-8", errors="replace"))
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else "failed"
    errors = [line.strip() for line in text.splitlines() if re.match(r"\s*E |\S*(Error|Exception)\b", line)]
    reason = f": {errors[-1][:200]}" if errors else ""
    return (
        f"rknn-toolkit2 {how} at {stage} of {job.source or job.onnx.name} for {job.target}{reason}; see its log {log}"
    )


def _warnings(log: Path) -> Iterator[str]:
    text = COLOR_CODES.sub("", log.read_text(encoding="utf-8", errors="replace"))
    if OUTLIERS.search(text):
        yield f"the toolkit found outlier weights, which may reduce accuracy (see its log {log})"


def _layer_errors(table: Path) -> Iterator[LayerError]:
    """The lines of the toolkit's error_analysis.txt. Layers that it fused with the next layer have no figures there."""
    for line in table.read_text(encoding="utf-8").splitlines():
        found = LAYER.match(line)
        if found and found[1] not in ("Input", "exDataConvert"):
            yield LayerError(found[2], found[1], float(found[3]), float(found[4]))
