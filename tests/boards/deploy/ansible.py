"""Ansible, if it is here: on the PATH, or where `make lint-ansible` installs it."""

import shutil
from pathlib import Path

import pytest

INSTALLED = Path(__file__).resolve().parents[3] / "build/ansible-env/bin"


def ansible_program(name):
    """The path of one of Ansible's programs. Skips the test without it."""
    found = shutil.which(name, path=str(INSTALLED)) or shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here: make lint-ansible installs it")
    return found
