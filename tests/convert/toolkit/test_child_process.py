"""Processes that work for rkface: none is left when what waited for it is."""

import os
import select

from rkface.convert.toolkit.child_process import child_process


def test_a_childs_own_children_end_with_it():
    with child_process(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=-1) as process:
        grandchild = os.pidfd_open(int(process.stdout.readline()))
    assert select.select([grandchild], [], [], 10)[0], "its end wakes whoever waits for it"
    os.close(grandchild)
