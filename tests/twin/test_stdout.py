"""What librknnrt prints never reaches the stdout of a command, whatever it prints, and from whichever thread.

The stand-in library prints to stdout what the real one does, and with ``chatter=1`` also at each call, by printf(3),
whose buffer is written when the process ends, by write(2), and from a thread of its own.
"""

import json
import os

import cv2
import numpy as np
import pytest

from rkface.runtime.backends.bindings import DIRECT, LITE
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.inference.golden import read_golden

RKFACE = ("-m", "rkface.runtime.cli.main")
SLOW = pytest.mark.skipif("RKFACE_SLOW" not in os.environ, reason="seconds of emulation: make twin-test")
CHATTER = {"by write(2)", "by printf(3)", "a thread of the library", "rknn_init", "rknn_run", "I RKNN: ", "W RKNN: "}


@pytest.fixture(scope="module")
def twin(make_twin, bundles):
    return make_twin("rock-5b", bundles)


@pytest.fixture
def loud(monkeypatch):
    """The library prints all that it can."""
    monkeypatch.setenv("RKNN_LOG_LEVEL", "3")


@pytest.mark.parametrize("binding", [pytest.param(LITE, marks=SLOW), DIRECT])
def test_selftest_prints_nothing_but_json(twin, bundles, loud, binding):
    words = ("selftest", "--bundle", str(bundles[0]), "--runs", "1", "--json")
    done = twin.python(*RKFACE, *words, faults="chatter=1", binding=binding)
    result = json.loads(done.stdout)
    assert (done.returncode, result["verdict"]) == (0, "ok") and result["binding"].startswith(binding)
    heard = CHATTER - ({"W RKNN: "} if binding == DIRECT else set())  # a query that only rknn-toolkit-lite2 makes
    assert all(one in done.stderr for one in heard)


@SLOW
def test_the_library_is_quiet_unless_the_user_wants_more(twin, bundles, monkeypatch):
    monkeypatch.delenv("RKNN_LOG_LEVEL", raising=False)
    done = twin.python(*RKFACE, "selftest", "--bundle", str(bundles[0]), "--runs", "1", "--json")
    assert json.loads(done.stdout)["verdict"] == "ok" and "RKNN: " not in done.stderr


@SLOW
def test_a_failed_selftest_prints_its_problems_as_json(twin, bundles, loud):
    words = ("selftest", "--bundle", str(bundles[0]), "--runs", "1", "--json")
    done = twin.python(*RKFACE, *words, faults="chatter=1,hang=1@2")
    assert done.returncode == 1 and "did not answer in time" in json.loads(done.stdout)["problems"][0]
    assert "failed to submit!" in done.stderr


@SLOW
def test_doctor_prints_nothing_but_json(twin, bundles, loud):
    done = twin.python(*RKFACE, "doctor", "--bundle", str(bundles[0]), "--json", faults="chatter=1")
    assert {"librknnrt", "NPU binding", "bundle"} <= {line["name"] for line in json.loads(done.stdout)["lines"]}


def test_the_service_prints_nothing_but_events(twin, bundles, loud, tmp_path):
    """The frames are golden inputs, which the stand-in library answers; it does not know the faces that are cut out."""
    recording, images = tmp_path / "door.avi", read_golden(read_bundle(bundles[0]), "detector").inputs
    lossless = cv2.VideoWriter_fourcc(*"MPNG")
    writer = cv2.VideoWriter(str(recording), cv2.CAP_FFMPEG, lossless, 10, images.shape[2:0:-1])
    for image in images:
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    words = ("--bundle", str(bundles[0]), "--camera", str(recording), "--gallery", str(tmp_path / "people"), "--no-web")
    done = twin.python(*RKFACE, "run", *words, faults="chatter=1", binding=DIRECT)
    for line in done.stdout.splitlines():
        json.loads(line)
    assert "door" in done.stderr and done.returncode == 0, done.stderr[-2000:]
    assert all(one in done.stderr for one in CHATTER - {"W RKNN: "}), done.stderr[-2000:]
