"""Where secrets may come from, and that errors do not contain them."""

import pytest

from rkface.runtime.core.errors import InputError
from rkface.runtime.events import read_secret


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("RKFACE_TEST_SECRET", "hush")
    assert read_secret("env:RKFACE_TEST_SECRET") == "hush"
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text("hush hush \n")
    assert read_secret(f"file:{path}") == "hush hush "


@pytest.mark.parametrize("content", [b"hush", b"\xff\xfe", b""])
def test_a_secret_file_that_everybody_may_read_or_that_is_empty_is_wrong_input(tmp_path, content):
    path = tmp_path / "password"
    path.write_bytes(content)
    path.chmod(0o644 if content == b"hush" else 0o600)
    with pytest.raises(InputError, match="password") as caught:
        read_secret(f"file:{path}")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("where", ["hush", "env:", "file:", "env:RKFACE_NOT_SET", "file:/not/there", "vault:hush"])
def test_other_kinds_of_secrets_are_wrong_input(where):
    with pytest.raises(InputError) as caught:
        read_secret(where)
    assert "hush" not in str(caught.value)
