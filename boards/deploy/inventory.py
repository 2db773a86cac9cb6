"""Which boards a roll-out reaches: named on the command line, or in ``boards.toml``, or in an Ansible inventory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rkface.boards.ssh import ssh_command
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.text import find_hidden, nearest
from rkface.runtime.core.toml import load_file

from .ansible_inventory import list_ansible_hosts
from .target_board import TargetBoard

SUFFIX = ".toml"  # any other inventory is Ansible's
SEVERAL_NAMES = 8  # that a message lists


@dataclass(frozen=True)
class BoardEntry:
    """A board."""

    host: Annotated[str, "as you would name it to ssh: user@board, or a Host of ~/.ssh/config"]
    groups: Annotated[tuple[str, ...], "names of your choice, for --group"] = ()


@dataclass(frozen=True)
class Inventory:
    """The boards of a fleet, in the order in which a roll-out reaches them."""

    board: Annotated[dict[str, BoardEntry], "a board; NAME is its name in reports"] = field(default_factory=dict)


def read_targets(inventory: Path | None, names: Sequence[str], groups: Sequence[str]) -> tuple[TargetBoard, ...]:
    """The boards to deploy to, in their order.

    Without an ``inventory``, ``names`` are hosts. With one, they are names of boards in it; with ``groups``, those of
    any of these groups too; with neither, all its boards. Raises InputError for an unknown name or group, for no board
    at all, and for two boards with one host.
    """
    if inventory is None:
        if groups:
            raise InputError("--group needs the --inventory that has the groups")
        if not names:
            raise InputError("name the boards, as you would to ssh: rkface deploy USER@BOARD, or give an --inventory")
        chosen = tuple(TargetBoard(name, name) for name in names)
    else:
        chosen = choose_targets(read_inventory(inventory), names, groups, inventory)
    _check_targets(chosen)
    return chosen


def read_inventory(path: Path) -> tuple[TargetBoard, ...]:
    """All boards of the inventory at ``path``. Raises InputError if it cannot be read."""
    if path.suffix == SUFFIX:
        entries = load_file(Inventory, path).board
        return tuple(TargetBoard(name, entry.host, entry.groups) for name, entry in entries.items())
    return list_ansible_hosts(path)


def choose_targets(
    targets: Sequence[TargetBoard], names: Sequence[str], groups: Sequence[str], inventory: Path
) -> tuple[TargetBoard, ...]:
    """Those of ``targets`` with one of these names or in one of these groups, in their order; all without either."""
    if not targets:
        raise InputError(f"{inventory} has no board: add one, [board.NAME] with its host in {SUFFIX[1:].upper()}")
    _check_known("board", names, [target.name for target in targets], inventory)
    _check_known("group", groups, sorted({group for target in targets for group in target.groups}), inventory)
    if not names and not groups:
        return tuple(targets)
    return tuple(target for target in targets if target.name in names or set(target.groups) & set(groups))


def _check_known(what: str, given: Sequence[str], known: Collection[str], inventory: Path) -> None:
    for name in given:
        if name not in known:
            near = nearest(name, known)
            listed = ", ".join(list(known)[:SEVERAL_NAMES]) + (", …" if len(known) > SEVERAL_NAMES else "")
            hint = f"did you mean {near}?" if near else f"it has {listed}" if known else f"it has no {what}"
            raise InputError(f"{inventory} has no {what} {name!r}: {hint}")


def _check_targets(targets: Sequence[TargetBoard]) -> None:
    """Raise InputError for a board that cannot be reached by ssh, and for two boards that are one."""
    names: dict[tuple[str, tuple[str, ...]], str] = {}
    for target in targets:
        if not target.name or find_hidden(target.name) is not None or " " in target.name:
            raise InputError(f"{target.name!r} is not a name for a board: use letters, digits, '.', '-' and '_'")
        if target.problem:
            raise InputError(f"{target.name}: {target.problem}")
        ssh_command(target.host)  # refuses what ssh would read as an option
        place = (target.host, target.options)
        if place in names:
            aliases = "" if names[place] == target.name else f", as {names[place]} and as {target.name}"
            raise InputError(f"{target.host} is named twice{aliases}")
        names[place] = target.name
