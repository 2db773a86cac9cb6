"""Steps that run at the same time: results in order, and nothing left behind after an error or Ctrl-C."""

import os
import signal
import threading
import time

import pytest

from rkface.convert.at_once import call_at_once
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.subprocess_call import call_in_subprocess

two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one core, one step follows another")


def test_results_come_in_the_order_of_the_tasks():
    assert call_at_once(lambda number: number * number, range(20)) == [number * number for number in range(20)]
    assert call_at_once(len, []) == []


@two_cores
def test_two_steps_run_at_the_same_time():
    meeting = threading.Barrier(2)
    assert sorted(call_at_once(lambda task: meeting.wait(60), "ab")) == [0, 1]


def wait_long(folder, progress):
    (folder / str(os.getpid())).touch()
    time.sleep(600)


@two_cores
@pytest.mark.parametrize("ends", ["an error", "Ctrl-C"])
def test_an_error_or_ctrl_c_ends_the_processes_of_all_steps(tmp_path, ends):
    def step(task):
        if task != "last":
            call_in_subprocess(wait_long, tmp_path)
        while not [*tmp_path.iterdir()]:
            time.sleep(0.01)
        if ends == "an error":
            raise InputError("this one")
        os.kill(os.getpid(), signal.SIGINT)
        call_in_subprocess(wait_long, tmp_path)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(InputError if ends == "an error" else KeyboardInterrupt):
            call_at_once(step, ["first", "last", *["never"] * 10])
    finally:
        signal.signal(signal.SIGINT, before)
    started = [int(path.name) for path in tmp_path.iterdir()]
    assert 1 <= len(started) <= 3
    for process in started:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
