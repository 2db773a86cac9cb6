"""The file with the console's password, and the command that writes it."""

import stat
import subprocess
import sys

import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.web.password import PasswordCheck, read_password, write_password

from .conftest import PASSWORD


def test_the_password_is_stored_as_a_hash_that_only_the_owner_may_read(tmp_path):
    path = tmp_path / "password"
    write_password(path, PASSWORD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    line = read_password(path)
    assert line.startswith("$argon2id$") and PASSWORD not in line
    assert PasswordCheck(line).matches(PASSWORD) and not PasswordCheck(line).matches(PASSWORD + " ")
    assert not PasswordCheck(line).matches("x" * 100_000)
    path.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        read_password(path)
    path.write_text("secret in plain text")
    path.chmod(0o600)
    with pytest.raises(InputError, match="not a password hash; create it with `rkface web-password"):
        read_password(path)
    with pytest.raises(InputError, match="cannot read the password file: No such file"):
        read_password(tmp_path / "absent")
    with pytest.raises(InputError, match="must have 12 to"):
        write_password(path, "short")
    with pytest.raises(InputError, match="must be text in UTF-8"):
        write_password(path, "a password with a byte \udcff")
    assert path.read_text() == "secret in plain text"  # the file is unchanged


def test_the_command_reads_a_password_from_a_pipe(tmp_path):
    code = (
        "import argparse, sys; from rkface.runtime.web.password import web_password as declare;"
        "parser = argparse.ArgumentParser(); declare(parser); options = parser.parse_args(sys.argv[1:]);"
        "print('argon2' in sys.modules, 'fastapi' in sys.modules); sys.exit(options.run(options))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--file", tmp_path / "password"],
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"False False\n{tmp_path / 'password'}\n"  # --help does not import them
    line = read_password(tmp_path / "password")
    assert "$m=19456,t=2,p=1$" in line and PasswordCheck(line).matches(PASSWORD)
