"""The chips that rknn-toolkit2 converts for, and what each can do."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace

from rkface.runtime.core.errors import InputError


@dataclass(frozen=True)
class Npu:
    """What one core does in a cycle, and how fast its cycles are: what convert/cost.py counts with.

    int8, half  (input, output) channels that the MAC array takes at 8 and at 16 bits; None: not at all
    depthwise   channels of a depthwise convolution
    written     results that leave the array
    memory      bytes to and from DRAM
    block       bytes of neighboring channels that lie together in DRAM: fewer channels are padded
    clock       GHz, the highest

    Rockchip publishes this for RK3588 only (Technical Reference Manual part 1, chapter 36: 1024 MAC a cycle and core at
    8 bits, 512 at 16). All but the clock is therefore what rknn-toolkit2 2.5.0's own compiler counts with in the layer
    table of a verbose build; `make bench-cost` holds this to that. Clocks: 1 GHz is the kernel's highest operating
    point (RV1126B 950 MHz); RV1103 and RV1106 so that 512 MAC give the data sheet's 0.5 TOPS; unknown for RV1103B,
    RV1106B and RK2118, where 1 GHz is assumed.
    """

    int8: tuple[int, int] | None
    half: tuple[int, int] | None
    depthwise: int
    written: int
    memory: float
    block: int = 16
    clock: float = 1.0


_RK3576 = Npu((32, 32), (32, 16), 64, 8, 7.465)
_RK3568 = Npu((32, 16), (16, 8), 32, 4, 6.571, block=8)
_RV1106 = Npu((32, 16), (16, 16), 32, 4, 6.159, clock=0.5)
_RV1106B = Npu((16, 8), None, 16, 2, 7.465, block=8)


@dataclass(frozen=True)
class Target:
    """A chip as rknn-toolkit2 2.5.0 names it.

    npu     one of its cores
    cores   how many there are (Rockchip's data sheets)
    int8    w8a8 compiles; fp16: an unquantized model compiles (both tried with the toolkit on a small Conv + PRelu)
    python  rknn-toolkit-lite2 runs on it
    """

    name: str
    npu: Npu
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
        Target("rk3588", Npu((32, 32), (32, 16), 64, 8, 23.65), cores=3),
        Target("rk3576", _RK3576, cores=2),
        Target("rk3568", _RK3568),
        Target("rk3566", _RK3568),
        Target("rk3562", Npu((32, 16), (32, 8), 64, 4, 7.465)),
        Target("rv1126b", replace(_RK3576, clock=0.95)),
        Target("rv1103", _RV1106, fp16=False, python=False),
        Target("rv1103b", _RV1106B, fp16=False, python=False),
        Target("rv1106", _RV1106, fp16=False, python=False),
        Target("rv1106b", _RV1106B, fp16=False, python=False),
        Target("rk2118", Npu(None, (8, 4), 16, 1, 7.465), int8=False, python=False),
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
