"""Build a twin: the files that a program sees when it runs as if on a Rockchip board."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rkface.boards.deploy.runtime_wheel import build_runtime_wheel
from rkface.boards.profile import BoardProfile
from rkface.runtime.core.bundle import Bundle
from rkface.runtime.core.debug_build import default_folder, read_debug_build
from rkface.runtime.core.errors import BundleError, InputError
from rkface.runtime.core.npu_binding import CHOICE

from .answers import write_answers
from .ingredients import Ingredients

ANSWERS, SIMULATOR, FAULTS = "RKFACE_TWIN_ANSWERS", "RKFACE_TWIN_SIMULATOR", "RKFACE_TWIN_FAULTS"

# What doctor reads: a kernel with Rockchip's driver.
PRETENDED = {
    "proc/sys/kernel/osrelease": "6.1.115-vendor-twin\n",
    "sys/module/rknpu/version": "0.9.8\n",
    "sys/class/drm/card1/device/uevent": "DRIVER=RKNPU\n",
    "sys/class/drm/renderD129/device/uevent": "DRIVER=RKNPU\n",
}

# The board's programs are scripts in a virtual environment, because this kernel cannot start aarch64 programs. A
# program that starts its own Python again, such as the decoder of photos, starts this script.
BIN = "venv/bin"
PROGRAMS = {
    "python": """\
#!/bin/sh
export QEMU_LD_PREFIX='{prefix}'
exec '{qemu}' -0 "$0" '{python}' "$@"
""",
    "rkface": """\
#!/bin/sh
exec '{prefix}/venv/bin/python' -m rkface.runtime.cli.main "$@"
""",
}


@dataclass(frozen=True)
class Twin:
    """An emulated board.

    prefix    holds the board's own files; qemu searches it first for every path that a program opens
    packages  a folder from which rkface can be imported
    """

    ingredients: Ingredients
    prefix: Path
    packages: Path

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line that runs the board's Python with ``arguments``."""
        return [str(self.prefix / BIN / "python"), *arguments]

    def environment(self, faults: str = "", binding: str = "", simulator: Path | None = None) -> dict[str, str]:
        """The environment for that command, with the board's ``python`` and ``rkface`` on the PATH.

        ``faults`` as librknnrt.c explains them, ``binding`` as in bindings.py; ``simulator`` is the folder with the
        sockets of simulators, None answers golden inputs only.
        """
        # Wheels and rkface have a path each. Bytecode is written even if the caller's environment forbids it: compiling
        # the modules under emulation takes two thirds of a start. It is in the twin's own folders.
        return {
            **os.environ,
            "PATH": f"{self.prefix / BIN}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONNOUSERSITE": "1",
            "PYTHONPATH": f"{self.packages}:{self.ingredients.site}",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            ANSWERS: str(self.prefix / "answers"),
            SIMULATOR: str(simulator or ""),
            FAULTS: faults,
            CHOICE: binding,
        }

    def python(
        self,
        *arguments: str,
        faults: str = "",
        binding: str = "",
        simulator: Path | None = None,
        seconds: float = 900,
    ) -> subprocess.CompletedProcess[str]:
        """Run the board's Python with ``arguments``, in the ``environment`` for ``faults``, ``binding`` and
        ``simulator``."""
        return subprocess.run(
            self.command(arguments),
            check=False,
            capture_output=True,
            text=True,
            env=self.environment(faults, binding, simulator),
            stdin=subprocess.DEVNULL,
            timeout=seconds,
        )


def build_twin(
    ingredients: Ingredients, folder: Path, profile: BoardProfile, bundles: Sequence[Bundle], packages: Path
) -> Twin:
    """Build a twin of the board that ``profile`` describes in ``folder``; an older one there is replaced.

    It answers the golden inputs of ``bundles``, which may be made for any chip, and of the debug builds beside them.
    ``packages`` is a folder from which rkface can be imported. Raises InputError if rknn-toolkit-lite2 does not run on
    the board's chip.
    """
    if not profile.cores:
        raise InputError(f"{profile.title} can only be converted for: rknn-toolkit-lite2 does not run on it")
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
    for node in ("card1", "renderD129"):
        (prefix / "dev/dri" / node).touch()
        (prefix / "dev/dri" / node).chmod(0o666)
    for name, content in PRETENDED.items():
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_text(content)
    (prefix / BIN).mkdir(parents=True)
    for name, script in PROGRAMS.items():
        path = prefix / BIN / name
        path.write_text(script.format(prefix=prefix, qemu=ingredients.qemu, python=ingredients.python))
        path.chmod(0o755)
    (prefix / "venv/pyvenv.cfg").write_text(f"home = {ingredients.python.parent}\n")
    for bundle in bundles:
        write_answers(bundle, prefix / "answers")
        with suppress(BundleError):  # it has none, or an old one
            debug = read_debug_build(default_folder(bundle.folder), bundle)
            write_answers(debug.bundle, prefix / "answers")
    return Twin(ingredients, prefix, packages)


def install_runtime(folder: Path) -> Path:
    """Unpack rkface's runtime wheel, which boards get too, into an empty ``folder``; returns it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wheel = build_runtime_wheel(folder)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    wheel.unlink()
    # Compiled under emulation, the modules take several times as long. A board's Python of another version does that.
    compileall.compile_dir(folder, quiet=2)
    return folder
