"""Memory that each inference leaves to the garbage collector, in rkface and in rknn-toolkit-lite2.

Run it on a board, or on the emulated board:

    rkface twin run --bundle build/rk3588 -- tests/bench/npu_memory.py build/rk3588
"""

import argparse
import gc
from collections.abc import Callable
from pathlib import Path

RUNS = 600


def measure_growth(infer: Callable[[], object]) -> float:
    """Kilobytes by which the process grows at each call of ``infer`` while the garbage collector is off."""
    import psutil

    process = psutil.Process()
    for _ in range(20):
        infer()
    gc.collect()
    gc.disable()
    before = process.memory_info().rss
    for _ in range(RUNS):
        infer()
    after = process.memory_info().rss
    gc.enable()
    return (after - before) / RUNS / 1024


def measure(folder: Path) -> None:
    from rknnlite.api import RKNNLite

    from rkface.runtime.backends.npu import open_npu
    from rkface.runtime.core.bundle import read_bundle
    from rkface.runtime.inference.golden import read_golden

    bundle = read_bundle(folder)
    model, images = bundle.model("detector"), read_golden(bundle, "detector").inputs[:1]
    backend = open_npu(bundle.path("detector"), model)
    print(f"rkface               {measure_growth(lambda: backend.infer(images)):5.1f} kB per run")
    backend.close()
    lite = RKNNLite()
    lite.load_rknn(str(bundle.path("detector")))
    lite.init_runtime()
    growth = measure_growth(lambda: lite.inference(inputs=[images], data_format=["nhwc"]))
    print(f"RKNNLite.inference   {growth:5.1f} kB per run")
    lite.release()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of a bundle for this board's chip")
    measure(parser.parse_args().bundle)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
