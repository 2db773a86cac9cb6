"""`rkface evaluate` from the command line, with the demo pack and its rendered people."""

import json
import os
import pickle
import re
import shutil
import sys
from argparse import ArgumentParser
from dataclasses import replace

import numpy as np
import pytest

from rkface.convert.bundle_writer import write_bundle
from rkface.convert.evaluate.rebuild import find_calibration_set, find_checkpoints
from rkface.convert.evaluate_command import evaluate
from rkface.runtime.core.bundle import SUMS, files, read_bundle, sha256
from rkface.runtime.core.errors import InputError, WorkError
from rkface.runtime.core.manifest import MANIFEST

from .report.parsed_page import ParsedPage


def run(*arguments):
    parser = ArgumentParser()
    evaluate(parser)
    options = parser.parse_args([str(argument) for argument in arguments])
    return options.run(options)


def people_of(photos, folder, people):
    """Copy the photos of the first ``people`` rendered people into a folder for each person."""
    for person in range(people):
        for photo in photos.glob(f"person-{person:04}-*.jpg"):
            target = folder / photo.name[:11] / photo.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, target)
    return folder


@pytest.fixture(scope="module")
def people(converted, tmp_path_factory):
    return people_of(converted.work / "photos/evaluation", tmp_path_factory.mktemp("people"), 12)


@pytest.fixture(scope="module")
def few(converted, tmp_path_factory):
    return people_of(converted.work / "photos/evaluation", tmp_path_factory.mktemp("few"), 3)


@pytest.fixture(scope="module")
def own(converted, tmp_path_factory):
    """A copy of the bundle and its calibration set, only for this file."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(converted.bundle, folder / "bundle")
    shutil.copytree(converted.work / "calibration", folder / "bundle.work/calibration")
    return folder / "bundle"


@pytest.fixture
def lone(converted, tmp_path):
    """A bundle without its calibration set, which a test may change."""
    return shutil.copytree(converted.bundle, tmp_path / "lone")


@pytest.fixture(scope="module")
def evaluated(own, people, tmp_path_factory):
    """One evaluation with all outputs: its JSON, the report, and the manifest before and after."""
    before = read_bundle(own).manifest
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch, (out / "json").open("w") as stdout:
        patch.setattr(sys, "stdout", stdout)
        assert (
            run("--bundle", own, "--people", people, "--far", "1e-2", "--json", "--out", out, "--write-threshold") == 0
        )
    figures = json.loads((out / "json").read_text())
    return figures, (out / "evaluation.html").read_text(encoding="utf-8"), before, read_bundle(own).manifest


def test_int8_is_evaluated_together_with_fp32(evaluated):
    figures = evaluated[0]
    fp32, int8 = figures["models"]
    assert (fp32["model"], int8["model"]) == ("FP32", "INT8")
    assert (figures["people"], figures["photos"], figures["same"], figures["different"]) == (12, 36, 36, 594)
    # INT8 of the demo pack has a mean cosine of 0.999: its scores change by one or two percent, its decisions hardly.
    assert abs(figures["shift"]["value"]) < 0.05 and figures["changed"] <= 6
    for model in (fp32, int8):
        assert model["accuracy"]["value"] > 0.97 and model["tar"]["0.01"]["value"] > 0.8
    assert int8["histograms"] != fp32["histograms"], "the two are different models"


def test_the_threshold_is_written_into_the_bundle_with_its_evidence(evaluated, own):
    figures, _, before, after = evaluated
    chosen = figures["models"][1]["chosen"]
    assert after.thresholds.match == pytest.approx(chosen["threshold"]["value"], abs=5e-5)
    evidence = after.provenance["match_threshold"]
    assert (evidence["model"], evidence["far"], evidence["before"]) == ("INT8", 0.01, before.thresholds.match)
    assert evidence["data"] == {"kind": "people", "people": 12, "photos": 36, "faces": 36, "same": 36, "different": 594}
    assert evidence["interval"][0] <= after.thresholds.match <= evidence["interval"][1] + 5e-5
    assert "person-" not in (own / MANIFEST).read_text(), "only counts, no names"
    changed = replace(
        after,
        thresholds=before.thresholds,
        provenance={**after.provenance, "match_threshold": before.provenance["match_threshold"]},
    )
    assert changed == before, "nothing else changed"
    report = (own / "report.html").read_text(encoding="utf-8")
    assert f"The match threshold was changed to {after.thresholds.match:.4f} after this report was written" in report


def test_the_report_is_one_file_with_the_worst_pairs_as_pictures(evaluated):
    figures, html, *_ = evaluated
    page = ParsedPage(html)
    assert {address[:5] for address in page.addresses if not address.startswith("#")} == {"data:"}
    assert html.count("<svg") == 2 and html.count("data:image/jpeg") == 2 * len(figures["worst_pairs"]) == 32
    assert "Synthetic" in html and figures["digest"] in html
    assert f"{figures['models'][1]['chosen']['threshold']['value']:.4f}" in html
    for pair in figures["worst_pairs"]:
        first, second = pair["photos"]
        assert (first.split("/")[0] == second.split("/")[0]) == pair["same"], "names of photos with their folders"
        assert first in html and second in html and f"{pair['cosines']['INT8']:.4f}" in html


def reseal(folder, name, content):
    """Replace a file of a bundle, and its checksum."""
    (folder / name).write_bytes(content)
    (folder / SUMS).write_text("".join(f"{sha256(folder / one)}  {one}\n" for one in files(folder)))


def test_a_distilled_model_is_rebuilt_from_what_the_conversion_has_kept(own, tmp_path):
    calibration = find_calibration_set(read_bundle(own), None)
    assert find_checkpoints(calibration, tmp_path) == find_checkpoints(None, tmp_path) == tmp_path / "distilled"
    (kept := own.with_name("bundle.work") / "distilled").mkdir()
    assert find_checkpoints(calibration, tmp_path) == kept
    kept.rmdir()


def test_a_rebuilt_model_with_other_outputs_is_refused(own, people, tmp_path):
    bundle = shutil.copytree(own, tmp_path / "bundle")
    shutil.copytree(own.with_name("bundle.work"), tmp_path / "bundle.work")  # with the cache of earlier conversions
    golden = dict(np.load(bundle / "golden.npz"))
    (answers,) = (name for name in golden if name.startswith("recognizer/simulator/"))
    golden[answers] = golden[answers] + np.float32(0.05) * np.abs(golden[answers]).max()
    np.savez(tmp_path / "golden.npz", **golden)
    reseal(bundle, "golden.npz", (tmp_path / "golden.npz").read_bytes())
    with pytest.raises(WorkError, match=r"golden inputs have a cosine of only 0.*or evaluate only FP32"):
        run("--bundle", bundle, "--people", people, "--far", "1e-2")


def test_without_the_calibration_set_only_fp32_is_evaluated_with_a_note(lone, few, capsys):
    assert run("--bundle", lone, "--people", few, "--far", "0.1") == 0
    out = capsys.readouterr().out
    assert "INT8 was not evaluated: the calibration set" in out and "threshold for FAR 0.1" in out
    assert "FP32's threshold" in out and "shift" not in out
    assert not lone.with_name("lone.work").exists()


def test_a_set_of_another_bundle_is_refused(own, lone, few, tmp_path):
    manifest = read_bundle(lone).manifest
    other = replace(manifest, provenance={**manifest.provenance, "calibration": {"digest": "0" * 64}})
    write_bundle(lone, other, {name: lone / name for name in files(lone) if name != MANIFEST})
    calibration = own.with_name("bundle.work") / "calibration"
    with pytest.raises(InputError, match="is not the calibration set of"):
        run("--bundle", lone, "--people", few, "--calibration", calibration)


def test_a_threshold_from_too_few_pairs_is_only_written_with_accept(lone, few, capsys):
    before = {name: sha256(lone / name) for name in files(lone)}
    with pytest.raises(InputError, match=r"was not written: 27 pairs of different people are too few.*--accept"):
        run("--bundle", lone, "--people", few, "--fp32", "--write-threshold")
    assert {name: sha256(lone / name) for name in files(lone)} == before
    assert "too few: 3 people" in capsys.readouterr().out, "the figures are shown in any case"
    assert run("--bundle", lone, "--people", few, "--fp32", "--write-threshold", "--accept") == 0
    manifest = read_bundle(lone).manifest
    assert len(manifest.provenance["match_threshold"]["accepted_although"]) == 3
    assert f"now has the match threshold {manifest.thresholds.match:.4f}" in capsys.readouterr().out


def test_a_bundle_without_reference_models_is_refused(lone, few):
    shutil.rmtree(lone / "reference")
    with pytest.raises(InputError, match="has no reference/ folder"):
        run("--bundle", lone, "--people", few)


def test_figures_by_group(lone, people, tmp_path, capsys):
    table = tmp_path / "groups.csv"
    names = sorted(path.name for path in people.iterdir())
    rows = [f"{name},{'odd' if at % 2 else 'even'}\n" for at, name in enumerate(names[:-1])]
    table.write_text("name,group\n" + "".join(rows))
    assert run("--bundle", lone, "--people", people, "--fp32", "--far", "1e-2", "--groups", table, "--json",
               "--no-pictures", "--out", tmp_path) == 0  # fmt: skip
    figures = json.loads(capsys.readouterr().out)
    even, odd = figures["groups"]
    assert (even["name"], even["people"], even["same"], even["different"]) == ("even", 6, 18, 135)
    assert (odd["name"], odd["people"], odd["same"], odd["different"]) == ("odd", 5, 15, 90)
    assert "3 faces have no group" in figures["notes"]
    (all_of_them,) = figures["models"]
    accepted = sum(group["models"][0]["tar"]["count"] for group in (even, odd))
    missed = all_of_them["chosen"]["tar"]["total"] - all_of_them["chosen"]["tar"]["count"]
    assert 33 - missed <= accepted <= 33, "three of the 36 pairs belong to the last person, who has no group"
    assert even["models"][0]["threshold"] and odd["models"][0]["threshold"] is None, (
        "90 pairs are too few for a FAR of 1 %"
    )
    html = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert "By group" in html and "<td>odd</td>" in html
    shown = (html + json.dumps(figures)).replace(json.dumps(figures["command"]), "")
    assert not figures["worst_pairs"] and "data:" not in ParsedPage(html).addresses
    assert "person-" not in shown.replace(figures["command"], ""), "--no-pictures leaves no names"


def test_wrong_groups_are_refused(lone, few, tmp_path):
    table = tmp_path / "groups.csv"
    for rows, says in (
        ("person-0000\n", "line 2: expected «name,group»"),
        ("person-0000,a\nperson-0000,b\n", "line 3: an earlier line puts this name into another group"),
        ("someone,a\n", "contains none of the names"),
    ):
        table.write_text("name,group\n" + rows)
        with pytest.raises(InputError, match=says):
            run("--bundle", lone, "--people", few, "--fp32", "--groups", table)
    with pytest.raises(InputError, match="--groups needs"):
        run("--bundle", lone, "--bin", tmp_path / "a.bin", "--groups", table)


class Touch:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_wrong_options_are_refused(lone, few, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.csv").write_bytes(b"a,b,same\n\xe9.jpg,b.jpg,Yes\n")
    (tmp_path / "evil.bin").write_bytes(pickle.dumps(([b""] * 2, Touch(tmp_path / "touched"))))
    for arguments, says in (
        (["--people", tmp_path / "empty"], "photos of 0 people"),
        (["--bin", tmp_path / "evil.bin"], "asks for posix.system"),
        (["--bin", tmp_path / "absent.bin"], "cannot be read"),
        (["--pairs", tmp_path / "absent.csv"], "absent.csv: cannot be read: No such file or directory"),
        (["--pairs", tmp_path / "latin.csv"], "not UTF-8 at byte 9: save the file as CSV in UTF-8"),
        (["--people", few, "--photos", few], "--photos is the folder of the photos in --pairs"),
        (["--people", few, "--out", tmp_path / "report.txt"], "an .html file"),
        (["--people", few, "--out", tmp_path / "absent/report.html"], "existing folder"),
        (["--people", few, "--out", lone], "is inside the bundle"),
    ):
        with pytest.raises(InputError, match=re.escape(says)):
            run("--bundle", lone, *arguments)
    assert not (tmp_path / "touched").exists()
    for arguments in ([], ["--people", few, "--bin", "a.bin"], ["--people", few, "--far", "0"]):
        with pytest.raises(SystemExit) as exit:
            run("--bundle", lone, *arguments)
        assert exit.value.code == 2
