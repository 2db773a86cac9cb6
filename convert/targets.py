"""The chips that rknn-toolkit2 converts for, and what each can do."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from rkface.runtime.errors import InputError


@dataclass(frozen=True)
class Target:
    """A chip as rknn-toolkit2 2.5.0 names it.

    cores   NPU cores (Rockchip's data sheets)
    int8    w8a8 compiles; fp16: an unquantised model compiles (both tried with the toolkit on a small Conv + PRelu)
    python  rknn-toolkit-lite2 runs on it
    """

    name: str
    cores: int = 1
    int8: bool = True
    fp16: bool = True
    python: bool = True

    @property
    def warning(self) -> str | None:
        if self.python:
            return None
        return (
            f"{self.name} has no Python runtime (only the C library librknnmrt): "
            "the models will convert, but rkface's runtime cannot run on that board"
        )


TARGETS = {
    target.name: target
    for target in (
        Target("rk3588", cores=3),
        Target("rk3576", cores=2),
        Target("rk3568"),
        Target("rk3566"),
        Target("rk3562"),
        Target("rv1126b"),
        Target("rv1103", fp16=False, python=False),
        Target("rv1103b", fp16=False, python=False),
        Target("rv1106", fp16=False, python=False),
        Target("rv1106b", fp16=False, python=False),
        Target("rk2118", int8=False, python=False),
    )
}
SAME_NPU = {"rk3588s": "rk3588", "rk3588s2": "rk3588", "rk3568b2": "rk3568"}


def find_target(name: str, *, quantized: bool = True) -> Target:
    """The target called ``name``, in any case. InputError, with the nearest name, where the toolkit has none such, or
    where it cannot compile INT8 (or, without ``quantized``, FP16) for it."""
    lower = name.lower()
    target = TARGETS.get(SAME_NPU.get(lower, lower))
    if target is None:
        near = difflib.get_close_matches(lower, TARGETS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"unknown target {name!r}: {hint}rknn-toolkit2 knows {', '.join(TARGETS)}")
    if quantized and not target.int8:
        raise InputError(
            f"rknn-toolkit2 2.5.0 aborts when it compiles an INT8 model for {target.name}: use another target"
        )
    if not quantized and not target.fp16:
        raise InputError(f"the NPU of {target.name} has no floating point: convert without --no-quantize")
    return target
