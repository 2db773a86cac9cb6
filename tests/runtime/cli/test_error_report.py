"""What ends a command is a sentence with an exit code, not a traceback."""

import errno
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import rkface
from rkface.runtime.cli.error_report import report_error
from rkface.runtime.cli.main import main
from rkface.runtime.cli.parser import all_parsers, build_parser
from rkface.runtime.core.errors import InputError


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InputError("photo\x1b[2J.jpg: wrong"), 2, "rkface: photo?[2J.jpg: wrong\n"),
        (OSError(errno.ENOSPC, "No space left on device", "a"), 1, "a: No space left on device: free some space"),
        (OSError(errno.EMFILE, "Too many open files"), 1, "Too many open files: raise the limit"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "n" * 3000),
            2,
            "nnn…: File name too long: name another path",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), 2, "/root/x: Permission denied"),
        (RuntimeError("Symlink loop from '/x/loop'"), 2, "Symlink loop from '/x/loop': name another path"),
        (MemoryError(), 1, "not enough memory"),
        (ImportError("libstdc++.so.6: failed to map segment"), 1, "a library cannot be loaded"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_is_described(capfd, error, code, text):
    output = os.dup(1)  # it may be closed
    try:
        assert report_error(error, verbose=False) == code
    finally:
        os.dup2(output, 1)
        os.close(output)
    message = capfd.readouterr().err
    assert text in message and len(message) < 500


@pytest.mark.parametrize("error", [KeyError("x"), OSError("no number"), ModuleNotFoundError("no x", name="x")])
def test_a_bug_is_not_hidden(error):
    assert report_error(error, verbose=False) is None


@pytest.mark.parametrize("command", ["verify", "gallery list --gallery", "selftest --bundle", "config check"])
def test_a_path_that_cannot_exist_is_refused(capfd, command):
    assert main([*command.split(), "n" * 300]) == 2
    assert "File name too long" in capfd.readouterr().err


def test_a_command_without_memory_says_so():
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))

    command = [sys.executable, "-m", "rkface.runtime.cli.main", "detect", "photo.jpg"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stderr


INTERRUPTED = """
import signal, sys
import rkface.runtime.cli.version as version
from rkface.runtime.cli.main import main

def import_numpy(*_):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("numpy._core.multiarray failed to import") from None

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts with &
version.find_versions = import_numpy
sys.argv = ["rkface", "version"]
sys.exit(main())
"""


def test_an_interruption_that_a_library_calls_a_failed_import_is_one():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "rkface: interrupted; no incomplete files were left behind\n")


HOSTILE = "a\nrkface: forged\x1b[2J\rz"  # a file name
LONG_WORK = ("convert", "twin", "deploy")  # not only an error


def commands_with_a_path():
    """Each command, with each argument that is a path: its words up to the path, and from there on."""
    for parser in all_parsers(build_parser()):
        words = parser.prog.split()[1:]
        if parser.commands or words[0] in LONG_WORK or any(one.required for one in parser.options):
            continue
        arguments = [one for one in parser.arguments if one.nargs not in ("?", "*")]
        for taken in [*arguments, *(one for one in parser.options if one.type is Path)]:
            given = [HOSTILE if one is taken else "x" for one in arguments]
            yield [*words, *given, *([taken.option_strings[-1], HOSTILE] if taken.option_strings else [])]


@pytest.mark.parametrize(
    "arguments", [*commands_with_a_path()], ids=lambda found: " ".join(found)[:60].replace("\n", " ")
)
def test_no_file_name_looks_like_a_message(arguments, capfd, tmp_path, monkeypatch):
    """A line feed in it, or a sequence that moves the cursor, could make a message say what rkface never said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RKFACE_HUB", raising=False)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115, PTH123
    with suppress(SystemExit):
        main([*arguments])
    shown = capfd.readouterr()
    for line in (shown.out + shown.err).split("\n"):
        assert not line.startswith("rkface: forged") and not {"\x1b", "\r"} & set(line), line


def test_a_list_of_problems_keeps_its_lines(capfd):
    report_error(InputError("a\nb.toml:\n  one\n  two: not \n this"), verbose=False)
    assert capfd.readouterr().err == "rkface: a\\nb.toml:\n  one\n  two: not \\n this\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(("error", "code"), [("InputError('no photo')", 2), ("KeyboardInterrupt()", 130)])
def test_an_error_keeps_its_exit_code_if_the_output_before_it_meets_a_full_disk(error, code):
    script = (
        "import sys\nfrom rkface.runtime.cli.error_report import report_error\n"
        "from rkface.runtime.core.errors import InputError\n"
        f"print('a result')\nsys.exit(report_error({error}, verbose=False))"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == code
    assert done.stderr.startswith("rkface: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["argparse", "typing", "rkface.runtime.cli.error_report", "rkface.runtime.cli.parser"])
def test_ctrl_c_while_python_imports_the_command_line_ends_it_without_a_word(name):
    program = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from rkface.runtime.cli.main import main
exit_code = main()
sys.exit(exit_code)
"""
    done = subprocess.run([sys.executable, "-c", program, name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_almost_nothing_is_imported_before_ctrl_c_is_handled():
    program = "import sys; known = set(sys.modules); import rkface.runtime.cli.main; print(*set(sys.modules) - known)"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": str(Path(rkface.__file__).parents[1])})  # fmt: skip
    names = {name for name in done.stdout.split() if name.split(".")[0] not in ("rkface", "importlib")}
    assert names <= {"__future__", "warnings", "_warnings"}
