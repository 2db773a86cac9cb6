"""Runs several steps of a conversion at the same time. They wait for processes of their own most of the time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from rkface.runtime.core.child_process import kill_children

from .toolkit.quantize import end_toolkit

MOST = 4  # steps at the same time: each of their processes takes up to a gigabyte for a detector

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def call_at_once(step: Callable[[Task], Answer], tasks: Sequence[Task]) -> list[Answer]:
    """What ``step`` returns for each of ``tasks``, in their order. As many run at the same time as there are cores, in
    threads. If one fails, or at Ctrl-C, those that wait do not start, and the processes of those that run are killed.
    """
    with ThreadPoolExecutor(min(MOST, len(os.sched_getaffinity(0))), "rkface-step") as pool:
        futures = [pool.submit(step, task) for task in tasks]
        try:
            for one in wait(futures, return_when=FIRST_EXCEPTION).done:
                one.result()
            return [one.result() for one in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while running := [one for one in futures if one.running()]:  # a step may start another process meanwhile
                kill_children()
                end_toolkit()
                wait(running, timeout=0.1)
            raise
