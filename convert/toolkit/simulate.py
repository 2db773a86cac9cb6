"""Runs images in the simulator of a model that this process has built with rknn-toolkit2."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.backends import stack_runs

from .forks import start_fork
from .quantize import ANSWERED

PROGRESS_EVERY = 20  # at most so many images between two progress messages
MOST_FORKS = 8  # at the same time: each needs the memory of the model's activations
LEAST_IMAGES = 4  # for each of them


class ToolkitError(Exception):
    """A call of the toolkit failed. The message is in the log."""


def simulate(rknn: Any, evaluate: str, messages: int) -> list[NDArray[np.float32]]:
    """The simulator's outputs for the images of the file ``evaluate``, N first. It uses one core, so forks share the
    images: fork k of n runs the images k, k + n, ... and writes its outputs to "part-k.npz"."""
    if rknn.init_runtime() != 0:
        raise ToolkitError("the simulator did not start")
    images = np.load(evaluate, mmap_mode="r")
    forks = max(1, min(len(os.sched_getaffinity(0)), MOST_FORKS, len(images) // LEAST_IMAGES))
    answered, answer = os.pipe()
    running = [
        start_fork(partial(_simulate_part, rknn, images[first::forks], f"part-{first}.npz", answer))
        for first in range(forks)
    ]
    os.close(answer)
    done = 0
    while count := len(os.read(answered, PROGRESS_EVERY)):
        done += count
        os.write(messages, f"{ANSWERED} {done}\n".encode())
    os.close(answered)
    statuses = [os.waitpid(fork, 0)[1] for fork in running]
    if any(statuses):
        raise ToolkitError("the simulator failed")
    return _join_parts([np.load(f"part-{first}.npz") for first in range(forks)], len(images))


def _simulate_part(rknn: Any, images: NDArray[np.uint8], path: str, answer: int) -> None:
    """Write the outputs for ``images`` to the file ``path``, and a byte to the pipe ``answer`` for each image."""
    runs = []
    for image in images:
        runs.append(infer(rknn, image))
        os.write(answer, b".")
    np.savez(path, **{f"{index}": array for index, array in enumerate(stack_runs(runs))})


def _join_parts(parts: Sequence[Any], count: int) -> list[NDArray[np.float32]]:
    """The outputs for all ``count`` images: ``parts[k]`` has those for the images k, k + n, ..., if there are n."""
    outputs = []
    for name in parts[0].files:
        arrays = [part[name] for part in parts]
        whole = np.empty((count, *arrays[0].shape[1:]), np.float32)
        for first, array in enumerate(arrays):
            whole[first :: len(parts)] = array
        outputs.append(whole)
    return outputs


def infer(rknn: Any, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """The simulator's outputs for an H×W×3 RGB ``image``."""
    # uint8 NHWC: the toolkit applies mean and std itself, exactly as on a board.
    outputs = rknn.inference(inputs=[np.asarray(image)[None]], data_format=["nhwc"])
    if outputs is None:
        raise ToolkitError("the simulator returned nothing")
    return [np.asarray(array, np.float32) for array in outputs]
