"""The NPU backend and its commands with both bindings, over a stand-in for librknnrt.

This tests the bindings, struct layouts, types and error paths. It measures no speed, and it cannot tell what a real NPU
computes.
"""

import json
import os
import re
from pathlib import Path

import pytest

from rkface.runtime.backends.bindings import DIRECT

CASES = Path(__file__).with_name("cases.py")
NAMES = re.findall(r"^(@only_with_lite\n)?def (case_\w+)", CASES.read_text(encoding="utf-8"), re.MULTILINE)

SLOW = pytest.mark.skipif("RKFACE_SLOW" not in os.environ, reason="a minute of emulation: make twin-test")


def run_cases(twin, bundles, binding=""):
    """Case → its traceback, or None if it passed. Without a ``binding``, rkface chooses it."""
    done = twin.python(str(CASES), str(twin.prefix), *map(str, bundles), binding=binding)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def outcomes(make_twin, bundles):
    """The outcome with a binding; each runs once."""
    found = {}

    def outcome(binding):
        if binding not in found:
            found[binding] = run_cases(make_twin("rock-5b", bundles), bundles, binding)
        return found[binding]

    return outcome


@pytest.mark.parametrize("case", [name for _, name in NAMES])
def test_with_rknn_toolkit_lite2(outcomes, case):
    assert outcomes("")[case] is None, outcomes("")[case]


@SLOW
@pytest.mark.parametrize("case", [name for only_lite, name in NAMES if not only_lite])
def test_with_the_direct_binding(outcomes, case):
    assert outcomes(DIRECT)[case] is None, outcomes(DIRECT)[case]


@SLOW
@pytest.mark.parametrize("python", ["3.13", "3.14"])
def test_with_a_python_that_rknn_toolkit_lite2_has_no_wheel_for(make_twin, bundles, python):
    outcome = run_cases(make_twin("rock-5b", bundles, python), bundles)
    assert outcome == dict.fromkeys(outcome) and len(outcome) > 20


def test_the_converted_pack_open_on_the_twin(make_twin, bundles, converted_open):
    bundles = [*bundles, converted_open]
    outcome = run_cases(make_twin("rock-5b", bundles), bundles)
    assert outcome == dict.fromkeys(outcome)
