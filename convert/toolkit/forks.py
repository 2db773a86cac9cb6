"""Forks of the process that has loaded rknn-toolkit2."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from rkface.runtime.core.child_process import die_with_parent


def start_fork(work: Callable[[], None]) -> int:
    """Call ``work`` in a fork of this process, which ends with this process; returns the process id of the fork. Its
    exit status is 1 if ``work`` raises an exception, which it prints."""
    parent = os.getpid()
    if fork := os.fork():
        return fork
    status = 1
    try:
        die_with_parent(parent)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
