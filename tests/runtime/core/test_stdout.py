"""What native libraries print never reaches the stdout of a command. tests/twin tests it with librknnrt's calls."""

import fcntl
import os
import struct
import subprocess
import sys
import termios

import pytest

# Prints to descriptor 1 as a native library can: at once, by a thread, and with stdio, which writes at the end.
PROGRAM = """
import ctypes, os, sys, threading
sys.stdout.reconfigure(errors="backslashreplace")
from rkface.runtime.core.stdout import reserve_stdout
print("before")
reserve_stdout()
libc = ctypes.CDLL(None)
libc.printf(b"noise of printf\\n")
os.write(1, b"noise of write\\n")
thread = threading.Thread(target=libc.write, args=(1, b"noise of a thread\\n", 18))
thread.start()
thread.join()
os.system("echo noise of a child")
print("ours", flush=True)
reserve_stdout()
print("é and \\udcff")
sys.stdout.flush()
sys.stdout.buffer.write(b"bytes\\n")
"""


def test_only_python_prints_to_a_reserved_stdout():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["before", "ours", "é and \\udcff", "bytes"]
    noise = {line.removeprefix("noise of ") for line in done.stderr.splitlines()}
    assert noise == {"printf", "write", "a thread", "a child"}


def test_without_stderr_the_noise_is_lost_and_stdout_is_clean():
    program = f"import os; os.close(2)\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.splitlines() == ["before", "ours", "é and \\udcff", "bytes"]


def test_a_replaced_stdout_stays_as_it_is():
    program = (
        "import io, os, sys; from rkface.runtime.core.stdout import reserve_stdout; sys.stdout = io.StringIO(); "
        "reserve_stdout(); os.write(1, b'still here')"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"still here"


def test_an_unbuffered_stdout_stays_unbuffered():
    program = "import os, sys; from rkface.runtime.core.stdout import reserve_stdout; reserve_stdout(); "
    end = "print('text', end=''); sys.stdout.buffer.write(b' and bytes'); os._exit(0)"
    done = subprocess.run([sys.executable, "-u", "-c", program + end], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"text and bytes"


def test_the_width_of_a_reserved_terminal_is_known_although_stderr_is_a_file():
    program = "from rkface.runtime.core.stdout import *; reserve_stdout(); print(stdout_columns(100))"
    # Not os.environ itself: readline, which pytest imports, sets COLUMNS in this process behind Python's back.
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    main, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 77, 0, 0))

    def columns(stdout, stderr, **more):
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, stdout=stdout, stderr=stderr, env=environment | more, check=True)
        return int(os.read(main, 99) if stdout == terminal else done.stdout)

    assert columns(terminal, subprocess.DEVNULL) == 77
    assert columns(terminal, subprocess.DEVNULL, COLUMNS="66") == 66
    assert columns(subprocess.PIPE, terminal) == 100
    os.close(main)
    os.close(terminal)


def test_commands_reserve_stdout():
    program = "import os, sys; from rkface.runtime.cli.main import main; main(); os.write(1, b'noise')"
    command = [sys.executable, "-c", program, "version", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "noise" in done.stderr and "noise" not in done.stdout and done.stdout.startswith("{")


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_a_command_that_is_started_with_closed_streams_works(closed, tmp_path):
    """A file that it opens does not get the descriptor of a stream, to which native libraries print."""
    opened = tmp_path / "opened"
    program = (
        "import os, subprocess, sys; from rkface.runtime.cli.main import main; code = main(); "
        f"file = open({str(opened)!r}, 'wb'); assert file.fileno() > 2; assert sys.stdin.read() == ''; "
        "os.write(1, b'noise'); os.write(2, b'noise'); "
        "subprocess.run(['sh', '-c', 'cat && echo noise && echo noise >&2'], check=True); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "version", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        preexec_fn=lambda: [os.close(number) for number in closed],
    )
    assert done.returncode == 0, done.stderr
    assert opened.read_bytes() == b""
    assert done.stdout.startswith(b"{") or 1 in closed
