"""A function call in another process: its result, its errors, and that no process remains."""

import importlib
import os
import subprocess
import sys

import pytest

from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.subprocess_call import call_in_subprocess

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
    """A module with functions that another process can import; it cannot import the tests' own modules."""
    (tmp_path / "rkface_work_of_a_test.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("rkface_work_of_a_test")


def interrupted(done, total):
    raise KeyboardInterrupt


def test_the_result_and_the_progress_come_from_another_process(work):
    heard = []
    process = call_in_subprocess(work.count_to, 3, progress=lambda *one: heard.append(one))
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert process != os.getpid()


def test_an_exception_of_the_function_is_raised_here(work):
    with pytest.raises(ValueError, match="no such tensor"):
        call_in_subprocess(work.fail, progress=interrupted)


def test_a_process_that_dies_is_an_error(work):
    with pytest.raises(WorkError, match=r"process for die died.*-9"):
        call_in_subprocess(work.die, progress=interrupted)


def test_an_interrupted_call_leaves_no_process(work):
    with pytest.raises(KeyboardInterrupt):
        call_in_subprocess(work.count_to, 1_000_000, progress=interrupted)
    children = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "apart"], capture_output=True, check=False)
    assert not children.stdout


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is of Python 3.11")
def test_modules_in_the_users_folder_are_not_imported(work, tmp_path, monkeypatch):
    folder = tmp_path / "users"
    folder.mkdir()
    (folder / "pickle.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(folder)
    assert call_in_subprocess(work.count_to, 1, progress=lambda done, total: None) != os.getpid()
