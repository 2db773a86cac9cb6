"""How long a model takes: on each core alone, and on all of them at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend

WARM_UP = 3  # runs that do not count: the first one loads caches and wakes the clocks


@dataclass(frozen=True)
class Latency:
    """Percentiles in milliseconds of one inference, and inferences a second of all ``where`` together."""

    what: str
    where: str
    runs: int
    p50: float
    p90: float
    p99: float
    rate: float


def time_model(
    what: str, opener: Callable[..., Backend], images: NDArray[np.uint8], cores: int, runs: int
) -> list[Latency]:
    """Time ``runs`` inferences of ``images`` (N×H×W×3), one after another, on each of ``cores`` alone and then on all
    together, with a thread each and a model each, from ``opener(core=…)``. With no cores: once, on the processor.
    """
    with ExitStack() as opened:
        backends = []
        for core in range(cores) if cores else (None,):
            backends.append(opener(core=core))
            opened.callback(backends[-1].close)
        rows = [
            _row(what, f"core {core}" if cores else "processor", [backend], images, runs)
            for core, backend in enumerate(backends)
        ]
        if cores > 1:
            rows.append(_row(what, f"{cores} cores together", backends, images, runs))
        return rows


def _row(what: str, where: str, backends: Sequence[Backend], images: NDArray[np.uint8], runs: int) -> Latency:
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
    """Time ``runs`` calls of ``call`` with one of ``images`` (N×H×W×3) each."""
    for image in images[:WARM_UP]:
        call(image)
    started = time.perf_counter()
    return summarize(what, where, _times(call, images, runs), time.perf_counter() - started)


def _times(call: Callable[[NDArray[np.uint8]], object], images: NDArray[np.uint8], runs: int) -> NDArray[np.float64]:
    taken = np.empty(runs)
    for run in range(runs):
        started = time.perf_counter()
        call(images[run % len(images)])
        taken[run] = time.perf_counter() - started
    return taken


def summarize(what: str, where: str, taken: NDArray[np.float64], elapsed: float) -> Latency:
    """``taken``: seconds of each inference; ``elapsed``: seconds from the first one's start to the last one's end."""
    p50, p90, p99 = (round(float(value), 3) for value in np.percentile(taken * 1000, (50, 90, 99)))
    return Latency(what, where, len(taken), p50, p90, p99, round(len(taken) / elapsed, 1))
