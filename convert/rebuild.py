"""A bundle's recognizer, FP32 and as the NPU will compute it.

rknn-toolkit2 simulates a model only in the process that built it, never from a ``.rknn``. So the quantized recognizer
is built again from what the bundle records, and trusted only where it answers the golden inputs as the bundle's did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.dataset import CalibrationSet, is_set, read_set
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.bundle import Bundle
from rkface.runtime.core.errors import BundleError, InputError, WorkError
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.embed import unit

from .acquire import Sources
from .attempt import attempts
from .price import read_graph
from .quantize import require_toolkit
from .recipe import Recipe
from .simplify import Simplified, fix
from .targets import find_target
from .trial import Prepared

# The same toolkit on the same files answers bit for bit alike; another release of ONNX Runtime may move a weight by one
# rounding step. Another recipe or calibration set moves all of them.
SAME_COSINE = 0.9999

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Golden:
    """What the bundle's recognizer answered when it was made: ``inputs`` G×H×W×3 uint8 RGB, ``simulator`` G×D."""

    inputs: Images
    simulator: Floats


def read_golden(bundle: Bundle) -> Golden:
    path, output = bundle.folder / "golden.npz", bundle.manifest.recognizer.outputs[0].name
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Golden(arrays["recognizer/inputs"], arrays[f"recognizer/simulator/{output}"])
    except (OSError, KeyError, ValueError) as error:
        raise BundleError(f"{path}: holds no golden vectors of the recognizer ({error}): convert again") from error


def find_set(bundle: Bundle, given: Path | None) -> CalibrationSet | None:
    """The set that ``bundle`` was calibrated with: ``given``, or the one that `rkface convert` left in a .work folder
    beside the bundle; None where there is none. InputError where ``given`` is another."""
    recorded = bundle.manifest.provenance.get("calibration") or {}
    if given is not None:
        found = read_set(given)
        if found.digest != recorded.get("digest"):
            raise InputError(
                f"{given}: not the calibration set that {bundle.folder} was made with (its digest is "
                f"{found.digest[:12]}…, the bundle records {str(recorded.get('digest'))[:12]}…)"
            )
        return found
    for folder in sorted(bundle.folder.resolve().parent.glob("*.work/calibration")):
        try:
            if is_set(folder) and (found := read_set(folder)).digest == recorded.get("digest"):
                return found
        except InputError:  # of another bundle, and damaged
            continue
    return None


def open_recognizer(bundle: Bundle, provider: str = "cpu") -> Prepared:
    """The FP32 recognizer. BundleError where the bundle came without it."""
    model, path = bundle.manifest.recognizer, bundle.reference("recognizer")
    fixed = fix(path, "recognizer")
    nodes = len(fixed.proto.graph.node)
    simplified = Simplified(path, model.input, model.outputs, (nodes, nodes))
    return Prepared(fixed, simplified, read_graph(path), open_reference(path, model.input, (provider,)))


def embed_all(model: Prepared, images: Images, progress: Callable[[int, int], None]) -> Floats:
    """FP32's raw embeddings, N×D, of N crops (RGB)."""
    rows = []
    for index in range(len(images)):
        rows.append(model.backend.infer(images[index : index + 1])[0])
        progress(index + 1, len(images))
    return np.concatenate(rows)


def embed_rebuilt(
    bundle: Bundle, model: Prepared, calibration: CalibrationSet | None, asked: Images, work: Path
) -> Floats:
    """Raw embeddings, N×D, of the quantized recognizer, built again in ``work``, for N + G crops ``asked``, of which
    the first G are the bundle's golden inputs.

    WorkError where it answers those otherwise than the bundle's own did, or the toolkit fails.
    """
    require_toolkit()
    manifest, golden = bundle.manifest, read_golden(bundle)
    try:
        work.mkdir(parents=True, exist_ok=True, mode=0o700)  # it will hold answers to faces
    except OSError as error:
        raise WorkError(
            f"{work}: cannot be made ({error.strerror}): copy the bundle to where you may write, or use --fp32"
        ) from error
    path = model.simplified.path
    sources = Sources(manifest.name, {"recognizer": path}, {"recognizer": manifest.recognizer.source.license})
    target = find_target(manifest.target, quantized=manifest.recognizer.precision != "fp16")
    with TemporaryDirectory(dir=work, prefix="models-") as scratch:
        attempt = attempts({"recognizer": model}, sources, work, Path(scratch), analyze=False)
        dataset = calibration.recognizer if calibration else None
        done = attempt(target, "recognizer", _recipe(bundle), dataset, asked)
    raw = done.outputs[0]
    answers = raw[: len(golden.inputs)]
    cosines = np.sum(unit(answers) * unit(golden.simulator), axis=1)
    if not cosines.min() >= SAME_COSINE:
        raise WorkError(
            f"{bundle.folder}: built again, the recognizer is another one: it answers the golden inputs with a cosine "
            f"of {cosines.min():.4f} to what the bundle recorded (rknn-toolkit2 {version('rknn-toolkit2')} here, "
            f"{manifest.toolkit} then). Convert again, or evaluate FP32 alone with --fp32"
        )
    with stage("golden inputs") as shown:
        exactly = np.array_equal(answers, golden.simulator)
        shown.note = "answered as recorded" if exactly else f"answered as recorded, to a cosine of {cosines.min():.6f}"
    return raw[len(golden.inputs) :]


def _recipe(bundle: Bundle) -> Recipe:
    """How the recognizer was quantized, as the manifest records it."""
    try:
        said: dict[str, Any] = bundle.manifest.provenance["recipes"]["recognizer"]
        return Recipe(
            said["name"],
            said["algorithm"],
            said["tuned"],
            "",
            said.get("lead", 0),
            said.get("trail", 0),
            quantized=bundle.manifest.recognizer.precision != "fp16",
        )
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"{bundle.folder}: its manifest does not record how the recognizer was quantized: convert again"
        ) from error
