"""Inference on all NPU cores: which core runs which request, and what happens when no core is left."""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend, QuantizedBackend, Raw
from ..core.errors import DeviceError
from ..core.manifest import ROLES
from .core import RETRIES, Core, CoreState, OpenContext, Request

log = logging.getLogger("rkface.npu")


@dataclass
class Caller:
    """A thread that requests inferences. Only ``Cores`` changes its attributes.

    turn       priority: of the requests that wait for a core, those with the lowest turn run first
    computing  True while the thread works on a frame on the processor, False while it waits for a core or a frame
    """

    turn: int
    computing: bool = False


class Cores:
    """``number`` cores, each with its own models, from ``open_context(name, core)``: at once those of ``first``, those
    of ``later`` in ``open_later``, and each other model when the core first runs it.

    Threads request inferences through ``backend``. A free core takes the request of the caller with the lowest turn,
    whichever model it needs, so no core idles while a request waits. A context that fails is closed and opened again by
    its core's thread, after the seconds in ``retries``, while the other cores go on. When all attempts in ``retries``
    have failed in a row, the core is abandoned. A core whose models do not open at the start is not used; ``state``
    says why. DeviceError if none opens.

    ``on_progress``, which the user of this class may set before the first request, is called from the cores' threads
    whenever a core takes a request, and when no core is left. No lock is held then.
    """

    def __init__(
        self,
        open_context: OpenContext,
        number: int,
        retries: Sequence[float] = RETRIES,
        first: Sequence[str] = ROLES,
        later: Sequence[str] = (),
    ) -> None:
        self.lost: DeviceError | None = None  # why no core is left
        self.on_progress: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._requested = threading.Condition(self._lock)
        self._requests: list[Request] = []
        self._numbers = count()
        self._retries = tuple(retries)
        self._closing = threading.Event()
        self._cores = [Core(core, open_context, self._retries, self._closing) for core in range(number)]
        self._left_out: dict[int, DeviceError] = {}  # cores on which a model does not open, by their number
        self._later = tuple(later)
        self._complete = threading.Event()  # the models of ``later`` are open, or the cores are closing
        with ExitStack() as opened:
            for core in self._cores:
                opened.callback(core.close)
            self._open(first)
            opened.pop_all()
        for core in self._cores:
            if core.state.core in self._left_out:
                core.leave_out(self._left_out[core.state.core])
        usable = [core for core in self._cores if core.state.alive]
        self.name = usable[0].name_of(first[0])
        self._threads = [
            threading.Thread(target=self._serve, args=(core,), name=f"rkface-core-{core.state.core}", daemon=True)
            for core in usable
        ]
        for thread in self._threads:
            thread.start()

    def open_later(self) -> None:
        """Open the models of ``later`` on each core, while the cores run those of ``first``; once. As at the start, a
        core on which one does not open is not used any more.

        All are open before the first one runs: later, they would not share weights (``SharedWeights``). Raises
        DeviceError if they open on no core.
        """
        self._open(self._later)
        self._complete.set()

    def backend(self, model: str, caller: Caller) -> CoresBackend:
        """The model with this name on all cores, for the thread of ``caller``."""
        return CoresBackend(self, model, caller)

    def state(self) -> tuple[CoreState, ...]:
        """The state of each core."""
        return tuple(core.state for core in self._cores)

    def load(self, callers: Iterable[Caller] = ()) -> int:
        """Requests that no core has taken yet, plus the ``callers`` on the processor, which will soon need a core."""
        with self._lock:
            return len(self._requests) + sum(caller.computing for caller in callers)

    def begin(self, caller: Caller, turn: int) -> None:
        """``caller`` begins to work on a frame; its requests have the priority ``turn``."""
        with self._lock:
            caller.turn, caller.computing = turn, True

    def end(self, caller: Caller) -> None:
        """``caller`` has finished its frame."""
        with self._lock:
            caller.computing = False

    def run(self, caller: Caller, model: str, calls: Sequence[Callable[[Backend], Any]]) -> list[Any]:
        """Make each of ``calls`` with ``model`` on some core, at the same time if cores are free, and return what the
        calls return. With a model of ``later``, they wait for ``open_later``.

        The exception of the first call that fails is raised, and the calls that have not begun are not made. Raises
        DeviceError if no core is left or the cores are closed, and UnopenedModelError if a model that is neither
        among the ``first`` nor ``later`` does not open.
        """
        if model in self._later:
            self._complete.wait()
        with self._lock:
            if self.lost or self._closing.is_set():
                raise self.lost or DeviceError("the NPU cores are closed: open the scheduler again")
            requests = [Request(caller.turn, next(self._numbers), model, call) for call in calls]
            for request in requests:
                heapq.heappush(self._requests, request)
            self._requested.notify(len(requests))
            caller.computing = False
        try:
            return [request.answer.result() for request in requests]
        finally:
            for request in requests:
                request.answer.cancel()
            with self._lock:
                caller.computing = True

    def close(self) -> None:
        """Wait for the inferences that run, fail those that wait, and close every context."""
        with self._lock:
            self._closing.set()
            self._complete.set()
            self._fail_all(DeviceError("the NPU cores were closed before this inference ran"))
        self.on_progress()
        for thread in self._threads:
            thread.join()
        with ExitStack() as closing:
            for core in self._cores:
                closing.callback(core.close)

    def _open(self, models: Sequence[str]) -> None:
        """Open ``models`` on each core in use, and leave out cores on which one does not open. DeviceError if all."""
        cores = [core for core in self._cores if core.state.alive]
        errors = {core.state.core: error for core in cores if (error := core.open(models))}
        if errors and len(errors) == len(cores):
            raise next(iter(errors.values()))
        for number, error in errors.items():
            log.warning("NPU core %d is not used: it does not open: %s", number, error)
        with self._lock:
            self._left_out |= errors
            self._requested.notify_all()

    def _serve(self, core: Core) -> None:
        core.serve(lambda: self._next(core.state.core))
        if error := self._left_out.get(core.state.core):
            core.leave_out(error)
        if not core.state.alive:
            self._lose(core)

    def _next(self, core: int) -> Request | None:
        """The next request for ``core``; None if the cores are closing, or this one is left out."""
        with self._lock:
            self._requested.wait_for(lambda: self._requests or self._closing.is_set() or core in self._left_out)
            if self._closing.is_set() or core in self._left_out:
                return None
            request = heapq.heappop(self._requests)
        self.on_progress()
        return request

    def _lose(self, core: Core) -> None:
        """``core`` was abandoned: if it was the last one, no request is answered any more."""
        with self._lock:
            if not any(one.state.alive for one in self._cores):
                self.lost = DeviceError(
                    f"no core is left: each failed {len(self._retries) + 1} times in a row, the last was core "
                    f"{core.state.core} ({core.state.problem}): run `rkface doctor` and `rkface selftest`"
                )
                self._fail_all(self.lost)
        self.on_progress()

    def _fail_all(self, error: DeviceError) -> None:
        """Fail all requests that wait, and wake the cores' threads. Hold the lock."""
        for request in self._requests:
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_exception(error)
        self._requests.clear()
        self._requested.notify_all()


class CoresBackend:
    """One model on all cores as a backend, for one caller's thread. The images of a batch run at the same time."""

    def __init__(self, cores: Cores, model: str, caller: Caller) -> None:
        self.name = cores.name
        self._cores = cores
        self._model = model
        self._caller = caller

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        calls = [lambda context, image=image: context.infer(image[None]) for image in images]
        runs = self._cores.run(self._caller, self._model, calls)
        return [np.concatenate(arrays) for arrays in zip(*runs, strict=True)]

    def infer_quantized(self, image: NDArray[np.uint8]) -> list[Raw]:
        """INT8 outputs if the contexts have them, else float32 outputs; the detector accepts both."""
        answer: list[Raw] = self._cores.run(self._caller, self._model, [lambda context: _raw(context, image)])[0]
        return answer

    def close(self) -> None:
        """Does nothing: the contexts belong to the cores."""


def _raw(context: Backend, image: NDArray[np.uint8]) -> Sequence[Raw]:
    return context.infer_quantized(image) if isinstance(context, QuantizedBackend) else context.infer(image[None])
