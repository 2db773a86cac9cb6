"""How `make bench` and `make bench-own` count own work and its bound."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the benchmarks are scripts

import onnxruntime
from comparison_report import BOUND
from comparison_rkface import Bound, find_bands, open_pipeline
from comparison_worker import InferenceClock
from own_work import OwnWork, add_up, calls_to_markdown, list_calls, to_markdown
from scenes import DEMO


def test_inferences_at_the_same_time_count_once(monkeypatch):
    now = 0.0

    def run(until):
        nonlocal now
        if callable(until):
            until()
        else:
            now = until

    monkeypatch.setattr(onnxruntime, "InferenceSession", SimpleNamespace(run=run, run_with_iobinding=run))
    clock = InferenceClock(lambda: now)
    clock.install()
    counted = onnxruntime.InferenceSession.run
    counted(2.0)
    now = 5.0
    counted(lambda: counted(7.0))  # one inside the other: 5 to 7
    now = 9.0
    assert clock.seconds == 4.0
    clock.reset()
    assert clock.seconds == 0.0


@pytest.mark.parametrize(
    ("height", "rows", "threads", "bands"),
    [
        (2160, 360, 1, [(0, 2160, 360)]),
        (2160, 360, 2, [(0, 1080, 180), (1080, 2160, 180)]),
        (480, 360, 2, [(0, 480, 360)]),
        (2160, 360, 7, [(0, 2160, 360)]),
    ],
)
def test_threads_touch_whole_steps_of_the_frame(height, rows, threads, bands):
    assert find_bands(height, rows, threads) == bands


def test_a_call_is_counted_without_what_it_calls():
    events = [("call", "a", 0), ("c_call", "b", 2), ("c_return", "b", 7), ("call", "b", 8), ("return", "b", 9)]
    assert dict(add_up([*events, ("return", "a", 10)])) == {"a": [2 + 1 + 1], "b": [5, 1]}


def test_all_calls_are_counted_and_the_longest_are_listed():
    count, *_, last = calls_to_markdown([("short (a.py)", 3, 4.9), ("long (b.py)", 2, 5.0)]).splitlines()
    assert count.startswith("5 calls of 2 functions") and last == "| long (b.py) | 2 | 5.0 |"


def test_all_parts_of_the_bound_are_measured_and_compared_with_own_work():
    pipeline = open_pipeline(DEMO / "detector.onnx", DEMO / "recognizer.onnx", 1)
    image = np.full((720, 1280, 3), 90, np.uint8)
    parts = Bound(pipeline, image, InferenceClock().timer).measure()
    assert set(parts) == set(BOUND) and min(parts["touch"], parts["tensor"], parts["scores"]) > 0
    assert parts["crops"] == 0, "no face"
    assert {"recognize (pipeline.py)", "resize (letterbox.py)"} <= {name for name, *_ in list_calls(pipeline, image, 1)}
    rows = [OwnWork("640×480", 0, 1, own, dict.fromkeys(BOUND, 1.0)) for own in (5.9, 6.1)]
    _, _, within, above = to_markdown(rows).splitlines()
    assert "| 1.48 |  |" in within and "| 1.52 | **above 1.5** |" in above
