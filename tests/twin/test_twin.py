"""The NPU backend and its commands with the real rknn-toolkit-lite2, over a stand-in for librknnrt.

This tests the binding, struct layouts, types and error paths. It measures no speed, and it cannot tell what a real NPU
computes.
"""

import json
import re
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("cases.py")


def run_cases(make_twin, bundles):
    """Case → its traceback, or None if it passed."""
    twin = make_twin("rock-5b", bundles)
    done = twin.python(str(CASES), str(twin.prefix), *map(str, bundles))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def outcome(make_twin, bundles):
    return run_cases(make_twin, bundles)


@pytest.mark.parametrize("case", re.findall(r"^def (case_\w+)", CASES.read_text(encoding="utf-8"), re.MULTILINE))
def test_on_the_twin(outcome, case):
    assert outcome[case] is None, outcome[case]


def test_the_converted_pack_open_on_the_twin(make_twin, bundles, converted_open):
    outcome = run_cases(make_twin, [*bundles, converted_open])
    assert outcome == dict.fromkeys(outcome)
