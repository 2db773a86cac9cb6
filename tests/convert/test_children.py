"""Processes that work for rkface: none is left when what waited for it is."""

import os
import select
import threading

import pytest
from rkface.convert.children import child, together


def test_an_error_of_one_ends_the_children_of_all_and_no_new_one_begins():
    processes, both = [], threading.Barrier(2)

    def work(number):
        with child(["sleep", "600"]) as process:
            processes.append(process)
            both.wait(10)
            if number == 0:
                raise KeyboardInterrupt
            process.wait()
        with child(["sleep", "600"]) as process:
            processes.append(process)

    with pytest.raises(KeyboardInterrupt):
        together(work, [0, 1])
    assert len(processes) == 2 and all(process.poll() is not None for process in processes)
    with child(["true"]) as process:  # the next ones may begin again
        assert process.wait() == 0


def test_answers_come_in_order_and_a_childs_own_children_end_with_it():
    assert together(lambda number: number * 2, [1, 2, 3]) == [2, 4, 6]
    with child(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=-1) as process:
        grandchild = os.pidfd_open(int(process.stdout.readline()))
    assert select.select([grandchild], [], [], 10)[0], "its end wakes whoever waits for it"
    os.close(grandchild)
