"""The real toolkit on tiny models: errors that would otherwise stay unnoticed."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

from rkface.convert.targets import TARGETS, find_target
from rkface.convert.toolkit import quantize as quantizing
from rkface.convert.toolkit.quantize import ANSWERED, QuantizeJob, quantize
from rkface.runtime.backends.reference import open_reference
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.manifest import Input

from ..conftest import calibration, heed_ctrl_c

pytestmark = pytest.mark.usefixtures("toolkit")
RAW = Input("input", 32, 32, (0.0,) * 3, (1.0,) * 3)


def conv_model(path: Path, weights: np.ndarray) -> Path:
    """A 1×1 convolution and a Relu: ``weights`` are outputs × 3 (red, green, blue)."""
    kernel = numpy_helper.from_array(weights.astype(np.float32)[:, :, None, None], "w")
    nodes = [helper.make_node("Conv", ["input", "w"], ["c"]), helper.make_node("Relu", ["c"], ["output"])]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, len(weights), 32, 32])],
        [kernel],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def flat(red, green, blue):
    return np.full((32, 32, 3), (red, green, blue), np.uint8)


def saved(path: Path, images: list[np.ndarray]) -> Path:
    np.save(path, np.stack(images))
    return path


@pytest.fixture(scope="module")
def reds(tmp_path_factory):
    """A model that passes only red, calibrated and evaluated on pure red."""
    folder = tmp_path_factory.mktemp("reds")
    job = QuantizeJob(
        onnx=conv_model(folder / "red.onnx", np.array([[1, 0, 0]])),
        output=folder / "red.rknn",
        target="rk3588",
        input=RAW,
        custom_string='{"rkface":"here"}',
        dataset=calibration(folder / "set", [flat(255, 10, 20)]),
        evaluate=saved(folder / "eval.npy", [flat(255, 10, 20), flat(100, 10, 20)]),
    )
    stages = []
    return job, quantize(job, folder / "log.txt", lambda stage, seconds: stages.append(stage)), stages, folder


def test_the_color_order_of_calibration_is_that_of_inference(reds):
    _, done, _, _ = reds
    # With BGR calibration, the range would end at blue's 20, and 255 would be cut off there. One of 256 steps over 255.
    np.testing.assert_allclose(done.outputs[0][:, 0].mean(axis=(1, 2)), [255, 100], atol=1.5)


def test_the_custom_string_is_in_the_model_and_stages_are_reported(reds):
    job, done, stages, folder = reds
    assert b'{"rkface":"here"}' in job.output.read_bytes()[:4096]
    named = [one for one in stages if one != ANSWERED]
    assert named == ["load", "build", "export", "simulate"]
    assert set(done.seconds) == set(named) and done.peak_rss_mb > 50 and done.toolkit[0].isdigit()
    left = {path.name for path in folder.iterdir()}
    assert left == {"red.onnx", "red.rknn", "set", "eval.npy", "log.txt"}, "the toolkit's temporary files are deleted"


def test_images_that_several_processes_simulate_come_back_in_their_order(reds, tmp_path):
    job, _, _, _ = reds
    shades = [250, 10, 120, 30, 77, 180, 5, 222, 91, 140, 60, 199, 240]
    counts = []
    done = quantize(
        replace(
            job, output=tmp_path / "m.rknn", evaluate=saved(tmp_path / "e.npy", [flat(one, 0, 0) for one in shades])
        ),
        tmp_path / "log.txt",
        lambda stage, number: counts.append(number) if stage == ANSWERED else None,
    )
    np.testing.assert_allclose(done.outputs[0][:, 0].mean(axis=(1, 2)), shades, atol=1.5)
    assert counts == sorted(counts) and counts[-1] == len(shades)


def test_conversions_at_the_same_time_give_what_they_give_alone(reds, tmp_path):
    job, alone, _, _ = reds
    green = conv_model(tmp_path / "green.onnx", np.array([[0, 1, 0]]))
    jobs = [replace(job, output=tmp_path / "0.rknn"), replace(job, onnx=green, output=tmp_path / "1.rknn")]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(quantize, jobs, [tmp_path / "0.txt", tmp_path / "1.txt"])
    assert len(quantizing._toolkits) == 1
    np.testing.assert_array_equal(first.outputs[0], alone.outputs[0])
    np.testing.assert_allclose(second.outputs[0][:, 0].mean(axis=(1, 2)), [10, 10], atol=1.5)


def test_normalization_happens_once(tmp_path):
    random = np.random.default_rng(3)
    input = replace(RAW, mean=(127.5, 100.0, 110.0), std=(127.5, 64.0, 128.0))
    images = [random.integers(0, 255, (32, 32, 3), np.uint8) for _ in range(6)]
    job = QuantizeJob(
        onnx=conv_model(tmp_path / "m.onnx", random.normal(size=(8, 3))),
        output=tmp_path / "m.rknn",
        target="rk3588",
        input=input,
        custom_string="{}",
        dataset=calibration(tmp_path / "set", images),
        evaluate=saved(tmp_path / "eval.npy", images[:3]),
    )
    (simulated,) = quantize(job, tmp_path / "log.txt").outputs
    (reference,) = open_reference(job.onnx, input).infer(np.stack(images[:3]))
    # INT8 of input, weights and output, each with an error of half a step of 1/255 of its range: 2 % together.
    # After a second normalization, almost nothing of the signal would be left.
    assert np.abs(simulated - reference).max() < 0.02 * np.ptp(reference)
    assert np.corrcoef(simulated.ravel(), reference.ravel())[0, 1] > 0.999


def test_fp16_needs_no_calibration(reds, tmp_path):
    job, _, _, _ = reds
    done = quantize(replace(job, output=tmp_path / "half.rknn", dataset=None), tmp_path / "log.txt")
    # FP16 has a significand of 11 bits, so 255 is exact.
    np.testing.assert_allclose(done.outputs[0][:, 0].mean(axis=(1, 2)), [255, 100], atol=0.01)


def test_a_failure_of_the_toolkit_is_one_error_that_names_the_log(reds, tmp_path):
    job, _, _, _ = reds
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not an onnx file")
    log = tmp_path / "logs/toolkit.txt"
    with pytest.raises(WorkError) as caught:
        quantize(replace(job, onnx=broken, output=tmp_path / "x.rknn"), log)
    message = str(caught.value)
    with pytest.raises(WorkError, match=r"at load of users-own\.onnx for rk3588"):
        quantize(replace(job, onnx=broken, output=tmp_path / "x.rknn", source="users-own.onnx"), log)
    assert "at load of broken.onnx for rk3588" in message and str(log) in message and "\n" not in message
    assert log.stat().st_size > 100
    assert [path.name for path in log.parent.iterdir()] == ["toolkit.txt"] and not (tmp_path / "x.rknn").exists()


@pytest.mark.parametrize("victim", ["conversion", "toolkit", "parent"])
def test_a_killed_or_interrupted_conversion_leaves_nothing(reds, tmp_path, victim):
    job, _, _, _ = reds
    script = (
        "import sys; from pathlib import Path; from rkface.convert.toolkit.quantize import QuantizeJob, quantize\n"
        "from rkface.runtime.core.manifest import Input\n"
        f"quantize(QuantizeJob(onnx=Path({str(job.onnx)!r}), output=Path('out.rknn'), target='rk3588', "
        f"custom_string='{{}}',"
        f" input=Input('input', 32, 32, (0.,)*3, (1.,)*3), dataset=Path({str(job.dataset)!r})), Path('logs/log.txt'))"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509
    ) as parent:
        toolkit = child_of(parent.pid, parent, runs="toolkit.worker")
        conversion = child_of(toolkit, parent, within="toolkit-")
        handles = [os.pidfd_open(process) for process in (toolkit, conversion)]
        if victim == "parent":
            parent.send_signal(signal.SIGINT)
        else:
            os.kill(toolkit if victim == "toolkit" else conversion, signal.SIGKILL)
        error = parent.communicate()[1]
    assert ("KeyboardInterrupt" if victim == "parent" else "was killed by SIGKILL") in error
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["log.txt"]
    assert not (tmp_path / "out.rknn").exists()
    # A pidfd is readable once the process has ended, even if nobody has collected the zombie yet.
    for handle in handles:
        assert select.select([handle], [], [], 60)[0], "the process outlives its parent"
        os.close(handle)


def child_of(pid, whole, within="", runs=""):
    """The first child, or child of a child, whose working folder has a name that starts with ``within``, and whose
    command line contains ``runs``: loading the toolkit and reading a photo also start children."""
    while whole.poll() is None:
        near = children_of(pid)
        for child in [*near, *(far for one in near for far in children_of(one))]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                folder = Path(f"/proc/{child}/cwd").resolve(strict=True).name
                if folder.startswith(within) and runs in Path(f"/proc/{child}/cmdline").read_text():
                    return int(child)
        time.sleep(0.002)
    raise AssertionError("the worker never started")


def children_of(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []


def test_the_error_of_a_toolkit_that_cannot_be_loaded_contains_the_reason(reds, tmp_path, monkeypatch):
    job, _, _, _ = reds
    (tmp_path / "rknn").mkdir()
    (tmp_path / "rknn/__init__.py").touch()
    (tmp_path / "rknn/api.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(quantizing, "_toolkits", [])
    with pytest.raises(WorkError, match=r"failed at start of red\.onnx for rk3588: ImportError: libGL\.so\.1"):
        quantize(replace(job, output=tmp_path / "out.rknn"), tmp_path / "log.txt")


def test_a_file_in_the_users_folder_is_not_imported_as_a_module(reds, tmp_path, monkeypatch):
    job, _, _, _ = reds
    monkeypatch.chdir(tmp_path)
    Path("onnx.py").write_text("raise ImportError('not the ONNX that was meant')")
    monkeypatch.setattr(quantizing, "_toolkits", [])  # start a new process in this folder
    assert quantize(replace(job, output=Path("out.rknn"), evaluate=None), Path("logs/log.txt")).rknn.exists()
    quantizing._toolkits[0].end()


def test_a_calibration_image_of_another_size_is_refused(reds, tmp_path):
    job, _, _, _ = reds
    dataset = calibration(tmp_path / "set", [flat(1, 2, 3), np.zeros((40, 32, 3), np.uint8)])
    with pytest.raises(InputError, match=r"1\.png is 32×40, but the model takes 32×32"):
        quantize(replace(job, dataset=dataset), tmp_path / "log.txt")
    dataset.write_text("\n")
    with pytest.raises(InputError, match="no calibration image"):
        quantize(replace(job, dataset=dataset), tmp_path / "log.txt")


def test_find_target():
    assert find_target("RK3588S") is TARGETS["rk3588"]
    with pytest.raises(InputError, match="did you mean rk3588"):
        find_target("rk3558")
    with pytest.raises(InputError, match="rk2118"):
        find_target("rk2118")
    with pytest.raises(InputError, match="no floating point"):
        find_target("rv1106", quantized=False)
    assert "no Python runtime" in (find_target("rv1103").warning or "")
    assert find_target("rk3588").warning is None
