"""Signed releases, with the real ssh-keygen: what the board takes, and what it refuses."""

import re
import shutil
import subprocess

import pytest

from rkface.boards.deploy.agent import DeployAgent
from rkface.boards.deploy.agent_steps import StepError
from rkface.boards.deploy.release_files import (
    NAMESPACE,
    SIGNATURE,
    SIGNERS,
    SUMS,
    check_release,
    digest_contents,
    hash_files,
    write_list,
)
from rkface.boards.deploy.sign_release import check_key, check_signers, sign_file
from rkface.runtime.core.errors import InputError

from .conftest import make_key

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return make_key(folder / "ada"), make_key(folder / "bob")


class Board:
    """A board with a release that Ada signed, and with her key in its list of signers."""

    def __init__(self, root, keys):
        self.root, (self.ada, self.bob) = root, keys
        self.release = root / "opt/rkface/releases/20260101T000000Z-abc"
        self.signers = root / SIGNERS
        (self.release / "bundle").mkdir(parents=True)
        (self.release / "bundle/detector.rknn").write_bytes(b"RKNN")
        (self.release / "requirements.txt").write_text("rkface==0.1.0\n")
        self.signers.parent.mkdir(parents=True)
        self.sign(self.ada)
        self.allow(self.ada)

    def sign(self, key, namespace=NAMESPACE, name=""):
        listed = self.release / SUMS
        listed.write_text(write_list(name or self.release.name, hash_files(self.release)))
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", namespace, listed]
        (self.release / SIGNATURE).unlink(missing_ok=True)
        subprocess.run(command, check=True, capture_output=True)

    def allow(self, key, options=""):
        self.signers.write_text(f"# release keys\nada@example.org {options} {key.with_suffix('.pub').read_text()}")

    def check(self, complete=True):
        return check_release(self.release, self.root, complete=complete)


@pytest.fixture
def board(tmp_path, keys):
    return Board(tmp_path, keys)


def test_a_release_signed_by_an_allowed_key_is_taken(board):
    assert board.check() == "ada@example.org"
    board.allow(board.ada, f'namespaces="{NAMESPACE}",valid-after="20200101",valid-before="29990101"')
    assert board.check() == "ada@example.org"
    board.signers.unlink()
    assert board.check() is None, "a board without a list of signers takes any release"


def test_a_list_can_be_checked_by_hand(board):
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=board.release, check=True, capture_output=True)


def unsigned(board):
    (board.release / SIGNATURE).unlink()


def unknown(board):
    board.sign(board.bob)


def expired(board):
    board.allow(board.ada, 'valid-before="20200101"')


def for_something_else(board):
    board.sign(board.ada, namespace="git")


def other_purpose(board):
    board.allow(board.ada, 'namespaces="git"')


def changed(board):
    (board.release / "bundle/detector.rknn").write_bytes(b"evil")


def removed(board):
    (board.release / "bundle/detector.rknn").unlink()


def added(board):
    (board.release / "rkface.toml").write_text("")


def added_link(board):
    (board.release / "bundle/more").symlink_to("/etc")


def list_changed(board):
    path = board.release / SUMS
    changed(board)
    path.write_text(write_list(board.release.name, hash_files(board.release)))


def older_signature(board):
    board.sign(board.ada, name="20250101T000000Z-abc")


def no_list(board):
    board.sign(board.ada)
    (board.release / SUMS).write_bytes(b"\xff")


def outside(board):
    (board.root / "evil").write_text("")
    (board.release / SUMS).write_text(f"# rkface release {board.release.name}\n{'0' * 64}  ../../evil\n")
    (board.release / SIGNATURE).unlink()
    sign_file(board.ada, board.release / SUMS)


def not_a_signature(board):
    (board.release / SIGNATURE).write_text("-----BEGIN SSH SIGNATURE-----\n")


def nobody_allowed(board):
    board.signers.write_text("")


def wrong_signers(board):
    board.signers.write_text("ada@example.org\n")


def writable_signers(board):
    board.signers.chmod(0o666)


def writable_folder(board):
    board.signers.parent.chmod(0o777)


def linked_to_nothing(board):
    board.signers.unlink()
    board.signers.symlink_to("nothing")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (unsigned, "only takes signed releases .* use --sign KEY"),
        (unknown, "does not accept the key that signed .*No principal matched"),
        (expired, "does not accept the key .*expired"),
        (for_something_else, "not one of this release"),
        (other_purpose, "does not accept the key|not one of this release"),
        (changed, "bundle/detector.rknn is not the file that was signed"),
        (removed, "bundle/detector.rknn was signed, and is missing"),
        (added, "rkface.toml is in the release, but was not signed"),
        (added_link, "bundle/more is in the release, but was not signed"),
        (list_changed, "release.sums was changed after --sign"),
        (older_signature, "signature is for the release 20250101T000000Z-abc"),
        (no_list, "is not text"),
        (outside, "a file outside the release"),
        (not_a_signature, "does not accept the key"),
        (nobody_allowed, "does not accept the key"),
        (wrong_signers, "does not accept the key .*missing key"),
        (writable_signers, "can be changed by others .*chmod go-w"),
        (writable_folder, "can be changed by others .*chmod go-w"),
        (linked_to_nothing, "No such file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_other_release_is_refused(board, change, says):
    change(board)
    with pytest.raises((StepError, OSError)) as error:
        board.check()
    assert re.search(says, str(error.value), re.DOTALL), error.value


def test_after_installation_the_signed_files_are_compared_again(board):
    (board.release / "venv").mkdir()
    (board.release / "venv/pyvenv.cfg").touch()
    assert board.check(complete=False) == "ada@example.org"
    changed(board)
    with pytest.raises(StepError, match="not the file that was signed"):
        board.check(complete=False)


def test_a_file_that_is_changed_after_the_selftest_does_not_become_current(board):
    agent = DeployAgent(board.root)
    agent.unfinished = board.release
    assert agent.check_signature() == "ada@example.org"
    changed(board)
    with pytest.raises(StepError, match="not the file that was signed"):
        agent.activate(service=False, healthy=1, about={})
    agent.end()
    assert agent.describe()["current"] is None and not board.release.exists()


def test_a_rollback_to_a_release_that_is_not_signed_is_refused(board):
    agent = DeployAgent(board.root)
    agent.unfinished = board.release
    (earlier := board.release.with_name("20250101T000000Z-abc")).mkdir()
    (earlier / "release.json").write_text('{"previous": null}')
    agent.current.switch(earlier, service=False, healthy=1)
    assert agent.activate(service=False, healthy=1, about={}) == earlier.name
    with pytest.raises(StepError, match="only takes signed releases"):
        agent.rollback("", 1, "me")
    assert agent.status()["record"] == {"signer": "ada@example.org", "previous": earlier.name}


def test_keys_that_cannot_sign_are_refused_before_any_connection(tmp_path, keys):
    check_key(keys[0])
    check_key(keys[0].with_suffix(".pub"))
    (tmp_path / "text").write_text("no key")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked"], check=True)
    for name, says in (("none", "no such key: make one"), ("text", "cannot sign with it"), ("locked", "ssh-add")):
        with pytest.raises(InputError, match=says):
            check_key(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "names nobody"), ("# comment\n", "names nobody"), ("ada@example.org\n", "line 1: missing key"),
     ("ada ssh-ed25519 AAAA\n", "line 1"), ("ada valid-before=x ssh-ed25519 AAAA", "line 1")],
)  # fmt: skip
def test_a_wrong_list_is_not_sent_to_a_board(tmp_path, keys, text, says):
    (tmp_path / "signers").write_text(text)
    with pytest.raises(InputError, match=says):
        check_signers(tmp_path / "signers", keys[0])


def test_a_list_must_accept_the_key_that_signs(board):
    check_signers(board.signers, board.ada)
    with pytest.raises(InputError, match="does not accept --sign"):
        check_signers(board.signers, board.bob)


def test_releases_with_the_same_files_have_the_same_contents(board, tmp_path):
    first = digest_contents(hash_files(board.release))
    shutil.copytree(board.release, tmp_path / "other")
    assert digest_contents(hash_files(tmp_path / "other")) == first
    changed(board)
    assert digest_contents(hash_files(board.release)) != first
