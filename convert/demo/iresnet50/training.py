"""The training of the IResNet-50: phases, steps, and the state that is saved."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.progress import stage

from ...tuning.distill.checkpoint import Checkpoint
from ..models import IRESNET50, IResNet, Slope, iresnet, normalized
from .batches import Batches, resize
from .grow import embed, grow
from .teachers import Teachers

State = dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """``steps`` steps of ``batch`` faces of ``side``×``side`` pixels through a network of ``depths`` blocks."""

    depths: tuple[int, ...]
    side: int
    batch: int
    steps: int
    rate: float


# A face of 64×64 pixels through 8 blocks takes an eighth of the time of one of 112×112 through all 24.
PHASES = (
    Phase((2, 2, 2, 2), 64, 24, 1_000, 1.5e-3),
    Phase(IRESNET50[0], 80, 24, 150, 1e-3),
    Phase(IRESNET50[0], 112, 24, 100_000, 1e-3),
)
_WARM_UP = 20  # steps of each phase
_SLOWER = 200  # after three times as many steps of the last phase the learning rate is half
_DECAY = 0.05  # of kernels
_AVERAGED = 0.99  # weights are averaged over about the last hundred steps: no schedule needs to know where the end is
_SHARPNESS = 16.0
_RELATIONS = 0.25
_CLIP = 1.0


class Training:
    """The network, its optimizer and its averaged weights after ``step`` steps of the phase ``phase``."""

    def __init__(
        self,
        seed: int,
        teachers: Teachers,
        batches: Batches,
        phases: tuple[Phase, ...] = PHASES,
        widths: Sequence[int] = IRESNET50[1],
    ) -> None:
        torch.manual_seed(seed)
        self._teachers, self._batches, self._phases = teachers, batches, phases
        self.widths = widths
        self.phase = self.step = self.total = self.faces = 0
        self.seconds = 0.0  # of CPU time
        self.losses: list[float] = []
        self._open(initial(phases[0].depths, widths))

    def _open(self, model: IResNet) -> None:
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in model.modules():
            if isinstance(module, Slope):
                module.fixed = False
        chosen = [one for one in model.parameters() if one.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [one for one in chosen if one.ndim > 1], "weight_decay": _DECAY},
                {"params": [one for one in chosen if one.ndim <= 1], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
            fused=True,
        )
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @property
    def depths(self) -> tuple[int, ...]:
        """The number of blocks in each stage."""
        return self._phases[self.phase].depths

    def state(self) -> State:
        return {
            "phase": self.phase,
            "step": self.step,
            "total": self.total,
            "faces": self.faces,
            "seconds": self.seconds,
            "losses": self.losses,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
        }

    def restore(self, state: State) -> None:
        self.phase, self.step, self.total = state["phase"], state["step"], state["total"]
        self.faces, self.seconds, self.losses = state["faces"], state["seconds"], list(state["losses"])
        self._open(iresnet(self.depths, self.widths))
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]

    def advance(self) -> None:
        """Take one step; at the end of a phase, go to the next one."""
        start = time.process_time()
        phase = self._phases[self.phase]
        if self.step == phase.steps and self.phase + 1 < len(self._phases):
            self._next_phase()
            phase = self._phases[self.phase]
        crops, photos = self._batches.batch(self.total, phase.batch)
        wanted = self._teachers.embed(crops, photos)
        with torch.autocast("cpu", torch.bfloat16):
            found = embed(self.model.train(), normalized(resize(crops, phase.side)))
        value = loss(found.float(), wanted)
        rate = self._rate(phase)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        self.optimizer.step()
        self.step, self.total, self.faces = self.step + 1, self.total + 1, self.faces + phase.batch
        self._average()
        self.losses.append(round(value.item(), 4))
        self.seconds += time.process_time() - start

    def _rate(self, phase: Phase) -> float:
        last = self.phase + 1 == len(self._phases)
        slower = (1 + self.step / _SLOWER) ** -0.5 if last else 1.0
        return phase.rate * min(1.0, (self.step + 1) / _WARM_UP) * slower

    def _next_phase(self) -> None:
        old, new = self._phases[self.phase], self._phases[self.phase + 1]
        self.phase, self.step = self.phase + 1, 0
        if new.depths != old.depths:
            self.model.load_state_dict(self.average)
            self._open(grow(self.model, old.depths, new.depths, self.widths))

    @torch.no_grad()
    def _average(self) -> None:
        share = 1 - min(_AVERAGED, (1 + self.total) / (10 + self.total))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, share)
            else:
                self.average[name].copy_(value)


def initial(depths: Sequence[int], widths: Sequence[int]) -> IResNet:
    """A network with random weights (He, arXiv 1502.01852)."""
    model = iresnet(depths, widths)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.25, mode="fan_out")
    return model


def loss(found: Tensor, wanted: Tensor) -> Tensor:
    """The mean distance of the embeddings ``found`` (B×512) from ``wanted``, 1 − cosine, and how far their cosines with
    all faces of the batch are from those of the teachers (Kullback-Leibler)."""
    found = F.normalize(found)
    cosines, own = found @ wanted.T, wanted @ wanted.T
    relations = F.kl_div(
        F.log_softmax(_SHARPNESS * cosines, 1), F.log_softmax(_SHARPNESS * own, 1), log_target=True,
        reduction="batchmean",
    )  # fmt: skip
    return (1 - cosines.diagonal()).mean() + _RELATIONS * relations


class Interruption:
    """While it is entered, Ctrl-C and SIGTERM set ``wanted`` instead of ending the process in the middle of a step."""

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> Interruption:
        self._old = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.wanted = True


def train(training: Training, checkpoint: Checkpoint, seconds: float, every: float, interruption: Interruption) -> None:
    """Train for ``seconds``, or until ``interruption`` is wanted. The state is saved ``every`` so many seconds and at
    the end.

    A full disk does not end the training: the old checkpoint stays, and the next saving may succeed. Raises WorkError
    if the last one does not.
    """
    start = saved = time.monotonic()
    with stage("train IResNet-50") as line:
        while (now := time.monotonic()) - start < seconds and not interruption.wanted:
            training.advance()
            told = f"step {training.total}, loss {np.mean(training.losses[-20:]):.3f}"
            line.say(f"{told}, {seconds - now + start:.0f} s left")
            if time.monotonic() - saved >= every:
                try:
                    checkpoint.save(training.state())
                except WorkError as error:
                    print(f"not saved: {error}", file=sys.stderr, flush=True)
                saved = time.monotonic()
                if not sys.stderr.isatty():  # no line that is updated: a log for the many hours
                    print(f"  {told}", file=sys.stderr, flush=True)
        line.note = f"{training.total} steps, {training.faces} faces in all"
    checkpoint.save(training.state())
