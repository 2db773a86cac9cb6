"""Runs on the emulated board: same_bits.py BUNDLE. Prints a digest of what the models of a bundle compute for pictures
that are not golden, on several cores and contexts at the same time."""

import hashlib
import sys
import threading

import numpy as np

from rkface.runtime.backends.npu import open_npu
from rkface.runtime.core.bundle import read_bundle

PICTURES = 2

bundle = read_bundle(sys.argv[1], "rk3588")
found = {}


def compute(name, core):
    model = bundle.model(name)
    backend = open_npu(bundle.path(name), model, core=core)
    size = (PICTURES, model.input.height, model.input.width, 3)
    images = np.random.default_rng(9).integers(0, 256, size, np.uint8)
    found[name, core] = hashlib.sha256(b"".join(array.tobytes() for array in backend.infer(images))).hexdigest()
    backend.close()


workers = [threading.Thread(target=compute, args=(name, core)) for name in bundle.manifest.models for core in (0, 2)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
for name in bundle.manifest.models:
    assert found[name, 0] == found[name, 2], name
    print(name, found[name, 0])
