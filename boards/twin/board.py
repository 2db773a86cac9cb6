"""A twin put together: what a program sees when it believes that it runs on a Rockchip board."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rkface.boards.profile import Profile
from rkface.boards.wheel import build_runtime_wheel
from rkface.runtime.core.bundle import Bundle
from rkface.runtime.core.errors import InputError

from .answers import write_answers
from .ingredients import Ingredients

ANSWERS, FAULTS = "RKFACE_TWIN_ANSWERS", "RKFACE_TWIN_FAULTS"


@dataclass(frozen=True)
class Twin:
    """``prefix`` holds the board's own files; qemu looks there first for every path that a program opens."""

    ingredients: Ingredients
    prefix: Path
    packages: Path

    def command(self, arguments: Sequence[str]) -> list[str]:
        return [str(self.ingredients.qemu), str(self.ingredients.python), *arguments]

    def environment(self, faults: str = "") -> dict[str, str]:
        # A path each for the wheels and for rkface; no bytecode of another architecture's Python into our folders.
        return {
            **os.environ,
            "QEMU_LD_PREFIX": str(self.prefix),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1",
            "PYTHONPATH": f"{self.packages}:{self.ingredients.site}",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            ANSWERS: str(self.prefix / "answers"),
            FAULTS: faults,
        }

    def python(self, *arguments: str, faults: str = "", seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the board's Python with ``arguments``; ``faults`` as librknnrt.c explains them."""
        return subprocess.run(
            self.command(arguments),
            check=False,
            capture_output=True,
            text=True,
            env=self.environment(faults),
            stdin=subprocess.DEVNULL,
            timeout=seconds,
        )


def build(ingredients: Ingredients, folder: Path, profile: Profile, bundles: Sequence[Bundle], packages: Path) -> Twin:
    """Put a twin of the board that ``profile`` describes into ``folder``, replacing what was there.

    It has answers to the golden inputs of ``bundles``, which may be made for any chip. ``packages`` is a folder from
    which rkface can be imported. InputError for a board whose chip rknn-toolkit-lite2 does not run on.
    """
    if not profile.cores:
        raise InputError(f"{profile.title} only takes part in converting: rknn-toolkit-lite2 does not run on it")
    prefix = folder.resolve()
    shutil.rmtree(prefix, ignore_errors=True)
    for name in ("usr/lib", "proc/device-tree", "dev/dri"):
        (prefix / name).mkdir(parents=True)
    (prefix / "lib").symlink_to(ingredients.root / "lib")
    (prefix / "usr/lib/aarch64-linux-gnu").symlink_to(ingredients.root / "usr/lib/aarch64-linux-gnu")
    shutil.copyfile(ingredients.library, prefix / "usr/lib/librknnrt.so")
    names = [profile.compatible[0], f"rockchip,{profile.soc}"]
    (prefix / "proc/device-tree/compatible").write_text("".join(f"{name}\0" for name in names))
    (prefix / "proc/device-tree/model").write_text(f"{profile.title} (twin)\0")
    (prefix / "dev/dri/renderD129").touch()
    for bundle in bundles:
        write_answers(bundle, prefix / "answers")
    return Twin(ingredients, prefix, packages)


def install_runtime(folder: Path) -> Path:
    """``folder`` with nothing but rkface's runtime wheel, as a board gets it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wheel = build_runtime_wheel(folder)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    wheel.unlink()
    return folder
