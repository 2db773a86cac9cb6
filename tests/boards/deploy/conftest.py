"""Boards to deploy to: an sshd on loopback, with stand-ins for wheels and bundles that would take long."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from argparse import ArgumentParser
from functools import partial
from types import SimpleNamespace

import pytest

from rkface.boards.deploy import command, release_pack
from rkface.boards.twin.ingredients import UnavailableError
from rkface.runtime.core.bundle import SUMS
from rkface.runtime.core.crop_template import ARCFACE_112
from rkface.runtime.core.manifest import Input, Manifest, Model, Output, RecognizerSpec, Source, Thresholds

from . import sshd

# The `rkface` of a stand-in wheel: selftest and run exit with the given codes (2: there is no command `run`); verify
# searches for damaged files.
STAND_IN = """
import json, pathlib, sys
def main():
    word = sys.argv[1]
    if word == "selftest":
        print(json.dumps({{"problems": ["it was told to fail"] if {selftest} else []}}))
        sys.exit({selftest})
    if word == "run":
        sys.exit(0 if {run} == 1 and "--help" in sys.argv else {run})
    if word == "--version":
        sys.exit()
    assert word == "verify"
    for name in ("golden.npz", "detector.rknn"):
        if b"damaged" in pathlib.Path(sys.argv[2], name).read_bytes():
            sys.exit(f"rkface: {{name}} was changed or damaged after conversion")
"""

# Does the same as pip in a tenth of the time; test_deploy_real.py uses the real one.
INSTALLER = """
import hashlib, pathlib, sys, sysconfig, zipfile
wheels = pathlib.Path(sys.argv[sys.argv.index("--find-links") + 1])
for line in pathlib.Path(sys.argv[sys.argv.index("--requirement") + 1]).read_text().splitlines():
    name, _, digest = line.partition(" --hash=sha256:")
    [wheel] = wheels.glob(name.replace("==", "-") + "-*.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != digest:
        sys.exit("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES")
    if name.startswith("rkface"):
        zipfile.ZipFile(wheel).extractall(sysconfig.get_path("purelib"))
script = pathlib.Path(sysconfig.get_path("scripts"), "rkface")
script.write_text(f"#!{sys.executable}\\nimport sys, rkface_stand_in\\nsys.exit(rkface_stand_in.main())\\n")
script.chmod(0o755)
"""


def make_bundle(folder):
    """A bundle that can be read, with a file that takes a while to copy. Its models cannot run."""
    folder.mkdir(parents=True)
    models = []
    for role in ("detector", "recognizer"):
        (folder / f"{role}.rknn").write_bytes(b"RKNN placeholder")
        input, source = Input("input.1", 112, 112, (127.5,) * 3, (127.5,) * 3), Source(role, "0" * 64, 1, "Apache-2.0")
        models.append(
            Model(f"{role}.rknn", f"reference/{role}.onnx", "int8", input, (Output("output", (1, 8)),), source)
        )
    models[1] = RecognizerSpec(**vars(models[1]), crop=ARCFACE_112)
    (folder / "golden.npz").write_bytes(os.urandom(3_000_000))
    (folder / "reference").mkdir()
    (folder / "reference/detector.onnx").write_bytes(b"onnx")
    manifest = Manifest(
        "tiny", True, "2026-01-01T00:00:00Z", "rk3588", "2.5.0", "0.1.0", *models, Thresholds(0.5, 0.4, 0.4)
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    names = ["detector.rknn", "recognizer.rknn", "golden.npz", "manifest.json", "reference/detector.onnx"]
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in sorted(names)]
    (folder / SUMS).write_text("\n".join([*sums, ""]))
    return folder


def stand_in_wheel(folder, selftest=0, run=2):
    about = "rkface-0.1.0.dist-info"
    contents = {
        "rkface_stand_in.py": STAND_IN.format(selftest=selftest, run=run),
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: rkface\nVersion: 0.1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\nrkface = rkface_stand_in:main\n",
    }
    contents[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in [*contents, f"{about}/RECORD"])
    wheel = folder / "rkface-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # without the time: equal files give an equal wheel
    return wheel


def make_key(path):
    """A new ssh key without a passphrase; the path of its private half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path


def wait_for(condition, seconds=30):
    """Wait until ``condition()`` is true. The limit only ends a broken test; it measures nothing."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never became true"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def openssh(debian):
    return debian("sshd", sshd.PACKAGES)


@pytest.fixture
def start_server(openssh, tmp_path):
    running = []

    def start(name):
        (tmp_path / name).mkdir()
        try:
            running.append(sshd.start(openssh, tmp_path / name))
        except UnavailableError as error:
            pytest.skip(f"no ssh server here: {error}")
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def server(start_server, monkeypatch):
    """The server that ``ssh board`` connects to."""
    running = start_server("ssh")
    monkeypatch.setenv("PATH", f"{running.folder / 'here'}:{os.environ['PATH']}")
    return running


class Board(SimpleNamespace):
    """The board behind ``server``: the files on it, and deploys to it."""

    @property
    def base(self):
        return self.root / "opt/rkface"

    def releases(self):
        return sorted(path.name for path in (self.base / "releases").iterdir())

    def current(self):
        return (self.base / "current").readlink().name

    def record(self, release):
        return json.loads((self.base / "releases" / release / "release.json").read_text())

    def current_releases(self):
        """The current release of each board of a ``fleet``; "" without one."""
        links = [self.root / name / "opt/rkface/current" for name in FLEET]
        return [link.readlink().name if link.is_symlink() else "" for link in links]

    def stamp(self, stamp):
        """Set the time stamp of the next deploy: tests deploy more than once per second."""
        self.monkeypatch.setattr(command.time, "strftime", lambda *_: stamp)

    def deploy(self, *arguments, hosts=("board",), make=stand_in_wheel, doctor=False):
        self.monkeypatch.setattr(release_pack, "build_runtime_wheel", make)
        parser = ArgumentParser()
        command.deploy(parser)
        fixed = ["--root", self.root, "--healthy", 1, *([] if doctor else ["--no-doctor"])]
        bundle = [] if {"--rollback", "--status"} & set(arguments) else ["--bundle", self.bundle]
        options = parser.parse_args(list(map(str, [*fixed, *bundle, *arguments, *hosts])))
        return options.run(options)


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture
def board(server, small_bundle, tmp_path, monkeypatch):
    """An empty board. Deploys install stand-in wheels, with a fast installer."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "pip-0-py3-none-any.whl", "w") as archive:
        archive.writestr("pip/__main__.py", INSTALLER)
    monkeypatch.setattr(release_pack, "fetch_wheels", lambda *_: wheels)
    return Board(server=server, root=tmp_path / "board", bundle=small_bundle, monkeypatch=monkeypatch)


@pytest.fixture
def served(board):
    """A board with a first release, whose files are those that deploy would create."""
    release = board.base / "releases/1-first"
    shutil.copytree(board.bundle, release / "bundle")
    (release / "venv/bin").mkdir(parents=True)
    (release / "venv/bin/rkface").write_text("#!/bin/sh\necho '{}'\n")
    (release / "venv/bin/rkface").chmod(0o755)
    (release / "venv/bin/python").symlink_to(sys.executable)
    (release / "rkface.service").write_text("[Service]\nExecStart=/bin/true\n")
    (release / "release.json").write_text('{"previous": null}')
    (board.base / "current").symlink_to("releases/1-first")
    board.stamp("2")
    return board


FLEET = ("door-1", "door-2", "door-3")


@pytest.fixture
def fleet(board, tmp_path):
    """``board.inventory`` names three boards. ssh tells the server which one it is connected to, and the agent there
    uses a folder of this name below the root. A fourth one, ``away``, cannot be reached."""
    hosts = [f"Host {name}\n  SetEnv BOARD={name}\n" for name in FLEET]
    (board.server.folder / "more").write_text("".join(hosts))
    python = (board.server.bin / "python3").read_text().splitlines()[1].split()[1]
    rooted = f'exec {python} "$1" "$2" "$3" "$4/$BOARD"'
    board.server.script("python3", f'case $2 in *agent*) {rooted};; esac\nexec {python} "$@"')
    board.inventory = tmp_path / "boards.toml"
    board.inventory.write_text(
        "".join(f'[board.{name}]\nhost = "{name}"\ngroups = ["doors"]\n' for name in FLEET)
        + '[board.away]\nhost = "closed"\n'
    )
    board.deploy = partial(board.deploy, "--inventory", board.inventory, hosts=())
    return board
