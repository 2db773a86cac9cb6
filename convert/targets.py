"""The chips that rknn-toolkit2 can convert for, and what each can do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.soc import model_chip
from rkface.runtime.core.text import nearest
from rkface.runtime.core.versions import TOOLKIT


@dataclass(frozen=True)
class Npu:
    """What one NPU core does in a cycle, and its clock, for the cost model (convert/cost.py).

    int8, half  (input, output) channels that the MAC array processes at 8 and at 16 bits; None: not supported
    depthwise   channels of a depthwise convolution
    written     results that leave the array
    memory      bytes read from and written to DRAM
    block       bytes of neighboring channels that are stored together in DRAM: fewer channels are padded
    clock       the highest, in GHz

    Rockchip publishes this for RK3588 only (Technical Reference Manual part 1, chapter 36: 1024 MAC a cycle and core at
    8 bits, 512 at 16). All values except the clock are therefore those that the compiler of rknn-toolkit2 2.5.0 uses in
    the layer table of a verbose build; `make bench-cost` compares the two. Clocks: 1 GHz is the kernel's highest
    operating point (950 MHz for RV1126B); for RV1103 and RV1106, the clock at which 512 MAC give the data sheet's 0.5
    TOPS; unknown for RV1103B, RV1106B and RK2118, for which 1 GHz is assumed.
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
    """A chip, under rknn-toolkit2's name for it.

    npu     one of its NPU cores
    cores   number of NPU cores (Rockchip's data sheets)
    int8    a w8a8 model compiles (tried with the toolkit on a small Conv + PRelu)
    fp16    an unquantized model compiles (likewise)
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
        """What to tell somebody who converts for this chip; None if there is nothing."""
        if self.python:
            return None
        return (
            f"{self.name} has no Python runtime (only the C library librknnmrt): "
            "the models can be converted, but rkface's runtime cannot run on such a board"
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


def find_target(name: str, *, quantized: bool = True) -> Target:
    """The target called ``name``, in upper or lower case, or the one whose models run on the chip ``name`` ("rk3588j").

    Raises InputError, with the most similar name, if there is no such target, or if the toolkit cannot compile INT8
    (or, if ``quantized`` is false, FP16) for it.
    """
    lower = name.lower()
    target = TARGETS.get(lower) or TARGETS.get(model_chip(lower) or "")
    if target is None:
        near = nearest(lower, TARGETS)
        hint = f"did you mean {near}? " if near else ""
        raise InputError(f"unknown target {name!r}: {hint}rknn-toolkit2 knows {', '.join(TARGETS)}")
    if quantized and not target.int8:
        raise InputError(
            f"rknn-toolkit2 {TOOLKIT} aborts when it compiles an INT8 model for {target.name}: use another target"
        )
    if not quantized and not target.fp16:
        raise InputError(f"the NPU of {target.name} has no floating point: convert without --no-quantize")
    return target
