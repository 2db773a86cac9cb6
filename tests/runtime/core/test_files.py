"""Files that somebody hands in: whatever they are, reading them ends, and takes limited memory."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.core import files
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.files import parse_json, read_file, read_text


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == b"12345"
    with pytest.raises(InputError, match="larger than 4 bytes"):
        read_file(path, 4)
    path.write_bytes("\ufeffAda".encode())
    assert read_text(path, 100) == "Ada"
    path.write_bytes(b"Ad\xff")
    with pytest.raises(InputError, match="not UTF-8 at byte 2"):
        read_text(path, 100)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/null", "/dev/tty"])
def test_a_device_is_not_read(device):
    with pytest.raises(InputError, match=r"is a device, not a file|cannot be read"):
        read_file(Path(device), 10**9)


def test_what_is_not_a_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, reason in (
        (".", "is a folder, not a file"),
        ("socket", "cannot be read"),
        ("loop", "Too many levels of symbolic links"),
        ("n" * 300, "File name too long"),
        ("missing", "No such file or directory"),
        ("a\0b", "cannot be read: embedded null"),
    ):
        with pytest.raises(InputError, match=reason):
            read_file(tmp_path / name, 100)


def test_a_pipe_is_read_to_its_end(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[b"x" * 300_000])
    writer.start()
    assert read_file(pipe, 10**6) == b"x" * 300_000
    writer.join()


def test_a_pipe_to_which_nobody_writes_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PIPE_SECONDS", 0.05)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="nobody has written"):
        read_file(tmp_path / "pipe", 100)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[" * 102 + "]" * 102, "nested too deeply"),
        ("9" * 400, "400 digits"),
        ("1e999", "too large"),
        ("NaN", "not a number in JSON"),
        ("-Infinity", "not a number in JSON"),
        ('"\\ud800"', "surrogate"),
        ('{"\\uDC00": 1}', "surrogate"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        ("", "Expecting value"),
    ],
)
def test_json_that_harms_the_rest_of_the_program_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        parse_json(text)
    assert len(str(caught.value)) < 200


def test_a_value_may_be_nested_100_deep():
    assert parse_json("[" * 101 + "]" * 101)


def test_a_complete_surrogate_pair_is_a_character():
    assert parse_json('"\\ud83d\\ude00"') == "\U0001f600"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)  # fmt: skip


@pytest.mark.slow
@given(values)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_all_other_json_is_read(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value
