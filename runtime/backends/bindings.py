"""How a model is opened on the NPU: by rknn-toolkit-lite2, Rockchip's package, or directly in librknnrt.

Both only open models; librknn.py runs them.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..core.errors import DeviceError, InputError
from ..core.installed import LIBRARIES, package_version
from ..core.npu_binding import CHOICE, DIRECT, LITE, container_problem
from ..core.versions import TOOLKIT
from .librknn import CallError, Context, Library, Weights, load
from .npu_errors import broken_library, missing_library, open_error, refused_cores, unopened

ROOT = Path("/")
LOG_LEVEL = "RKNN_LOG_LEVEL"
CAPTURING = threading.Lock()  # rknn-toolkit-lite2 has one logger, so models are opened one after another


@dataclass(frozen=True)
class Binding:
    """How models are opened.

    name  LITE or DIRECT
    why   why not rknn-toolkit-lite2; "" if it is used
    open  ``open(path, mask)`` loads a model into a new context on the cores of ``mask``; None passes no mask. Raises
          DeviceError, or CallError
    """

    name: str
    why: str
    open: Callable[[Path, int | None], Context]

    def __str__(self) -> str:
        version = package_version((LITE,)) or "of unknown version"
        return f"{LITE} {version}" if self.name == LITE else f"{DIRECT} ({self.why})"


def find_binding() -> Binding:
    """The binding of this machine: rknn-toolkit-lite2 where it can be used, else the direct one.

    The environment variable RKFACE_NPU_BINDING names one. Raises InputError if it names another, or if it names
    rknn-toolkit-lite2 and that cannot be imported.
    """
    wanted = os.environ.get(CHOICE, "")
    if wanted not in ("", LITE, DIRECT):
        raise InputError(f"{CHOICE} is {wanted!r}: set it to {LITE} or {DIRECT}, or unset it")
    if wanted == DIRECT:
        return Binding(DIRECT, f"{CHOICE} asks for it", open_directly)
    lite = _import_lite()
    if not isinstance(lite, Exception):
        unusable = "" if wanted else container_problem(lambda name: (ROOT / name).exists())
        if not unusable:
            return Binding(LITE, "", lambda path, mask: open_with_lite(lite, path, mask))
        return Binding(DIRECT, unusable, open_directly)
    if wanted == LITE:
        raise InputError(
            f"{CHOICE} asks for {LITE}, which does not import ({str(lite)[:200]}): pip install {LITE}=={TOOLKIT}"
        ) from lite
    if isinstance(lite, ModuleNotFoundError) and (lite.name or "").startswith("rknnlite"):
        return Binding(DIRECT, f"{LITE} is not installed", open_directly)
    return Binding(DIRECT, f"{LITE} does not import: {str(lite)[:200]}", open_directly)


@cache
def _import_lite() -> Any:
    """The class RKNNLite, or the exception that importing it raised."""
    try:
        from rknnlite.api import RKNNLite
    except Exception as error:  # for example ValueError, if its extension modules do not fit numpy
        return error
    return RKNNLite


def open_with_lite(lite_class: Any, path: Path, mask: int | None) -> Context:
    """Load a model with rknn-toolkit-lite2."""
    _quiet_library()
    with captured_log():
        lite = lite_class(verbose=False)
    try:
        with captured_log() as messages:
            failed = lite.load_rknn(str(path)) or lite.init_runtime(**({} if mask is None else {"core_mask": mask}))
        if failed:
            raise open_error(path, "\n".join(messages))
        runtime = lite.rknn_runtime
        if not hasattr(runtime, "lib") or not isinstance(getattr(runtime, "context", None), int):
            # Only its own ``inference`` could be used then, which returns a failed run as a good one (see librknn.py).
            raise DeviceError(f"this {LITE} is not supported: pip install {LITE}=={TOOLKIT}, or set {CHOICE}={DIRECT}")
        lite.rknn_data = None  # the model's bytes, which the library has copied: 45 MB for an IResNet-50
    except BaseException:
        with captured_log():
            lite.release()  # a context may be open even if init_runtime failed
        raise
    # The same loaded library with new function objects: those of the package accept only its own structures.
    library = Library(ctypes.CDLL(runtime.lib._name, handle=runtime.lib._handle))
    return Context(Weights(library, runtime.context, lite.release), runtime.context)


def open_directly(path: Path, mask: int | None) -> Context:
    """Load a model with librknnrt itself."""
    _quiet_library()
    try:
        context = load(_library(), path)
    except CallError as error:
        if error.call != "rknn_init":
            raise  # the model is loaded, and the library does not describe it
        raise unopened(path, error.code) from error
    try:
        if mask is not None:
            context.choose_cores(mask)
    except CallError as error:
        context.close()
        raise refused_cores(path) from error
    return context


def _library() -> Library:
    found = next(filter(os.path.exists, LIBRARIES), None)
    if found is None:
        raise missing_library()
    try:
        return Library(ctypes.CDLL(found))
    except OSError as error:
        raise broken_library(str(error)) from error


def _quiet_library() -> None:
    """Let librknnrt print errors only, to stderr, unless the environment variable RKNN_LOG_LEVEL wants more.

    rknn-toolkit-lite2 keeps a level that is set. Otherwise it sets level 2, and the library writes to stdout.
    """
    os.environ.setdefault(LOG_LEVEL, "0")


@contextlib.contextmanager
def captured_log() -> Iterator[list[str]]:
    """Capture what rknn-toolkit-lite2 logs in the block: it reports errors only there, and would print them."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("acuityLogger")  # rknn-toolkit-lite2's, which prints to stdout
    with CAPTURING:
        handlers, logger.handlers = logger.handlers, [Listener()]
        try:
            yield messages
        finally:
            logger.handlers = handlers
