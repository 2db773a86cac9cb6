"""Inference spread over the NPU's cores: one context a core and model, and a thread a core that owns them."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend, QuantizedBackend, Raw
from ..core.bundle import ROLES, Role
from ..core.errors import DeviceError

OpenContext = Callable[[Role, int], Backend]

# Seconds before each try to open a failed context again; after the last its core is given up. Chosen, not measured: a
# single lost job costs 0.1 s of one core, and a driver has 22 s to recover before the service is restarted.
RETRIES = (0.1, 0.5, 2.0, 5.0, 15.0)


@dataclass
class Caller:
    """Someone who wants inferences, in one thread.

    turn       of those that wait for a core, the lowest goes first
    computing  on the processor, not waiting
    """

    turn: int
    computing: bool = False


@dataclass(frozen=True)
class CoreState:
    """``failures``: of either model, since the start. ``problem``: of what, until an inference succeeds; "" for none.

    alive   False once the core was given up
    runs    inferences that succeeded
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
    role: Role = field(compare=False)
    call: Callable[[Backend], Any] = field(compare=False)
    answer: Future[Any] = field(compare=False, default_factory=Future)


@dataclass
class _Core:
    number: int
    contexts: dict[Role, Backend]
    row: dict[Role, int] = field(default_factory=dict)  # failures since the last success
    alive: bool = True
    runs: int = 0
    failures: int = 0
    problem: str = ""


class Cores:
    """``number`` cores, each with its own models, those of ``roles``, from ``open_context(role, core)``.

    Callers hand in inferences through ``backend``; a core that is free takes the one whose caller's turn comes first,
    whichever model it needs, so that no core idles while anything waits. A context that fails is closed and opened
    again in its own thread, after the seconds in ``retries``, while the other cores go on; when as many tries in a row
    failed as there are ``retries``, its core is given up.
    """

    def __init__(
        self,
        open_context: OpenContext,
        number: int,
        retries: Sequence[float] = RETRIES,
        roles: Sequence[Role] = ROLES,
    ) -> None:
        self.lock = threading.Lock()
        self.relieved = threading.Condition(self.lock)  # a core took an inference, or none ever will again
        self.ended = threading.Condition(self.lock)  # no core is left
        self.lost: DeviceError | None = None  # why no core is left
        self._wanted = threading.Condition(self.lock)
        self._requests: list[_Request] = []
        self._numbers = count()
        self._open = open_context
        self._retries = tuple(retries)
        self._closing = threading.Event()
        with ExitStack() as opened:
            self._cores = [_Core(core, {}) for core in range(number)]
            for core in self._cores:
                for role in roles:
                    core.row[role] = 0
                    core.contexts[role] = open_context(role, core.number)
                    opened.callback(core.contexts[role].close)
            opened.pop_all()
        self.name = self._cores[0].contexts[roles[0]].name
        self._threads = [
            threading.Thread(target=self._serve, args=(core,), name=f"rkface-core-{core.number}", daemon=True)
            for core in self._cores
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Inferences that no core has taken yet. Hold ``lock``."""
        return len(self._requests)

    def backend(self, role: Role, caller: Caller) -> CoresBackend:
        return CoresBackend(self, role, caller)

    def state(self) -> tuple[CoreState, ...]:
        with self.lock:
            return tuple(CoreState(one.number, one.alive, one.runs, one.failures, one.problem) for one in self._cores)

    def ask(self, caller: Caller, role: Role, calls: Sequence[Callable[[Backend], Any]]) -> list[Any]:
        """The answers to ``calls``, each made with the context of some core, all at once where cores are free.

        Raises what the first call that fails raised; the others are not made then. DeviceError when no core is left.
        """
        with self.lock:
            if self.lost or self._closing.is_set():
                raise self.lost or DeviceError("the NPU's cores are closed")
            asked = [_Request(caller.turn, next(self._numbers), role, call) for call in calls]
            for request in asked:
                heapq.heappush(self._requests, request)
            self._wanted.notify(len(asked))
            caller.computing = False
        try:
            return [request.answer.result() for request in asked]
        finally:
            for request in asked:
                request.answer.cancel()
            with self.lock:
                caller.computing = True

    def close(self) -> None:
        """Let running inferences end, fail those that wait, and close every context."""
        with self.lock:
            self._closing.set()
            self._fail_all(DeviceError("the NPU's cores were closed before this was computed"))
        for thread in self._threads:
            thread.join()
        with ExitStack() as closing:
            for core in self._cores:
                for context in core.contexts.values():
                    closing.callback(context.close)
                core.contexts = {}

    def _serve(self, core: _Core) -> None:
        while (request := self._next()) is not None:
            if not request.answer.set_running_or_notify_cancel():
                continue
            try:
                answer = request.call(core.contexts[request.role])
            except Exception as error:  # whatever a driver's binding may raise: the caller gets it, the core mends
                self._note(core, request.role, error)
                request.answer.set_exception(error)
                if not self._reopen(core, request.role):
                    return
            else:
                core.runs += 1
                core.row[request.role], core.problem = 0, ""
                request.answer.set_result(answer)

    def _next(self) -> _Request | None:
        with self.lock:
            self._wanted.wait_for(lambda: self._requests or self._closing.is_set())
            if self._closing.is_set():
                return None
            self.relieved.notify()
            return heapq.heappop(self._requests)

    def _note(self, core: _Core, role: Role, error: Exception) -> None:
        with self.lock:
            core.failures += 1
            core.row[role] += 1
            core.problem = f"{role}: {error}"

    def _reopen(self, core: _Core, role: Role) -> bool:
        """Whether ``core`` goes on."""
        with suppress(Exception):  # of a context that failed, closing may fail too
            core.contexts.pop(role).close()
        while core.row[role] <= len(self._retries):
            if self._closing.wait(self._retries[core.row[role] - 1]):
                return False
            try:
                core.contexts[role] = self._open(role, core.number)
            except Exception as error:
                self._note(core, role, error)
            else:
                return True
        self._give_up(core)
        return False

    def _give_up(self, core: _Core) -> None:
        with self.lock:
            core.alive = False
            if not any(one.alive for one in self._cores):
                self.lost = DeviceError(
                    f"no core is left: each failed {len(self._retries) + 1} times in a row, core {core.number} last "
                    f"({core.problem}): run `rkface doctor` and `rkface selftest`"
                )
                self._fail_all(self.lost)

    def _fail_all(self, error: DeviceError) -> None:
        for request in self._requests:
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_exception(error)
        self._requests.clear()
        self._wanted.notify_all()
        self.relieved.notify_all()
        self.ended.notify_all()


class CoresBackend:
    """One model on all cores, behind the backend protocol, for one caller's thread: images of a batch run at once."""

    def __init__(self, cores: Cores, role: Role, caller: Caller) -> None:
        self.name = cores.name
        self._cores = cores
        self._role = role
        self._caller = caller

    def infer(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        calls = [lambda context, image=image: context.infer(image[None]) for image in images]
        runs = self._cores.ask(self._caller, self._role, calls)
        return [np.concatenate(arrays) for arrays in zip(*runs, strict=True)]

    def infer_quantized(self, image: NDArray[np.uint8]) -> list[Raw]:
        """INT8 outputs where the contexts have them, else floats: either is what the detector takes."""
        answer: list[Raw] = self._cores.ask(self._caller, self._role, [lambda context: _raw(context, image)])[0]
        return answer

    def close(self) -> None:
        """Nothing: the contexts belong to the cores."""


def _raw(context: Backend, image: NDArray[np.uint8]) -> Sequence[Raw]:
    return context.infer_quantized(image) if isinstance(context, QuantizedBackend) else context.infer(image[None])
