"""A file that keeps the state of an unfinished or finished distillation, so that an interruption costs a minute."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rkface.runtime.core.atomic import write_atomically

KEPT = 2  # files: the newest


@dataclass(frozen=True)
class Checkpoint:
    """The file ``path``, which counts only for the inputs whose digest is ``key``."""

    path: Path
    key: str

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file atomically; only its owner can read it. Raises WorkError if it cannot be written."""
        content = io.BytesIO()
        torch.save({"key": self.key, **state}, content)
        write_atomically(self.path, content.getvalue(), mode=0o600)

    def load(self) -> dict[str, Any] | None:
        """The saved state; None if there is none, or if it is damaged or of other inputs."""
        try:
            state = torch.load(self.path, weights_only=True)  # tensors and numbers, no code
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
            return None
        return state if isinstance(state, dict) and state.get("key") == self.key else None


def open_checkpoint(folder: Path, inputs: Iterable[bytes]) -> Checkpoint:
    """The checkpoint in ``folder`` for these ``inputs``; older ones of other inputs are deleted."""
    digest = hashlib.sha256()
    for part in inputs:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    key = digest.hexdigest()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{key[:32]}.pt"
    others = sorted((one for one in folder.glob("*.pt") if one != path), key=lambda one: one.stat().st_mtime)
    for old in others[: max(0, len(others) - (KEPT - 1))]:
        old.unlink(missing_ok=True)
    return Checkpoint(path, key)
