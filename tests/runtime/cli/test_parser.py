"""The command line itself: help by task, typos, old spellings, --quiet and --verbose, versions."""

import argparse
import json
import re
import subprocess
import sys
from importlib.metadata import version
from inspect import getdoc

import pytest

from rkface.runtime.cli.commands import TASKS, installed_commands
from rkface.runtime.cli.main import main
from rkface.runtime.cli.parser import CommandParser, all_parsers, build_parser
from rkface.runtime.cli.version import find_versions
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.progress import set_detail, stage


@pytest.fixture
def rkface(capsys):
    """Runs a command: exit code, stdout, stderr."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:  # argparse
            code = exit.code
        return code, *capsys.readouterr()

    return run


# Help


@pytest.mark.parametrize(("arguments", "lists"), [((), "enroll"), (("gallery",), "restore"), (("config",), "check")])
def test_without_a_command_the_help_is_printed_and_the_exit_code_is_2(rkface, arguments, lists):
    code, out, err = rkface(*arguments)
    assert (code, out) == (2, "") and f"\n  {lists} " in err.replace("    ", "  ")


def test_the_help_groups_the_commands_by_task_and_hides_old_spellings(rkface):
    code, out, _ = rkface("--help")
    assert code == 0 and [line[:-1] for line in out.splitlines() if line.rstrip(":") in TASKS] == list(TASKS)
    assert "enrol" not in re.findall(r"\w+", out)


def test_the_help_has_the_first_line_of_every_command(rkface):
    _, out, _ = rkface("--help")
    shown = " ".join(out.split())
    for command in installed_commands():
        assert f" {command.name} {getdoc(command.load()).splitlines()[0]}" in shown, command.name


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("--help", []),
        ("--version", []),
        ("konvert", []),
        ("version", ["version"]),
        ("config check absent.toml", ["config", "run"]),  # they share the path of the configuration
        ("gallery list --help", ["gallery"]),
    ],
)
def test_no_command_is_imported_but_the_one_that_runs(line, commands):
    # Importing all of them takes 0.1 s on a workstation, and more on a board.
    code = (
        "import sys; from rkface.runtime.cli.main import main\n"
        f"try: main({line.split()})\n"
        "except SystemExit: pass\n"
        "finally: print('', *sys.modules, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines())
    modules = {command.name: command.module for command in installed_commands()}
    assert loaded & set(modules.values()) == {modules[name] for name in commands}
    assert not loaded & {"numpy", "cv2", "ssl", "urllib.request"}
    assert "version" in line or "importlib.metadata" not in loaded  # it reads a file of each installed package


def test_every_command_and_action_teaches_with_examples_and_has_the_common_options():
    for parser in all_parsers(build_parser()):
        text = parser.format_help()
        assert "--quiet" in text and "--verbose" in text, parser.prog
        assert parser.prog == "rkface" or f"examples:\n  {' '.join(parser.prog.split()[:2])}" in text, parser.prog
        assert not [option.option_strings for option in parser.options if not option.help], parser.prog


# Typos


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("konvert", "unknown command 'konvert': did you mean convert?"),
        ("gallery lst", "rkface gallery: unknown action 'lst': did you mean list?"),
        ("gallery zzz", "choose one of list, show"),
        ("detect --bundel x", "rkface detect: unknown option --bundel: did you mean --bundle?"),
        ("detect --bundel=x a.jpg", "did you mean --bundle?"),
        ("gallery list --galery x", "rkface gallery list: unknown option --galery: did you mean --gallery?"),
        ("detect --xyzzy a.jpg", "`rkface detect --help` lists the options"),
        ("detect -x a.jpg", "unknown option -x: `rkface detect --help` lists the options"),
        ("detect --bogus a.jpg", "`rkface detect --help` lists the options"),
        ("detect -bundle x a.jpg", "did you mean --bundle?"),
        ("--bundle x detect a.jpg", "unknown option --bundle: write it after the command"),
        ("--versoin", "did you mean --version?"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_word(rkface, line, says):
    code, out, err = rkface(*line.split())
    assert (code, out) == (2, "") and says in err and err.count("\n") == 1


def test_one_argument_too_many_is_named_with_the_usage_of_its_command(rkface):
    code, out, err = rkface("compare", "a.jpg", "b.jpg", "c.jpg")
    assert (code, out) == (2, "")
    assert err.startswith("usage: rkface compare") and "unexpected argument 'c.jpg'" in err


@pytest.mark.parametrize("line", [["detect", ""], ["detect", "--bundle", "", "a.jpg"], ["verify", ""]])
def test_an_empty_path_is_not_taken_for_the_working_folder(rkface, line):
    code, out, err = rkface(*line)
    assert (code, out) == (2, "") and "a path must not be empty (is a variable of the shell unset?)" in err


def test_no_number_is_taken_that_a_command_cannot_use():
    """int and float take -1, nan and numbers of any size: a log of -1 lines was all of it, and a lease could be nan."""
    plain = [
        f"{parser.prog} {' '.join(one.option_strings) or one.dest}"
        for parser in all_parsers(build_parser())
        for one in [*parser.options, *parser.arguments]
        if one.type in (int, float) and not one.choices
    ]
    assert plain == []


@pytest.mark.parametrize("value", ["-1", "0", "nan", "99999999999999999999"])
def test_a_log_has_at_least_a_line(rkface, value):
    code, out, err = rkface("access", "log", "--limit", value)
    assert (code, out) == (2, "") and "argument --limit: must" in err


def test_options_cannot_be_abbreviated(rkface):
    code, _, err = rkface("detect", "--bund", "x", "a.jpg")
    assert code == 2 and "did you mean --bundle?" in err


def command(parser: CommandParser) -> CommandParser:
    parser.add_argument("photos", nargs="*")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--license")
    return parser


@pytest.mark.parametrize(
    ("line", "photos", "threshold"),
    [
        (["-", "a.jpg"], ["-", "a.jpg"], None),
        (["--threshold", "-0.5"], [], -0.5),
        (["--", "--bundel"], ["--bundel"], None),
        (["-my photo.jpg"], ["-my photo.jpg"], None),
    ],
)
def test_what_only_looks_like_an_option_is_not_refused(line, photos, threshold):
    options = command(CommandParser(prog="rkface x")).parse_args(line)
    assert (options.photos, options.threshold) == (photos, threshold)


# Old spellings


def test_old_spellings_still_work(rkface):
    assert rkface("enrol", "--help")[1] == rkface("enroll", "--help")[1]
    parser = command(CommandParser(prog="rkface x"))
    assert parser.parse_args(["--licence", "MIT"]).license == "MIT"
    assert parser.parse_args(["--licence=MIT"]).license == "MIT"
    assert "licence" not in parser.format_help()


# --quiet and --verbose


@pytest.fixture
def working(monkeypatch):
    """``rkface work`` is the only command: it shows progress, and then fails for a reason."""

    def work(parser: argparse.ArgumentParser) -> None:
        """Work."""
        parser.set_defaults(run=run)

    def run(options: argparse.Namespace) -> int:
        with stage("working") as current:
            current.say("halfway")
        raise WorkError("the disk is full") from OSError("no space")

    command = type("Command", (), {"name": "work", "load": lambda: work})
    monkeypatch.setattr("rkface.runtime.cli.parser.installed_commands", lambda: [command])
    yield
    set_detail("normal")


@pytest.mark.parametrize("place", ["before", "after"])
def test_quiet_and_verbose_may_stand_before_and_after_the_command(rkface, working, place):
    def err(*options):
        code, out, text = rkface(*options, "work") if place == "before" else rkface("work", *options)
        assert (code, out) == (1, "")
        return text

    assert err("--quiet") == "rkface: the disk is full\n"
    normal, verbose = err(), err("--verbose")
    assert "working" in normal and "halfway" not in normal
    assert "halfway" in verbose and verbose.endswith("rkface: the disk is full\n  caused by OSError: no space\n")


def test_quiet_and_verbose_together_are_refused(rkface, working):
    for line in (["-q", "-v", "work"], ["-q", "work", "-v"], ["work", "-v", "-q"]):
        code, _, err = rkface(*line)
        assert code == 2 and "--quiet" in err and "--verbose" in err, line


# Versions


def test_versions_as_text_and_as_json(rkface):
    assert rkface("--version") == (0, f"rkface {version('rkface')}\n", "")
    code, out, _ = rkface("version", "--json")
    said = json.loads(out)
    assert code == 0 and said["rkface"] == version("rkface") and said["python"] == sys.version.split()[0]
    code, out, _ = rkface("version")
    assert code == 0 and len(out.splitlines()) == len(said)


def test_missing_software_is_not_installed(tmp_path, monkeypatch, rkface):
    assert find_versions(tmp_path)["librknnrt"] is None
    monkeypatch.setattr("rkface.runtime.cli.version.PACKAGES", {"onnxruntime": ("no-such-package",)})
    monkeypatch.setattr("rkface.runtime.core.installed.LIBRARIES", ())
    assert "onnxruntime        not installed" in rkface("version")[1]
    assert json.loads(rkface("version", "--json")[1])["onnxruntime"] is None


def test_versions_are_read_without_importing_the_packages():
    code = (
        "import sys; from rkface.runtime.cli.main import main; main(['version']);"
        "print(sorted({'numpy', 'cv2', 'onnxruntime', 'rknn', 'rknnlite', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
