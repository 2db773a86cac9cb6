"""Board profiles (boards/profiles/NAME.toml) and facts of their chips (boards/chips.toml).

rkface was tested on none of these boards. Every fact has its source in the file. ``compatible`` decides which board a
machine is; vendor kernels often use other names than mainline Linux, so a profile lists both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.soc import CORES
from rkface.runtime.core.text import nearest
from rkface.runtime.core.toml import list_problems, load_table, read_toml

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Chip:
    """A chip, with the models that we recommend for it."""

    tops: Annotated[float, "INT8 operations per second of all NPU cores together, in 10¹²"]
    librknnrt: Annotated[str, "path of librknnrt; empty if there is no Python runtime for the chip"]
    detector: Annotated[str, "recommended detector"]
    size: Annotated[str, 'input size of the detector, "WIDTHxHEIGHT"']
    recognizer: Annotated[str, "recommended recognizer"]
    why: Annotated[str, "reason for this recommendation"]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class CameraDefaults:
    """Settings to start with for a USB camera."""

    device: str
    format: Annotated[str, "V4L2's four-character code"]
    width: Annotated[int, "in pixels"]
    height: Annotated[int, "in pixels"]
    rate: Annotated[int, "frames per second"]


@dataclass(frozen=True)
class OsImage:
    """An OS image whose kernel has the rknpu driver, and the source for that."""

    name: str
    source: str


@dataclass(frozen=True)
class BoardProfile:
    """A board. ``name`` is that of its file, ``chip`` comes from chips.toml."""

    name: str
    title: str
    soc: Annotated[str, "the chip, as rknn-toolkit2 names it"]
    compatible: Annotated[tuple[str, ...], "names of the board in its device trees"]
    memory: str
    sources: tuple[str, ...]
    camera: CameraDefaults
    chip: Chip
    images: tuple[OsImage, ...] = ()

    @property
    def cores(self) -> int:
        """The number of NPU cores that rkface can use; 0 if it can only convert for this board."""
        return CORES.get(self.soc, 0)


@cache
def read_profiles() -> tuple[BoardProfile, ...]:
    """All boards, by name. Raises InputError for a file with a mistake."""
    chips = read_chips(HERE / "chips.toml")
    return tuple(read_profile(path, chips) for path in sorted((HERE / "profiles").glob("*.toml")))


def read_chips(path: Path) -> dict[str, Chip]:
    """The chips in ``path``, by the name that rknn-toolkit2 uses. Raises InputError for a mistake."""
    problems: list[str] = []
    chips = {soc: load_table(Chip, table, problems, where=f"{soc}.") for soc, table in read_toml(path).items()}
    if problems:
        raise InputError(list_problems(path, problems))
    return {soc: chip for soc, chip in chips.items() if chip}


def read_profile(path: Path, chips: Mapping[str, Chip]) -> BoardProfile:
    """The board in one file.

    Raises InputError, naming file and keys, for unknown or missing keys, wrong types, and a chip that is not among
    ``chips``.
    """
    table, problems = read_toml(path), list[str]()
    soc = table.get("soc")
    given: dict[str, Any] = {"name": path.stem, "chip": chips.get(str(soc))}
    if soc is not None and soc not in chips:
        problems.append(f"soc is {soc!r}, but must be a chip of chips.toml: {', '.join(chips)}")
    profile = load_table(BoardProfile, table, problems, given=given)
    if profile is None or problems:
        raise InputError(list_problems(path, problems))
    return profile


def find_profile(name: str) -> BoardProfile:
    """The board called ``name``. Raises InputError, with the nearest name, if there is no such board."""
    profiles = {profile.name: profile for profile in read_profiles()}
    if name not in profiles:
        near = nearest(name, profiles)
        hint = f"did you mean {near}? " if near else ""
        raise InputError(f"unknown board {name!r}: {hint}rkface knows {', '.join(profiles)}")
    return profiles[name]


def match_profile(compatible: str) -> BoardProfile | None:
    """The board whose device tree says ``compatible``; None if no profile describes it.

    ``compatible``: the names in /proc/device-tree/compatible, separated by NUL or spaces.
    """
    names = re.split(r"[\0\s]+", compatible)
    for profile in read_profiles():
        # Vendors share board names among chips, so the chip must match too; rk3588 is also written rk3588s.
        if set(profile.compatible) & set(names) and any(n.startswith(f"rockchip,{profile.soc}") for n in names):
            return profile
    return None


def markdown_table() -> str:
    """The boards as a Markdown table, for docs/boards.md."""
    head = "| `BOARD=` | board | chip | NPU cores | TOPS | memory | recommended models | images with the NPU driver |"
    rows = [head, "|---|---|---|---|---|---|---|---|"]
    for profile in read_profiles():
        chip = profile.chip
        models = f"{chip.detector} {chip.size.replace('x', '×')}, {chip.recognizer}"
        images = "; ".join(image.name for image in profile.images) or "none verified"
        cells = (
            f"`{profile.name}`",
            profile.title,
            profile.soc,
            str(profile.cores or "convert only"),
            f"{chip.tops:g}",
            profile.memory,
            models,
            images,
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(markdown_table())
