"""The device nodes of Rockchip's hardware, and what gives a user access to them.

`rkface doctor` sends this file to boards: standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# librknnrt opens /dev/rknpu, or else the first of /dev/dri/card0 to card15 that is the NPU's (seen with strace on
# version 1.4.0). The render node is only for programs that look for one, such as rknn-toolkit-lite2 in a container.
RULES_FILE = "/etc/udev/rules.d/60-rkface.rules"
UDEV_RULES = (
    'KERNEL=="rknpu", GROUP="video", MODE="0660"',
    'KERNEL=="rga", GROUP="video", MODE="0660"',
    'KERNEL=="mpp_service", GROUP="video", MODE="0660"',
    'SUBSYSTEM=="dma_heap", GROUP="video", MODE="0660"',
    'SUBSYSTEM=="drm", KERNEL=="card*", GROUP="video", MODE="0660"',
    'SUBSYSTEM=="drm", KERNEL=="renderD*", GROUP="render", MODE="0660"',
)
RULE_GROUPS = ("render", "video")  # that the rules give the devices to; Debian's udev creates both
RELOAD = "udevadm control --reload && udevadm trigger"


@dataclass(frozen=True)
class DeviceNode:
    """A device node: its path, permission bits, the names of its owner and group, and whether the kernel lets this
    process read and write it (False if the node is only described)."""

    path: str
    mode: int
    owner: str
    group: str
    granted: bool = False

    def usable(self, user: str, groups: tuple[str, ...]) -> bool:
        """Whether ``user``, who runs this process and is a member of ``groups``, may read and write the node.

        As in the kernel, only the first of owner, group and others that applies to the user counts. An access control
        list may allow more: systemd-logind gives nodes of DRM to the user at the screen (the tag uaccess of udev).
        """
        if user == "root" or self.granted:
            return True
        shift = 6 if user == self.owner else 3 if self.group in groups else 0
        return (self.mode >> shift) & 6 == 6

    def __str__(self) -> str:
        return f"{self.path} ({self.mode:04o} {self.owner}:{self.group})"


def read_node(path: Path) -> DeviceNode | None:
    """The device node at ``path``; None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    owner, group = _user(status.st_uid), _group(status.st_gid)
    return DeviceNode(str(path), stat.S_IMODE(status.st_mode), owner, group, os.access(path, os.R_OK | os.W_OK))


def npu_node_names(root: Path) -> list[str]:
    """The names below ``root`` that the NPU's device nodes have if they exist, in the order in which librknnrt tries
    them: /dev/rknpu, the NPU's card nodes, its render nodes. Their numbers vary, and the GPU has such nodes, too."""
    found = ["/dev/rknpu"]
    for kind in ("card", "renderD"):
        for event in sorted(root.glob(f"sys/class/drm/{kind}*/device/uevent")):
            try:
                lines = event.read_text(errors="replace").splitlines()
            except OSError:
                continue
            if "DRIVER=RKNPU" in lines:
                found.append(f"/dev/dri/{event.parts[-3]}")
    return found


def joinable_groups(closed: Iterable[DeviceNode]) -> list[str]:
    """The groups whose members may read and write one of the ``closed`` nodes, sorted; never root's group."""
    return sorted({node.group for node in closed if node.mode >> 3 & 6 == 6 and node.group not in ("root", "0")})


def needs_rules(closed: Iterable[DeviceNode]) -> bool:
    """Whether one of the ``closed`` nodes is accessible to no group that a user can join."""
    return any(not joinable_groups([node]) for node in closed)


def access_fix(closed: Sequence[DeviceNode], user: str) -> str:
    """What gives ``user`` access to the ``closed`` nodes: their groups, or udev rules that give them to groups."""
    if not needs_rules(closed):
        groups = ",".join(joinable_groups(closed))
        return f"sudo usermod -aG {groups} {user}, then log in again (or run `rkface doctor --fix`)"
    rules = "\n".join(UDEV_RULES)
    return (
        f"`rkface doctor --fix` offers this. By hand: write these rules to {RULES_FILE}:\n{rules}\n"
        f"then: sudo sh -c '{RELOAD}'; sudo usermod -aG {','.join(RULE_GROUPS)} {user}; and log in again"
    )


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:  # a group without a name, as in containers
        return str(number)
