"""CSV files as people and spreadsheets write them."""

import csv
import io
import os
import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.convert.label_files import read_pairs
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.tables import column_letter, find_columns, read_rows
from rkface.runtime.core.text import find_hidden
from rkface.runtime.enrollment.import_export import read_records


def write(tmp_path, content, name="people.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def records(path):
    return list(read_records(path, path.parent))


TWO = [("Ada", "ada.jpg"), ("Jos\u00e9", "jos\u00e9.jpg")]
TEXT = "name,photo\nAda,ada.jpg\nJos\u00e9,jos\u00e9.jpg\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT.replace("\n", "\r\n").encode("utf-8-sig"),
        TEXT.replace(",", ";"),
        TEXT.replace(",", "\t"),
        TEXT.replace(",", " | "),
        TEXT.encode("utf-16"),
        TEXT.replace(",", "\t").encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        "sep=;\r\n" + TEXT.replace(",", ";"),
        TEXT.replace("name,photo", " Full Name , File-Name "),
        TEXT.replace("name,photo", '"Label","PATH"'),
        "photo,name\nada.jpg,Ada\njos\u00e9.jpg,Jose\u0301\n",
        "id,name,photo,,\n1,Ada,ada.jpg,,\n\n,,,,\n2,Jos\u00e9,jos\u00e9.jpg,,\n",
        'name,photo\n"Ada","ada.jpg"\n"Jos\u00e9","jos\u00e9.jpg"',
    ],
)
def test_people_are_read_from_every_usual_form(tmp_path, content):
    found = records(write(tmp_path, content))
    assert [(record.name, record.photos[0].name) for record in found] == TWO


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "line 1: the first line must be a header with the columns name and photo"),
        ("Ada,ada.jpg\nBob,bob.jpg\n", "line 1: the first line must be a header.*found 'Ada | ada.jpg'"),
        ("name,age\nAda,3\n", "line 1: the first line must be a header"),
        ("name,label,photo\n", "line 1: the columns 'name' and 'label' mean the same"),
        ("name,photo\nAda,\xe9".encode("latin-1"), "line 2, character 5: not UTF-8"),
        (TEXT.encode("utf-16")[:-1], "not UTF-8|cannot be read|truncated"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_the_place(tmp_path, content, said):
    with pytest.raises(InputError, match=said) as error:
        records(write(tmp_path, content))
    assert find_hidden(str(error.value)) is None


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_wrong_quote_costs_its_own_line_only(tmp_path, encoding, end):
    lines = [
        "name,photo",
        '"Bob,b.jpg',
        "Ada,ada.jpg",
        '"C"d,c.jpg',
        '"E\0",e.jpg',
        "Jos\u00e9,jos\u00e9.jpg",
        '"Eve,e.jpg',
    ]
    found = records(write(tmp_path, end.join(lines).encode(encoding)))
    named = [re.search(r"line (\d)", str(one))[1] for one in found if isinstance(one, InputError)]
    assert named == ["2", "4", "5", "7"]
    assert [(one.name, one.photos[0].name, one.line) for one in found if not isinstance(one, InputError)] == [
        (*TWO[0], 3), (*TWO[1], 6)
    ]  # fmt: skip


def test_each_wrong_line_is_named_and_the_others_are_read(tmp_path):
    content = (
        "photo,name,metadata\nada.jpg\n,Bob\nada.jpg,Lovelace, Ada,x\nada.jpg,A\u202eda,\n,,\n"
        'ada.jpg,Ada,[1\nphotos\\ada.jpg,Ada,"{""room"": 3}"\n'
    )
    found = records(write(tmp_path, content))
    places = (
        "line 2, column B (name)",
        "line 3, column A (photo)",
        "line 4: 4 cells",
        "line 5, column B",
        "line 7, column C",
    )
    for record, place in zip(found[:-1], places, strict=True):
        assert isinstance(record, InputError) and place in str(record)
    assert found[-1].metadata == {"room": 3} and found[-1].photos[0].as_posix().endswith("photos/ada.jpg")


def test_a_pipe_is_not_a_table(tmp_path):
    os.mkfifo(tmp_path / "people.csv")
    with pytest.raises(InputError, match="not a file"):
        records(tmp_path / "people.csv")


def test_pairs_are_read_with_and_without_a_header(tmp_path):
    rows = "img1.jpg,img2.jpg,Yes\nimg1.jpg,img3.jpg,No\n"
    expected = [("img1.jpg", "img2.jpg", True), ("img1.jpg", "img3.jpg", False)]
    for content in (
        rows,
        "file_x,file_y,Decision\n" + rows,
        rows.replace(",", ";"),
        rows.encode("utf-16"),
        rows + ",,\n",
    ):
        assert read_pairs(write(tmp_path, content)) == expected
    for content, place in ((rows + "img1.jpg,Yes\n", "line 3"), ("img1.jpg,img2.jpg,Perhaps\n" + rows, "line 1")):
        with pytest.raises(InputError, match=place):
            read_pairs(write(tmp_path, content))


def test_columns_have_the_letters_of_spreadsheets():
    assert [column_letter(place) for place in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).map(str.strip)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.lists(texts, min_size=2, max_size=2), max_size=5), st.sampled_from(",;\t|"), st.booleans())
def test_what_a_spreadsheet_writes_is_read_back(tmp_path_factory, cells, separator, wide):
    path = tmp_path_factory.mktemp("table") / "people.csv"
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows([["name", "photo"], *cells])
    path.write_bytes(out.getvalue().encode("utf-16" if wide else "utf-8-sig"))
    header, *rows = read_rows(path)
    assert find_columns(path, header, {"name": (), "photo": ("file",)}) == {"name": 0, "photo": 1}
    assert [list(row.cells) for row in rows] == [row for row in cells if any(row)]


@settings(deadline=None, derandomize=True)
@given(st.binary() | st.text('name,photo;\n"\t\0\r ab=|', max_size=40).map(str.encode))
def test_any_bytes_are_a_table_or_an_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("table") / "people.csv"
    path.write_bytes(data)
    for read in (records, read_pairs):
        try:
            read(path)
        except InputError as error:
            assert find_hidden(str(error)) is None and len(str(error)) < 1000


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path):
    path = write(tmp_path, TEXT)
    for content in (b"\0" * 4, b"name,photo\n"):
        path.write_bytes(content)
        with path.open("ab") as file:
            file.truncate(200 << 20)  # without using the disk
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match="line has more than"):
                list(read_rows(path))
            assert tracemalloc.get_traced_memory()[1] < 100 << 20
        finally:
            tracemalloc.stop()
