"""Boards from an Ansible inventory of any form: ``ansible-inventory`` reads it, with its plugins and group_vars.

Of the variables, those of the ssh connection count:
https://docs.ansible.com/ansible/latest/collections/ansible/builtin/ssh_connection.html
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.text import in_a_line, show_value

from .target_board import TargetBoard

PROGRAM = "ansible-inventory"
SECONDS = 120.0  # an inventory plugin may ask a cloud
TOP = "all"  # the group that contains all others
SSH_CONNECTIONS = ("ssh", "smart", "ansible.builtin.ssh")
NOT_AN_INVENTORY = "the output of ansible-inventory is not an inventory"


def list_ansible_hosts(path: Path) -> tuple[TargetBoard, ...]:
    """All hosts of the Ansible inventory ``path``: a file, a folder or a program, as ansible's option -i takes it.

    Raises InputError if Ansible is not installed or refuses the inventory, and WorkError if it does not end.
    """
    if not path.exists():
        raise InputError(f"{path}: no such inventory")
    command = [PROGRAM, "-i", str(path), "--list"]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=SECONDS
        )
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: an inventory of Ansible is read by {PROGRAM}, which is not installed here: pip install "
            "ansible-core, or write a boards.toml (docs/rollout.md)"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise WorkError(f"{PROGRAM} -i {path} has not ended within {SECONDS:g} s") from error
    said = [in_a_line(line) for line in done.stderr.splitlines() if line.strip()]
    if done.returncode:
        raise InputError(f"{path}: {PROGRAM} refuses it: {' '.join(said)[:1000] or 'no message'}")
    unread = next((line for line in said if "Unable to parse" in line), "")  # Ansible warns, and goes on without hosts
    try:
        targets = parse_ansible_hosts(json.loads(done.stdout))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {NOT_AN_INVENTORY}: {in_a_line(str(error)[:200])}") from error
    if unread and not targets:
        raise InputError(f"{path}: {unread}")
    return targets


def parse_ansible_hosts(listing: Any) -> tuple[TargetBoard, ...]:
    """The hosts in the output of ``ansible-inventory --list``, in the order of their groups.

    A host that deploy cannot connect to has a ``problem``. Raises ValueError for another value.
    """
    groups = _table(listing, "the inventory")
    variables = _table(_table(groups.get("_meta", {}), "_meta").get("hostvars", {}), "hostvars")
    found: dict[str, set[str]] = {}
    for host, path in _walk(groups, TOP, ()):
        found.setdefault(host, set()).update(path)
    return tuple(
        _to_target(host, tuple(sorted(names)), _table(variables.get(host, {}), host)) for host, names in found.items()
    )


def _walk(groups: Mapping[str, Any], name: str, above: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each host of the group ``name``, with the groups that lead to it."""
    if name in above:
        raise ValueError(f"the group {show_value(name)} contains itself")
    group, path = _table(groups.get(name, {}), name), (*above, name)
    for host in _texts(group.get("hosts", [])):
        yield host, path
    for child in _texts(group.get("children", [])):
        yield from _walk(groups, child, path)


def _to_target(name: str, groups: tuple[str, ...], variables: Mapping[str, Any]) -> TargetBoard:
    try:
        user, host, port, key, *more = (
            _variable(variables, *names)
            for names in (
                ("ansible_user", "ansible_ssh_user"),
                ("ansible_host", "ansible_ssh_host"),
                ("ansible_port", "ansible_ssh_port"),
                ("ansible_ssh_private_key_file", "ansible_private_key_file"),
                ("ansible_ssh_common_args",),
                ("ansible_ssh_extra_args",),
            )
        )
        connection = _variable(variables, "ansible_connection")
        if connection and connection not in SSH_CONNECTIONS:
            raise ValueError(f"ansible_connection is {show_value(connection)}, but deploy connects with ssh")
        if port and not port.isdecimal():
            raise ValueError(f"ansible_port is {show_value(port)}, which is not a number")
        options = [*(["-p", port] if port else []), *(["-i", str(Path(key).expanduser())] if key else [])]
        for words in more:
            options += shlex.split(words)
    except ValueError as error:
        return TargetBoard(name, name, groups, problem=str(error))
    address = host or name
    return TargetBoard(name, f"{user}@{address}" if user else address, groups, tuple(options))


def _variable(variables: Mapping[str, Any], *names: str) -> str:
    """The first of these variables that the host has, as text; "" without one. ValueError if Ansible has to work on
    it first."""
    name = next((name for name in names if name in variables), "")
    value = variables.get(name, "")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name} is {show_value(value)}, but must be text")
    if "{{" in str(value):
        raise ValueError(f"{name} is {show_value(value)}: deploy does not fill in templates; state the value")
    return str(value)


def _table(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{show_value(what)} is not a table")
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("hosts and children must be lists of names")
    return value
