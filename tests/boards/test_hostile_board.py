"""A board that answers anything: deploy and doctor stay inside their folders, print safely, and end with an error."""

import json
import os
import sys
from argparse import ArgumentParser
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.boards import board_answers
from rkface.boards.board_answers import BoardFacts, check_path, clean_text, parse_facts
from rkface.boards.deploy import command, release_pack, session
from rkface.boards.deploy.board_status import parse_status
from rkface.boards.deploy.dependencies import fetch_wheels
from rkface.boards.deploy.deploy_board import summarize_selftest
from rkface.boards.doctor.command import doctor
from rkface.boards.doctor.remote import run_checks_over
from rkface.boards.ssh import ssh_command
from rkface.runtime.core.errors import InputError, RkfaceError, WorkError
from rkface.runtime.core.text import find_hidden

from .deploy.conftest import make_bundle, stand_in_wheel

GOOD = {"user": "radxa", "machine": "aarch64", "pythons": [["/usr/bin/python3", "3.11.2"]], "rsync": False,
        "current": None, "writable": True}  # fmt: skip
HUGE = int("9" * 400)
ODD = (
    "..",
    "../../x",
    "/etc",
    "a/b",
    "-rf",
    "",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "\u202e",
    "x" * 5000,
    HUGE,
    1.5,
    None,
    [],
    {},
    [[]],
)
# Answers each request with the next line of the file $ANSWERS; after the last one it does what $THEN says.
SSH = """#!{python} -S
import os, sys, time
if "python3" in sys.argv[-1] and "stdin.buffer.read" in sys.argv[-1]:
    words = sys.argv[-1].split()
    sys.stdin.buffer.read(int(words[-2]))
    for line in open(os.environ["ANSWERS"], "rb"):
        sys.stdin.buffer.readline()
        os.write(1, line)
then = os.environ["THEN"]
while then == "endless":
    os.write(1, b"x" * 65536)
while then == "lines":
    os.write(2, b"\\x1b[2J again\\n" * 1000)
    os.write(1, b"welcome\\n" * 1000)
if then == "silent":
    time.sleep(3600)
os.write(2, b"\\x1b[2Jpassword is \\xe2\\x80\\xae wrong\\n" + b"y" * 5000)
sys.exit(int(then))
"""


@pytest.fixture
def board(tmp_path, monkeypatch):
    """Answers for the fake ssh, and deploys to it."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "ssh").write_text(SSH.format(python=sys.executable))
    (here / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    monkeypatch.setenv("ANSWERS", str(tmp_path / "answers"))
    monkeypatch.setenv("RKFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(session, "REQUEST_SECONDS", 20.0)
    monkeypatch.setattr(session, "CLOSE_SECONDS", 5.0)
    monkeypatch.setattr(board_answers, "MOST_OUTPUT", 200_000)
    monkeypatch.setattr(session, "MOST_OUTPUT", 200_000)
    monkeypatch.setattr(release_pack, "build_runtime_wheel", stand_in_wheel)
    bundle = make_bundle(tmp_path / "bundle")

    def deploy(*answers, then="1"):
        lines = [one if isinstance(one, bytes) else b"rkface: " + json.dumps(one).encode() for one in answers]
        (tmp_path / "answers").write_bytes(b"".join(line + b"\n" for line in lines))
        monkeypatch.setenv("THEN", then)
        parser = ArgumentParser()
        command.deploy(parser)
        options = parser.parse_args(["--bundle", str(bundle), "--no-doctor", "--json", "board"])
        return options.run(options)

    return SimpleNamespace(deploy=deploy, folder=tmp_path)


def problem_of(capsys):
    out, err = capsys.readouterr()
    assert find_hidden(out.replace("\n", "")) is None and find_hidden(err.replace("\n", "")) is None
    [one] = json.loads(out)["boards"]
    assert len(one["problem"]) < 10_100
    return one["problem"]


@pytest.mark.parametrize(
    "answer",
    [
        b"rkface: [" + b"[" * 50_000, b"rkface: {", b"rkface: \xff\xfe", b"rkface: 1", b"rkface: " + b"9" * 5000,
        b'rkface: {"ok": "\\ud800"}', {"ok": None}, {"ok": []}, {}, {"error": "\x1b]0;title\x07\u202e" * 1000},
        {"error": {"a": [1]}},
        {"ok": GOOD | {"machine": "../../../evil"}}, {"ok": GOOD | {"machine": "\x1b[2J"}},
        {"ok": GOOD | {"pythons": [["/usr/bin/python3", "3.11/../../x"]]}},
        {"ok": GOOD | {"current": "../.."}}, {"ok": GOOD | {"user": "-x"}},
    ],
)  # fmt: skip
def test_an_answer_of_another_form_ends_the_deploy(board, capsys, answer):
    before = sorted(path.name for path in board.folder.iterdir())
    assert board.deploy(answer) == 1
    assert problem_of(capsys).startswith("connect: ")
    assert sorted(path.name for path in board.folder.iterdir() if path.name != "answers") == before


def test_a_release_folder_elsewhere_is_refused(board, capsys, monkeypatch):
    monkeypatch.setattr(release_pack, "fetch_wheels", lambda *_: board.folder / "here")
    for place in ("/etc", "/opt/rkface/releases/../../../etc", "relative", "/a b;rm -rf /", "-oProxyCommand=x"):
        assert board.deploy({"ok": GOOD}, {"ok": place}) == 1
        assert "copy: the board answers with" in problem_of(capsys)


@pytest.mark.parametrize("then", ["endless", "lines", "1", "255", "127"])
def test_output_without_an_answer_ends(board, capsys, then):
    assert board.deploy(then=then) == 1
    assert problem_of(capsys)


def test_a_board_that_never_answers_is_given_up(board, capsys, monkeypatch):
    monkeypatch.setattr(session, "REQUEST_SECONDS", 0.5)
    assert board.deploy(then="silent") == 1
    assert "has not answered" in problem_of(capsys)


def test_wheels_are_never_written_outside_the_cache(tmp_path):
    for machine, python in (
        ("../../evil", "3.11"),
        ("aarch64", "3.11/../.."),
        ("\x1b", "3.11"),
        ("", "3.11"),
        ("a" * 99, "3"),
    ):
        with pytest.raises(WorkError, match="the board answers with"):
            fetch_wheels(["x"], machine, python, tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", GOOD)
def test_each_fact_of_a_board_is_checked(key):
    assert isinstance(parse_facts(GOOD), BoardFacts)
    for value in (*ODD, ["x"], [["/usr/bin/python3"]], [["/usr/bin/python3", 3]], [["python3", "3.11"]]):
        if (key, value) in (("current", None), ("pythons", [])):
            continue
        with pytest.raises(WorkError) as error:
            parse_facts(GOOD | {key: value})
        assert find_hidden(str(error.value)) is None and len(str(error.value)) < 400


def test_hosts_that_ssh_would_misread_are_refused():
    for host in ("", "-x", "a b", "a\nb", "\x1b[2J"):
        with pytest.raises(InputError):
            ssh_command(host)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
rows = st.lists(st.dictionaries(st.sampled_from(["role", "simulator", "what", "p50"]), values), max_size=3)


@settings(deadline=None, derandomize=True)
@given(values | st.fixed_dictionaries({"agreements": rows, "latencies": rows}))
def test_any_answer_of_a_board_is_used_or_refused(answer):
    for use in (parse_facts, check_path, summarize_selftest, parse_status):
        try:
            assert find_hidden(clean_text(use(answer))) is None
        except RkfaceError as error:
            assert find_hidden(str(error)) is None


def echo(text):
    """A transport that ignores its command and prints ``text``."""
    return [sys.executable, "-S", "-c", f"import os; os.write(1, {text!r})"]


REPORT = {"lines": [{"name": "kernel", "verdict": "ok", "found": "6.1", "fix": ""}], "facts": {"model": "ROCK 5B"},
          "repairs": [{"why": "x", "argv": ["true"]}], "verdict": "ok"}  # fmt: skip


def test_the_texts_of_a_report_are_safe_to_print():
    line = {"name": "\x1b[2J", "verdict": "warn", "found": "\u202e" + "x" * 9000, "fix": "a\x9bb"}
    repair = {"why": "\x1b]0;x\x07", "argv": ["sh", "-c", "\x1b[8m rm"]}
    hostile = REPORT | {"lines": [line], "repairs": [repair], "facts": {"model": "\x1b[31m"}}
    report = run_checks_over(echo(json.dumps(hostile).encode()), name="door")
    [check], [fix] = report.checks, report.fixes
    for text in (check.name, check.found, check.fix, str(fix), fix.why, *report.facts.values(), report.to_json()):
        assert find_hidden(text) is None and len(text) < 10_000
    assert report.facts["compatible"] == ""


@pytest.mark.parametrize(
    "answer",
    [b"", b"[" * 50_000, b"1", b'"x"', b"{}", json.dumps(REPORT | {"lines": 5}), json.dumps(REPORT | {"facts": []}),
     json.dumps(REPORT | {"lines": [REPORT["lines"][0] | {"verdict": "\x1b[2J"}]}),
     json.dumps(REPORT | {"repairs": [1]}),
     json.dumps(REPORT | {"lines": [[]]}), b"\xff" * 100, b"9" * 5000, b"x" * 60_000],
)  # fmt: skip
def test_an_answer_that_is_not_a_report_is_an_error(answer, monkeypatch):
    monkeypatch.setattr(board_answers, "MOST_OUTPUT", 55_000)
    with pytest.raises(WorkError):
        run_checks_over(echo(answer if isinstance(answer, bytes) else answer.encode()), name="door")


def test_doctor_refuses_a_bundle_that_does_not_exist(tmp_path):
    parser = ArgumentParser()
    doctor(parser)
    options = parser.parse_args(["--bundle", str(tmp_path / "nope")])
    with pytest.raises(InputError, match="no such bundle folder"):
        options.run(options)
