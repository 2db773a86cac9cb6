import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rkface.runtime.core.atomic import remove_leftovers, replace_atomically, temporary_file, write_atomically
from rkface.runtime.core.errors import WorkError

KILLED = 9


def write_and_die(path, *, at):
    """Write "new" to ``path`` in a process that dies where it calls ``at`` ("os.fsync 1": the second call)."""
    name, _, skipped = at.partition(" ")
    code = f"""
import os, sys
from pathlib import Path
from rkface.runtime.core.atomic import write_atomically
calls = []
module, _, name = {name!r}.rpartition(".")
owner = Path if module == "Path" else os
real = getattr(owner, name)
def die(*arguments, **options):
    calls.append(arguments)
    if len(calls) > {int(skipped or 0)}:
        os._exit({KILLED})
    return real(*arguments, **options)
setattr(owner, name, die)
write_atomically(Path({str(path)!r}), b"new" * 100_000)
"""
    return subprocess.run([sys.executable, "-c", code], check=False).returncode


@pytest.mark.parametrize("at", ["Path.write_bytes", "os.fsync", "Path.replace", "os.fsync 1"])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_process_that_dies_leaves_the_old_file_or_the_new_file(tmp_path, at, old):
    path = tmp_path / "settings"
    if old is not None:
        path.write_bytes(old)
    assert write_and_die(path, at=at) == KILLED
    moved = at == "os.fsync 1"  # the fsync of the folder, after the rename
    assert (path.read_bytes() if path.exists() else None) == (b"new" * 100_000 if moved else old)
    assert len(list(tmp_path.iterdir())) == (old is not None or moved) + (not moved)
    assert remove_leftovers(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == (old is not None or moved)


def test_the_content_is_on_the_disk_before_the_file_gets_its_name_and_the_name_afterwards(
    tmp_path, synced, monkeypatch
):
    path, replace = tmp_path / "settings", Path.replace

    def noted(source, target):
        synced.append("rename")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", noted)
    write_atomically(path, b"new")
    content, *rest = synced
    assert content.name.startswith(".settings.") and rest == ["rename", tmp_path]


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_a_file_has_the_mode_that_was_requested_less_the_umask(tmp_path, mode):
    umask = os.umask(0o022)
    try:
        write_atomically(tmp_path / "file", b"", mode=mode)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode & ~0o022


def test_an_existing_file_is_not_overwritten_when_that_is_forbidden(tmp_path):
    path = tmp_path / "key"
    write_atomically(path, b"first", overwrite=False)
    with pytest.raises(FileExistsError):
        write_atomically(path, b"second", overwrite=False)
    assert [(file, file.read_bytes()) for file in tmp_path.iterdir()] == [(path, b"first")]


def test_a_file_system_without_hard_links_takes_new_files_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    test_an_existing_file_is_not_overwritten_when_that_is_forbidden(tmp_path)


def test_an_error_in_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "gallery"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), replace_atomically(path) as new:
        new.write_bytes(b"half")
        raise RuntimeError
    assert [(file, file.read_bytes()) for file in tmp_path.iterdir()] == [(path, b"old")]


@pytest.mark.parametrize("target", ["/", "."])
def test_a_folder_that_has_no_name_is_failed_work(target):
    with pytest.raises(WorkError, match="Is a directory"):
        write_atomically(Path(target), b"new")


def test_a_folder_that_does_not_exist_is_failed_work(tmp_path):
    path = tmp_path / "missing" / "file"
    with pytest.raises(
        WorkError, match=r"missing/file: cannot be written: No such file .*: create its folder or choose"
    ):
        write_atomically(path, b"")


def test_a_failed_flush_is_failed_work(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WorkError, match="file: cannot be written: Input/output error"):
        write_atomically(tmp_path / "file", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_file_in_use_is_not_removed(tmp_path):
    target = tmp_path / "gallery.sqlite"
    with temporary_file(target) as path:
        assert remove_leftovers(tmp_path, "other") == []
        assert [(left.path, "now" in left.reason) for left in remove_leftovers(tmp_path, target.name)] == [(path, True)]
    assert list(tmp_path.iterdir()) == []


def test_only_leftover_files_of_the_named_target_are_removed(tmp_path):
    for name in (".a.sqlite.0123abcd", ".b.sqlite.0123abcd", "a.sqlite", ".a.sqlite"):
        (tmp_path / name).touch()
    assert remove_leftovers(tmp_path, "a.sqlite") == []
    assert sorted(file.name for file in tmp_path.iterdir()) == [".a.sqlite", ".b.sqlite.0123abcd", "a.sqlite"]


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path):
    path = tmp_path / ("人" * 83 + ".jpg")  # 253 bytes
    write_atomically(path, b"photo")
    assert path.read_bytes() == b"photo"


def replace(target, content):
    with replace_atomically(target) as path:
        path.write_bytes(content)


@pytest.mark.parametrize("kind", ["pipe", "socket", "link to a pipe", "folder"])
@pytest.mark.parametrize("write", [write_atomically, replace])
def test_only_a_file_is_replaced(tmp_path, kind, write):
    """As root, `rkface doctor --report /dev/null` would replace the device of all programs with a file."""
    target = tmp_path / "target"
    if kind == "folder":
        target.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(target))
    else:
        os.mkfifo(tmp_path / "pipe")
        target.symlink_to("pipe") if kind.startswith("link") else (tmp_path / "pipe").rename(target)
    before = sorted((path.name, path.lstat().st_mode) for path in tmp_path.iterdir())
    with pytest.raises(
        WorkError, match=r"target: cannot be written: (it is a device, a pipe or a socket|Is a directory)"
    ):
        write(target, b"new")
    assert sorted((path.name, path.lstat().st_mode) for path in tmp_path.iterdir()) == before
