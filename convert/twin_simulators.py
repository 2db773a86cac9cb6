"""Keeps the simulator of a bundle's models alive, so that an emulated board (boards/twin) computes any picture.

rknn-toolkit2 simulates a model only in the process that built it. So each model is built again, and the process that
built it stays and answers at a Unix socket (toolkit/simulator_socket.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.boards.twin.answers import file_name
from rkface.calibration.dataset import CalibrationSet
from rkface.runtime.core.bundle import Bundle
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.inference.golden import read_golden

from .evaluate.rebuild import find_calibration_set, open_fp32, rebuild
from .toolkit.quantize import QuantizedModel, end_toolkit, require_toolkit

LONGEST_PATH = 107  # bytes of the path of a Unix socket on Linux (unix(7))
NAME_BYTES = len("/0123456789abcdef")


@contextmanager
def run_simulators(
    bundles: Sequence[Bundle], folder: Path | None = None, calibration: Path | None = None
) -> Iterator[Path]:
    """Build the models of ``bundles`` again and keep their simulators; yields the folder with their sockets.

    Call it from the main thread: they end with it, and with the block. ``folder`` is where the sockets are, a new
    folder that only this user can read by default; ``calibration`` is the calibration set, by default the one that the
    conversion left next to the bundle. Raises InputError if it is missing, or the toolkit, and WorkError if the models
    come out otherwise than in the bundle.
    """
    require_toolkit()
    sets = [_calibration(bundle, calibration) for bundle in bundles]
    with tempfile.TemporaryDirectory(prefix="rkface-twin-") as own:
        sockets = (folder or Path(own)).resolve()
        if len(str(sockets).encode()) + NAME_BYTES > LONGEST_PATH:
            raise InputError(f"{sockets}: the path is too long for Unix sockets: name a shorter folder, as in /tmp")
        sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths: list[Path] = []
        try:
            for bundle, found in zip(bundles, sets, strict=True):
                for name in bundle.manifest.models:
                    paths.append(sockets / file_name(bundle.path(name).read_bytes()))
                    _serve(bundle, name, found, paths[-1])
            yield sockets
        finally:
            end_toolkit()
            for path in paths:
                path.unlink(missing_ok=True)


def _calibration(bundle: Bundle, given: Path | None) -> CalibrationSet | None:
    """The calibration set for the quantized models of ``bundle``; None if all are FP16. Raises InputError if they
    cannot be built again."""
    if "liveness" in bundle.manifest.roles:
        raise InputError(
            f"{bundle.folder}: a liveness model cannot be built again, because the conversion does not keep its "
            "calibration images: convert without it for the twin"
        )
    if all(model.precision == "fp16" for model in bundle.manifest.models.values()):
        return None
    found = find_calibration_set(bundle, given)
    if found is None:
        raise InputError(
            f"{bundle.folder}: its calibration set was not found in a .work folder next to it, and rknn-toolkit2 "
            "simulates only models that it has just built: give the set with --calibration, or convert again"
        )
    return found


def _serve(bundle: Bundle, name: str, calibration: CalibrationSet | None, socket: Path) -> None:
    golden = read_golden(bundle, name)
    model = open_fp32(bundle, name)
    model.backend.close()  # the toolkit needs the memory
    home = bundle.folder.resolve()
    work = home.with_name(f"{home.name}.work") / "simulator"
    built = rebuild(bundle, name, model, calibration, golden.inputs, work=work, serve=socket)
    _check_same(bundle, name, built, golden.simulator)


def _check_same(bundle: Bundle, name: str, built: QuantizedModel, expected: Sequence[NDArray[np.float32]]) -> None:
    """Raise WorkError unless ``built`` gives the golden outputs of ``bundle`` bit for bit."""
    for spec, ours, theirs in zip(bundle.model(name).outputs, built.outputs, expected, strict=True):
        if not np.array_equal(ours.reshape(theirs.shape), theirs):
            raise WorkError(
                f"{bundle.folder}: the {name} that was built again is not the one in the bundle: {spec.name} "
                f"for the golden inputs differs by up to {np.abs(ours.reshape(theirs.shape) - theirs).max():.3g} "
                f"(rknn-toolkit2 {built.toolkit} now, {bundle.manifest.toolkit} in the bundle): convert again"
            )
