"""The Ansible role, run by the real Ansible: it deploys to boards behind an sshd on loopback."""

import os
import subprocess
import sys
from pathlib import Path

from .ansible import ansible_program
from .conftest import stand_in_wheel

ROLE = Path(__file__).resolve().parents[3] / "boards/ansible"
# `rkface` with the stand-ins of the fixture ``board``.
PROGRAM = """#!{python}
import shutil, sys
from pathlib import Path
from rkface.boards.deploy import release_pack
from rkface.runtime.cli.main import main
release_pack.fetch_wheels = lambda *_: Path("{wheels}")
release_pack.build_runtime_wheel = lambda folder: Path(shutil.copy("{wheel}", folder))
sys.exit(main(sys.argv[1:]))
"""


def test_the_role_deploys_in_waves_and_changes_nothing_the_second_time(fleet, tmp_path):
    playbook = ansible_program("ansible-playbook")
    wheel = stand_in_wheel(tmp_path, selftest='int(__import__("os").environ["BOARD"] == "door-1")')
    fleet.server.script("rkface", "", "here")
    (fleet.server.folder / "here/rkface").write_text(
        PROGRAM.format(python=sys.executable, wheels=tmp_path / "wheels", wheel=wheel)
    )
    (tmp_path / "hosts").write_text("[doors]\ndoor-[1:3]\n")

    def run(*options):
        words = [f"rkface_bundle={fleet.bundle}", f"rkface_root={fleet.root}", "rkface_healthy=1"]
        variables = [*words, "rkface_service=false", f"ansible_python_interpreter={sys.executable}"]
        extra = [word for one in variables for word in ("-e", one)]
        return subprocess.run(
            [playbook, "-i", tmp_path / "hosts", *extra, "-e", '{"rkface_options": ["--no-doctor"]}', *options,
             ROLE / "deploy.yml"],
            check=False, capture_output=True, text=True,
            env={**os.environ, "PATH": f"{Path(playbook).parent}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1",
                 "ANSIBLE_HOME": str(tmp_path / "ansible"), "ANSIBLE_LOCALHOST_WARNING": "0"},
        )  # fmt: skip

    done = run()
    assert done.returncode and "the selftest failed: it was told to fail" in done.stdout, done.stdout + done.stderr
    assert fleet.current_releases() == ["", "", ""] and "door-2" not in done.stdout, "the next boards are not touched"
    for change in (1, 0):
        done = run("--limit", "door-3")
        assert done.returncode == 0 and f"changed={change}" in done.stdout, done.stdout + done.stderr
    [_, _, third] = fleet.current_releases()
    done = run("--limit", "door-3", "--check", "-v")
    assert done.returncode == 0 and third in done.stdout, "a check reports what the board runs"
    assert fleet.current_releases() == ["", "", third]
