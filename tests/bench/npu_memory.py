"""What each run leaves to the garbage collector: rkface's NPU backend beside rknn-toolkit-lite2's own ``inference``.

On a board, or on the twin:
  python -m rkface.boards.twin --bundle build/rk3588 -- tests/bench/npu_memory.py build/rk3588
"""

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
from rknnlite.api import RKNNLite

from rkface.runtime.backends.npu import open_npu
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.inference.golden import read_golden

RUNS = 600


def growth(run: Callable[[], object]) -> float:
    """Kilobytes that the process grows by at each run, while nothing collects."""
    process = psutil.Process()
    for _ in range(20):
        run()
    gc.collect()
    gc.disable()
    before = process.memory_info().rss
    for _ in range(RUNS):
        run()
    after = process.memory_info().rss
    gc.enable()
    return (after - before) / RUNS / 1024


def main(folder: Path) -> None:
    bundle = read_bundle(folder)
    model, images = bundle.model("detector"), read_golden(bundle, "detector").inputs[:1]
    backend = open_npu(bundle.path("detector"), model.input, model.outputs)
    print(f"rkface               {growth(lambda: backend.infer(images)):5.1f} kB a run")
    backend.close()
    lite = RKNNLite()
    lite.load_rknn(str(bundle.path("detector")))
    lite.init_runtime()
    print(f"RKNNLite.inference   {growth(lambda: lite.inference(inputs=[images], data_format=['nhwc'])):5.1f} kB a run")
    lite.release()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
