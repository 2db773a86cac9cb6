"""The stand-in for librknnrt with a simulator behind it, compiled for this machine: any picture gets an answer.

The simulator here is a formula, because these tests are about the way there and back. test_emulated_camera.py has the
toolkit's own, on an emulated board.
"""

import socket
import threading

import numpy as np
import pytest

from rkface.boards.twin.answers import file_name, read_quantization
from rkface.convert.toolkit.simulator_socket import SimulatorSocket
from rkface.runtime.backends import Quantized
from rkface.runtime.core.errors import DeviceError
from rkface.runtime.inference.golden import read_golden


class Formula:
    """A simulator that computes outputs from the mean of an image: whole steps where the output is quantized."""

    def __init__(self, bundle, role):
        self.spec = bundle.model(role)
        self.grids = read_quantization(bundle.path(role).read_bytes(), self.spec.outputs)
        self.asked = 0

    def __call__(self, image):
        self.asked += 1
        steps = round(float(image.mean())) - 128
        return [
            np.full(output.shape, (steps - grid.zero_point) * np.float32(grid.scale) if grid else steps, np.float32)
            for output, grid in zip(self.spec.outputs, self.grids, strict=True)
        ]


@pytest.fixture
def simulate(tmp_path_factory, monkeypatch):
    """Starts the simulator of a model of a bundle; returns its server."""
    folder = tmp_path_factory.mktemp("s")
    monkeypatch.setenv("RKFACE_TWIN_SIMULATOR", str(folder))
    started = []

    def start(bundle, role, infer=None):
        spec = bundle.model(role)
        path = folder / file_name(bundle.path(role).read_bytes())
        server = SimulatorSocket(path, spec.input.height, spec.input.width, infer or Formula(bundle, role))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def pictures(board, role, count=3):
    size = board.bundle.model(role).input
    return np.random.default_rng(4).integers(0, 256, (count, size.height, size.width, 3), np.uint8)


@pytest.mark.parametrize("role", ["detector", "recognizer"])
def test_a_picture_that_is_not_golden_gets_what_the_simulator_computes(board, simulate, role):
    server, images = simulate(board.bundle, role), pictures(board, role)
    backend = board.open(role)
    for image in images:
        for ours, simulator in zip(backend.infer(image[None]), server.infer(image), strict=True):
            np.testing.assert_array_equal(ours.ravel(), simulator.ravel())
    raw = backend.infer_quantized(images[0])
    kinds = {grid is not None for grid in server.infer.grids}
    assert {isinstance(one, Quantized) for one in raw} == kinds
    backend.close()


def test_golden_inputs_are_computed_too(board, simulate):
    server, backend = simulate(board.bundle, "recognizer"), board.open()
    found = backend.infer(board.images)[0]
    assert server.infer.asked == len(board.images)
    assert not np.array_equal(found, read_golden(board.bundle, "recognizer").simulator[0])
    backend.close()


def test_contexts_that_run_at_the_same_time_get_their_own_answers(board, simulate):
    server, images = simulate(board.bundle, "recognizer"), pictures(board, "recognizer", 24)
    expected = [server.infer(image)[0].ravel() for image in images]
    found = [None] * len(images)

    def work(first):
        backend = board.open()
        for index in range(first, len(images), 3):
            found[index] = backend.infer(images[index : index + 1])[0].ravel()
        backend.close()

    workers = [threading.Thread(target=work, args=(first,)) for first in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    np.testing.assert_array_equal(found, expected)


def test_a_simulator_that_died_is_like_an_npu_that_is_gone(board, simulate, capfd):
    server, backend = simulate(board.bundle, "recognizer"), board.open()
    backend.infer(board.images[:1])
    server.shutdown()
    server.server_close()
    with pytest.raises(DeviceError, match=r"rknn_run failed, DEVICE_UNAVAILABLE \(-3\)"):
        backend.infer(board.images[:1])
    assert "twin: no answer from the simulator in " in capfd.readouterr().err
    backend.close()


def test_a_simulator_that_was_never_started_is_named(board, simulate, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("RKFACE_TWIN_SIMULATOR", str(tmp_path))
    backend = board.open()
    with pytest.raises(DeviceError, match="DEVICE_UNAVAILABLE"):
        backend.infer(board.images[:1])
    assert f"simulator in {tmp_path}: No such file" in capfd.readouterr().err
    backend.close()


def test_a_simulator_that_fails_gives_no_answer_and_answers_the_next(board, simulate, capfd):
    formula = Formula(board.bundle, "recognizer")

    def fails_once(image):
        if not formula.asked:
            formula.asked += 1
            raise RuntimeError("the simulator returned nothing")
        return formula(image)

    simulate(board.bundle, "recognizer", fails_once)
    backend = board.open()
    with pytest.raises(DeviceError, match="DEVICE_UNAVAILABLE"):
        backend.infer(board.images[:1])
    backend.infer(board.images[:1])
    backend.close()
    assert "the simulator returned nothing" in capfd.readouterr().err


def test_a_simulator_that_is_too_slow_is_like_an_npu_that_hangs(board, simulate, capfd):
    formula, release = Formula(board.bundle, "recognizer"), threading.Event()

    def slow(image):
        release.wait()
        return formula(image)

    simulate(board.bundle, "recognizer", slow)
    board.break_calls("patience=50")
    backend = board.open()
    with pytest.raises(DeviceError, match=r"rknn_run failed, FAIL \(-1\): the NPU did not answer in time"):
        backend.infer(board.images[:1])
    assert "failed to submit!" in capfd.readouterr().err
    board.break_calls("")
    release.set()
    backend.infer(board.images[:1])  # the answer that nobody waited for does not confuse the next
    backend.close()


@pytest.mark.parametrize("size", [0, 100, 112 * 112 * 3 + 1])
def test_an_input_of_another_size_gets_no_answer(board, simulate, size):
    server = simulate(board.bundle, "recognizer")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(server.server_address)
        client.sendall(bytes(size))
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    backend = board.open()
    backend.infer(board.images[:1])
    backend.close()


def test_the_socket_is_private(board, simulate, tmp_path):
    path = tmp_path / "socket"
    with SimulatorSocket(path, 1, 1, list):
        assert path.stat().st_mode & 0o777 == 0o600
        with SimulatorSocket(path, 1, 1, list):  # replaces what a killed one left
            pass
