"""A model in the simulator answers any input at a Unix socket: for an emulated board (boards/twin/simulator.h)."""

from __future__ import annotations

import socketserver
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Infer = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.float32]]]

CLIENT_SECONDS = 10.0  # a stopped client does not stop the others
WAITING = 64  # connections: an emulated board has one for each core and model


class SimulatorSocket(socketserver.UnixStreamServer):
    """Listens at a Unix socket and answers one client after another; the socket is private to the user.

    A client sends the bytes of one H×W×3 uint8 RGB image and closes its direction of the connection. It gets all
    outputs as float32, one after another, or a closed connection if its image has another size.
    """

    request_queue_size = WAITING

    def __init__(self, path: Path, height: int, width: int, infer: Infer) -> None:
        """Listen at ``path``, where an older socket is replaced. ``infer`` computes the outputs of one image."""
        self.image_shape = (height, width, 3)
        self.infer = infer
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Client)
        path.chmod(0o600)


class _Client(socketserver.StreamRequestHandler):
    server: SimulatorSocket
    timeout = CLIENT_SECONDS

    def handle(self) -> None:
        shape = self.server.image_shape
        expected = int(np.prod(shape))
        content = self.rfile.read(expected + 1)
        if len(content) != expected:
            raise ValueError(f"a client sent {len(content)} bytes or more, not {expected}: closed without an answer")
        outputs = self.server.infer(np.frombuffer(content, np.uint8).reshape(shape))
        self.wfile.write(b"".join(np.ascontiguousarray(array, "<f4").tobytes() for array in outputs))
