"""A function run in a process of its own: what it says, what it raises, and that nothing of it stays."""

import importlib
import os
import subprocess
import sys

import pytest

from rkface.convert.apart import apart
from rkface.runtime.core.errors import WorkError

WORK = """
import os, signal

def count_to(number, progress):
    for done in range(number):
        progress(done + 1, number)
    return os.getpid()

def fail(progress):
    raise ValueError("no such tensor")

def die(progress):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Functions in a module that another process can import, which the tests' own modules are not."""
    (tmp_path / "rkface_work_of_a_test.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("rkface_work_of_a_test")


def interrupted(done, total):
    raise KeyboardInterrupt


def test_answer_and_progress_come_from_another_process(work):
    heard = []
    process = apart(work.count_to, 3, progress=lambda *one: heard.append(one))
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert process != os.getpid()


def test_what_it_raises_is_raised_here(work):
    with pytest.raises(ValueError, match="no such tensor"):
        apart(work.fail, progress=interrupted)


def test_a_process_that_dies_is_an_error_and_not_a_wait(work):
    with pytest.raises(WorkError, match=r"die died.*-9"):
        apart(work.die, progress=interrupted)


def test_an_interrupted_wait_leaves_no_process(work):
    with pytest.raises(KeyboardInterrupt):
        apart(work.count_to, 1_000_000, progress=interrupted)
    children = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "apart"], capture_output=True, check=False)
    assert not children.stdout


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is of Python 3.11")
def test_modules_in_the_users_folder_are_not_ours(work, tmp_path, monkeypatch):
    folder = tmp_path / "users"
    folder.mkdir()
    (folder / "pickle.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(folder)
    assert apart(work.count_to, 1, progress=lambda done, total: None) != os.getpid()
