"""`rkface gallery import` reads files from outside line by line: good lines are imported, bad ones are reported."""

import base64
import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from rkface.runtime.cli.main import main
from rkface.runtime.enrollment.json_lines import MOST_LINE
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.gallery.people import Sample

MODEL = "1" * 32


def embedding(seed=1, numbers=64):
    vector = np.random.default_rng(seed).standard_normal(numbers)
    return (vector / np.linalg.norm(vector)).astype("<f4")


def base64_of(vector):
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


def person(name="Ada", seed=1, **more):
    sample = {
        "source": "a.jpg",
        "quality": 0.9,
        "created": 5.0,
        "identity": MODEL,
        "embedding": base64_of(embedding(seed)),
    }
    sample |= more.pop("sample", {})
    return {"schema": "rkface.person", "version": 1, "name": name, "metadata": {}, "samples": [sample]} | more


@pytest.fixture
def bring(tmp_path, capsys):
    """Imports lines (dicts, texts or bytes): exit code, the lines of stdout, stderr, the names in the gallery."""

    def run(*lines, end=b"\n", start=b""):
        encoded = [
            line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
            for line in lines
        ]
        (tmp_path / "people.jsonl").write_bytes(start + end.join(encoded))
        path = tmp_path / "gallery.sqlite"
        code = main(["gallery", "import", str(tmp_path / "people.jsonl"), "--gallery", str(path)])
        out, err = capsys.readouterr()
        with Gallery(path) as gallery:
            return code, out.splitlines(), err, [one.name for one in gallery.people()]

    return run


BAD = {
    "null as name": (person(name=None), "name must be a text, not None"),
    "a number as name": (person(name=3), "name must be a text, not an int"),
    "a truth value as name": (person(name=True), "name must be a text, not a bool"),
    "a list as name": (person(name=["Ada"]), "name must be a text, not a list"),
    "an empty name": (person(name=" "), "a person needs a name"),
    "an invisible name": (person(name="Ada\u202e"), "cannot be seen"),
    "half of a surrogate pair": (json.dumps(person()).replace("Ada", "\\ud800"), "surrogate"),
    "half of a pair in metadata": (json.dumps(person(metadata={"a": "X"})).replace("X", "\\udfff"), "surrogate"),
    "no name": ({"schema": "rkface.person", "version": 1, "samples": []}, "name is missing"),
    "no samples": (person(samples=[]), "no samples"),
    "samples in an object": (person(samples={}), "samples must be a list"),
    "a number as sample": (person(samples=[3]), "sample 1: a sample must be an object, not an int"),
    "the second sample": (
        person(samples=[*person()["samples"], {"embedding": 3}]),
        "sample 2: embedding must be a text",
    ),
    "samples without content": (person(samples=[{"source": "a.jpg"}]), "no samples with an embedding"),
    "metadata in a list": (person(metadata=[1]), "metadata must be an object"),
    "large metadata": (person(metadata={"a": "x" * 200_000}), "characters"),
    "no JSON": ("{", "not valid JSON at character"),
    "another schema": ({"schema": "other"}, "this is not rkface.person"),
    "a list": ("[1]", "this is not an object"),
    "20,000 lists": ("[" * 20_000 + "]" * 20_000, "nested too deeply"),
    "lists in metadata": (
        json.dumps(person()).replace("{}", '{"a": ' + "[" * 20_000 + "]" * 20_000 + "}"),
        "too deeply",
    ),
    "400 digits": (json.dumps(person()).replace("0.9", "9" * 400), "400 digits"),
    "NaN": (json.dumps(person()).replace("0.9", "NaN"), "NaN"),
    "infinite": (json.dumps(person()).replace("0.9", "1e999"), "too large"),
    "a quality of 2": (person(sample={"quality": 2}), "quality must be a number from 0 to 1"),
    "a quality of true": (person(sample={"quality": True}), "quality must be a number"),
    "a negative time": (person(sample={"created": -1}), "created must be a number"),
    "no base64": (person(sample={"embedding": "%%%"}), "not base64"),
    "seven bytes": (person(sample={"embedding": base64.b64encode(b"1234567").decode()}), "not base64 of float32"),
    "zeros": (person(sample={"embedding": base64_of(np.zeros(64))}), "all zeros"),
    "not a number": (person(sample={"embedding": base64_of(np.full(64, np.nan))}), "NaN"),
    "huge numbers": (person(sample={"embedding": base64_of(np.full(64, 3e38))}), "the length"),
    "another length": (person(sample={"embedding": base64_of(embedding(1, 65))}), "65"),
    "too many numbers": (person(sample={"embedding": base64_of(np.ones(9000))}), "9000 numbers"),
    "another model": (person(sample={"identity": "2" * 32}), "another model"),
    "a number as model": (person(sample={"identity": 3}), "identity must be a text"),
    "a missing crop": (person(sample={"crop": "none.png"}), "--crops"),
    "a folder as crop": (person(sample={"crop": ".."}), "--crops"),
    "a crop with NUL": (person(sample={"crop": "a\0b"}), "--crops"),
    "not UTF-8": (b'{"name": "\xff"}', "not UTF-8 at byte"),
    "not UTF-8 but UTF-16": (json.dumps(person()).encode("utf-16-le"), "not valid JSON"),
    "an endless line": (b"x" * (MOST_LINE + 5), "limit for a line"),
    "null": ("null", "this is not an object"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_line_is_reported_with_its_number_and_the_others_are_imported(bring, kind):
    line, reason = BAD[kind]
    code, out, err, names = bring(person("First", 2), line, person("Last", 3))
    assert (code, names) == (1, ["First", "Last"])
    assert len(out) == 3 and "line 2: " in out[1] and reason in out[1], out[1]
    assert "2 enrolled for 2 people, 1 refused" in err


@pytest.mark.parametrize(("start", "end"), [(b"\xef\xbb\xbf", b"\r\n"), (b"", b"\n\n"), (b"\n", b"\r\n \r\n")])
def test_byte_order_marks_and_all_line_ends_are_read(bring, start, end):
    code, _, _, names = bring(person("First", 2), person("Last", 3), start=start, end=end)
    assert (code, names) == (0, ["First", "Last"])


def test_a_file_in_utf_16_is_refused_as_a_whole(tmp_path, capsys):
    (tmp_path / "people.jsonl").write_bytes(json.dumps(person()).encode("utf-16"))
    gallery = tmp_path / "gallery.sqlite"
    assert main(["gallery", "import", str(tmp_path / "people.jsonl"), "--gallery", str(gallery)]) == 2
    assert "save it as UTF-8" in capsys.readouterr().err


def test_an_id_stands_for_one_person(bring):
    code, out, _, names = bring(person("Ada", 1, id="a"), person("Eve", 2, id="a"), person("Ada", 3, id="a"))
    assert (code, names) == (1, ["Ada"]) and "line 2: line 1 has the same id for another person" in out[1]


def test_a_line_is_imported_completely_or_not_at_all(bring):
    good, bad = person()["samples"][0], person("Ada", 5, sample={"identity": "2" * 32})["samples"][0]
    code, _, err, names = bring(person("Ada", samples=[good, bad]), person("Grace", 2))
    assert (code, names) == (1, ["Grace"]) and "1 refused" in err


def test_an_export_without_biometric_data_changes_people_who_exist(bring, tmp_path):
    with Gallery(tmp_path / "gallery.sqlite", MODEL, create=True) as gallery:
        gallery.add("Ada", [Sample(embedding(), None, 0.9, "a.jpg")])
    code, _, _, names = bring(person("Ada", metadata={"room": 3}, samples=[{"source": "a.jpg"}]))
    assert (code, names) == (0, ["Ada"])
    with Gallery(tmp_path / "gallery.sqlite") as gallery:
        assert gallery.person("Ada").metadata == {"room": 3} and gallery.person("Ada").samples == 1


def test_the_same_sample_twice_is_known(bring):
    twice = person("Ada", samples=person()["samples"] * 2)
    code, _, err, _ = bring(twice, person("Ada"))
    assert code == 0 and err == "1 enrolled for 1 person, 2 already known\n"


KILLED = """
import os, signal, sys
from rkface.runtime.cli.main import main
from rkface.runtime.gallery.gallery import Gallery
add, left = Gallery.add, int(sys.argv[1])
def add_or_die(self, *arguments):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return add(self, *arguments)
Gallery.add = add_or_die
main(sys.argv[2:])
"""


def test_a_killed_import_keeps_what_it_reported_and_can_be_repeated(tmp_path):
    lines = [json.dumps(person(f"person {number % 5}", number)) for number in range(20)]
    (tmp_path / "people.jsonl").write_text("\n".join(lines))
    path = tmp_path / "gallery.sqlite"
    command = ["gallery", "import", str(tmp_path / "people.jsonl"), "--gallery", str(path)]
    killed = subprocess.run([sys.executable, "-c", KILLED, "12", *command], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL
    reported = killed.stdout.count("enrolled as")
    with Gallery(path) as gallery:
        assert reported == 12 == gallery.state().samples
    assert main(command) == 0
    with Gallery(path) as gallery:
        assert (gallery.state().people, gallery.state().samples) == (5, 20)


def test_a_device_is_not_read(tmp_path, capsys):
    (tmp_path / "people.jsonl").symlink_to("/dev/zero")
    assert main(["gallery", "import", str(tmp_path / "people.jsonl"), "--gallery", str(tmp_path / "g.sqlite")]) == 2
    assert not (tmp_path / "g.sqlite").exists()
