"""The runtime wheel and what comes with it."""

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rkface.boards import prepare, remote, session
from rkface.boards.checks_npu import AARCH64
from rkface.boards.session import unreachable
from rkface.boards.wheel import SERVICE, build_runtime_wheel, fetch_wheels, pin, requirements
from rkface.runtime.core.errors import InputError, WorkError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_runtime_wheel(tmp_path_factory.mktemp("wheel"))


def test_a_board_gets_the_runtime_and_nothing_of_conversion(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    parts = {name.split("/")[1] for name in names if name.startswith("rkface/")}
    assert parts == {"__init__.py", "py.typed", "runtime", "boards"} and not [
        name for name in names if "twin" in name or name.endswith(".pyc")
    ]
    for needed in (
        "runtime/backends/npu.py",
        "boards/chips.toml",
        "boards/profiles/rock-5b.toml",
        "py.typed",
        "runtime/web/static/index.html",
    ):
        assert f"rkface/{needed}" in names


def test_the_same_source_makes_the_same_wheel(wheel, tmp_path):
    assert build_runtime_wheel(tmp_path).read_bytes() == wheel.read_bytes()


def test_it_installs_and_its_commands_load_without_the_rest_of_rkface(wheel, tmp_path):
    """By the real pip, into a folder that stands alone; numpy and OpenCV are not even needed for --help."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", tmp_path, wheel], check=True)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from rkface.runtime.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "import rkface.boards.agent, rkface.boards.profile; rkface.boards.profile.profiles()"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert {"selftest", "doctor", "verify"} <= set(done.stdout.split()) and "convert" not in done.stdout.split()


def test_what_a_board_installs_depends_on_the_board():
    def names(*arguments, reference=False):
        return {one.split("=")[0].split(">")[0] for one in requirements("2.5.0", *arguments, reference=reference)}

    assert "rknn-toolkit-lite2==2.5.0" in requirements("2.5.0", "aarch64", "3.11", reference=False)
    assert "rknn-toolkit-lite2" not in names("x86_64", "3.11")
    assert "onnxruntime" in names("x86_64", "3.11", reference=True) and "tomli" in names("aarch64", "3.10")
    assert "onnxruntime" not in names("aarch64", "3.11"), "it would add 18 MB that the NPU does not need"


def test_the_service_s_wheels_are_those_of_its_extras():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert sorted(SERVICE) == sorted(extras["web"] + extras["mqtt"] + extras["crypto"])


def test_what_pip_cannot_get_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"file://{tmp_path / 'none'}")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    with pytest.raises(WorkError, match=r"no wheels for Python 3\.11 on aarch64: .*numpy"):
        fetch_wheels(["numpy==1.26.4"], "aarch64", "3.11", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_wheels_are_pinned_by_their_content(wheel):
    import hashlib

    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert pin([wheel]) == f"rkface=={wheel.name.split('-')[1]} --hash=sha256:{digest}\n"


def test_the_agent_runs_on_what_a_board_has():
    """Standard library only, and syntax of Python 3.8: nothing is installed there yet."""
    folder = Path(remote.__file__).parents[1]
    sent = {"rkface.boards." + Path(name).stem for name in session.AGENT}
    for name in session.AGENT:
        tree = ast.parse((folder / name).read_text(encoding="utf-8"), feature_version=(3, 8))
        for node in ast.walk(tree):
            named = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                named = [f"rkface.boards.{node.module}" if node.level else str(node.module)]
            for module in named:
                assert module in sent or module.split(".")[0] in sys.stdlib_module_names, f"{name} imports {module}"
    assert remote.program(session.AGENT, "agent").isascii()


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("Host key verification failed.", "compare the fingerprint"),
        ("radxa@rock: Permission denied (publickey,password).", "ssh-copy-id radxa@rock"),
        ("ssh: Could not resolve hostname rock: Name or service not known", "does `ssh radxa@rock` work?"),
    ],
)
def test_what_ssh_refuses_is_explained(said, advice):
    assert advice in unreachable("radxa@rock", said)


def library(path, machine=AARCH64, version="2.5.0"):
    head = b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little") + bytes(100)
    path.write_bytes(head + f"librknnrt version: {version} (abc@2025-01-01)".encode())
    return path


def test_only_a_librknnrt_for_these_boards_is_sent(tmp_path):
    good = library(tmp_path / "good.so")
    assert prepare.check_library(good, "2.5.0") == f"{good}: librknnrt 2.5.0"
    assert "newer than the models" in prepare.check_library(library(tmp_path / "new.so", version="2.6.0"), "2.5.0")
    (tmp_path / "page.so").write_text("<!DOCTYPE html>")
    (tmp_path / "other.so").write_bytes(good.read_bytes().replace(b"librknnrt version", b"libsomething else"))
    for name, says in (("page", "is no library"), ("other", "another library"), ("missing", "No such file")):
        with pytest.raises(InputError, match=says):
            prepare.check_library(tmp_path / f"{name}.so", "2.5.0")
    with pytest.raises(InputError, match="another processor"):
        prepare.check_library(library(tmp_path / "x86.so", machine=62), "2.5.0")
    with pytest.raises(InputError, match="older than the models"):
        prepare.check_library(library(tmp_path / "old.so", version="2.3.2"), "2.5.0")


def test_a_board_is_prepared_by_commands_that_are_shown(board, tmp_path, capsys):
    """Over ssh, with stand-ins for what would make a user and give files away on the machine that runs the tests."""
    board.server.script("useradd", f'echo "$@" >> {tmp_path}/users')
    board.server.script("getent", "exit 2")
    board.server.script(
        "install",
        'args=; for word; do case $word in -o|-g) skip=1;; *) [ "$skip" ] || '
        'args="$args $word"; skip=;; esac; done; exec /usr/bin/install $args',
    )
    board.server.script("chown", f'echo "$@" >> {tmp_path}/given')
    board.server.script("sudo", 'exec "$@"')
    path = library(tmp_path / "librknnrt.so")
    earlier = board.base / "cache"
    earlier.mkdir(parents=True, mode=0o700)
    board.monkeypatch.setattr("sys.stdin", None)
    assert board.deploy("--prepare", "--yes", "--librknnrt", path) == 0
    said = capsys.readouterr().out
    assert "useradd --system" in said and f"-g rkface -m 2750 {board.base}" in said, "shown before it is run"
    assert (board.root / "usr/lib/librknnrt.so").read_bytes() == path.read_bytes()
    assert board.base.stat().st_mode & 0o7777 == 0o2750
    assert str(board.base) in (tmp_path / "given").read_text() and earlier.stat().st_mode & 0o7777 == 0o2750
    [sent] = set(re.findall(r"/tmp/librknnrt\.\w+", said))
    assert not Path(sent).exists(), "what was sent does not stay there twice"
    release = board.base / "releases" / board.current()
    for folder in (release, release / "bundle", release / "wheels"):
        assert folder.stat().st_mode & 0o2007 == 0o2000, "the group is inherited; others stay out"
