"""Child processes of rkface: none is left after the block that started it."""

import os
import select

from rkface.runtime.core.child_process import child_process


def test_the_children_of_a_child_end_with_it():
    with child_process(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=-1) as process:
        grandchild = os.pidfd_open(int(process.stdout.readline()))
    assert select.select([grandchild], [], [], 10)[0], "the grandchild has ended"
    os.close(grandchild)
