"""A package that cannot be loaded is not called missing."""

import resource
import subprocess
import sys

import pytest

from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.missing_package import import_error


def test_a_missing_package_is_installed_by_a_command():
    error = import_error(ModuleNotFoundError("No module named 'paho'", name="paho"), "MQTT needs paho-mqtt", "pip x")
    assert isinstance(error, InputError) and str(error) == "MQTT needs paho-mqtt: pip x"


def test_a_package_that_cannot_be_loaded_is_not_missing():
    reason = "libx.so: failed to map segment from shared object"
    error = import_error(ImportError(f"{reason}\nand more"), "MQTT needs paho-mqtt", "pip x")
    assert isinstance(error, WorkError) and reason in str(error)
    assert "pip" not in str(error) and "memory" in str(error) and "\n" not in str(error)


PROGRAM = """
import resource, sys
from pathlib import Path
from rkface.runtime.backends.reference import open_session
from rkface.runtime.core.errors import RkfaceError
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + 8_000_000, -1))
try:
    open_session(Path("m.onnx"), ("cpu",), 1)
except RkfaceError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_AS)[1] != -1, reason="memory is limited here")
def test_onnxruntime_without_memory_is_not_missing():
    pytest.importorskip("onnxruntime")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("WorkError the reference backend needs onnxruntime, which is installed"), done
