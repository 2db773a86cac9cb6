"""`rkface deploy` to an sshd on loopback: the files of a release, and what stays unchanged when a step fails."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from rkface.boards.deploy import agent
from rkface.boards.deploy.agent import DeployAgent
from rkface.boards.deploy.agent_steps import StepError
from rkface.boards.deploy.session import AgentSession
from rkface.boards.doctor.checks_software import BundleNeeds
from rkface.boards.doctor.probe import Probe
from rkface.boards.doctor.run_checks import run_checks
from rkface.runtime.core.errors import InputError, WorkError

from .conftest import make_bundle, stand_in_wheel, wait_for
from .sshd import WAIT


def test_a_release_is_complete_and_current(board):
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
        "release.sums",
        "release.json",
    }
    assert (place / "bundle/golden.npz").read_bytes() == (board.bundle / "golden.npz").read_bytes()
    assert not (place / "bundle/reference").exists(), "the NPU does not need the reference models"
    subprocess.run([place / "venv/bin/rkface", "verify", place / "bundle"], check=True)
    for path in (board.base, place / "venv/pyvenv.cfg", place / "release.json", *(place / "bundle").iterdir()):
        assert path.stat().st_mode & 0o007 == 0, f"{path}: a bundle contains faces, so other users may not read it"


def test_equal_files_are_linked_not_copied_again(board):
    for stamp in "12":
        board.stamp(stamp)
        assert board.deploy() == 0
    first, second = board.releases()
    assert board.current() == second and board.record(second)["previous"] == first
    files = [board.base / "releases" / name / "bundle/golden.npz" for name in (first, second)]
    assert files[0].samefile(files[1])


def test_a_file_that_was_damaged_on_the_card_is_copied_again(served):
    """The damaged file has the same size and time: only its content differs."""
    bad, good = served.base / "current/bundle/golden.npz", served.bundle / "golden.npz"
    bad.write_bytes(b"damaged" + good.read_bytes()[7:])
    os.utime(bad, ns=(good.stat().st_mtime_ns,) * 2)
    assert served.deploy() == 0
    assert (served.base / "current/bundle/golden.npz").read_bytes() == good.read_bytes()


@pytest.mark.parametrize("place", ["bin", "here"])
def test_tar_is_used_if_one_side_has_no_rsync(board, place, capsys):
    (board.server.folder / place / "rsync").unlink()
    if place == "here":
        board.monkeypatch.setattr("rkface.boards.deploy.transfer.shutil.which", lambda name: None)
    assert board.deploy() == 0 and "MB with tar" in capsys.readouterr().err
    sent, kept = board.bundle / "golden.npz", board.base / "current/bundle/golden.npz"
    assert sent.read_bytes() == kept.read_bytes() and kept.stat().st_mode & 0o777 == 0o640


def test_old_releases_are_removed_but_never_the_current_one(served):
    for stamp in "23":
        served.stamp(stamp)
        assert served.deploy("--keep", 2) == 0
    assert [name[0] for name in served.releases()] == ["2", "3"]
    assert served.current() == served.releases()[1]


def test_rollback_returns_to_the_previous_release_and_the_bad_one_is_removed(served):
    first = served.current()
    assert served.deploy() == 0
    bad = served.current()
    assert served.deploy("--rollback") == 0 and served.current() == first
    assert served.deploy("--rollback") == 1 and served.current() == first, "there is no release before the first"
    served.stamp("3")
    assert served.deploy() == 0
    assert served.record(served.current())["previous"] == first and bad not in served.releases()


def test_rollback_to_a_release_that_fails_its_selftest_is_refused(served, capsys):
    first = served.base / "releases" / served.current()
    assert served.deploy() == 0
    second = served.current()
    (first / "venv/bin/rkface").write_text("#!/bin/sh\nexit 1\n")
    assert served.deploy("--rollback") == 1 and served.current() == second
    assert "selftest failed" in capsys.readouterr().out


def test_boards_that_fail_do_not_stop_others(board, capsys):
    assert board.deploy(hosts=["closed", "board", "stranger", "keyless"]) == 1
    table = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if "  " in line[:3]}
    assert table["board"].split()[0] == "ok" and board.current()
    assert "Connection refused" in table["closed"]
    assert "compare the fingerprint" in table["stranger"], "the user must judge an unknown host key"
    assert "ssh-copy-id keyless" in table["keyless"]


def test_two_boards_are_deployed_to_in_parallel(board, start_server, capsys):
    """Each waits for the other in the middle of its copy, so a sequential deploy would never end."""
    other = start_server("other")
    board.server.alias("other", other)
    # The second board uses another root folder on the same machine.
    python = (other.bin / "python3").read_text().splitlines()[1].split()[1]
    other.script("python3", f'case $2 in *agent*) exec {python} "$1" "$2" "$3" "$4-other";; esac\nexec {python} "$@"')
    for here, there in ((board.server, other), (other, board.server)):
        rsync = (here.bin / "rsync").resolve()
        (here.bin / "rsync").unlink()
        both = WAIT.format(f"[ -e {there.folder}/copying ]")
        here.script("rsync", f'touch {here.folder}/copying; {both}\n[ -e {there.folder}/copying ] && exec {rsync} "$@"')
    assert board.deploy(hosts=["board", "other"]) == 0
    said = capsys.readouterr()
    assert "2 of 2 boards succeeded" in said.out
    assert [line.split()[:2] for line in sorted(said.err.splitlines())] == [["board", "ok"], ["other", "ok"]]
    releases = [
        sorted(root.glob("opt/rkface/releases/*/release.json"))
        for root in (board.root, board.root.with_name(f"{board.root.name}-other"))
    ]
    assert [len(found) for found in releases] == [1, 1]


def broken_selftest(folder):
    return stand_in_wheel(folder, selftest=1)


def assert_only_first_remains(board, first):
    """The first release is current and works, and there is no other release."""
    assert board.current() == first and board.releases() == [first]
    place = board.base / "current"
    subprocess.run([place / "venv/bin/rkface", "selftest", "--bundle", place / "bundle"], check=True, timeout=20)
    assert (place / "bundle/golden.npz").read_bytes() == (board.bundle / "golden.npz").read_bytes()


def test_a_failing_selftest_changes_nothing(served, capsys):
    first = served.current()
    (served.base / "releases/0-half/bundle").mkdir(parents=True)  # left after a power cut
    assert served.deploy(make=broken_selftest) == 1
    assert "selftest: the selftest failed: it was told to fail" in capsys.readouterr().out
    assert_only_first_remains(served, first)


@pytest.mark.parametrize("rsync", [True, False])
def test_a_connection_lost_while_copying_changes_nothing(served, rsync, capsys, tmp_path):
    first, old = served.current(), served.bundle
    if not rsync:
        (served.server.bin / "rsync").unlink()
    served.bundle = make_bundle(
        tmp_path / "another"
    )  # nothing can be linked: 3 MB must be copied, and the connection ends after 1 MB
    assert served.deploy(hosts=["cut"]) == 1
    assert f"copy: copying with {'rsync' if rsync else 'tar'} failed" in capsys.readouterr().out
    served.bundle = old
    assert_only_first_remains(served, first)


def test_the_result_for_each_board_as_json(board, capsys):
    assert board.deploy("--json", hosts=["board", "closed"]) == 1
    result = json.loads(capsys.readouterr().out)
    good, bad = result["boards"]
    assert result["verdict"] == "fail"
    assert (good["host"], good["release"], good["problem"]) == ("board", board.current(), "")
    assert bad["host"] == "closed" and "Connection refused" in bad["problem"] and bad["release"] == ""


def slow_rsync(server):
    """Make rsync on the board start late, so that a test can act while files are copied."""
    rsync = (server.bin / "rsync").resolve()
    (server.bin / "rsync").unlink()
    released = WAIT.format(f"[ ! -e {server.folder}/hold ]")
    server.script("rsync", f'touch {server.folder}/copying; {released}\nexec {rsync} "$@"')
    (server.folder / "hold").touch()
    return server.folder / "copying", server.folder / "hold"


def test_losing_all_connections_while_copying_changes_nothing(served, capsys):
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
    wait_for(lambda: len(served.releases()) == 1)  # the agent sees the end of its requests, and cleans up
    assert_only_first_remains(served, first)


@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C"])
def test_a_deploy_that_is_killed_while_copying_changes_nothing(served, how, tmp_path):
    first = served.current()
    served.monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # for files that a killed process cannot remove
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
        os.killpg(child, signal.SIGINT)  # Ctrl-C in a terminal reaches ssh and rsync too
    os.waitpid(child, 0)
    wait_for(lambda: len(served.releases()) == 1)
    hold.unlink()
    assert_only_first_remains(served, first)
    served.stamp("3")
    assert served.deploy() == 0 and served.current() != first, "no lock was left behind"


def test_the_agent_ends_if_the_workstation_falls_silent(served, monkeypatch):
    """As if a cable was unplugged: the end of the connection is never seen."""
    monkeypatch.setattr(agent, "SILENCE_SECONDS", 1)
    here, there = os.pipe()
    asked = {"do": "begin", "name": "2-half", "folders": ["bundle"], "size": 0, "who": "someone"}
    os.write(there, f"{json.dumps(asked)}\n\n".encode())
    answers = []
    with os.fdopen(here, "rb") as requests:
        agent.answer_requests(DeployAgent(served.root), requests, answers.append)
    os.close(there)
    assert "2-half" in answers[0] and served.releases() == ["1-first"]


def test_a_second_deploy_at_the_same_time_is_refused(served, capsys):
    first = served.current()
    with AgentSession("board", str(served.root)) as other:
        other.request("begin", name="other", folders=["bundle"], size=0, who="ada on another workstation")
        assert served.deploy() == 1
        assert "another deploy to this board is running (ada on another workstation" in capsys.readouterr().out
        assert served.current() == first and "other" in served.releases(), "the other deploy is not disturbed"
    assert_only_first_remains(served, first)


def test_a_configuration_is_part_of_its_release_and_is_kept_by_later_releases(board, tmp_path, capsys):
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


@pytest.mark.parametrize("known", [True, False], ids=["counted before", "met while copying"])
def test_a_full_disk_changes_nothing(board, known, capsys, tmp_path):
    board.root = tmp_path / "small"
    if os.getuid() or not mounted(board.root, "32m"):
        pytest.skip("only root may mount a small tmpfs")
    try:
        board.stamp("1")
        assert board.deploy() == 0
        first, old = board.current(), board.bundle
        board.bundle = make_bundle(tmp_path / "another")  # none of its files can be linked
        with (board.root / "full").open("wb") as file:
            free = os.statvfs(board.root).f_bavail * os.statvfs(board.root).f_frsize
            file.write(bytes(free - 2_000_000))  # there is room for 2 of the 3 MB
        if not known:
            board.monkeypatch.setattr("rkface.boards.deploy.release_pack.OVERHEAD", 0)
        board.stamp("2")
        capsys.readouterr()
        assert board.deploy() == 1
        said = capsys.readouterr().out
        assert "disk full: 2 MB free" in said if known else "No space left" in said or "disk full?" in said
        board.bundle = old
        assert_only_first_remains(board, first)
    finally:
        subprocess.run(["umount", "--lazy", board.root], check=True)


def test_files_that_were_damaged_during_the_copy_are_not_used(served, capsys):
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
    assert_only_first_remains(served, first)


def test_a_failed_check_of_doctor_stops_the_deploy(served, capsys):
    """The real doctor over ssh: this machine is not a board, so deploy stops after doctor."""
    assert served.deploy(doctor=True) == 1
    said = capsys.readouterr().out
    assert "doctor: " in said and "not a Rockchip board" in said and "→" in said, "each failed check, with its fix"
    assert_only_first_remains(served, served.current())


def test_a_board_of_another_kind_than_named_is_refused(board, capsys):
    """Doctor's answer is that of a board described in fixtures/; everything else is real."""
    report = run_checks(Probe(Path(__file__).parents[1] / "fixtures" / "rock-5b"), BundleNeeds("rk3588", "2.5.0"))
    (board.server.folder / "report").write_text(report.to_json())
    python = (board.server.bin / "python3").read_text().splitlines()[1]
    board.server.script("python3", f"[ $1 = - ] && exec cat {board.server.folder}/report\n{python}")
    assert board.deploy("--board", "rock-5a", doctor=True) == 1 and not board.base.exists()
    assert "this is Radxa ROCK 5B, not Radxa ROCK 5A" in capsys.readouterr().out
    assert board.deploy("--board", "rock-5b", doctor=True) == 0 and board.current()
    assert "all 18 checks passed" in capsys.readouterr().err


def test_the_output_of_a_login_script_is_not_taken_for_an_answer(board):
    real = (board.server.bin / "python3").read_text().splitlines()[1]
    board.server.script("python3", f"case $2 in *agent*) echo 'Welcome to this board'; esac\n{real}")
    with AgentSession("board", str(board.root)) as talkative:
        assert talkative.request("describe")["current"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--yes"], "only work with --prepare"),
        (["--json", "--prepare"], "prepare the board first"),
        (["--rollback", "--service"], "leave out"),
        (["--board", "rock5b"], "did you mean rock-5b"),
        (["--board", "luckfox-pico-max"], "can only be converted for"),
        (["--board", "rock-4d"], "rock-4d is rk3576"),
        (["--bundle", "/nowhere"], "no such bundle"),
        (["--root", "board"], "--root board: give an absolute path"),
    ],
)
def test_wrong_use_is_refused_before_any_connection(board, arguments, says):
    with pytest.raises(InputError, match=says):
        board.deploy(*arguments)
    with pytest.raises(InputError, match="named twice"):
        board.deploy(hosts=["board", "board"])
    assert not board.root.exists()


def test_the_current_release_is_never_removed(served):
    """Not even if switching back failed, so that the unfinished release is current."""
    one = DeployAgent(served.root)
    release = Path(one.begin("2-new", ["bundle"], 0, "me"))
    one.current._point_to(release)
    one.end()
    assert served.current() == "2-new" and release.is_dir()


def test_a_user_without_write_access_is_told_about_prepare(tmp_path):
    (tmp_path / "opt").touch()  # even root cannot create a folder here
    with pytest.raises(StepError, match="deploy --prepare"):
        DeployAgent(tmp_path).begin("1", [], 0, "me")


def test_a_root_with_shell_syntax_is_refused():
    with pytest.raises(InputError, match="--root"):
        AgentSession("board", "/tmp/$(reboot)")


def test_a_lost_connection_is_an_error_and_does_not_hang(board):
    with AgentSession("closed", str(board.root)) as gone, pytest.raises(WorkError, match="Connection refused"):
        gone.request("describe")
