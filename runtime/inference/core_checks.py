"""Run a bundle's golden vectors on each NPU core apart, then measure each core and all of them together."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from ..backends import Backend
from ..backends.shared_weights import SharedWeights
from ..core.bundle import Bundle
from ..core.errors import DeviceError
from ..core.progress import stage
from .golden import Agreement, Golden, compare_golden, read_golden
from .latency import Latency, time_model
from .open_bundle import open_model


@dataclass
class CoreChecks:
    """What the checks of all cores found.

    usable      the cores on which every model opens and runs; () for the processor
    agreements  for each model, that of the core that agrees least
    problems    why the bundle cannot run here
    failures    why a core cannot be used, if others can: the service then runs without it
    librknnrt   the version of the library; "" for ONNX Runtime
    """

    usable: list[int]
    agreements: list[Agreement] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    librknnrt: str = ""


def check_cores(bundle: Bundle, backend: str, cores: int, runs: int) -> CoreChecks:
    """Check ``bundle`` on ``cores`` NPU cores, or on the processor if that is 0.

    A core on which a model does not open, or does not run, is left out, like the scheduler does it. A core that
    computes something else, or cores that fail when all work at the same time, are problems. ``runs`` is the number of
    inferences to measure on each core. Raises BundleError if the golden vectors are damaged.
    """
    checks = CoreChecks(list(range(cores)))
    golden = {name: read_golden(bundle, name) for name in bundle.manifest.models}
    for name, vectors in golden.items():
        with stage(name):
            _compare(bundle, name, backend, vectors, checks)
    if cores and not checks.usable:
        # Every core failed, mostly for one reason, such as a missing library: it is said once.
        checks.problems += dict.fromkeys(checks.failures.values())
        checks.failures.clear()
    if checks.problems:
        return checks  # the latency of wrong results is of no interest
    for name, vectors in golden.items():
        with stage(f"{name}: latency"):
            opener = partial(open_model, bundle, name, backend, weights=SharedWeights())
            try:
                checks.latencies += time_model(name, opener, vectors.inputs, checks.usable, runs)
            except DeviceError as error:
                checks.problems.append(str(error))
    return checks


def _compare(bundle: Bundle, name: str, backend: str, golden: Golden, checks: CoreChecks) -> None:
    """Add to ``checks`` what the usable cores, or the processor, compute for the ``golden`` inputs of ``name``.

    All cores are open before the first runs, so that they share the weights, as in the service.
    """
    found: list[Agreement] = []
    models: dict[int | None, Backend] = {}
    weights = SharedWeights()
    with ExitStack() as opened:
        for core in tuple(checks.usable) or ((None,) if not checks.failures else ()):
            try:
                models[core] = open_model(bundle, name, backend, core=core, weights=weights)
                opened.callback(models[core].close)
            except DeviceError as error:
                _refuse(checks, core, error)
        for core, model in models.items():
            try:
                checks.librknnrt = getattr(model, "runtime", "")
                found.append(_agreement(bundle, name, golden, model, core))
            except DeviceError as error:
                _refuse(checks, core, error)
    if found:
        checks.agreements.append(min(found, key=lambda one: (not one.problem, min(one.simulator, one.reference))))
        checks.problems += [one.problem for one in found if one.problem]


def _refuse(checks: CoreChecks, core: int | None, error: DeviceError) -> None:
    """Leave ``core`` out because of ``error``; None is the processor, for which it is a problem."""
    if core is None:
        checks.problems.append(str(error))
    else:
        checks.usable.remove(core)
        checks.failures[core] = str(error)


def _agreement(bundle: Bundle, name: str, golden: Golden, model: Backend, core: int | None) -> Agreement:
    found = compare_golden(bundle, name, golden, model)
    return replace(found, problem=f"core {core}: {found.problem}") if found.problem and core is not None else found
