"""CSV files of labels as spreadsheets and people write them, and the lines that are wrong."""

import pytest

from rkface.convert.evaluate.groups import read_groups
from rkface.convert.label_files import read_pairs
from rkface.runtime.core.errors import InputError

PAIRS = [("a.jpg", "b.jpg", True), ("a.jpg", "c, d.jpg", False)]


@pytest.mark.parametrize(
    "text",
    [
        'left,right,same\na.jpg,b.jpg,Yes\na.jpg,"c, d.jpg",No\n',
        '\ufeffleft,right,same\r\na.jpg,b.jpg,yes\r\na.jpg,"c, d.jpg",no\r\n',
        "left;right;same\na.jpg;b.jpg;1\na.jpg;c, d.jpg;0",
        "left\tright\tsame\n a.jpg \t b.jpg\tTRUE\n\n\na.jpg\tc, d.jpg\tFalse\n",
        'a.jpg,b.jpg,Yes\na.jpg,"c, d.jpg",No\n',
        'photo,photo.1,same\na.jpg,b.jpg,Yes\na.jpg,"c, d.jpg",No\n',
    ],
    ids=["plain", "spreadsheet on Windows", "semicolons", "tabs and empty lines", "without a header", "from pandas"],
)
def test_pairs_are_read(tmp_path, text):
    (tmp_path / "pairs.csv").write_text(text, encoding="utf-8", newline="")
    assert read_pairs(tmp_path / "pairs.csv") == PAIRS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b,same\na.jpg,b.jpg,Yes\n\n\na.jpg,c.jpg\n", "line 5: expected"),
        ("a,b,same\na.jpg,,Yes\n", "line 2: expected"),
        ("a,b,same\na.jpg,b.jpg,\x1b[2Jmaybe\n", "line 2: .*found a.jpg,b.jpg,.\\[2Jmaybe"),
        ("a,b,same\n" + "x" * 500_000, "cannot be read as CSV"),
        ("a,b,same\n\xff", "not UTF-8 at byte 9"),
    ],
)
def test_wrong_lines_are_named(tmp_path, text, says):
    (tmp_path / "pairs.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=says) as caught:
        read_pairs(tmp_path / "pairs.csv")
    assert len(str(caught.value)) < 400 and "\x1b" not in str(caught.value)


def test_groups_are_read_and_wrong_lines_named(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("person;group\nAda;one\nBob;two\n")
    assert read_groups(path) == {"Ada": "one", "Bob": "two"}
    path.write_text("person,group\nAda,one\n\nAda,two\n")
    with pytest.raises(InputError, match="line 4: an earlier line puts this name into another group"):
        read_groups(path)
