"""Opening a bundle: the backend of this machine, its models, and a pipeline or a scheduler that uses them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..backends import Backend
from ..core.bundle import Bundle, read_bundle
from ..core.errors import InputError
from ..core.installed import LIBRARIES
from ..core.soc import read_cores, read_soc
from .pipeline import Pipeline
from .scheduler import Scheduler, Work

if TYPE_CHECKING:
    from ..backends.shared_weights import SharedWeights

BACKENDS = ("npu", "reference")


def open_bundle(
    folder: str | Path, backend: str | None = None, providers: Sequence[str] = ("cpu",), threads: int | None = None
) -> Pipeline:
    """Verify the bundle in a folder and load its models.

    A backend that is not available is an error: rkface never uses another backend instead.

    Args:
        folder: The bundle's folder, as ``rkface convert`` writes it.
        backend: "npu", or "reference" for ONNX Runtime. None uses the NPU on a Rockchip board with rknn-toolkit-lite2,
            and ONNX Runtime elsewhere.
        providers: ONNX Runtime's execution providers, best first: "cpu", "openvino", "cuda".
        threads: Number of threads for one inference in ONNX Runtime. None is ONNX Runtime's default.

    Returns:
        A pipeline. Close it after use, or open it in a ``with`` statement.

    Raises:
        BundleError: The folder is not a bundle, a file is missing or was changed, or the bundle is for another chip.
        InputError: The backend or a provider is not available on this machine.
        ModelError: A model cannot be loaded or does not match the manifest.
        DeviceError: The NPU, its driver or its library failed.
    """
    chosen = choose_backend(backend)
    bundle = read_bundle(folder, read_soc() if chosen == "npu" else None)
    opening = partial(open_model, bundle, backend=chosen, providers=providers, threads=threads)
    with ExitStack() as opened:
        backends: dict[str, Backend] = {}
        for role in bundle.manifest.roles:
            backends[role] = opening(role)
            opened.callback(backends[role].close)
        opened.pop_all()
    return Pipeline(bundle.manifest, **backends, open_shape=opening)


def open_scheduler(
    folder: str | Path | Bundle,
    backend: str | None = None,
    *,
    cores: int | None = None,
    work: Work = Pipeline.recognize,
    providers: Sequence[str] = ("cpu",),
    threads: int | None = None,
    liveness: bool = False,
    later: Sequence[str] = (),
) -> Scheduler:
    """Verify the bundle in a folder and load its models on each core.

    Args:
        folder: The bundle's folder, as ``rkface convert`` writes it, or a bundle that was read and verified already.
        backend: As in ``open_bundle``.
        cores: Number of NPU cores. None uses all cores of the chip, and 1 with ONNX Runtime, which spreads one
            inference over the processor itself. Fewer cores save little memory: they share the weights of the models.
        work: What to do with an image: ``Pipeline.recognize``, ``Pipeline.detect``, or a function of your own that
            takes a pipeline and an image and returns Faces. It runs in several threads, each with its own pipeline.
        providers: As in ``open_bundle``.
        threads: As in ``open_bundle``.
        liveness: Also open the bundle's liveness model.
        later: Models that ``Scheduler.open_later`` opens: ["recognizer"] lets cameras begin before. Inferences with
            them wait for that.

    Returns:
        A scheduler. Close it after use, or open it in a ``with`` statement.

    Raises:
        BundleError: As in ``open_bundle``; also if ``liveness`` is True and the bundle has no liveness model.
        InputError: The backend, a provider or a core is not available on this machine.
        ModelError: A model cannot be loaded or does not match the manifest.
        DeviceError: The NPU, its driver or its library failed.
    """
    chosen = choose_backend(backend)
    soc = read_soc() if chosen == "npu" else None
    bundle = folder if isinstance(folder, Bundle) else read_bundle(folder)
    bundle.check_chip(soc)
    if liveness:
        bundle.model("liveness")
    available = read_cores() if soc else 1
    weights = _share_weights(bundle) if chosen == "npu" else {}
    return Scheduler(
        bundle.manifest,
        lambda name, core: open_model(
            bundle,
            name,
            chosen,
            core=core if available > 1 else None,
            providers=providers,
            threads=threads,
            weights=weights.get(name),
        ),
        available if cores is None else cores,
        work,
        later=later,
        liveness=liveness,
    )


def _share_weights(bundle: Bundle) -> dict[str, SharedWeights]:
    from ..backends.shared_weights import SharedWeights

    return {name: SharedWeights() for name in bundle.manifest.models}


def choose_backend(name: str | None = None) -> str:
    """Return ``name``, or for None the backend of this machine: "npu" on a Rockchip chip with librknnrt or
    rknn-toolkit-lite2 installed, else "reference". Raises InputError if there is no backend ``name``."""
    if name not in (None, *BACKENDS):
        raise InputError(f"there is no backend {name!r}: choose one of {', '.join(BACKENDS)}")
    if name:
        return name
    usable = read_soc() and (find_spec("rknnlite") or any(Path(library).exists() for library in LIBRARIES))
    return "npu" if usable else "reference"


def import_backend(name: str) -> None:
    """Import the library of the backend ``name``, which takes some time. If it is missing, opening a model says so."""
    with suppress(ImportError):
        if name == "npu":
            from ..backends import npu  # noqa: F401
        else:
            import onnxruntime  # noqa: F401

            from ..backends import reference  # noqa: F401


def open_model(
    bundle: Bundle,
    name: str,
    backend: str,
    *,
    core: int | None = None,
    providers: Sequence[str] = ("cpu",),
    threads: int | None = None,
    weights: SharedWeights | None = None,
) -> Backend:
    """Load the model ``name`` of ``bundle``. ``core`` and ``weights`` are for the NPU, ``providers`` and ``threads``
    for ONNX Runtime. Only the backend that is used is imported."""
    model = bundle.model(name)
    if backend == "npu":
        from ..backends.npu import open_npu

        return open_npu(bundle.path(name), model, core=core, weights=weights)
    from ..backends.reference import open_reference

    digest = bundle.reference_digest(name)
    return open_reference(bundle.reference(name), model.input, providers, threads, digest=digest)
