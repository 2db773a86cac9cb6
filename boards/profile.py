"""What is known of each board: boards/profiles/NAME.toml, and of its chip: boards/chips.toml.

None of it was tested by rkface on a board. Every fact has its source in the file; ``compatible`` decides which board
this is, and a vendor's kernel often names a board otherwise than mainline Linux does, so both names stand there.
"""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.soc import CORES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Chip:
    """tops: INT8, all cores. detector, size ("WxH"), recognizer: what we would convert first, and why."""

    tops: float
    librknnrt: str
    detector: str
    size: str
    recognizer: str
    why: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Camera:
    """Where to start with a USB camera: pixels, frames a second, V4L2's four-character code."""

    device: str
    format: str
    width: int
    height: int
    rate: int


@dataclass(frozen=True)
class Image:
    """An OS image whose kernel has the rknpu driver, and who says so."""

    name: str
    source: str


@dataclass(frozen=True)
class Profile:
    """A board. ``soc`` as rknn-toolkit2 names it, ``compatible`` the names its device trees give the board."""

    name: str
    title: str
    soc: str
    compatible: tuple[str, ...]
    memory: str
    sources: tuple[str, ...]
    camera: Camera
    chip: Chip
    images: tuple[Image, ...] = ()

    @property
    def cores(self) -> int:
        """NPU cores that rkface can use; 0: convert only."""
        return CORES.get(self.soc, 0)


@cache
def profiles() -> tuple[Profile, ...]:
    """Every board, by name. InputError for a file that does not keep to the schema."""
    chips = {soc: _build(Chip, raw, f"chips.toml [{soc}]") for soc, raw in _read(HERE / "chips.toml").items()}
    return tuple(read_profile(path, chips) for path in sorted((HERE / "profiles").glob("*.toml")))


def read_profile(path: Path, chips: dict[str, Chip]) -> Profile:
    """One board's file. InputError, naming file and key, for an unknown or missing key, a wrong type, or a chip that
    chips.toml does not have."""
    raw, where = _read(path), path.name
    soc = raw.get("soc")
    if soc not in chips:
        raise InputError(f"{where}: soc = {soc!r} is not in chips.toml ({', '.join(chips)})")
    if given := {"name", "chip"} & set(raw):
        raise InputError(f"{where}: unknown key {min(given)!r}: name and chip follow from the file's name and soc")
    raw["name"], raw["chip"] = path.stem, chips[soc]
    raw["camera"] = _build(Camera, raw.get("camera", {}), f"{where} [camera]")
    raw["images"] = [_build(Image, image, f"{where} [[images]]") for image in raw.get("images", [])]
    return _build(Profile, raw, where)


def find_profile(name: str) -> Profile:
    """The board called ``name``. InputError, with the nearest name, where there is none such."""
    named = {profile.name: profile for profile in profiles()}
    if name not in named:
        near = difflib.get_close_matches(name.lower(), named, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"unknown board {name!r}: {hint}rkface knows {', '.join(named)}")
    return named[name]


def match_profile(compatible: str) -> Profile | None:
    """The board whose device tree says ``compatible``: the names of /proc/device-tree/compatible, with NUL or spaces
    between them. None for a board that no profile describes."""
    names = re.split(r"[\0\s]+", compatible)
    for profile in profiles():
        # Vendors share board names among chips, so the chip has to fit too; rk3588 is also written rk3588s.
        if set(profile.compatible) & set(names) and any(n.startswith(f"rockchip,{profile.soc}") for n in names):
            return profile
    return None


def table() -> str:
    """The boards as a Markdown table, for docs/boards.md."""
    head = "| `BOARD=` | board | chip | NPU cores | TOPS | memory | convert first | images with the NPU driver |"
    rows = [head, "|---|---|---|---|---|---|---|---|"]
    for profile in profiles():
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


Kind = TypeVar("Kind")


def _build(kind: type[Kind], raw: Any, where: str) -> Kind:
    """``kind`` from a table of TOML. InputError, naming the key, for one too many, one too few, or a wrong type."""
    if not isinstance(raw, dict):
        raise InputError(f"{where} is not a table")
    types = get_type_hints(kind)
    unknown = sorted(set(raw) - set(types))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join(types)}")
    missing = [key for key in types if key not in raw and not hasattr(kind, key)]  # a default is a class attribute
    if missing:
        raise InputError(f"{where}: {missing[0]} is missing")
    for key, value in raw.items():
        if not _fits(types[key], value):
            raise InputError(f"{where}: {key} = {value!r} is of the wrong type")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()})


def _fits(kind: Any, value: Any) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(isinstance(one, get_args(kind)[0]) for one in value)
    return isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)


def _read(path: Path) -> dict[str, Any]:
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path.name} is no TOML: {error}") from error
    return raw


if __name__ == "__main__":
    print(table())
