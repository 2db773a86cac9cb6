"""The direct binding without emulation: the stand-in for librknnrt, compiled for this machine and loaded by tests.

The structures are the same on all 64-bit Linux. The emulated board (test_twin.py) tests both bindings on aarch64.
"""

import ctypes
import threading
from contextlib import closing

import numpy as np
import pytest

from rkface.runtime.backends import Quantized, bindings, npu
from rkface.runtime.backends.shared_weights import SharedWeights
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import DeviceError
from rkface.runtime.core.manifest import ROLES
from rkface.runtime.inference.core_checks import check_cores
from rkface.runtime.inference.golden import read_golden


def test_golden_outputs_come_back_bit_for_bit(board, bundles):
    for board.bundle in map(read_bundle, bundles):
        for role in ROLES:
            golden, backend = read_golden(board.bundle, role), board.open(role)
            for ours, simulator in zip(backend.infer(golden.inputs), golden.simulator, strict=True):
                np.testing.assert_array_equal(ours, simulator.reshape(ours.shape))
            kinds = [type(output) for output in backend.infer_quantized(golden.inputs[0])]
            assert Quantized in kinds
            backend.close()


def test_the_input_and_each_output_are_copied_once(board, monkeypatch):
    golden, backend = read_golden(board.bundle, "detector"), board.open("detector")
    board.copied.value = 0
    with monkeypatch.context() as only_the_library_copies:
        only_the_library_copies.setattr(ctypes, "memmove", None)
        found = backend.infer_quantized(golden.inputs[0])
    outputs = [one.values if isinstance(one, Quantized) else one for one in found]
    assert board.copied.value == golden.inputs[0].nbytes + sum(array.nbytes for array in outputs)
    kept = [array.copy() for array in outputs]
    backend.infer_quantized(golden.inputs[1])  # writes into other arrays
    for array, before in zip(outputs, kept, strict=True):
        np.testing.assert_array_equal(array, before)
    backend.close()


def test_a_library_that_keeps_outputs_in_its_own_memory_gives_the_same(board):
    golden, backend = read_golden(board.bundle, "detector"), board.open("detector")
    expected = backend.infer(golden.inputs)
    board.break_calls("own=1")
    for ours, before in zip(backend.infer(golden.inputs), expected, strict=True):
        np.testing.assert_array_equal(ours, before)
    backend.close()


def test_contexts_share_one_copy_of_the_weights_until_the_last_is_closed(board):
    weights = SharedWeights()
    backends = [board.open(weights=weights) for _ in range(3)]
    assert board.count() == (3, 1)
    expected = read_golden(board.bundle, "recognizer").simulator[0]
    for backend in backends:  # the first, which loaded the weights, is closed before the others run
        np.testing.assert_array_equal(backend.infer(board.images)[0], expected)
        backend.close()
        backend.close()


def test_a_library_that_refuses_to_share_is_tried_once(board, caplog):
    weights = SharedWeights()
    board.break_calls("dup=-5")
    backends = [board.open(weights=weights) for _ in range(3)]
    assert board.count() == (3, 3)
    assert [record.message for record in caplog.records] == [
        "librknnrt does not share weights between cores (rknn_dup_context returned -5): each core has its own copy"
    ]
    for backend in backends:
        backend.close()


def test_after_a_failed_run_the_model_is_loaded_again(board):
    weights = SharedWeights()
    first, second = (board.open(weights=weights) for _ in range(2))
    board.break_calls("hang=1")
    with pytest.raises(DeviceError, match=r"rknn_run failed, FAIL \(-1\): the NPU did not answer in time"):
        second.infer(board.images[:1])
    board.break_calls("")
    second.close()
    again, third = (board.open(weights=weights) for _ in range(2))
    assert board.count() == (3, 2)
    for backend in (first, again, third):
        backend.infer(board.images[:1])
        backend.close()


def test_a_context_that_has_run_is_not_duplicated(board):
    """Another thread may be in its rknn_run."""
    weights = SharedWeights()
    first, second = (board.open(weights=weights) for _ in range(2))
    second.infer(board.images[:1])
    again, third = (board.open(weights=weights) for _ in range(2))
    assert board.count() == (4, 2)
    for backend in (first, second, again, third):
        backend.close()


@pytest.mark.parametrize("use", ["close", "infer"])
def test_a_context_does_not_close_or_run_while_it_is_duplicated(board, monkeypatch, use):
    weights = SharedWeights()
    first = board.open(weights=weights)
    user = threading.Thread(target=first.close if use == "close" else lambda: first.infer(board.images[:1]))
    call, done = bindings.Library.call, []

    def slowly(self, name, *rest):
        if name == "rknn_dup_context":
            user.start()
            user.join(0.2)  # it waits until the duplicate is made
            assert not done
        elif name in ("rknn_destroy", "rknn_run"):
            done.append(name)
        call(self, name, *rest)

    monkeypatch.setattr(bindings.Library, "call", slowly)
    second = board.open(weights=weights)
    user.join()
    second.infer(board.images[:1])
    first.close()
    second.close()


def test_a_context_that_cannot_be_closed_is_logged_and_hides_no_other_error(board, caplog):
    weights = SharedWeights()
    first, second = (board.open(weights=weights) for _ in range(2))
    board.break_calls("destroy=-7,run=-3")
    with pytest.raises(DeviceError, match="rknn_run failed, DEVICE_UNAVAILABLE"), closing(first), closing(second):
        second.infer(board.images[:1])
    assert board.count() == (0, 0), "both were destroyed, although the first call failed"
    assert ["rknn_destroy returned -7" in record.message for record in caplog.records] == [True, True]


def test_a_library_that_does_not_say_its_version_is_an_error_of_the_device(board):
    with closing(board.open()) as backend:
        board.break_calls("query=-3")
        with pytest.raises(DeviceError, match=r"rknn_query failed, DEVICE_UNAVAILABLE \(-3\)"):
            backend.runtime  # noqa: B018


def test_an_error_while_a_model_opens_names_the_call_that_failed(board):
    board.break_calls("init=-6")
    with pytest.raises(DeviceError, match=r"rknn_init failed, MODEL_INVALID"):
        board.open()
    board.break_calls("query=-5")
    with pytest.raises(DeviceError, match=r"rknn_query failed, PARAM_INVALID"):
        board.open()


def test_the_selftest_of_a_lost_device_says_so(board, monkeypatch):
    monkeypatch.setattr(npu, "read_soc", lambda: "rk3588")
    board.break_calls("destroy=-7,run=-3")
    problems = check_cores(board.bundle, "npu", 0, 1).problems
    assert len(problems) == len(ROLES) and all("rknn_run failed, DEVICE_UNAVAILABLE" in one for one in problems)


def test_a_core_that_the_library_refuses_is_an_error_and_is_closed(board):
    with pytest.raises(DeviceError, match="refuses the requested core"):
        board.open(core=1)
    weights = SharedWeights()
    first = board.open(weights=weights)
    with pytest.raises(DeviceError, match="refuses the requested core"):
        board.open(core=1, weights=weights)
    assert board.count() == (1, 1)
    first.close()


def test_a_library_that_cannot_share_gives_each_context_its_own_copy(board, monkeypatch):
    weights = SharedWeights()
    first = board.open(weights=weights)
    monkeypatch.setattr(bindings.Library, "call", without_sharing(bindings.Library.call))
    second = board.open(weights=weights)
    assert board.count() == (2, 2)
    first.close()
    second.close()


def without_sharing(call):
    """Library.call of an old librknnrt, which has no rknn_dup_context."""
    return lambda self, name, *rest: call(self, f"{name}_missing" if name == "rknn_dup_context" else name, *rest)
