"""Who may be able to read a file with a secret."""

import os
import threading

import pytest

from rkface.runtime.core import files, private_file
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.private_file import read_private_file


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a secret"
    path.write_bytes(b"hush")
    path.chmod(0o600)
    return path


def read(path, parse=bytes):
    return read_private_file(path, "the key", parse, "create it with `make-key`")


class Status:
    """The owner, the group and the mode of a regular file."""

    def __init__(self, owner, group, mode):
        self.st_uid, self.st_gid, self.st_mode = owner, group, 0o100000 | mode


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_file_that_only_its_owner_may_read_is_read(path, mode):
    path.chmod(mode)
    assert read(path) == b"hush"


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o644, 0o660, 0o666, 0o777])
def test_a_file_that_others_may_read_or_change_is_refused_with_the_command_that_changes_it(path, mode):
    os.chown(path, -1, os.getegid())
    path.chmod(mode)
    with pytest.raises(InputError, match="other users may read or change") as caught:
        read(path)
    assert f"`chmod 600 '{path}'`" in str(caught.value) and "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "file", "allowed"),
    [
        (1000, (1000, 1000, 0o600), True),
        (1000, (1000, 1000, 0o640), False),
        (1000, (1001, 1001, 0o600), False),  # of another user, who may read and change it
        (1000, (0, 1000, 0o440), True),  # root gave it to the group of the service
        (1000, (0, 0, 0o440), True),  # LoadCredential= of systemd: the mask of an access control list
        (1000, (0, 1000, 0o660), False),
        (1000, (0, 1000, 0o444), False),
        (0, (1000, 1000, 0o600), True),  # root uses the key of the service
        (0, (1000, 1000, 0o640), False),
        (0, (0, 0, 0o640), False),
        (0, (0, 1000, 0o440), True),  # the same file as above, read by root
    ],
)
def test_the_rule_depends_on_the_owner_and_the_group(path, user, file, allowed):
    problem = private_file._find_problem(path, Status(*file), user)
    assert (problem is None) == allowed, problem


def test_a_wrong_file_is_reported_as_such_before_its_permissions(path):
    def parse(content):
        raise InputError("this is not a key")

    path.chmod(0o644)
    with pytest.raises(InputError, match="not a key"):
        read(path, parse)


def test_files_that_are_missing_endless_or_too_large_are_refused(path, tmp_path):
    with pytest.raises(InputError, match=r"cannot read the key: No such file.*create it with `make-key`"):
        read(tmp_path / "absent")
    for other in (tmp_path, "/dev/zero"):
        with pytest.raises(InputError, match="cannot read the key"):
            read(tmp_path / other)
    with pytest.raises(InputError, match="impossible file name"):
        read(tmp_path / "a\0b")
    path.write_bytes(bytes(100_000))
    with pytest.raises(InputError, match="larger than 64 KiB"):
        read(path)


def test_a_key_can_come_from_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"hush",))
    writer.start()
    assert read(pipe) == b"hush"
    writer.join()


def test_a_pipe_into_which_nobody_writes_is_refused(path, monkeypatch):
    monkeypatch.setattr(files, "PIPE_SECONDS", 0.05)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(InputError, match="is a pipe, and nobody has written"):
        read(path)
