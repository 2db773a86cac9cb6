"""A file that keeps the state of an unfinished or finished distillation, so that an interruption costs little."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rkface.runtime.core.atomic import replace_atomically
from rkface.runtime.core.errors import WorkError

KEPT = 2  # files: the newest


@dataclass(frozen=True)
class Checkpoint:
    """The file ``path``, whose content counts only for the inputs that ``key`` stands for."""

    path: Path
    key: str

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file atomically; only its owner can read it. Raises WorkError if it cannot be written."""
        with replace_atomically(self.path) as path:
            try:
                torch.save({"key": self.key, **state}, path)
            except (OSError, RuntimeError) as error:  # torch turns the system's error into its own
                raise WorkError(f"{self.path} cannot be written: is the disk full? ({error})") from error

    def load(self) -> dict[str, Any]:
        """The saved state; empty if no file exists, or if it is damaged or of other inputs."""
        try:
            state = torch.load(self.path, weights_only=True)  # tensors and numbers, no code
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
            return {}
        return state if isinstance(state, dict) and state.get("key") == self.key else {}


def open_checkpoint(folder: Path, key: str) -> Checkpoint:
    """The checkpoint for ``key`` in ``folder``, which is created; old ones for other keys are deleted."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{key[:32]}.pt"
    others = sorted((one for one in folder.glob("*.pt") if one != path), key=lambda one: one.stat().st_mtime)
    for old in others[: max(0, len(others) - (KEPT - 1))]:
        old.unlink(missing_ok=True)
    return Checkpoint(path, key)
