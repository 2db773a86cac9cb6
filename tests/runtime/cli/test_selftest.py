"""Selftest and bench on a workstation with the reference backend; tests/twin tests them on an emulated NPU."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rkface.boards.doctor.command import doctor
from rkface.runtime.cli import bench, selftest
from rkface.runtime.cli.layers_report import next_steps
from rkface.runtime.core.bundle import read_bundle
from rkface.runtime.core.errors import BundleError, DeviceError, InputError, WorkError
from rkface.runtime.core.manifest import Input, Output
from rkface.runtime.inference.golden import by_kind, compare_golden, cosines, read_golden
from rkface.runtime.inference.latency import summarize
from rkface.runtime.inference.machine import read_clocks, read_machine
from rkface.runtime.inference.open_bundle import open_model
from rkface.runtime.vision.detectors.retinaface import RETINAFACE

from ..conftest import write_sums

BOARD = Path(__file__).parents[2] / "boards/fixtures/rock-5b"


def run(command, *arguments):
    parser = argparse.ArgumentParser()
    command(parser)
    options = parser.parse_args([str(argument) for argument in arguments])
    return options.run(options)


def write_golden(folder, spoil=lambda array: array):
    """Writes golden vectors as convert does: results of ONNX Runtime, for the reference changed by ``spoil``."""
    bundle, golden, rng = read_bundle(folder), {}, np.random.default_rng(3)
    for name, model in bundle.manifest.models.items():
        images = rng.integers(0, 256, (2, model.input.height, model.input.width, 3), np.uint8)
        golden[f"{name}/inputs"] = images
        backend = open_model(bundle, name, "reference")
        for output, array in zip(model.outputs, backend.infer(images), strict=True):
            golden[f"{name}/simulator/{output.name}"] = array
            golden[f"{name}/reference/{output.name}"] = spoil(array)
        backend.close()
    np.savez(folder / "golden.npz", **golden)
    write_sums(folder)
    return folder


def test_selftest_on_a_workstation(own_bundle, capsys):
    write_golden(own_bundle)
    assert run(selftest.selftest, "--bundle", own_bundle, "--runs", 2, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["verdict"], result["backend"], result["problems"]) == ("ok", "reference", [])
    assert [one["reference"] for one in result["agreements"]] == pytest.approx([1, 1], abs=1e-6)  # the same machine
    assert [(row["what"], row["where"], row["runs"]) for row in result["latencies"]] == [
        ("detector", "processor", 2),
        ("recognizer", "processor", 2),
    ]


def test_every_shape_of_the_detector_is_tested_and_measured(shapes_bundle, tmp_path, capsys):
    write_golden(shapes_bundle)
    shapes = ["detector", "detector-320x192", "detector-192x320"]
    assert run(bench.bench, "--bundle", shapes_bundle, "--runs", 2, "--out", tmp_path / "table", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [one["role"] for one in result["agreements"]] == [*shapes, "recognizer"]
    whole = [name.replace("detector", "detection") for name in shapes]
    assert [row["what"] for row in result["latencies"]] == [*shapes, "recognizer", *whole]


def test_another_shape_is_not_looked_for_in_the_debug_build(shapes_bundle):
    bundle = read_bundle(write_golden(shapes_bundle))
    agreements = []
    for name in bundle.manifest.models:
        golden = read_golden(bundle, name)
        npu = SimpleNamespace(name="npu", infer=lambda _, golden=golden: [-array for array in golden.simulator])
        agreements.append(compare_golden(bundle, name, golden, npu))
    assert ["--layers" in one.problem for one in agreements] == [True, False, False, True]
    debug = SimpleNamespace(models={"detector": None, "recognizer": None})
    shapes = ["detector-320x192", "detector-192x320"]
    assert selftest._only_shapes(agreements[1:3], debug) == shapes and not selftest._only_shapes(agreements, debug)
    [step] = next_steps([], 1, [agreements[1].problem], shapes)
    assert step.startswith("detector-320x192, detector-192x320: ") and "--size" in step


def test_selftest_detects_changed_results(own_bundle, capsys):
    write_golden(own_bundle, spoil=lambda array: array + np.linspace(0, 5, array.size).reshape(array.shape))
    assert run(selftest.selftest, "--bundle", own_bundle, "--runs", 1) == 1
    out = capsys.readouterr().out
    assert "ONNX Runtime here computes something else" in out and out.endswith("NOT healthy\n")


def test_selftest_needs_golden_vectors(own_bundle):
    with pytest.raises(BundleError, match="no golden vectors of the detector"):
        run(selftest.selftest, "--bundle", own_bundle)


def test_bench_states_that_a_workstation_has_no_npu(own_bundle, tmp_path, capsys):
    write_golden(own_bundle)
    assert run(bench.bench, "--bundle", own_bundle, "--runs", 2, "--out", tmp_path / "table") == 0
    table = (tmp_path / "table.md").read_text()
    assert "the reference path, not the NPU" in table and table in capsys.readouterr().out
    rows = json.loads((tmp_path / "table.json").read_text())["latencies"]
    assert [row["what"] for row in rows] == ["detector", "recognizer", "detection"]


def test_bench_writes_nothing_if_results_are_wrong(own_bundle, tmp_path):
    write_golden(own_bundle, spoil=np.negative)
    with pytest.raises(WorkError, match="not healthy"):
        run(bench.bench, "--bundle", own_bundle, "--runs", 1, "--out", tmp_path / "table")
    with pytest.raises(InputError, match="no folder"):
        run(bench.bench, "--bundle", own_bundle, "--out", tmp_path / "nowhere/table")
    assert not list(tmp_path.glob("table*"))


def test_the_report_of_doctor_has_what_bench_measures(own_bundle, tmp_path):
    write_golden(own_bundle)
    assert run(doctor, "--bundle", own_bundle, "--report", tmp_path / "board.md") == 1  # this machine is not a board
    text = (tmp_path / "board.md").read_text()
    assert "healthy\n```" in text and "| detection | whole, one thread |" in text


def test_the_report_of_doctor_is_written_before_a_measurement_that_may_crash(own_bundle, tmp_path, monkeypatch):
    file, during = tmp_path / "board.md", []

    def broken(folder, backend, runs):
        during.append(file.read_text())
        raise ValueError("no such symbol")

    monkeypatch.setattr(selftest, "run_selftest", broken)
    assert run(doctor, "--bundle", own_bundle, "--report", file) == 1
    assert "Not measured: the measurement ended this process." in during[0] and "rkface doctor" in during[0]
    assert "Not measured: ValueError: no such symbol" in file.read_text()


def test_the_report_of_doctor_keeps_the_selftest_if_detection_fails(own_bundle, tmp_path, monkeypatch):
    def broken(folder, backend, runs):
        raise DeviceError("the NPU hung")

    write_golden(own_bundle)
    monkeypatch.setattr(bench, "time_detections", broken)
    run(doctor, "--bundle", own_bundle, "--report", tmp_path / "board.md")
    text = (tmp_path / "board.md").read_text()
    assert "healthy\n```" in text and "| detector | processor |" in text
    assert "Whole detections were not measured: the NPU hung" in text


def test_rounding_in_an_empty_picture_is_not_a_failure():
    # Scores of one INT8 step, in places that differ: their cosine alone is 0.
    noise = np.zeros((2, 1, 8), np.float32)
    noise[0, 0, 1] = noise[1, 0, 5] = 1 / 255
    assert cosines([noise[0]], [noise[1]]) == 1
    # Beside a stride that has a face in it, too.
    shapes = [(count, channels) for channels in (1, 4, 10) for count in (32, 8, 2)]
    outputs = tuple(Output(str(index), shape) for index, shape in enumerate(shapes))
    model = SimpleNamespace(input=Input("x", 32, 32, (0.0,) * 3, (1.0,) * 3), outputs=outputs)
    rest = [np.ones((1, *shape), np.float32) for shape in shapes[2:]]
    face = np.zeros((1, 32), np.float32)
    face[0, 7] = 0.9
    ours, theirs = (by_kind(model, "detector", [face, scores, *rest]) for scores in noise)
    assert list(ours) == ["scores", "boxes", "landmarks"] and ours["scores"].shape == (1, 42)
    assert cosines(ours.values(), theirs.values()).min() > 0.9999


def test_the_scores_of_the_background_do_not_hide_lost_faces():
    # RetinaFace: two scores per anchor, background and face. The background alone has a cosine of nearly 1.
    shapes = list(RETINAFACE.shapes(32, 32))
    outputs = tuple(Output(str(index), (1, *shape)) for index, shape in enumerate(shapes))
    model = SimpleNamespace(input=Input("x", 32, 32, (0.0,) * 3, (1.0,) * 3), outputs=outputs)
    there = [np.ones((1, *shape), np.float32) for shape in shapes]
    there[0][..., 1] = 0
    there[0][0, 5] = 0.1, 0.9
    lost = [array.copy() for array in there]
    lost[0][0, 5] = 1, 0
    ours, theirs = (by_kind(model, "detector", arrays) for arrays in (there, lost))
    assert ours["scores"].shape == (1, 42) and cosines([ours["scores"]], [theirs["scores"]]) == 0


def test_cosines_of_zeros_and_of_nan():
    zero, one, broken = np.zeros(4, np.float32), np.ones(4, np.float32), np.full(4, np.nan, np.float32)
    pairs = ((zero, zero), (zero, one), (broken, one), (one, one), (-one, one))
    ours, theirs = ([np.stack(side)] for side in zip(*pairs, strict=True))
    assert cosines(ours, theirs)[0].tolist() == pytest.approx([1, 0, 0, 1, -1])


def test_percentiles_and_rate():
    row = summarize("detector", "core 0", np.arange(1, 102) / 1000, elapsed=2.0)
    assert (row.runs, row.p50, row.p90, row.p99, row.rate) == (101, 51.0, 91.0, 100.0, 50.5)


def test_clocks_and_machine_of_a_board():
    clocks = read_clocks(BOARD)
    assert clocks.governors["npu"] and clocks.governors["ddr"] and clocks.governors["cpu 0"]
    assert clocks.megahertz["npu"] == int((next(BOARD.glob("sys/class/devfreq/*npu/cur_freq"))).read_text()) // 10**6
    assert all(0 < value < 120 for value in clocks.celsius.values()) and clocks.celsius
    machine = read_machine(BOARD)
    assert machine.soc == "rk3588" and "ROCK 5B" in machine.board and machine.versions["rknpu"] == "0.9.8"
