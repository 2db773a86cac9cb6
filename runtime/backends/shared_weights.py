"""One copy of a model's weights for all NPU cores."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .librknn import CallError, Context, Weights, duplicate

log = logging.getLogger("rkface.npu")


class SharedWeights:
    """Opens contexts of one model that share its weights, if librknnrt can do that. Thread-safe.

    The first context loads the model; the next ones are duplicates of it (``rknn_dup_context``), each with inputs,
    outputs and intermediate results of its own. Three cores with an IResNet-50 then hold 43 MB of weights instead of
    128. immich measured half the memory for its models (immich-app/immich #23958).

    Contexts that have run are not duplicated (``Weights.duplicate`` says why). So after the first run, the next context
    loads the model again, and further ones share with that until it runs. Contexts that are open keep their weights.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._weights: Weights | None = None
        self._refused = False

    def open(self, load: Callable[[], Context], mask: int | None) -> Context:
        """A context on the cores of ``mask``: a duplicate, or else what ``load`` returns.

        Raises what ``load`` raises.
        """
        with self._lock:
            context = self._duplicate(mask)
            if context is None:
                context = load()
                self._weights = context.weights
            return context

    def _duplicate(self, mask: int | None) -> Context | None:
        weights = self._weights
        if self._refused or weights is None:
            return None
        try:
            return duplicate(weights, mask)
        except CallError as error:
            if error.call == "rknn_dup_context":
                self._refused = True
                log.warning("librknnrt does not share weights between cores (%s): each core has its own copy", error)
            return None  # after another error, ``load`` meets it again and says what it means
