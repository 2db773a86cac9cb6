"""`rkface deploy` to an sshd on loopback: what comes to lie where, and what stays as it was when a step fails."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from rkface.boards import agent
from rkface.boards.agent import Agent
from rkface.boards.checks_npu import Need
from rkface.boards.examine import examine
from rkface.boards.onboard import StepError
from rkface.boards.probe import Probe
from rkface.boards.session import Session
from rkface.runtime.core.errors import InputError, WorkError

from .conftest import make_bundle, stand_in_wheel, wait_for
from .sshd import WAIT


def test_a_release_is_whole_and_current(board):
    assert board.deploy() == 0
    [release] = board.releases()
    place = board.base / "current"
    assert board.current() == release
    assert {path.name for path in place.iterdir()} == {
        "bundle",
        "wheels",
        "venv",
        "requirements.txt",
        "rkface.service",
        "release.json",
    }
    assert (place / "bundle/golden.npz").read_bytes() == (board.bundle / "golden.npz").read_bytes()
    assert not (place / "bundle/reference").exists(), "the NPU does without the reference models"
    subprocess.run([place / "venv/bin/rkface", "verify", place / "bundle"], check=True)
    for path in (board.base, place / "venv/pyvenv.cfg", place / "release.json", *(place / "bundle").iterdir()):
        assert path.stat().st_mode & 0o007 == 0, f"{path}: a bundle holds faces, so others may look at nothing"


def test_what_is_the_same_is_linked_not_copied_again(board):
    for stamp in "12":
        board.stamp(stamp)
        assert board.deploy() == 0
    first, second = board.releases()
    assert board.current() == second and board.seal(second)["previous"] == first
    files = [board.base / "releases" / name / "bundle/golden.npz" for name in (first, second)]
    assert files[0].samefile(files[1])


def test_what_went_bad_on_the_card_is_copied_again(served):
    """The same size and time as what is sent: only its content tells."""
    bad, good = served.base / "current/bundle/golden.npz", served.bundle / "golden.npz"
    bad.write_bytes(b"damaged" + good.read_bytes()[7:])
    os.utime(bad, ns=(good.stat().st_mtime_ns,) * 2)
    assert served.deploy() == 0
    assert (served.base / "current/bundle/golden.npz").read_bytes() == good.read_bytes()


@pytest.mark.parametrize("place", ["bin", "here"])
def test_tar_where_one_end_has_no_rsync(board, place, capsys):
    (board.server.folder / place / "rsync").unlink()
    if place == "here":
        board.monkeypatch.setattr("rkface.boards.transfer.shutil.which", lambda name: None)
    assert board.deploy() == 0 and "MB by tar" in capsys.readouterr().err
    sent, kept = board.bundle / "golden.npz", board.base / "current/bundle/golden.npz"
    assert sent.read_bytes() == kept.read_bytes() and kept.stat().st_mode & 0o777 == 0o640


def test_old_releases_go_and_the_current_one_never(served):
    for stamp in "23":
        served.stamp(stamp)
        assert served.deploy("--keep", 2) == 0
    assert [name[0] for name in served.releases()] == ["2", "3"]
    assert served.current() == served.releases()[1]


def test_rollback_goes_back_by_one_and_forgets_what_was_bad(served):
    first = served.current()
    assert served.deploy() == 0
    bad = served.current()
    assert served.deploy("--rollback") == 0 and served.current() == first
    assert served.deploy("--rollback") == 1 and served.current() == first, "there is nothing before the first"
    served.stamp("3")
    assert served.deploy() == 0
    assert served.seal(served.current())["previous"] == first and bad not in served.releases()


def test_rollback_to_what_fails_its_selftest_is_refused(served, capsys):
    first = served.base / "releases" / served.current()
    assert served.deploy() == 0
    second = served.current()
    (first / "venv/bin/rkface").write_text("#!/bin/sh\nexit 1\n")
    assert served.deploy("--rollback") == 1 and served.current() == second
    assert "selftest failed" in capsys.readouterr().out


def test_boards_that_fail_do_not_keep_others_waiting(board, capsys):
    assert board.deploy(hosts=["closed", "board", "stranger", "keyless"]) == 1
    table = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if "  " in line[:3]}
    assert table["board"].split()[0] == "ok" and board.current()
    assert "Connection refused" in table["closed"]
    assert "compare the fingerprint" in table["stranger"], "an unknown host key is for the user to judge"
    assert "ssh-copy-id keyless" in table["keyless"]


def test_two_boards_at_a_time(board, start_server, capsys):
    """Each has to wait for the other in the middle of its copy: one after the other would not do."""
    other = start_server("other")
    board.server.alias("other", other)
    # The second board is a folder beside the first one's: its agent is told another root.
    python = (other.bin / "python3").read_text().splitlines()[1].split()[1]
    other.script("python3", f'case $2 in *agent*) exec {python} "$1" "$2" "$3" "$4-other";; esac\nexec {python} "$@"')
    for here, there in ((board.server, other), (other, board.server)):
        rsync = (here.bin / "rsync").resolve()
        (here.bin / "rsync").unlink()
        both = WAIT.format(f"[ -e {there.folder}/copying ]")
        here.script("rsync", f'touch {here.folder}/copying; {both}\n[ -e {there.folder}/copying ] && exec {rsync} "$@"')
    assert board.deploy(hosts=["board", "other"]) == 0
    said = capsys.readouterr()
    assert "2 of 2 boards done" in said.out and "board: copy" in said.err and "other: copy" in said.err
    releases = [
        sorted(root.glob("opt/rkface/releases/*/release.json"))
        for root in (board.root, board.root.with_name(f"{board.root.name}-other"))
    ]
    assert [len(found) for found in releases] == [1, 1]


def broken_selftest(folder):
    return stand_in_wheel(folder, selftest=1)


def assert_first_serves(board, first):
    """The first release is current, runs, and is all there is."""
    assert board.current() == first and board.releases() == [first]
    place = board.base / "current"
    subprocess.run([place / "venv/bin/rkface", "selftest", "--bundle", place / "bundle"], check=True, timeout=20)
    assert (place / "bundle/golden.npz").read_bytes() == (board.bundle / "golden.npz").read_bytes()


def test_a_failing_selftest_changes_nothing(served, capsys):
    first = served.current()
    (served.base / "releases/0-half/bundle").mkdir(parents=True)  # left by a board that lost its power
    assert served.deploy(make=broken_selftest) == 1
    assert "selftest: the selftest failed: it was made to fail" in capsys.readouterr().out
    assert_first_serves(served, first)


@pytest.mark.parametrize("rsync", [True, False])
def test_a_connection_lost_while_copying_changes_nothing(served, rsync, capsys, tmp_path):
    first, old = served.current(), served.bundle
    if not rsync:
        (served.server.bin / "rsync").unlink()
    served.bundle = make_bundle(tmp_path / "another")  # nothing to link to: 3 MB have to pass, and 1 MB does
    assert served.deploy(hosts=["cut"]) == 1
    assert f"copy: copying by {'rsync' if rsync else 'tar'} failed" in capsys.readouterr().out
    served.bundle = old
    assert_first_serves(served, first)


def slow_rsync(server):
    """rsync on the board starts late: time to do something to the deploy while it copies."""
    rsync = (server.bin / "rsync").resolve()
    (server.bin / "rsync").unlink()
    released = WAIT.format(f"[ ! -e {server.folder}/hold ]")
    server.script("rsync", f'touch {server.folder}/copying; {released}\nexec {rsync} "$@"')
    (server.folder / "hold").touch()
    return server.folder / "copying", server.folder / "hold"


def test_all_connections_lost_while_copying(served, capsys):
    first = served.current()
    copying, hold = slow_rsync(served.server)
    codes = []
    deploying = threading.Thread(target=lambda: codes.append(served.deploy()))
    deploying.start()
    wait_for(copying.exists)
    for session in served.server.sessions():
        os.kill(session, signal.SIGKILL)
    hold.unlink()
    deploying.join()
    assert codes == [1] and "copy" in capsys.readouterr().out
    wait_for(lambda: len(served.releases()) == 1)  # the agent there sees the end of its requests, and clears up
    assert_first_serves(served, first)


@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C"])
def test_deploy_ended_while_copying(served, how, tmp_path):
    first = served.current()
    served.monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # what the one that is killed cannot clear away
    copying, hold = slow_rsync(served.server)
    child = os.fork()
    if not child:
        try:
            os.setsid()
            served.deploy()
        finally:
            os._exit(1)
    wait_for(copying.exists)
    if how == "kill -9":
        os.kill(child, signal.SIGKILL)
    else:
        os.killpg(child, signal.SIGINT)  # a terminal's reaches ssh and rsync too
    os.waitpid(child, 0)
    wait_for(lambda: len(served.releases()) == 1)
    hold.unlink()
    assert_first_serves(served, first)
    served.stamp("3")
    assert served.deploy() == 0 and served.current() != first, "no lock was left behind"


def test_a_workstation_that_falls_silent_is_given_up(served, monkeypatch):
    """As when its cable is pulled: no end of the connection ever comes."""
    monkeypatch.setattr(agent, "SILENCE", 1)
    here, there = os.pipe()
    asked = {"do": "begin", "name": "2-half", "folders": ["bundle"], "size": 0, "who": "someone"}
    os.write(there, f"{json.dumps(asked)}\n\n".encode())
    answers = []
    with os.fdopen(here, "rb") as requests:
        agent.serve(Agent(served.root), requests, answers.append)
    os.close(there)
    assert "2-half" in answers[0] and served.releases() == ["1-first"]


def test_a_second_deploy_at_once_is_refused(served, capsys):
    first = served.current()
    with Session("board", str(served.root)) as other:
        other.ask("begin", name="other", folders=["bundle"], size=0, who="ada on another workstation")
        assert served.deploy() == 1
        assert "another deploy to this board is under way (ada on another workstation" in capsys.readouterr().out
        assert served.current() == first and "other" in served.releases(), "nor is the other one disturbed"
    assert_first_serves(served, first)


def test_a_configuration_is_part_of_its_release_and_stays_until_another_comes(board, tmp_path, capsys):
    def written(name, camera):
        (tmp_path / name).write_text(f'[camera.door]\nsource = "{camera}"\n')
        return tmp_path / name

    def running():
        return (board.base / "current/rkface.toml").read_text()

    for stamp, arguments in (("1", ["--config", written("a.toml", "/dev/video1")]), ("2", [])):
        board.stamp(stamp)
        assert board.deploy(*arguments) == 0
        assert "/dev/video1" in running()
    board.stamp("3")
    assert board.deploy("--config", written("b.toml", "rtsp://door/stream")) == 0 and "rtsp://door" in running()
    assert board.deploy("--rollback") == 0 and "/dev/video1" in running()
    with pytest.raises(InputError, match="did you mean source"):
        board.deploy("--config", written("c.toml", 'x"\nsorce = "'))
    assert "/dev/video1" in running()


def mounted(folder, size):
    folder.mkdir()
    return subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=False).returncode == 0


@pytest.mark.parametrize("known", [True, False], ids=["foreseen", "met"])
def test_a_full_disk_changes_nothing(board, known, capsys, tmp_path):
    board.root = tmp_path / "small"
    if os.getuid() or not mounted(board.root, "32m"):
        pytest.skip("mounting a small tmpfs takes root's rights")
    try:
        board.stamp("1")
        assert board.deploy() == 0
        first, old = board.current(), board.bundle
        board.bundle = make_bundle(tmp_path / "another")  # nothing of it can be linked to
        with (board.root / "full").open("wb") as file:
            free = os.statvfs(board.root).f_bavail * os.statvfs(board.root).f_frsize
            file.write(bytes(free - 2_000_000))  # 2 of the 3 MB have room
        if not known:
            board.monkeypatch.setattr("rkface.boards.cargo.SPARE", 0)
        board.stamp("2")
        capsys.readouterr()
        assert board.deploy() == 1
        said = capsys.readouterr().out
        assert "disk full: 2 MB free" in said if known else "No space left" in said or "disk full?" in said
        board.bundle = old
        assert_first_serves(board, first)
    finally:
        subprocess.run(["umount", "--lazy", board.root], check=True)


def test_what_was_damaged_on_the_way_is_not_used(served, capsys):
    first = served.current()
    rsync = (served.server.bin / "rsync").resolve()
    (served.server.bin / "rsync").unlink()
    served.server.script(
        "rsync",
        f'{rsync} "$@"; code=$?; for last; do :; done; rm "$last"/bundle/detector.rknn; '
        'echo damaged > "$last"/bundle/detector.rknn; exit $code',
    )
    assert served.deploy() == 1
    assert "rkface verify failed" in capsys.readouterr().out
    assert_first_serves(served, first)


def test_doctor_comes_first(served, capsys):
    """For real, over the same ssh: this machine is no board, so deploy goes no further than doctor."""
    assert served.deploy(doctor=True) == 1
    said = capsys.readouterr().out
    assert "doctor: " in said and "no Rockchip board" in said and "→" in said, "what fails, with its fix"
    assert_first_serves(served, served.current())


def test_a_healthy_board_has_to_be_the_one_that_was_named(board, capsys):
    """Doctor's answer is that of a board written down in fixtures/; all else is for real."""
    report = examine(Probe(Path(__file__).with_name("fixtures") / "rock-5b"), Need("rk3588", "2.5.0"))
    (board.server.folder / "report").write_text(report.to_json())
    python = (board.server.bin / "python3").read_text().splitlines()[1]
    board.server.script("python3", f"[ $1 = - ] && exec cat {board.server.folder}/report\n{python}")
    assert board.deploy("--board", "rock-5a", doctor=True) == 1 and not board.base.exists()
    assert "this is Radxa ROCK 5B, not Radxa ROCK 5A" in capsys.readouterr().out
    assert board.deploy("--board", "rock-5b", doctor=True) == 0 and board.current()
    assert "all 18 checks are fine" in capsys.readouterr().err


def test_a_login_script_that_talks_is_not_taken_for_an_answer(board):
    real = (board.server.bin / "python3").read_text().splitlines()[1]
    board.server.script("python3", f"case $2 in *agent*) echo 'Welcome to this board'; esac\n{real}")
    with Session("board", str(board.root)) as talkative:
        assert talkative.ask("look")["current"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--yes"], "go with --prepare"),
        (["--rollback", "--service"], "it goes without"),
        (["--board", "rock5b"], "did you mean rock-5b"),
        (["--board", "luckfox-pico-max"], "only takes part in converting"),
        (["--board", "rock-4d"], "rock-4d is rk3576"),
        (["--bundle", "/nowhere"], "no such bundle"),
    ],
)
def test_wrong_use_is_refused_before_any_board_is_reached(board, arguments, says):
    with pytest.raises(InputError, match=says):
        board.deploy(*arguments)
    with pytest.raises(InputError, match="named twice"):
        board.deploy(hosts=["board", "board"])
    assert not board.root.exists()


def test_what_is_current_is_never_removed(served):
    """Not even where the way back failed, and all that is left is the release that did."""
    one = Agent(served.root)
    release = Path(one.begin("2-new", ["bundle"], 0, "me"))
    one._switch(release)
    one.end()
    assert served.current() == "2-new" and release.is_dir()


def test_who_may_not_write_is_told_how_to_prepare(tmp_path):
    (tmp_path / "opt").touch()  # where root too cannot make a folder
    with pytest.raises(StepError, match="deploy --prepare"):
        Agent(tmp_path).begin("1", [], 0, "me")


def test_a_root_that_a_shell_would_read_is_refused():
    with pytest.raises(InputError, match="--root"):
        Session("board", "/tmp/$(reboot)")


def test_the_connection_ending_is_an_error_not_a_wait(board):
    with Session("closed", str(board.root)) as gone, pytest.raises(WorkError, match="Connection refused"):
        gone.ask("look")
