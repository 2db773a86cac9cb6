"""Measure how long a model takes: on each core alone, and on all cores together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend
from ..core.errors import DeviceError

WARM_UP = 3  # runs that are not measured: the first runs fill caches and raise clock rates


@dataclass(frozen=True)
class Latency:
    """The latency of ``what`` (a model or a step) on ``where`` (a core, all cores, or the processor).

    runs           number of measured inferences
    p50, p90, p99  percentiles of one inference, in milliseconds
    rate           inferences per second, of all cores of ``where`` together
    """

    what: str
    where: str
    runs: int
    p50: float
    p90: float
    p99: float
    rate: float


def time_model(
    what: str, opener: Callable[..., Backend], images: NDArray[np.uint8], cores: Sequence[int], runs: int
) -> list[Latency]:
    """Measure ``runs`` inferences of ``images`` (N×H×W×3 uint8, used in turn) on each of ``cores`` alone, then on all
    together with one thread per core. Each core has its own model from ``opener(core=…)``. Without cores, measure once
    on the processor. Raises DeviceError if a run fails, and says so if only runs at the same time do.
    """
    with ExitStack() as opened:
        backends = []
        for core in cores or (None,):
            backends.append(opener(core=core))
            opened.callback(backends[-1].close)
        places = [f"core {core}" for core in cores] or ["processor"]
        rows = [_measure(what, place, [backend], images, runs) for place, backend in zip(places, backends, strict=True)]
        if len(cores) > 1:
            try:
                rows.append(_measure(what, f"{len(cores)} cores together", backends, images, runs))
            except DeviceError as error:
                raise DeviceError(
                    f"the cores work apart, but not at the same time: {error}. Use one core (cores = 1 in "
                    "rkface.toml), or update the kernel with its NPU driver"
                ) from error
        return rows


def _measure(what: str, where: str, backends: Sequence[Backend], images: NDArray[np.uint8], runs: int) -> Latency:
    for backend in backends:
        for image in images[:WARM_UP]:
            backend.infer(image[None])
    started = time.perf_counter()
    with ThreadPoolExecutor(len(backends)) as threads:
        taken = list(threads.map(lambda one: _times(lambda image: one.infer(image[None]), images, runs), backends))
    return summarize(what, where, np.concatenate(taken), time.perf_counter() - started)


def time_calls(
    what: str, where: str, call: Callable[[NDArray[np.uint8]], object], images: NDArray[np.uint8], runs: int
) -> Latency:
    """Measure ``runs`` calls of ``call``, each with one of ``images`` (N×H×W×3 uint8, used in turn)."""
    for image in images[:WARM_UP]:
        call(image)
    started = time.perf_counter()
    return summarize(what, where, _times(call, images, runs), time.perf_counter() - started)


def _times(call: Callable[[NDArray[np.uint8]], object], images: NDArray[np.uint8], runs: int) -> NDArray[np.float64]:
    seconds = np.empty(runs)
    for run in range(runs):
        started = time.perf_counter()
        call(images[run % len(images)])
        seconds[run] = time.perf_counter() - started
    return seconds


def summarize(what: str, where: str, seconds: NDArray[np.float64], elapsed: float) -> Latency:
    """``seconds`` of each inference, and ``elapsed`` seconds from the start of the first to the end of the last."""
    p50, p90, p99 = (round(float(value), 3) for value in np.percentile(seconds * 1000, (50, 90, 99)))
    return Latency(what, where, len(seconds), p50, p90, p99, round(len(seconds) / elapsed, 1))
