"""Command lines of ssh, and explanations of its errors."""

import pytest

from rkface.boards.ssh import explain_ssh_error, ssh_command
from rkface.runtime.core.errors import InputError


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("Host key verification failed.", "compare the fingerprint"),
        ("radxa@rock: Permission denied (publickey,password).", "ssh-copy-id radxa@rock"),
        ("ssh: Could not resolve hostname rock: Name or service not known", "does `ssh radxa@rock` work?"),
    ],
)
def test_errors_of_ssh_are_explained(said, advice):
    assert advice in explain_ssh_error("radxa@rock", said)


def test_commands_in_an_explanation_are_quoted_for_the_shell():
    for said in ("Host key verification failed.", "Permission denied", "ssh: connection refused"):
        assert "'a b@rock'`" in explain_ssh_error("a b@rock", said)


def test_a_host_cannot_be_an_option_of_ssh():
    with pytest.raises(InputError, match="is not a host"):
        ssh_command("-oProxyCommand=touch /tmp/x")
