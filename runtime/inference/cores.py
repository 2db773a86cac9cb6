"""Inference on all NPU cores: one context per core and model, and one thread per core that uses them."""

from __future__ import annotations

import heapq
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend, QuantizedBackend, Raw
from ..core.errors import DeviceError, UnopenedModelError
from ..core.manifest import ROLES

OpenContext = Callable[[str, int], Backend]  # opens the model with this name on this core

# Seconds before each attempt to reopen a failed context; after the last attempt the core is abandoned. Chosen, not
# measured: one failed inference costs 0.1 s of one core, and a driver has 22 s to recover before the service restarts.
RETRIES = (0.1, 0.5, 2.0, 5.0, 15.0)
# Seconds that an inference on a hung NPU can take before librknnrt returns an error. Boards report 6 s (radxa/kernel
# #312); the driver waits for that time up to three times if other jobs are before this one
# (rockchip-linux/rknn-toolkit2 #320).
LONGEST_HANG = 18.0

log = logging.getLogger("rkface.npu")


@dataclass
class Caller:
    """A thread that requests inferences. Only ``Cores`` changes its attributes.

    turn       priority: of the requests that wait for a core, those with the lowest turn run first
    computing  True while the thread works on a frame on the processor, False while it waits for a core or a frame
    """

    turn: int
    computing: bool = False


@dataclass(frozen=True)
class CoreState:
    """The state of one core.

    alive     False if the core did not open, or was abandoned
    runs      inferences that succeeded
    failures  inferences and attempts to reopen that failed, of all models, since the start
    problem   the last failure, with the model's name; "" after the next inference that succeeds
    """

    core: int
    alive: bool
    runs: int
    failures: int
    problem: str


@dataclass(order=True)
class _Request:
    turn: int
    number: int
    model: str = field(compare=False)
    call: Callable[[Backend], Any] = field(compare=False)
    answer: Future[Any] = field(compare=False, default_factory=Future)


@dataclass
class _Core:
    number: int
    contexts: dict[str, Backend]  # by the name of the model
    failures_in_a_row: Counter[str]  # by the name of the model
    alive: bool = True
    runs: int = 0
    failures: int = 0
    problem: str = ""


class Cores:
    """``number`` cores, each with its own models, from ``open_context(name, core)``: at once those of ``first``, and
    each other model when the core first runs it.

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
    ) -> None:
        self.lost: DeviceError | None = None  # why no core is left
        self.on_progress: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._requested = threading.Condition(self._lock)
        self._requests: list[_Request] = []
        self._numbers = count()
        self._open = open_context
        self._retries = tuple(retries)
        self._closing = threading.Event()
        self._cores = [_Core(core, {}, Counter()) for core in range(number)]
        with ExitStack() as opened:
            for core in self._cores:
                opened.callback(_close_contexts, core)
            errors = [error for core in self._cores if (error := self._open_contexts(core, first))]
            if len(errors) == number:
                raise errors[0]
            opened.pop_all()
        for core in self._cores:
            if not core.alive:
                log.warning("NPU core %d is not used: %s", core.number, core.problem)
        usable = [core for core in self._cores if core.alive]
        self.name = usable[0].contexts[first[0]].name
        self._threads = [
            threading.Thread(target=self._serve, args=(core,), name=f"rkface-core-{core.number}", daemon=True)
            for core in usable
        ]
        for thread in self._threads:
            thread.start()

    def backend(self, model: str, caller: Caller) -> CoresBackend:
        """The model with this name on all cores, for the thread of ``caller``."""
        return CoresBackend(self, model, caller)

    def state(self) -> tuple[CoreState, ...]:
        """The state of each core."""
        with self._lock:
            return tuple(CoreState(one.number, one.alive, one.runs, one.failures, one.problem) for one in self._cores)

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
        calls return.

        The exception of the first call that fails is raised, and the calls that have not begun are not made. Raises
        DeviceError if no core is left or the cores are closed, and UnopenedModelError if a model that is not among the
        ``first`` does not open.
        """
        with self._lock:
            if self.lost or self._closing.is_set():
                raise self.lost or DeviceError("the NPU cores are closed: open the scheduler again")
            requests = [_Request(caller.turn, next(self._numbers), model, call) for call in calls]
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
            self._fail_all(DeviceError("the NPU cores were closed before this inference ran"))
        self.on_progress()
        for thread in self._threads:
            thread.join()
        with ExitStack() as closing:
            for core in self._cores:
                closing.callback(_close_contexts, core)

    def _open_contexts(self, core: _Core, models: Sequence[str]) -> DeviceError | None:
        """Open ``models`` on ``core``; if one does not open, the core is not used, and its error is returned."""
        try:
            for model in models:
                core.contexts[model] = self._open(model, core.number)
        except DeviceError as error:
            _close_contexts(core)
            core.alive, core.failures, core.problem = False, 1, f"it does not open: {error}"
            return error
        return None

    def _serve(self, core: _Core) -> None:
        while (request := self._next()) is not None:
            self.on_progress()
            if not request.answer.set_running_or_notify_cancel():
                continue
            try:
                answer = request.call(self._context(core, request.model))
            except UnopenedModelError as error:  # no reason to lose the core: its other models run
                self._record_failure(core, request.model, error)
                core.failures_in_a_row[request.model] = 0
                request.answer.set_exception(error)
            except Exception as error:  # a driver's binding may raise anything: report it to the caller, reopen here
                self._record_failure(core, request.model, error)
                request.answer.set_exception(error)
                if not self._reopen(core, request.model):
                    return
            else:
                core.runs += 1
                core.failures_in_a_row[request.model], core.problem = 0, ""
                request.answer.set_result(answer)

    def _context(self, core: _Core, model: str) -> Backend:
        """``model`` on ``core``, opened if this is its first run. Raises UnopenedModelError if it does not open."""
        if model not in core.contexts:
            try:
                core.contexts[model] = self._open(model, core.number)
            except Exception as error:
                raise UnopenedModelError(f"it does not open on core {core.number}: {error}") from error
        return core.contexts[model]

    def _next(self) -> _Request | None:
        """The next request for a core; None if the cores are closing."""
        with self._lock:
            self._requested.wait_for(lambda: self._requests or self._closing.is_set())
            return None if self._closing.is_set() else heapq.heappop(self._requests)

    def _record_failure(self, core: _Core, model: str, error: Exception) -> None:
        with self._lock:
            core.failures += 1
            core.failures_in_a_row[model] += 1
            core.problem = f"{model}: {error}"

    def _reopen(self, core: _Core, model: str) -> bool:
        """Reopen ``model`` on ``core`` after a failure. False if the core was abandoned or is closing."""
        with suppress(Exception):  # closing a context that failed may fail too
            core.contexts.pop(model).close()
        while core.failures_in_a_row[model] <= len(self._retries):
            if self._closing.wait(self._retries[core.failures_in_a_row[model] - 1]):
                return False
            try:
                core.contexts[model] = self._open(model, core.number)
            except Exception as error:
                self._record_failure(core, model, error)
            else:
                return True
        self._abandon(core)
        return False

    def _abandon(self, core: _Core) -> None:
        with self._lock:
            core.alive = False
            if not any(one.alive for one in self._cores):
                self.lost = DeviceError(
                    f"no core is left: each failed {len(self._retries) + 1} times in a row, the last was core "
                    f"{core.number} ({core.problem}): run `rkface doctor` and `rkface selftest`"
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


def _close_contexts(core: _Core) -> None:
    """Close every context of ``core``, also if closing one of them fails."""
    with ExitStack() as closing:
        while core.contexts:
            closing.callback(core.contexts.popitem()[1].close)


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
