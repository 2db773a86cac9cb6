"""`rkface deploy --prepare`: the command it runs on a board, and the copies of librknnrt that it accepts."""

import re
from pathlib import Path

import pytest

from rkface.boards.deploy.provision import check_library_copy
from rkface.boards.deploy.release_files import SIGNERS
from rkface.boards.doctor.checks_software import AARCH64, BundleNeeds
from rkface.runtime.core.errors import InputError

from .conftest import make_key

NEEDS = BundleNeeds("rk3588", "2.5.0", "1.6.0")


def library(path, machine=AARCH64, version="2.5.0"):
    head = b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little") + bytes(100)
    path.write_bytes(head + f"librknnrt version: {version} (abc@2025-01-01)".encode())
    return path


def test_only_a_librknnrt_for_these_boards_is_sent(tmp_path):
    good = library(tmp_path / "good.so")
    assert check_library_copy(good, NEEDS) == f"{good}: librknnrt 2.5.0"
    assert "newer" in check_library_copy(library(tmp_path / "new.so", version="2.6.0"), NEEDS)
    (tmp_path / "page.so").write_text("<!DOCTYPE html>")
    (tmp_path / "other.so").write_bytes(good.read_bytes().replace(b"librknnrt version", b"libsomething else"))
    for name, says in (("page", "is not a library"), ("other", "another library"), ("missing", "No such file")):
        with pytest.raises(InputError, match=says):
            check_library_copy(tmp_path / f"{name}.so", NEEDS)
    with pytest.raises(InputError, match="another processor"):
        check_library_copy(library(tmp_path / "x86.so", machine=62), NEEDS)
    with pytest.raises(InputError, match="does not load the models"):
        check_library_copy(library(tmp_path / "old.so", version="1.4.0"), NEEDS)
    older = check_library_copy(library(tmp_path / "older.so", version="2.3.2"), NEEDS)
    assert "loads the same file format" in older and "selftest" in older


def test_a_board_is_prepared_with_commands_that_are_shown(board, tmp_path, capsys):
    """Over ssh; scripts stand in for the programs that would create users and change owners on this machine."""
    board.server.script("useradd", f'echo "$@" >> {tmp_path}/users')
    board.server.script("getent", "exit 2")
    board.server.script(
        "install",
        'args=; for word; do case $word in -o|-g) skip=1;; *) [ "$skip" ] || '
        'args="$args $word"; skip=;; esac; done; exec /usr/bin/install $args',
    )
    board.server.script("chown", f'echo "$@" >> {tmp_path}/owners')
    board.server.script("sudo", 'exec "$@"')
    path = library(tmp_path / "librknnrt.so")
    key = make_key(tmp_path / "release")
    (tmp_path / "signers").write_text(f"ada@example.org {key.with_suffix('.pub').read_text()}")
    earlier = board.base / "cache"
    earlier.mkdir(parents=True, mode=0o700)
    board.monkeypatch.setattr("sys.stdin", None)
    signed = ["--sign", key, "--allowed-signers", tmp_path / "signers"]
    assert board.deploy("--prepare", "--yes", "--librknnrt", path, *signed) == 0
    said = capsys.readouterr().out
    assert "useradd --system" in said and f"-g rkface -m 2750 {board.base}" in said, "shown before it is run"
    assert (board.root / "usr/lib/librknnrt.so").read_bytes() == path.read_bytes()
    assert board.base.stat().st_mode & 0o7777 == 0o2750
    assert str(board.base) in (tmp_path / "owners").read_text() and earlier.stat().st_mode & 0o7777 == 0o2750
    received = set(re.findall(r"/tmp/rkface\.\w+", said))
    assert len(received) == 2 and not any(Path(one).exists() for one in received), "removed after they were installed"

    # From then on, the board takes only signed releases, and the release that it runs stays.
    first = board.current()
    assert (board.root / SIGNERS).read_bytes() == (tmp_path / "signers").read_bytes()
    assert board.record(first)["signer"] == "ada@example.org"
    board.stamp("3")
    assert board.deploy() == 1 and "use --sign KEY" in capsys.readouterr().out
    assert board.deploy("--sign", make_key(tmp_path / "other")) == 1
    said = capsys.readouterr().out
    assert "does not accept the key that signed" in said and f"(it runs {first})" in said
    assert board.current() == first and board.releases() == [first]
    release = board.base / "releases" / board.current()
    for folder in (release, release / "bundle", release / "wheels"):
        assert folder.stat().st_mode & 0o2007 == 0o2000, "the group is inherited; other users may not read it"
