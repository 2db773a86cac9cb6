"""InsightFace's verification files: they are read correctly, and nothing in them is executed."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from rkface.convert.evaluate.binfile import read_bin
from rkface.runtime.core.errors import InputError

IMAGES = [bytes([0xFF, 0xD8, number]) * (200 * number + 1) for number in range(4)]  # short and long ones: two opcodes
SAME = [True, False]
# (IMAGES of 1 and 300 bytes, [True, False]) as Python 2.7's cPickle writes it at its highest protocol.
PYTHON_2 = b"\x80\x02]q\x01(U\x01\xffq\x02T\x2c\x01\x00\x00" + b"\xd8" * 300 + b"q\x03e]q\x04\x88a\x86."


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "test.bin"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
        return path

    return write


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_files_written_by_pickle_are_read(write, protocol):
    found = read_bin(write(pickle.dumps((IMAGES, SAME), protocol)))
    assert found.images == IMAGES and found.same == SAME


def test_files_of_python_2_are_read(write):
    assert pickle.loads(PYTHON_2, encoding="bytes") == ([b"\xff", b"\xd8" * 300], [True]), "the example is correct"
    found = read_bin(write(PYTHON_2))
    assert found.images == [b"\xff", b"\xd8" * 300] and found.same == [True]


@pytest.mark.parametrize("protocol", [3, 5])
def test_numpy_images_and_labels_are_read(write, protocol):
    arrays = [np.frombuffer(image, np.uint8) for image in IMAGES]
    for labels in (np.array(SAME), [np.bool_(one) for one in SAME], [1, 0]):
        found = read_bin(write(pickle.dumps((arrays, labels), protocol)))
        assert found.images == IMAGES and found.same == SAME


class Touch:
    """Pickled, this creates a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_file_is_refused_and_nothing_is_executed(write, tmp_path, protocol):
    bad = pickle.dumps((IMAGES, [True, Touch(tmp_path / "touched")]), protocol)
    with pytest.raises(InputError) as error:
        read_bin(write(bad))
    assert not (tmp_path / "touched").exists()
    # Protocols 0 to 2 have no bytes, so pickle names _codecs.encode first.
    assert re.search(r"asks for (posix\.system|_codecs\.encode).*do not trust", str(error.value))
    pickle.loads(bad)
    assert (tmp_path / "touched").exists(), "the example is really malicious"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "asks for builtins.eval"),
        (b"(S'x'\ni__main__\nX\n.", "instruction INST"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "instruction NEWOBJ"),
        (b"cnumpy.core.numeric\n_frombuffer\n(J\xff\xff\xff\x7ftR.", "not bytes"),  # a length, to allocate 2 GB
        (b"cnumpy\ndtype\n(S'O8'\ntR.", "array of O8"),
        (b"Pid\n.", "instruction PERSID"),
    ],
)
def test_other_instructions_are_refused(write, content, says):
    with pytest.raises(InputError, match=says):
        read_bin(write(content))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "truncated"),
        (b"\xff\xd8\xff not a pickle", "truncated or damaged, or it is not an InsightFace"),
        (b"e.", "truncated or damaged"),
        (b"\x80\x04]h\x07.", "truncated or damaged"),
        (pickle.dumps({"images": 1}), "instruction EMPTY_DICT"),
        (pickle.dumps([1, 2, 3]), "must contain .list of encoded images"),
        (pickle.dumps((["text"] * 4, SAME)), "other things than encoded images"),
        (pickle.dumps((IMAGES, [True, 7])), "other things than"),
        (pickle.dumps((IMAGES, [True])), "4 images are not 1 pairs"),
        (pickle.dumps(([], [])), "has no pairs: its lists are empty"),
    ],
)
def test_files_that_are_not_verification_files_are_refused(write, content, says):
    with pytest.raises(InputError, match=says):
        read_bin(write(content))


def test_a_file_that_is_truncated_anywhere_is_refused(write):
    whole = pickle.dumps((IMAGES, SAME))
    for length in range(0, len(whole), 7):
        with pytest.raises(InputError, match="truncated"):
            read_bin(write(whole[:length]))


@pytest.mark.parametrize(
    ("start", "end"),
    [(b"cnumpy\ndtype\n", b"\x85R."), (b"", b"h\x01\x93."), (b"", b"."), (b"]", b"a."), (b"]]", b"a\x86.")],
    ids=["type of an array", "name of a function", "whole file", "list", "labels"],
)
def test_deeply_nested_tuples_are_refused_at_once(write, start, end):
    twice = b"".join(b"h" + bytes([at]) + b"h" + bytes([at]) + b"\x86q" + bytes([at + 1]) + b"0" for at in range(100))
    with pytest.raises(InputError) as caught:
        read_bin(write(b"\x80\x02)q\x000" + twice + start + b"h\x64" + end))
    assert len(str(caught.value)) < 400


def test_endless_and_huge_files_are_refused(write, monkeypatch):
    with pytest.raises(InputError, match="is a device, not a file"):
        read_bin(Path("/dev/zero"))
    monkeypatch.setattr("rkface.convert.evaluate.binfile.MAX_INSTRUCTIONS", 1000)
    with pytest.raises(InputError, match="more than 1,000 instructions"):
        read_bin(write(b")" * 1002))
    with pytest.raises(InputError, match="truncated or damaged") as caught:
        read_bin(write(b"c" + b"\x1b[2J" * 1_000_000))
    assert len(str(caught.value)) < 400 and "\x1b" not in str(caught.value)
    with pytest.raises(InputError, match="asks for") as caught:
        read_bin(write(b"c" + b"m" * 1_000_000 + b"\nf\n."))
    assert len(str(caught.value)) < 400


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_bin(tmp_path / "absent.bin")
