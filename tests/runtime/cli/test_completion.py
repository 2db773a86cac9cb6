"""The completion scripts in the shells themselves: what is on the line after the Tab key."""

import os
import pty
import select
import shutil
import subprocess
from contextlib import redirect_stdout

import pytest

from rkface.runtime.cli.main import main

PATIENCE = 60  # seconds until a test gives up
# In both shells Ctrl-X q writes the line to a file and ends the shell, so that a test need not read the screen.
BASHRC = """
source {script}
save() {{ printf %s "$READLINE_LINE" > {line}; exit; }}
bind 'set bell-style none'
bind -x '"\\C-xq": save'
PS1="ready "
"""
ZSHRC = """
autoload -Uz compinit && compinit -u -C -d {script}.dump
source {script}
save() {{ printf %s "$BUFFER" > {line}; exit }}
zle -N save
bindkey '^Xq' save
PS1='ready '
unsetopt BEEP
"""
# What is typed, and the line after the Tab key at its end; {here} has "my photos/ada.jpg" and "bundle/".
TYPED = {
    "command": ("rkface det", "rkface detect "),
    "command-after-option": ("rkface --quiet det", "rkface --quiet detect "),
    "action": ("rkface gallery ren", "rkface gallery rename "),
    "option": ("rkface detect --thr", "rkface detect --threshold "),
    "option-of-action": ("rkface gallery forget --ye", "rkface gallery forget --yes "),
    "option-of-rkface": ("rkface --vers", "rkface --version "),
    "choice": ("rkface run --backend ref", "rkface run --backend reference "),
    "argument-choice": ("rkface completion fi", "rkface completion fish "),
    "folder-not-file": ("rkface detect --bundle {here}/bun", "rkface detect --bundle {here}/bundle/"),
    "folder-with-a-space": ("rkface detect --bundle {here}/my", "rkface detect --bundle {here}/my\\ photos/"),
    "file": ("rkface detect {here}/my\\ photos/a", "rkface detect {here}/my\\ photos/ada.jpg "),
    "file-of-option": ("rkface run --config {here}/rk", "rkface run --config {here}/rkface.toml "),
    "text": ("rkface detect --threshold 0", "rkface detect --threshold 0"),
    "camera": ("rkface run --camera {here}/rk", "rkface run --camera {here}/rkface.toml "),
    "unknown": ("rkface zzz", "rkface zzz"),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    (folder / "my photos").mkdir()
    (folder / "my photos/ada.jpg").touch()
    (folder / "bundle").mkdir()
    (folder / "bundle.txt").touch()
    (folder / "rkface.toml").touch()
    return folder


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """Writes the script for a shell; skips where there is no such shell."""
    folder = tmp_path_factory.mktemp("scripts")

    def write(shell):
        if not shutil.which(shell):
            pytest.skip(f"no {shell} here")
        path = folder / f"rkface.{shell}"
        if not path.exists():
            with path.open("w") as file, redirect_stdout(file):
                assert main(["completion", shell]) == 0
        return path

    return write


def line_after(command, typed, line, **environment):
    """Type into an interactive shell, press Tab, and return the line that it has then."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={"PATH": os.environ["PATH"], "TERM": "dumb", "LANG": "C.UTF-8", **environment},
    )  # fmt: skip
    os.close(theirs)
    shown, keys = b"", f"{typed}\t\x18q".encode()
    try:
        while select.select([ours], [], [], PATIENCE)[0]:
            shown += os.read(ours, 4096)
            if keys and b"ready " in shown:
                os.write(ours, keys)
                keys = b""
    except OSError:  # the shell has ended
        process.wait(PATIENCE)
    finally:
        process.kill()
        os.close(ours)
    return line.read_text()


@pytest.mark.parametrize(("typed", "expected"), TYPED.values(), ids=TYPED)
def test_bash(script, here, tmp_path, typed, expected):
    line, rc = tmp_path / "line", tmp_path / "bashrc"
    rc.write_text(BASHRC.format(script=script("bash"), line=line))
    found = line_after(["bash", "--noprofile", "--rcfile", str(rc), "-i"], typed.format(here=here), line)
    assert found == expected.format(here=here)


@pytest.mark.parametrize(("typed", "expected"), TYPED.values(), ids=TYPED)
def test_zsh(script, here, tmp_path, typed, expected):
    line = tmp_path / "line"
    (tmp_path / ".zshrc").write_text(ZSHRC.format(script=script("zsh"), line=line))
    found = line_after(["zsh", "-i"], typed.format(here=here), line, ZDOTDIR=str(tmp_path))
    assert found == expected.format(here=here)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_value_behind_an_equals_sign(script, here, tmp_path, shell):
    line = tmp_path / "line"
    text = (BASHRC if shell == "bash" else ZSHRC).format(script=script(shell), line=line)
    (tmp_path / ".zshrc").write_text(text)
    command = ["bash", "--noprofile", "--rcfile", str(tmp_path / ".zshrc"), "-i"] if shell == "bash" else ["zsh", "-i"]
    for typed, expected in (
        ("--backend=ref", "--backend=reference "),
        (f"--bundle={here}/bun", f"--bundle={here}/bundle/"),
    ):
        assert line_after(command, f"rkface run {typed}", line, ZDOTDIR=str(tmp_path)) == f"rkface run {expected}"


@pytest.mark.parametrize(("typed", "expected"), TYPED.values(), ids=TYPED)
def test_fish(script, here, tmp_path, typed, expected):
    typed, expected = typed.format(here=here), expected.format(here=here)
    done = subprocess.run(
        ["fish", "--no-config", "-c", 'source $argv[1]; complete -C $argv[2]', str(script("fish")), typed],
        capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )  # fmt: skip
    offered = [line.split("\t")[0] for line in done.stdout.splitlines()]
    word = expected.replace("\\ ", "\0").split()[-1].replace("\0", " ")  # fish quotes it when it is inserted
    assert offered == ([] if typed == expected else [word])
