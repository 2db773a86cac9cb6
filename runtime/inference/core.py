"""One NPU core: its contexts, one for each model, and the thread that runs inferences with them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ..backends import Backend
from ..core.errors import DeviceError, UnopenedModelError

OpenContext = Callable[[str, int], Backend]  # opens the model with this name on this core

# Seconds before each attempt to reopen a failed context; after the last attempt the core is abandoned. Chosen, not
# measured: one failed inference costs 0.1 s of one core, and a driver has 22 s to recover before the service restarts.
RETRIES = (0.1, 0.5, 2.0, 5.0, 15.0)
# Seconds that an inference on a hung NPU can take before librknnrt returns an error. Boards report 6 s (radxa/kernel
# #312); the driver waits for that time up to three times if other jobs are before this one
# (rockchip-linux/rknn-toolkit2 #320).
LONGEST_HANG = 18.0


@dataclass(frozen=True)
class CoreState:
    """The state of one core.

    alive     False if the core did not open, or was abandoned
    runs      inferences that succeeded
    failures  inferences and attempts to reopen that failed, of all models, since the start
    problem   the last failure, with the model's name; "" after the next inference that succeeds
    """

    core: int
    alive: bool = True
    runs: int = 0
    failures: int = 0
    problem: str = ""


@dataclass(order=True)
class Request:
    """A call with a model. Requests are in order of their turn and, with the same turn, of their number."""

    turn: int
    number: int
    model: str = field(compare=False)
    call: Callable[[Backend], Any] = field(compare=False)
    answer: Future[Any] = field(compare=False, default_factory=Future)


class Core:
    """Core ``number``, whose models ``open_context(name, number)`` opens: at once those of ``open``, and each other
    model when it first runs.

    A context that fails is closed and opened again, after the seconds in ``retries``, unless ``closing`` is set
    meanwhile. When all attempts in ``retries`` have failed in a row, the core is abandoned.

    ``state`` may be read in any thread.
    """

    def __init__(
        self, number: int, open_context: OpenContext, retries: Sequence[float], closing: threading.Event
    ) -> None:
        self.state = CoreState(number)
        self._open: Callable[[str], Backend] = lambda model: open_context(model, number)
        self._retries = retries
        self._closing = closing
        self._contexts: dict[str, Backend] = {}  # by the name of the model
        self._failures_in_a_row: Counter[str] = Counter()  # by the name of the model

    def open(self, models: Sequence[str]) -> DeviceError | None:
        """Open ``models``, also while the core runs others. Returns the error of the first one that does not open."""
        try:
            for model in models:
                self._contexts[model] = self._open(model)
        except DeviceError as error:
            return error
        return None

    def leave_out(self, error: DeviceError) -> None:
        """Do not use the core, because ``open`` returned ``error``, and close its contexts. While ``serve`` runs, only
        its thread may call this."""
        failures = self.state.failures + 1
        self.state = replace(self.state, alive=False, failures=failures, problem=f"it does not open: {error}")
        self.close()

    def name_of(self, model: str) -> str:
        """The name of the backend that runs an open model."""
        return self._contexts[model].name

    def serve(self, take: Callable[[], Request | None]) -> None:
        """Run the requests that ``take`` returns until it returns None, or until the core is abandoned."""
        while (request := take()) is not None:
            if not request.answer.set_running_or_notify_cancel():
                continue
            try:
                answer = request.call(self._context(request.model))
            except UnopenedModelError as error:  # no reason to lose the core: its other models run
                self._record_failure(request.model, error)
                self._failures_in_a_row[request.model] = 0
                request.answer.set_exception(error)
            except Exception as error:  # a driver's binding may raise anything: report it to the caller, reopen here
                self._record_failure(request.model, error)
                request.answer.set_exception(error)
                if not self._reopen(request.model):
                    return
            else:
                self._failures_in_a_row[request.model] = 0
                self.state = replace(self.state, runs=self.state.runs + 1, problem="")
                request.answer.set_result(answer)

    def close(self) -> None:
        """Close every context, also if closing one of them fails."""
        with ExitStack() as closing:
            while self._contexts:
                closing.callback(self._contexts.popitem()[1].close)

    def _context(self, model: str) -> Backend:
        """``model``, opened if this is its first run. Raises UnopenedModelError if it does not open."""
        if model not in self._contexts:
            try:
                self._contexts[model] = self._open(model)
            except Exception as error:
                raise UnopenedModelError(f"it does not open on core {self.state.core}: {error}") from error
        return self._contexts[model]

    def _record_failure(self, model: str, error: Exception) -> None:
        self._failures_in_a_row[model] += 1
        self.state = replace(self.state, failures=self.state.failures + 1, problem=f"{model}: {error}")

    def _reopen(self, model: str) -> bool:
        """Open ``model`` again after a failure. False if the core was abandoned or is closing."""
        with suppress(Exception):  # closing a context that failed may fail too
            self._contexts.pop(model).close()
        while self._failures_in_a_row[model] <= len(self._retries):
            if self._closing.wait(self._retries[self._failures_in_a_row[model] - 1]):
                return False
            try:
                self._contexts[model] = self._open(model)
            except Exception as error:
                self._record_failure(model, error)
            else:
                return True
        self.state = replace(self.state, alive=False)
        return False
