"""ONNX → RKNN by rknn-toolkit2, each time in a process of its own (convert/worker.py).

The compiler can abort or crash with its process, the toolkit writes into the current folder and prints to the terminal,
and simulation is only possible where the model was built. Loading the toolkit takes longer than converting a small
model: one process does that, and a copy of it each conversion.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TextIO

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.bundle import Input
from rkface.runtime.core.errors import InputError, WorkError

from .children import start, stop

STAGES = ("load", "build", "export", "simulate", "analyze")
ENDED = "ended"  # not a stage: the exit status of what did the job
ANSWERED = "answered"  # not a stage: how many images the simulator is through with
ANALYSIS = "analysis"  # the worker's folder for it
CUSTOM_STRING_BYTES = 1024  # RKNN_QUERY_CUSTOM_STRING's buffer, with its closing zero
COLOR_CODES = re.compile(r"\x1b\[[0-9;]*m")
LAYER = re.compile(r"\[(\w+)\] (\S+) +([\d.]+) \| [\d.]+ +([\d.]+) \| [\d.]+")
OUTLIERS = re.compile(r"found outlier value, this may affect quantization accuracy")


@dataclass(frozen=True)
class Job:
    """One conversion.

    onnx           a simplified model with static shapes, batch 1
    output         where the ``.rknn`` goes
    custom_string  stored readable in the ``.rknn``, under 1024 bytes
    dataset        list of calibration images, each exactly of the input's size; None builds FP16
    evaluate       N×H×W×3 uint8 RGB saved by numpy.save, to run through the simulator; None runs nothing
    fp16           names of tensors whose layers stay in FP16, in a model that is otherwise quantized
    ranges         the least range of some tensors, by name, whatever the calibration images show
    shrinks        factors by which the ranges of some tensors are made smaller than what the images show
    biases         tensors of ``onnx`` that are something else in the ``.rknn``: the values here, and those there
    calibrated     folder for what the images show of ``onnx`` on ``target``: written where it is not there, else read,
                   which is most of the time that a hybrid takes
    analyze        measure every layer's error on the first calibration image
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
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    shrinks: Mapping[str, float] = field(default_factory=dict)
    biases: Mapping[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    calibrated: Path | None = None
    analyze: bool = False


@dataclass(frozen=True)
class LayerError:
    """Cosine of one layer's output to FP32's on one image: with every layer before it quantized (``cumulative``), and
    with that layer alone (``single``). Layers that the NPU computes as one are one, named after their last."""

    name: str
    kind: str
    cumulative: float
    single: float


@dataclass(frozen=True)
class Quantized:
    """outputs: what the simulator says to ``Job.evaluate``, N first, in the model's order, float32. layers: their
    errors in the order of computing, where they were asked for."""

    rknn: Path
    outputs: tuple[NDArray[np.float32], ...]
    seconds: dict[str, float]
    peak_rss_mb: float
    toolkit: str
    warnings: tuple[str, ...]
    layers: tuple[LayerError, ...] = ()


def require_toolkit() -> None:
    """Raise InputError where rknn-toolkit2 is not installed: better said before minutes of work than after."""
    if find_spec("rknn") is None:
        raise InputError("rknn-toolkit2 is not installed here: run `make venv` (x86-64 Linux, Python 3.10-3.12)")


def quantize(job: Job, log: Path, progress: Callable[[str, float], None] = lambda stage, seconds: None) -> Quantized:
    """Run ``job``; everything the toolkit prints goes to ``log``. In one thread, which lives as long as its toolkit.

    ``progress`` hears each finished stage with its seconds, and during simulation ``ANSWERED`` with how many images are
    done. InputError for a calibration list that does not fit the model, WorkError, naming stage and log, for everything
    the toolkit can do wrong. An interrupted or failed run leaves neither process nor output behind.
    """
    if len(job.custom_string.encode()) >= CUSTOM_STRING_BYTES:
        raise ValueError("custom string is too long for the .rknn")
    if job.dataset is not None:
        _check_dataset(job.dataset, job.input)
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=log.parent, prefix="toolkit-") as scratch:
        work = Path(scratch).resolve()  # the worker runs inside it
        partial = replace(_absolute(job), output=work / "model.rknn")
        (work / "job.json").write_text(json.dumps(asdict(partial), default=str), encoding="utf-8")
        stage, code = _run(work, log, progress)
        if code != 0:
            raise WorkError(_explain(job, stage, code, log))
        result = json.loads((work / "result.json").read_text(encoding="utf-8"))
        with np.load(work / "outputs.npz") as arrays:
            outputs = tuple(arrays[f"{index}"] for index in range(len(arrays.files)))
        layers = tuple(_layer_errors(work / ANALYSIS / "error_analysis.txt")) if job.analyze else ()
        job.output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(partial.output, job.output)
    return Quantized(
        job.output, outputs, result["seconds"], result["peak_rss_mb"], result["toolkit"], tuple(_warnings(log)), layers
    )


def _absolute(job: Job) -> Job:
    return replace(
        job,
        onnx=job.onnx.resolve(),
        dataset=job.dataset.resolve() if job.dataset else None,
        evaluate=job.evaluate.resolve() if job.evaluate else None,
        calibrated=job.calibrated.resolve() if job.calibrated else None,
    )


def listed(dataset: Path) -> list[Path]:
    """The images of a calibration list. InputError where it cannot be read or lists none."""
    try:
        lines = dataset.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(f"{dataset}: cannot be read: {error.strerror or error}") from error
    paths = [dataset.parent / line.strip() for line in lines if line.strip()]
    if not paths:
        raise InputError(f"{dataset} lists no calibration image: run `rkface calibrate` again")
    return paths


def _check_dataset(dataset: Path, input: Input) -> None:
    # The toolkit silently stretches an image of another size, and a squeezed face calibrates nothing.
    from rkface.runtime.vision.image import read_image

    for path in listed(dataset):
        height, width = read_image(path).shape[:2]
        if (width, height) != (input.width, input.height):
            raise InputError(
                f"{path} is {width}×{height}, the model takes {input.width}×{input.height}: calibrate again"
            )


@dataclass(frozen=True)
class _Toolkit:
    """The process that has loaded the toolkit, and what it says."""

    process: subprocess.Popen[str]
    says: TextIO

    def order(self, work: Path, log: Path) -> None:
        with suppress(BrokenPipeError):  # it has died, which ends what it says, too
            self._stdin.write(json.dumps({"work": str(work), "log": str(log.resolve())}) + "\n")
            self._stdin.flush()

    def end(self) -> None:
        stop(self.process)
        with self.says, suppress(BrokenPipeError), self._stdin:
            self.says.read()  # until whoever did its job is gone too

    @property
    def _stdin(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin


_toolkits: list[_Toolkit] = []  # one at most; it ends with us


def _toolkit(log: Path) -> _Toolkit:
    """The one that runs, or a new one, which says in ``log`` if it cannot start."""
    if _toolkits and _toolkits[0].process.poll() is None:
        return _toolkits[0]
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "rkface.convert.worker", str(writer), str(os.getpid())]
    with log.open("ab") as sink:
        process = start(
            command,
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[writer],
            cwd=log.parent,  # -m takes modules from the current folder: an onnx.py of the user's would be one
        )
    os.close(writer)
    _toolkits[:] = [_Toolkit(process, os.fdopen(reader, encoding="utf-8"))]
    return _toolkits[0]


def _run(work: Path, log: Path, progress: Callable[[str, float], None]) -> tuple[str, int]:
    """Have the job in ``work`` done; returns the stage that it was in when it ended, and its exit status."""
    log.write_bytes(b"")
    toolkit = _toolkit(log)
    stage = "start"
    try:
        toolkit.order(work, log)
        for line in toolkit.says:
            name, value = line.split()
            if name == ENDED:
                return stage, int(value)
            if name == ANSWERED:
                progress(name, float(value))
            elif name in STAGES:
                progress(name, float(value))
                stage = STAGES[min(STAGES.index(name) + 1, len(STAGES) - 1)]
            else:
                stage = STAGES[0]
    except BaseException:
        toolkit.end()
        raise
    toolkit.end()
    return stage, toolkit.process.returncode


def _explain(job: Job, stage: str, code: int, log: Path) -> str:
    text = COLOR_CODES.sub("", log.read_text(encoding="utf-8", errors="replace"))
    how = f"died of {signal.Signals(-code).name}" if code < 0 else "failed"
    said = [line.strip() for line in text.splitlines() if re.match(r"\s*E |\S*(Error|Exception)\b", line)]
    reason = f": {said[-1][:200]}" if said else ""
    return f"rknn-toolkit2 {how} at {stage} of {job.onnx.name} for {job.target}{reason}; its log is {log}"


def _warnings(log: Path) -> Iterator[str]:
    text = COLOR_CODES.sub("", log.read_text(encoding="utf-8", errors="replace"))
    if OUTLIERS.search(text):
        yield "the toolkit found outlier weights, which may cost accuracy (see the log)"


def _layer_errors(table: Path) -> Iterator[LayerError]:
    """The lines of the toolkit's error_analysis.txt; what it fused into the next layer has no figures there."""
    for line in table.read_text(encoding="utf-8").splitlines():
        found = LAYER.match(line)
        if found and found[1] not in ("Input", "exDataConvert"):
            yield LayerError(found[2], found[1], float(found[3]), float(found[4]))
