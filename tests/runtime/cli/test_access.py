"""`rkface access`: users and tokens from the command line, and `rkface serve` without cameras."""

import json

import pytest

pytest.importorskip("argon2", reason="users and tokens need rkface[web]")

from rkface.runtime.cli.main import main
from rkface.runtime.cli.parser import build_parser
from rkface.runtime.cli.run import run_settings
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.web.accounts import Accounts, accounts_path
from rkface.runtime.web.scopes import EXPLAINED, ROLES


@pytest.fixture
def access(tmp_path, capsys):
    """Runs `rkface access …` on a new gallery; returns exit code, stdout and stderr."""
    with Gallery(tmp_path / "gallery.sqlite", "tests", create=True):
        pass

    def run(*words, gallery="gallery.sqlite"):
        code = main(["access", *words, "--gallery", str(tmp_path / gallery)])
        return code, *capsys.readouterr()

    run.accounts = lambda: Accounts(accounts_path(tmp_path / "gallery.sqlite"))
    return run


def test_a_token_is_created_listed_and_revoked(access):
    code, secret, hint = access("create-token", "door", "--scope", "identify", "--scope", "metrics")
    assert code == 0 and "cannot be shown again" in hint
    with access.accounts() as accounts:
        assert accounts.find_token(secret.strip()).scopes == ("metrics", "identify")
    (listed,) = (json.loads(line) for line in access("tokens", "--json")[1].splitlines())
    assert listed["name"] == "door" and listed["used"] and secret.strip() not in str(listed)
    assert access("revoke-token", listed["id"]) == (0, "revoked: door\n", "")
    code, _, error = access("revoke-token", listed["id"])
    assert code == 2 and "there is no token" in error


def test_a_user_is_added_changed_and_removed(access, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stdin", (tmp_path / "new").open("w+"))
    (tmp_path / "new").write_text("a long password\n")
    assert access("set-user", "ada", "--role", "viewer")[0] == 0
    assert access("set-user", "ada", "--role", "admin", "--keep-password")[0] == 0
    assert access("users")[1] == "ada: admin\n"
    code, _, error = access("set-user", "eve", "--role", "viewer", "--keep-password")
    assert code == 2 and "set a password" in error
    assert access("remove-user", "ada")[0] == 0 and access("remove-user", "ada")[0] == 2
    assert [line.split(": ")[-1] for line in access("log")[1].splitlines()] == ["remove user", "set user", "set user"]


def test_a_wrong_gallery_is_named_and_nothing_is_created(access, tmp_path):
    code, _, error = access("create-token", "door", "--scope", "read", gallery="other.sqlite")
    assert code == 2 and "other.sqlite: there is no gallery" in error
    assert not list(tmp_path.glob("other*"))


def test_the_help_explains_every_scope_and_role():
    shown = build_parser().commands["access"].format_help()
    assert [word for word in (*ROLES, *EXPLAINED, *EXPLAINED.values()) if word not in shown] == []


def test_serve_opens_no_camera_of_the_configuration(tmp_path):
    config = tmp_path / "rkface.toml"
    config.write_text('[camera.door]\nsource = "/dev/video0"\n[web]\nenabled = false\n')
    options = build_parser().parse_args(["serve", "--config", str(config), "--web-port", "0"])
    settings = run_settings(options)
    assert settings.camera == {} and settings.web.enabled and settings.web.port == 0


def test_the_accounts_of_a_hub_are_a_file_of_their_own(tmp_path, capsys):
    file = tmp_path / "hub.accounts"
    assert main(["access", "create-token", "page", "--scope", "read", "--accounts", str(file)]) == 0
    with Accounts(file) as accounts:
        assert accounts.find_token(capsys.readouterr().out.strip()).scopes == ("read",)
    assert main(["access", "tokens", "--accounts", str(file), "--gallery", "gallery.sqlite"]) == 2
    assert "contradict" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["tokens", "users", "log", "revoke-token 3f9c2a71b0de", "remove-user ada"])
def test_who_only_looks_creates_no_file(access, tmp_path, capsys, command):
    before = sorted(path.name for path in tmp_path.iterdir())
    code, listed, error = access(*command.split())  # of a gallery to which nobody was given access yet
    assert (code, listed) == (2 if "-" in command else 0, "")
    assert ("there is no" in error) == bool(code)
    file = tmp_path / "new" / "hub.accounts"
    assert main(["access", *command.split(), "--accounts", str(file)]) == 2
    assert "hub.accounts: there is no such file" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
