"""Decodes photos in processes of their own, so that a photo that crashes the decoder costs only itself.

A process starts with the first photo, in some 0.15 s, and decodes the following ones, too. Its limits of memory and CPU
time follow from the size in the photo's header (``decoder_worker.py``). A process that crashes or exceeds a limit is
replaced. The file and its pixels travel through a socket: shared memory is not faster, needs room for a third copy of
the pixels, and is forbidden where the size of files is limited.

This protects from crashes and from running out of memory. It is not a sandbox: the process has the rights of its user.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.child_process import kill_process, start_process
from ..core.errors import WorkError
from . import decoder_worker
from .decoder_worker import ANSWER, DECODED, NO_MEMORY, NO_MEMORY_STATUS, REQUEST, seconds_for
from .image_header import Header

PROCESSES = min(4, os.cpu_count() or 1)  # at the same time, for programs that read photos in several threads
START_SECONDS = 60  # until a process has loaded OpenCV, which takes a second on a slow board
SEND_SECONDS = 60  # until a process has accepted the file
SLOWER = 10  # the time for a photo, as a multiple of its CPU time: other programs run, too
LEAKED = 64 << 20  # bytes by which a process may grow before it is replaced: decoders lose memory with damaged photos
VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR")  # of the environment; the others may contain passwords
QUIET = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # threads and their arenas take address space
TOO_MUCH_MEMORY = "decoding the image takes more memory than is free, or than its size explains"
LIMITS = {  # what to do when the system refuses
    errno.EMFILE: "too many files are open in this process: raise the limit (ulimit -n), or close files",
    errno.ENFILE: "too many files are open on this machine",
    errno.EAGAIN: "this user may not start more processes: raise the limit (ulimit -u), or end some",
    errno.ENOMEM: "there is not enough memory",
}


class DecodeError(Exception):
    """The photo cannot be decoded. The message says why."""


def decode(header: Header) -> NDArray[np.uint8]:
    """Decode the image file ``header.content``. Threads may call this.

    Returns:
        H×W×3 uint8, BGR, of the size in ``header``, as stored (HEIC: upright, and not larger).

    Raises:
        DecodeError: The photo is damaged, crashed the decoder, took too long or too much memory, or it is HEIC and
            pillow-heif is not installed.
        WorkError: The process cannot be started, or there is too little memory for the image.
    """
    folders = _find_heif() if header.kind == "HEIC" else ""
    try:
        with _slots:
            worker = _take()
            try:
                image = worker.decode(header, folders)
            except BaseException:  # also Ctrl-C: the answer must not become that to the next photo
                worker.kill()
                raise
            _give_back(worker)
    except MemoryError:
        raise WorkError(f"there is not enough memory for an image of {header.width}×{header.height} pixels") from None
    except OSError as error:
        why = LIMITS.get(error.errno or 0, str(error))
        raise WorkError(f"the process that decodes photos cannot be used: {why}") from error
    if image is None:
        raise DecodeError("the image is damaged and cannot be decoded: copy it again")
    return image


def close_decoder() -> None:
    """End the processes that decode photos. The next photo starts a new one."""
    with _lock:
        workers, _idle[:] = _idle[:], []
    for worker in workers:
        worker.kill()


class _Worker:
    """One process, and the socket to it."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        folders = sorted({str(_folder_of(str(module.__file__))) for module in (cv2, np)})
        command = [sys.executable, "-I", "-S", decoder_worker.__file__, str(theirs.fileno()), str(os.getpid())]
        variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        with theirs:
            self._process = start_process(
                [*command, *folders],
                variables | QUIET,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
            )
        self._first_size: int | None = None  # resident bytes when it was ready
        self.worn = False  # whether it has become too large for more photos

    def ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        self._channel.close()
        kill_process(self._process)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def decode(self, header: Header, folders: str) -> NDArray[np.uint8] | None:
        """As the function ``decode``, but None for a damaged photo."""
        self._channel.settimeout(START_SECONDS if self._first_size is None else SEND_SECONDS)
        content = header.content
        numbers = (header.width, header.height, len(folders.encode()), len(content))
        try:
            self._channel.sendall(REQUEST.pack(header.kind.encode(), *numbers) + folders.encode())
            self._channel.sendall(content)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass  # then there is no answer either
        if self._first_size is None:
            self._wait_until_ready()
        self._channel.settimeout(seconds_for(header.kind, header.width, header.height) * SLOWER)
        return self._receive_image(header)

    def _wait_until_ready(self) -> None:
        assert self._process.stderr is not None
        try:
            self._first_size = ANSWER.unpack(self._receive(bytearray(ANSWER.size)))[3]
        except (EOFError, TimeoutError):
            kill_process(self._process)
            lines = self._process.stderr.read().decode(errors="replace").strip().splitlines() or ["without a message"]
            raise WorkError(f"the process that decodes photos does not start: {lines[-1]}") from None
        self._process.stderr.close()

    def _receive_image(self, header: Header) -> NDArray[np.uint8] | None:
        try:
            outcome, width, height, size = ANSWER.unpack(self._receive(bytearray(ANSWER.size)))
            self.worn = size > (self._first_size or 0) + LEAKED
            if outcome == NO_MEMORY:
                raise DecodeError(TOO_MUCH_MEMORY)
            if outcome != DECODED:
                return None
            fits = width * height <= header.width * header.height
            if not fits or (header.kind != "HEIC" and (width, height) != (header.width, header.height)):
                raise DecodeError(f"the image is damaged: its header does not say that it has {width}×{height} pixels")
            image = np.empty((height, width, 3), np.uint8)
            self._receive(image.data.cast("B"))
            return image
        except EOFError:
            raise DecodeError(_explain_end(self._process.wait())) from None
        except TimeoutError:
            raise DecodeError("the image takes too long to decode: it is probably damaged") from None

    def _receive(self, target: bytearray | memoryview) -> bytearray | memoryview:
        """Fill ``target`` with what the process sends. Raises EOFError if it has ended, and TimeoutError."""
        rest = memoryview(target)
        while rest:
            try:
                count = self._channel.recv_into(rest)
            except ConnectionResetError:
                count = 0
            if count == 0:
                raise EOFError
            rest = rest[count:]
        return target


def _explain_end(status: int) -> str:
    if status == NO_MEMORY_STATUS:
        return TOO_MUCH_MEMORY
    if status == -signal.SIGXCPU:
        return "the image takes too long to decode: it is probably damaged"
    if status == -signal.SIGKILL:
        return "the system ended the decoder (SIGKILL), as it does when memory is full: end other programs, try again"
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return f"the image is damaged and cannot be decoded ({how} in the decoder): copy it again"


def _folder_of(file: str) -> Path:
    """The folder from which a module is imported. Debian's OpenCV is one file, others are packages."""
    path = Path(file).absolute()
    return path.parents[1] if path.name == "__init__.py" else path.parent


def _find_heif() -> str:
    found = [find_spec(name) for name in ("pillow_heif", "PIL")]
    files = [spec.origin for spec in found if spec is not None and spec.origin is not None]
    if len(files) < len(found):
        raise DecodeError("an HEIC photo, for which pillow-heif is missing: pip install 'rkface[heif]'")
    return "\0".join(str(_folder_of(file)) for file in files)


def _take() -> _Worker:
    with _lock:
        worker = _idle.pop() if _idle else None
    if worker is not None and worker.ended():
        worker.kill()
        worker = None
    return worker or _Worker()


def _give_back(worker: _Worker) -> None:
    if worker.worn:
        worker.kill()
    else:
        with _lock:
            _idle.append(worker)


def _forget() -> None:
    """After a fork: the processes belong to the parent."""
    global _lock, _slots
    _lock, _slots = threading.Lock(), threading.BoundedSemaphore(PROCESSES)
    _idle.clear()


_idle: list[_Worker] = []
_lock = threading.Lock()
_slots = threading.BoundedSemaphore(PROCESSES)
atexit.register(close_decoder)
os.register_at_fork(after_in_child=_forget)
